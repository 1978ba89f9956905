#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Damaged model files: each is refused with a message that names the place, or gives finite numbers.
# Nothing crashes, hangs or takes memory beyond the file. EVERY=1 tries each case, not one in 11;
# TESSERA names another build of the tool; BASE another model.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
t=${TESSERA:-build/bin/tessera}
base=${BASE:-images/default-model/tessera-demo.gguf}
every=${EVERY:-11}
memory=${MEMORY_KB:-2000000} # of address space; a sanitizer needs `unlimited`
${CC:-gcc} -std=gnu11 -O1 ci/tools/damage.c -o "$work/damage" || exit 1

count=$("$work/damage" "$base") || exit 1
served=0 refused=0 bad=0
for ((i = count - 1; i >= 0; i -= every)); do
    name=$("$work/damage" "$base" "$i" "$work/case.gguf") || exit 1
    (
        ulimit -v "$memory"
        exec timeout 20 "$t" eval "$work/case.gguf" --tokens 1,5,9 --logits "$work/case.f32" -t 1
    ) >"$work/out" 2>"$work/err"
    status=$?
    if [ $status -eq 0 ]; then
        served=$((served + 1))
    elif [ $status -eq 1 ] && grep -qE 'at byte|context_length' "$work/err"; then
        refused=$((refused + 1))
    else
        bad=$((bad + 1))
        not_ok "case $i, $name" "exit $status: $(head -c 400 "$work/err" | tr '\n' ' ')"
    fi
done
[ $bad -gt 0 ] || ok "$((served + refused)) damaged files: $refused refused by name and place, $served served"
check "some were refused" test $refused -gt 0
check "some were served" test $served -gt 0

# Weights that are no numbers never become an answer.
name=$("$work/damage" "$base" $((count - 1)) "$work/case.gguf")
out=$("$t" generate "$work/case.gguf" --prompt "hello" -n 4 2>&1)
same "generate refuses $name" 1 $?
holds "and names the place" 'at byte [0-9]+ of [0-9]+' "$out"
out=$("$t" quantize "$work/case.gguf" "$work/out.gguf" Q4_0 2>&1)
same "quantize refuses $name" 1 $?
holds "and names the tensor" 'weight: row [0-9]+: .*at byte' "$out"
same "no file is left behind" "" "$(cd "$work" && ls out.gguf* 2>/dev/null)"
finish_checks
