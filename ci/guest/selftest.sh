#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Boots the self-test image on every machine type with 1, 2 and 8 CPUs, and runs the attack tests with
# the protections on (each must end in a crash report that names it) and off (each must go through).
# Usage: ci/guest/selftest.sh [image]; FULL=1 runs all tests on all machines. Exit 0: all as it should be.
set -u
cd "$(dirname "$0")/../.." || exit 2
image=${1:-build/images/selftest.elf}
limit=${LIMIT:-60}
short=threads,keys,relax,gang,float,affinity,clock,sleep,timers,futex,malloc-smp,sleeper,files
some=${FULL:+all}
some=${some:-$short}
passed=0
failed=0
console=$(mktemp "${TMPDIR:-/tmp}/tessera-console.XXXXXX")
trap 'rm -f "$console"' EXIT

# guest MACHINE CPUS MEMORY CMDLINE…: the guest's console output; QEMU's exit status.
guest() {
    local machine=$1 cpus=$2 memory=$3
    shift 3
    timeout "$limit" qemu-system-x86_64 -accel tcg -M "$machine" -nodefaults -no-reboot \
        -display none -serial stdio -m "$memory" -smp "$cpus" -kernel "$image" \
        -device isa-debug-exit,iobase=0x501 -append "debug-exit=0x501 $*" </dev/null 2>&1
}

verdict() { # verdict NAME OK OUTPUT
    if [ "$2" = 1 ]; then
        echo "ok $1"
        passed=$((passed + 1))
    else
        echo "not ok $1: the console said:"
        printf '%s\n' "$3" | tail -n 30 | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

tests_pass() { # tests_pass MACHINE CPUS MEMORY TESTS
    local output status ok=0
    output=$(guest "$1" "$2" "$3" "test=$4")
    status=$?
    # isa-debug-exit: QEMU's status is 2 * code + 1
    if [ $status = 1 ] && grep -q "selftest: [0-9]* run, 0 failed, $2 CPUs" <<<"$output" &&
        ! grep -q '^FAIL' <<<"$output"; then
        ok=1
    fi
    verdict "selftest $1, $2 CPUs, $3 MB" $ok "$output (status $status)"
}

attack() { # attack NAME PROTECTION WORDS-OF-THE-REPORT
    local output ok=0
    output=$(guest q35 1 64 "test=attack-$1")
    if grep -q CRASH <<<"$output" && grep -q "$3" <<<"$output" && grep -q 'attack' <<<"$output" &&
        ! grep -q 'ATTACK SUCCEEDED' <<<"$output"; then
        ok=1
    fi
    verdict "attack-$1 is stopped" $ok "$output"
    ok=0
    output=$(guest q35 1 64 "test=attack-$1 protect=-$2")
    if grep -q 'ATTACK SUCCEEDED' <<<"$output" && ! grep -q CRASH <<<"$output"; then
        ok=1
    fi
    verdict "attack-$1 succeeds with protect=-$2" $ok "$output"
}

ending() { # ending NAME LAST-WORDS: the application ends the machine after draining
    local output status ok=0
    output=$(guest q35 2 64 "test=$1")
    status=$?
    if [ $status = 0 ] && grep -q 'drained last in order' <<<"$output" && grep -q "$2" <<<"$output"; then
        ok=1
    fi
    verdict "$1 drains and ends the machine" $ok "$output (status $status)"
}

# The power button, pressed after a second in which the guest has nothing to do; it may then have used
# less than a second of CPU time since its start (an idle core halts).
button() { # button MACHINE
    local output status ok=0 used
    output=$( (
        sleep 1.5
        echo system_powerdown
        sleep 1 # the monitor reads on
    ) | (
        TIMEFORMAT='cpu %U %S'
        time timeout 20 qemu-system-x86_64 -accel tcg -M "$1" -nodefaults -no-reboot -display none -m 64 \
            -smp 2 -kernel "$image" -append test=button -serial file:"$console" -monitor stdio >/dev/null
    ) 2>&1)
    status=$?
    used=$(awk '/^cpu/ {print ($2 + $3 < 1.0)}' <<<"$output")
    output="$output
$(cat "$console")"
    if [ $status = 0 ] && grep -q 'drained last in order' <<<"$output"; then
        ok=1
    fi
    verdict "power button on $1 drains and powers off" $ok "$output (status $status)"
    verdict "idle CPUs on $1 halt" "${used:-0}" "$output"
}

# The host asks for a crash report of a guest that seems to hang: every CPU gets an NMI at once, one
# reports, the places of the others are in the report too. pvpanic makes it an error exit.
nmi() {
    local output status ok=0
    output=$( (
        sleep 1.5
        echo nmi
        sleep 1
    ) | timeout 20 qemu-system-x86_64 -accel tcg -M q35 -nodefaults -no-reboot -display none -m 64 -smp 4 \
        -kernel "$image" -append test=button -serial file:"$console" -monitor stdio \
        -device pvpanic-pci -action panic=exit-failure 2>&1)
    status=$?
    output="$output
$(cat "$console")"
    if [ $status = 1 ] && grep -q 'CRASH on CPU .: non-maskable interrupt' <<<"$output" &&
        [ "$(grep -c '^CPU . stopped at ' <<<"$output")" = 3 ]; then
        ok=1
    fi
    verdict "an NMI from the host brings a report of all CPUs" $ok "$output (status $status)"
}

[ -r "$image" ] || {
    echo "not ok selftest: $image is not there: make image APP=selftest" >&2
    exit 2
}
tests_pass q35 1 32 all
tests_pass q35 2 64 all
tests_pass q35 2 6144 malloc,malloc-smp,mmap
tests_pass q35 1 16 malloc,threads,gang
tests_pass q35 8 256 "$some"
for machine in pc microvm; do
    for cpus in 1 2 8; do
        tests_pass $machine $cpus 64 "$some"
    done
done
attack wx wx 'page fault: write'
attack nx nx 'page fault'
attack null null 'address 0x*0\b'
# shellcheck disable=SC2016 # the backquotes are the report's
attack stack stack 'stack overflow of strand `digger`'
attack heap heap 'heap overrun'
attack heap-small heap 'heap: overrun: block of 100 bytes'
ending shutdown 'power off'
ending reboot 'restart'
for machine in q35 pc microvm; do
    button $machine
done
nmi
echo "selftest: $passed checks passed, $failed failed"
[ $failed = 0 ]
