#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Tokenizers against published vocabularies: VOCABULARIES=folder holds vocabulary files X.gguf, each
# with X.gguf.inp (texts with a line "__ggml_vocab_test__" between them) and X.gguf.out (their ids,
# a line each), as llama.cpp's repository has them in models/. Every id must be equal. Random bytes
# must come back from those whose tokens spell all bytes.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh

folder=${VOCABULARIES:-}
if [ -z "$folder" ] || ! ls "$folder"/*.gguf >/dev/null 2>&1; then
    echo "ok skipped: VOCABULARIES names no folder with vocabulary files"
    exit 0
fi
check "the tool builds" make --no-print-directory build/bin/tessera
tool=build/bin/tessera
[ -x "$tool" ] || exit 1

# run_cases FILE: prints each case that differs; `wanted` and `cases` are left for the caller.
run_cases() {
    local file=$1 i got want
    rm -f "$work"/case.*
    awk -v to="$work/case." 'BEGIN { RS = "\n__ggml_vocab_test__\n" } { f = to NR; printf "%s", $0 >f; close(f) }' "$file.inp"
    mapfile -t wanted <"$file.out"
    cases=$(find "$work" -name 'case.*' | wc -l)
    [ "$cases" = "${#wanted[@]}" ] || echo "$cases texts but ${#wanted[@]} lines of ids"
    for ((i = 1; i <= cases; i++)); do
        got=$("$tool" tokenize "$file" --no-special <"$work/case.$i" 2>&1 | tr -d '[]' | tr , ' ')
        read -r want <<<"${wanted[i - 1]-missing}"
        [ "$got" = "$want" ] || echo "case $i: $got, wanted $want"
    done
}

for file in "$folder"/*.gguf; do
    name=$(basename "$file" .gguf)
    if [ -f "$file.inp" ] && [ -f "$file.out" ]; then
        cases=0
        run_cases "$file" >"$work/differences"
        if [ "$cases" -gt 0 ] && [ ! -s "$work/differences" ]; then
            ok "$name: all $cases cases"
        else
            not_ok "$name" "$(head -n 1 "$work/differences" | cut -c 1-300) ($cases cases)"
        fi
    else
        check "$name: opens" "$tool" tokenize "$file" <<<"Hello world"
    fi
done

# Kinds that lose nothing: 20 runs of random bytes go through each and come back.
for file in "$folder"/*{gpt-2,llama-bpe,llama-spm,gemma-4,qwen2}.gguf; do
    [ -f "$file" ] || continue
    lost=0
    for _ in {1..20}; do
        head -c 300 /dev/urandom >"$work/bytes"
        ids=$("$tool" tokenize "$file" --no-special <"$work/bytes" | tr -d '[]')
        "$tool" detokenize "$file" "$ids" >"$work/back"
        cmp -s "$work/bytes" "$work/back" || lost=$((lost + 1))
    done
    same "$(basename "$file" .gguf): random bytes come back" 0 "$lost"
done
finish_checks
