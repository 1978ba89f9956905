#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `make test`: unit tests on the host (ASan, UBSan), self-test images in guests, functional tests with
# real clients. `ci/test.sh unit|guest|functional [PATTERN]` runs a part; `ci/test.sh build [PATTERN]` only
# builds the unit tests. Ends on `N passed, N failed`.
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

# Fuzzers that have a corpus run over it once, as tests.
unit_sources() {
    find platform libos tensor apps hypercall images ci \( -name '*_test.c' -o -name '*_fuzz.c' \) 2>/dev/null |
        sort | grep -E "$pattern" | while read -r src; do
        [[ $src = *_test.c || -d ${src%_fuzz.c}_corpus ]] && echo "$src"
    done
}

# Builds all of them; one that does not build must not hide the others.
unit_build() {
    local src programs=()
    while read -r src; do
        programs+=("$(unit_program "$src")")
    done < <(unit_sources)
    [ ${#programs[@]} -eq 0 ] || make -k -j"$(nproc)" --no-print-directory "${programs[@]}"
}

unit() {
    local sources src name program log status good bad built
    mapfile -t sources < <(unit_sources)
    unit_build >"$logs/unit-build.log" 2>&1
    built=$?
    for src in "${sources[@]}"; do
        name=${src%.c}
        log=$logs/$(tr / - <<<"$name").log
        program=$(unit_program "$src")
        # Where something does not build, a program may be there that is older than its sources.
        if [ $built -ne 0 ] && ! make -q --no-print-directory "$program" 2>/dev/null; then
            rm -f "$program"
            make --no-print-directory "$program" >"$log" 2>&1
            [ -x "$program" ] || {
                count "$name" 0 1 "$log"
                continue
            }
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
build)
    if unit_build >"$logs/unit-build.log" 2>&1; then
        echo "every unit test builds"
        exit 0
    fi
    grep -E 'error|undefined reference|warning' "$logs/unit-build.log" | head -n 20
    echo "some unit tests do not build: $logs/unit-build.log"
    exit 1
    ;;
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
    echo "usage: ci/test.sh [all|build|unit|guest|functional] [PATTERN]" >&2
    exit 2
    ;;
esac

for f in "${failures[@]:-}"; do
    [ -n "$f" ] && echo "failed: $f"
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
