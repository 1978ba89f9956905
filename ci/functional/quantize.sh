#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `tessera quantize`: every type gives a file that the engine runs and that is near the original;
# what cannot be done leaves nothing behind.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
t=${TESSERA:-build/bin/tessera}
demo=images/default-model/tessera-demo.gguf
out=$work/out.gguf

check "make-model" make --no-print-directory build/bin/make-model
wide=$work/wide.gguf # rows of whole super-blocks
build/bin/make-model "$wide" llama F16 embedding 256 feed_forward 512 layers 2 >/dev/null || exit 1

# Each type, and the relative rms error that its weights may have.
while read -r type most; do
    result=$("$t" quantize "$wide" "$out" "$type" --json -t 2 2>"$work/err")
    status=$?
    found=$("$t" eval "$out" --tokens 1,40,7,88,61,12 --json -t 1 2>&1 | jq .nll)
    if [ $status -eq 0 ] && jq -e ".relative_rms <= $most" <<<"$result" >/dev/null &&
        [[ $found =~ ^[0-9.]+$ ]]; then
        ok "$type: $(jq -c '[.out_bytes, .relative_rms, .tensors]' <<<"$result")"
    else
        not_ok "$type" "exit $status, '$result', likelihood '$found': $(tail -c 200 "$work/err")"
    fi
    rm -f "$out"
done <<TYPES
F32 0
F16 0
BF16 0.002
Q8_0 0.0055
Q5_0 0.043
Q5_1 0.038
Q4_0 0.086
Q4_1 0.079
Q6_K 0.018
Q5_K 0.037
Q4_K 0.072
Q3_K 0.151
Q2_K 0.297
IQ4_NL 0.076
IQ4_XS 0.077
MXFP4 0.115
Q4_K_M 0.072
TYPES

# Rows of 64 values hold no super-block: the demo's get smaller blocks, as llama.cpp gives them.
result=$("$t" quantize $demo "$out" Q4_K --json 2>/dev/null)
check "short rows get smaller blocks" jq -e '.tensors.Q5_0 > 10 and (.tensors | has("Q4_K") | not)' <<<"$result"
rm -f "$out"

"$t" quantize $demo "$out" q8_0 -t 1 >/dev/null 2>&1
cp "$out" "$work/one.gguf"
"$t" quantize $demo "$out" q8_0 -t 2 >/dev/null 2>&1
check "threads change no byte" cmp "$work/one.gguf" "$out"
rm -f "$out"
"$t" quantize $demo "$out" Q9_K >/dev/null 2>"$work/err"
same "an unknown type is wrong usage" 2 $?
"$t" quantize $demo "$work/no/such/folder.gguf" Q8_0 >/dev/null 2>"$work/err"
same "a folder that is missing is an error" 1 $?
holds "and is named" 'no/such/folder.gguf: cannot be written' "$(cat "$work/err")"
same "nothing is left behind" "" "$(cd "$work" && ls -- out.gguf* 2>/dev/null)"
finish_checks
