#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `make fuzz`: every fuzzer for SECONDS (default 60) each, from its committed corpus (X_corpus/ beside
# X_fuzz.c) where there is one; FUZZ_SECONDS says otherwise. A finding is left in build/fuzz/: once
# it is repaired, it belongs into the corpus, which `make test` runs through. Ends on
# `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
limit=${FUZZ_SECONDS:-60}
passed=0
failed=0
mkdir -p build/fuzz
for src in $(find platform libos tensor apps hypercall -name '*_fuzz.c' | sort); do
    name=${src%.c}
    log=build/fuzz/$(tr / - <<<"$name").log
    seeds=build/fuzz/corpus/$name
    mkdir -p "$seeds"
    [ -d "${name%_fuzz}_corpus" ] && cp -n "${name%_fuzz}_corpus"/* "$seeds"/
    if make --no-print-directory "build/fuzz/$name" >"$log" 2>&1 &&
        "build/fuzz/$name" -max_total_time="$limit" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
            -print_final_stats=1 -artifact_prefix="build/fuzz/$(tr / - <<<"$name")-" "$seeds" >>"$log" 2>&1; then
        passed=$((passed + 1))
        printf 'ok   %-40s %s runs\n' "$name" "$(sed -n 's/stat::number_of_executed_units: //p' "$log")"
    else
        failed=$((failed + 1))
        printf 'FAIL %-40s see %s\n' "$name" "$log"
        tail -n 15 "$log" | sed 's/^/     | /'
    fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
