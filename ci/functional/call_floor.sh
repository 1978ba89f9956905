#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The floor that tensor calls are measured against (ci/bench/call_floor): the bare guest answers every call in
# every wake mode, and what is missing or has ended is said.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
make --no-print-directory build/images/call-floor.elf build/bin/call-floor-peer >"$work/build" 2>&1 || {
    not_ok "the floor builds" "$(tail -n 3 "$work/build")"
    exit 1
}
socket=$work/socket

# qemu NAME ARGUMENTS…: the bare guest in the background; sets vm_pid.
qemu() {
    local name=$1
    shift
    timeout -k 2 60 qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -m 16 -nodefaults -no-user-config \
        -no-reboot -display none -serial "file:$work/$name.console" -kernel build/images/call-floor.elf "$@" \
        </dev/null 2>"$work/$name.qemu" &
    vm_pid=$!
    vm_pids+=("$vm_pid")
}
# peer NAME COMMANDS: the peer in the background; sets peer_pid.
peer() {
    printf '%b' "$2" | timeout -k 2 60 build/bin/call-floor-peer "$socket" >"$work/$1.out" 2>"$work/$1.err" &
    peer_pid=$!
    vm_pids+=("$peer_pid")
    for _ in $(seq 100); do
        [ -S "$socket" ] && return
        sleep 0.05
    done
}
device=(-chardev "socket,id=c,path=$socket" -device ivshmem-doorbell,chardev=c,vectors=2)

modes="spin sleep guest-sleeps host-sleeps spin-pause host-spin host-sleep"
for firmware in qboot seabios; do
    commands=""
    for mode in $modes $modes; do # twice: nothing of a round is left for the next
        commands+="$mode 150\n"
    done
    peer "$firmware" "$commands"
    if [ $firmware = qboot ]; then
        qemu $firmware -bios qboot.rom "${device[@]}"
    else
        qemu $firmware "${device[@]}"
    fi
    wait $peer_pid
    same "$firmware: the peer ends well" "0 " "$? $(cat "$work/$firmware.err")"
    for mode in $modes; do
        same "$firmware, $mode: two rounds of 150 calls" 2 \
            "$(grep -cE "^call $mode [0-9]+\.[0-9]{3} [0-9]+\.[0-9]{3} 150\$" "$work/$firmware.out")"
    done
    vm_end 5
    same "$firmware: the guest powers off" 0 "$vm_status"
    holds "$firmware: the clock of the guest" '^ready, guest clock [0-9]+\.[0-9]{3} MHz$' "$(cat "$work/$firmware.out")"
done

# No device, and one without interrupts: said on the console.
qemu none -bios qboot.rom
vm_end 5
holds "no device: said" 'there is no ivshmem device' "$(cat "$work/none.console")"
qemu plain -bios qboot.rom -object memory-backend-ram,id=m,size=1M,share=on -device ivshmem-plain,memdev=m
vm_end 5
holds "ivshmem-plain: said" 'outside the mapped window|has no MSI-X' "$(cat "$work/plain.console")"

# A guest that is killed during its calls: the peer says so and ends.
peer killed 'sleep 100000\nsleep 100000\nsleep 100000\nsleep 100000\n'
qemu killed -bios qboot.rom "${device[@]}"
for _ in $(seq 100); do
    grep -q ready "$work/killed.out" && break
    sleep 0.05
done
sleep 0.3
vm_stop
wait $peer_pid
same "a killed guest: the peer fails" 1 $?
holds "a killed guest: said" 'call floor: the guest' "$(cat "$work/killed.err")"
peer words 'walk 3\n'
qemu words -bios qboot.rom "${device[@]}"
wait $peer_pid
holds "an unknown mode: said" 'not understood .*: walk 3' "$(cat "$work/words.err")"
vm_stop
finish_checks
