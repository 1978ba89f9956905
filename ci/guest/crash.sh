#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The platform layer alone (apps/boottest) crashes in every way it knows: each crash says why in words,
# shows registers and named functions, and ends the machine the way its devices allow. Also: the memory
# functions, the random image base, and attacks with the protection off.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
image=build/images/boottest.elf
[ -r "$image" ] || {
    not_ok "boottest" "$image is not there: make image APP=boottest"
    exit 1
}

# boots CMDLINE [QEMU ARGUMENTS]: console text in $out, QEMU's exit status in $status (124: it hung).
boots() {
    local line=$1
    shift
    timeout -k 2 15 qemu-system-x86_64 -M q35 -accel tcg -cpu max -m 32 -nodefaults -no-user-config -no-reboot \
        -display none -bios qboot.rom -serial "file:$work/console" -kernel "$image" -append "$line" "$@" >"$work/qemu" 2>&1
    status=$?
    out=$(tr -d '\r' <"$work/console")
}

# reports NAME REASON: the last crash gave reason, registers, a backtrace with function names, and an end.
reports() {
    holds "$1: the reason in words" "^--- CRASH on CPU [0-9]+: $2" "$out"
    if grep -q '^backtrace:' <<<"$out" && grep -qE '^  #[0-9]+ +[0-9a-f]{16} [a-z_.0-9]+\+0x[0-9a-f]+ \(image\+0x' <<<"$out"; then
        ok "$1: backtrace with names"
    else
        not_ok "$1: backtrace with names" "$(grep -A4 '^backtrace' <<<"$out" | tr '\n' ' ')"
    fi
    same "$1: one report, with an end" "1 1" \
        "$(grep -c -- '--- CRASH' <<<"$out") $(grep -c -- '^--- end of crash report' <<<"$out")"
}

# crash KIND REASON FUNCTION: the function must be in the backtrace. Traps show all registers.
crash() {
    boots "boottest=$1" -smp 2 -device pvpanic-pci -action panic=exit-failure
    reports "$1" "$2"
    holds "$1: the backtrace names $3" "^  #[0-9]+ .* $3\\+0x" "$out"
    if [ "$1" != panic ] && [ "$1" != ap ]; then
        holds "$1: registers" '^rip [0-9a-f]{16}  flags [0-9a-f]+  cr2 [0-9a-f]{16}' "$out"
        holds "$1: all of them" '^r12 [0-9a-f]{16}  r13 .* r15 [0-9a-f]{16}$' "$out"
    fi
    same "$1: QEMU fails by pvpanic" 1 $status
    same "$1: nothing runs on" 0 "$(grep -c 'boottest: done' <<<"$out")"
}
crash null 'page fault: write of address 0x0 \(null pointer\)' pf_main
crash text 'page fault: write of address 0x[0-9a-f]+ \(memory that may not be written\) in code' pf_main
crash alias 'page fault: write of .* seen through the direct map' pf_main
crash nx 'page fault: execute of address 0x[0-9a-f]+ \(memory that may not be executed\) in data of the image' pf_start
holds "nx: from where" '^perhaps called from [0-9a-f]{16} pf_main\+0x' "$out"
crash stack 'page fault: .*stack overflow: guard page of the .* of CPU 0' 'overflow[.a-z0-9]*'
crash ud 'invalid instruction \(vector 6' pf_main
crash gp '[a-z ]*general protection[a-z ]*, error code 0x0 \(a non-canonical address' pf_main
crash de '[a-z ]*divi[a-z ]* \(vector 0' pf_main
crash panic 'asked for by the command line, number 7' pf_main
crash irq 'invalid instruction' fault_in_interrupt
holds "irq: the backtrace goes through the interrupt" '^ +--- interrupt 0x[0-9a-f]+ ---' "$out"
crash ap 'asked for on CPU 1' ap_entry
holds "ap: where the other CPU was" '^CPU 0 stopped at [0-9a-f]{16} [a-z_]+\+0x' "$out"

# A fault while reporting a fault: the first report stands, the second is named, the machine ends.
boots boottest=nested -device pvpanic-pci -action panic=exit-failure
holds "nested: the first reason stands" '^--- CRASH on CPU 0: invalid instruction' "$out"
holds "nested: the second is named" 'a second fault within the crash report: ending here' "$out"
same "nested: QEMU fails" 1 $status

# How it ends, by the devices: ISA pvpanic, isa-debug-exit (2 * code + 1), neither.
boots boottest=ud -device pvpanic -action panic=exit-failure
same "pvpanic (ISA): QEMU fails" 1 $status
boots boottest=ud -device isa-debug-exit,iobase=0xf4,iosize=4
same "isa-debug-exit at 0xf4: status" 3 $status
boots 'boottest=ud debug-exit=0x700' -device isa-debug-exit,iobase=0x700,iosize=4
same "isa-debug-exit where the command line says: status" 3 $status
boots boottest=ud
same "no device: powers off" 0 $status
reports "no device" 'invalid instruction'
boots boottest=ud -device pvpanic-pci -action panic=none
same "pvpanic that does nothing: powers off" 0 $status
boots boottest=ud -M pc
same "pc: powers off" 0 $status
reports pc 'invalid instruction'

# Without a crash: it ends by itself, and the memory functions agree with loops.
boots memory-functions -smp 2
same "no crash: powers off" 0 $status
holds "no crash: done" '^boottest: done' "$out"
holds "no crash: both CPUs" '^2 of 2 CPUs' "$out"
holds "memory functions agree with loops" '^memory functions agree with loops' "$out"

# The image runs somewhere else at each boot, unless asked not to.
base() {
    boots "$1"
    sed -n 's/^boottest: .* at \([0-9a-f]*\)$/\1/p' <<<"$out"
}
a=$(base "") b=$(base "")
holds "KASLR: an address in the window" '^ffff[de][0-9a-f]{11}$' "$a"
if [ "$a" != "$b" ]; then
    ok "KASLR: two boots, two places"
else
    not_ok "KASLR: two boots, two places" "both at $a"
fi
same "kaslr=off" ffffffff80000000 "$(base kaslr=off)"
same "nokaslr" ffffffff80000000 "$(base nokaslr)"

# Each protection switched off lets its attack through: it is that protection which stops it.
boots 'boottest=null protect=-null'
same "null with protect=-null goes through" "0 1" "$(grep -c CRASH <<<"$out") $(grep -c 'boottest: done' <<<"$out")"
boots 'boottest=text protect=-wx'
same "text with protect=-wx goes through" "0 1" "$(grep -c CRASH <<<"$out") $(grep -c 'boottest: done' <<<"$out")"
boots 'boottest=nx protect=-nx'
holds "nx with protect=-nx goes through" '^code in data returned 42' "$out"
finish_checks
