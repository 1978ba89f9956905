#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `make test`: unit tests on the host (ASan, UBSan), self-test images in guests, functional tests with
# real clients. `ci/test.sh unit|guest|functional [PATTERN]` runs a part. Ends on `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

part=${1:-all}
pattern=${2:-.}
passed=0
failed=0
failures=()
logs=build/test-logs
mkdir -p "$logs"

count() { # NAME PASSED FAILED LOG
    passed=$((passed + $2))
    failed=$((failed + $3))
    if [ "$3" -gt 0 ]; then
        failures+=("$1 ($4)")
        printf 'FAIL %-44s %3d passed, %d failed; see %s\n' "$1" "$2" "$3" "$4"
        tail -n 25 "$4" | sed 's/^/     | /'
    else
        printf 'ok   %-44s %3d passed\n' "$1" "$2"
    fi
}

unit_program() { # SOURCE
    local name=${1%.c}
    case $name in
    *_fuzz) echo "build/replay/$name" ;;
    *) echo "build/tests/$name" ;;
    esac
}

unit() {
    local sources programs=() src name program log status good bad
    # Fuzzers that have a corpus run over it once, as tests.
    mapfile -t sources < <(find platform libos tensor apps hypercall images ci \( -name '*_test.c' -o -name '*_fuzz.c' \) 2>/dev/null |
        sort | grep -E "$pattern" | while read -r src; do
        [[ $src = *_test.c || -d ${src%_fuzz.c}_corpus ]] && echo "$src"
    done)
    for src in "${sources[@]}"; do
        programs+=("$(unit_program "$src")")
    done
    [ ${#programs[@]} -gt 0 ] || return 0
    log=$logs/unit-build.log
    # One test that does not build must not hide the others.
    make -k -j"$(nproc)" --no-print-directory "${programs[@]}" >"$log" 2>&1
    for src in "${sources[@]}"; do
        name=${src%.c}
        log=$logs/$(tr / - <<<"$name").log
        program=$(unit_program "$src")
        if [ ! -x "$program" ] || ! make -q --no-print-directory "$program" 2>/dev/null; then
            # An older program that is still there is not this test.
            if ! make --no-print-directory "$program" >"$log" 2>&1; then
                count "$name" 0 1 "$log"
                continue
            fi
        fi
        local inputs=()
        [[ $src = *_fuzz.c ]] && inputs=("${name%_fuzz}_corpus"/*)
        timeout 300 "$program" "${inputs[@]}" >"$log" 2>&1
        status=$?
        good=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{s+=$1} END{print s+0}')
        bad=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{s+=$1} END{print s+0}')
        # A sanitizer's abort, a time-out, or a run that tested nothing is a failure too.
        if [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then
            bad=1
        fi
        if [ $status -eq 0 ] && [ "$good" -eq 0 ]; then
            bad=1
        fi
        count "$name" "$good" "$bad" "$log"
    done
}

# Scripts print one line a check: `ok NAME` or `not ok NAME: why`.
scripts() {
    local script log status good bad
    for script in "$@"; do
        [ -e "$script" ] || continue
        grep -qE "$pattern" <<<"$script" || continue
        log=$logs/$(tr / - <<<"${script%.sh}").log
        timeout "${SCRIPT_TIMEOUT:-900}" "$script" >"$log" 2>&1
        status=$?
        good=$(grep -c '^ok ' "$log")
        bad=$(grep -c '^not ok ' "$log")
        if [ "$bad" -eq 0 ] && { [ $status -ne 0 ] || [ "$good" -eq 0 ]; }; then
            bad=1
        fi
        count "$script" "$good" "$bad" "$log"
    done
}

case $part in
unit) unit ;;
guest) scripts ci/guest/*.sh ;;
functional) scripts ci/functional/*.sh ;;
all)
    unit
    if ! make -j"$(nproc)" --no-print-directory all test-images >"$logs/build.log" 2>&1; then
        count "make all test-images" 0 1 "$logs/build.log"
    fi
    scripts ci/guest/*.sh
    scripts ci/functional/*.sh
    ;;
*)
    echo "usage: ci/test.sh [all|unit|guest|functional] [PATTERN]" >&2
    exit 2
    ;;
esac

for f in "${failures[@]:-}"; do
    [ -n "$f" ] && echo "failed: $f"
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
