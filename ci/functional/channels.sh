#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Tensor channels: a host process and two guests pass tensors in a ring (host, guest A, guest B, host) without
# copying them; either end is killed mid-way, noticed, restarted and goes on clean; a peer that lies is refused.
# COUNT=1024 tensors of 1 MB; CHANNEL_FULL=128 of them with every byte written and compared.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
count=${COUNT:-1024}
full=${CHANNEL_FULL:-128}
shm=/dev/shm
[ -w $shm ] || shm=$work
tool=build/bin/tessera-channel
make --no-print-directory build/images/channel.elf $tool >"$work/build.log" 2>&1 || {
    not_ok "build" "$(tail -n 3 "$work/build.log")"
    exit 1
}
regions=()
remove_regions() {
    rm -f "${regions[@]}"
    cleanup
}
trap remove_regions EXIT

# region NAME CREATE-ARGUMENTS…: a 64 MB file with a channel in it; sets $region
region() {
    region=$shm/tessera-channel-$$-$1
    regions+=("$region")
    shift
    $tool create "$region" --size 64M "$@" || not_ok "create $region" "exit $?"
}
# guest NAME APPEND [VM_START-ARGUMENTS]: a guest with the region; its console is $work/NAME.console
guest() {
    local name=$1 append=$2
    shift 2
    vm_start "$name" -s none -i build/images/channel.elf -a "$append" -t 120 "$@" -- \
        -object "memory-backend-file,id=c0,mem-path=$region,size=64M,share=on" -device ivshmem-plain,memdev=c0
}
# host NAME COMMAND…: a process of the host in the background; output in $work/NAME.out, its id in $host_pid
host() {
    local name=$1
    shift
    timeout 120 "$tool" "$@" >"$work/$name.out" 2>&1 &
    host_pid=$!
    vm_pids+=("$host_pid")
}
# says FILE PATTERN [SECONDS]: waits until the file has the line
says() {
    local until=$((SECONDS + ${3:-30}))
    while ! grep -qE "$2" "$1" 2>/dev/null; do
        [ $SECONDS -lt $until ] || {
            echo "no '$2' in $1:"
            tail -n 5 "$1"
            return 1
        }
        sleep 0.05
    done
}
# ends PID [SECONDS]: waits for a background process; its exit status
ends() {
    local until=$((SECONDS + ${2:-40}))
    while kill -0 "$1" 2>/dev/null; do
        [ $SECONDS -lt $until ] || {
            kill -9 "$1"
            echo "it did not end"
            return 99
        }
        sleep 0.05
    done
    wait "$1"
}
passed() { # SESSION COUNT BYTES
    echo "session $1 done: $2 tensors, $(($2 * $3)) bytes, 0 bad, 0 lost"
}
mb=1048576

# ---- host → A → B → host, all of it -----------------------------------------------------------
around() { # NAME COUNT CHECK
    local name=$1 n=$2 options="channel.role=relay channel.count=$2 channel.check=$3" a b out=$work/$3
    guest "$3-a" "$options channel.end=1"
    a=$vm_pid
    guest "$3-b" "$options channel.end=2"
    b=$vm_pid
    host "$3" loop "$region" --end 3 --count "$n" --check "$3"
    check "$name: the host's ends are done" ends "$host_pid" 90
    ends "$a" && ends "$b"
    holds "$name: the host has $n tensors back, none bad" "end 3 consume: $(passed 1 "$n" $mb)" "$(cat "$out.out")"
    holds "$name: guest A" "end 1 relay: $(passed 1 "$n" $mb)" "$(cat "$out-a.console")"
    holds "$name: guest B" "end 2 relay: $(passed 1 "$n" $mb)" "$(cat "$out-b.console")"
    grep -h 'done:' "$out.out" "$out-a.console" "$out-b.console" | tr -d '\r' | sed 's/^/# /'
}
region around --ends 4 --slot-bytes 1M
around "$count MB, sampled" "$count" sampled
around "$full MB, every byte" "$full" full

# ---- either end killed mid-way ------------------------------------------------------------------
# Paced so that a session takes about two seconds. Everybody may try again.
n=400
slow="--count $n --bytes 64K --pace 4000 --sessions 4 --timeout 60"
guest_slow="channel.role=relay channel.count=$n channel.bytes=64K channel.sessions=4 channel.timeout=60"
region killed --ends 4 --slots 16 --slot-bytes 64K # few, so that all keep step
begun() { # SESSION: all four
    says "$work/killed-a.console" "end 1 relay: session $1 has begun" && says "$work/$2.console" "relay: session 1 has begun" &&
        says "$work/$3.out" "end 0 produce: session ${4:-$1} has begun" && says "$work/$3.out" "end 3 consume: session ${4:-$1} has begun"
}
guest killed-a "$guest_slow channel.end=1"
a=$vm_pid
guest killed-b "$guest_slow channel.end=2"
b=$vm_pid
# shellcheck disable=SC2086
host killed loop "$region" --end 3 $slow
h=$host_pid
check "all have begun" begun 1 killed-b killed
sleep 0.5
qemu_of() { # the QEMU below timeout
    pgrep -P "$1" -f qemu-system
}
kill -9 "$(qemu_of "$b")"
check "guest B killed: guest A notices" says "$work/killed-a.console" 'end 1 relay: session 1 broke after [0-9]+ tensors: end 2 has not beaten' 15
check "guest B killed: the host's receiving end notices" says "$work/killed.out" 'end 3 consume: session 1 broke after [0-9]+ tensors: end 2 (has not beaten|has started anew)' 15
check "guest B killed: the host's sending end notices" says "$work/killed.out" 'end 0 produce: session 1 broke after [0-9]+ tensors: end 1 (has not beaten|has started anew)' 15
ends "$b" >"$work/check.log"
guest killed-b2 "$guest_slow channel.end=2"
b=$vm_pid
check "guest B restarted: all begin anew" begun 2 killed-b2 killed
sleep 0.5
kill -9 "$(pgrep -P "$h" -f tessera-channel)"
check "host process killed: guest A notices" says "$work/killed-a.console" 'end 1 relay: session 2 broke after [0-9]+ tensors: end [02] (has not beaten|has started anew)' 15
check "host process killed: guest B notices" says "$work/killed-b2.console" 'end 2 relay: session 1 broke after [0-9]+ tensors: end [13] (has not beaten|has started anew)' 15
# shellcheck disable=SC2086
host restarted loop "$region" --end 3 $slow
h=$host_pid
check "host process restarted: it ends well" ends "$h" 60
ends "$a" >"$work/check.log" && ends "$b" >"$work/check.log"
holds "after both kills: the host" "end 3 consume: $(passed '[1-4]' $n 65536)" "$(cat "$work/restarted.out")"
holds "after both kills: guest A, clean from tensor 0" "end 1 relay: $(passed '[2-4]' $n 65536)" "$(cat "$work/killed-a.console")"
holds "after both kills: guest B, clean from tensor 0" "end 2 relay: $(passed '[1-4]' $n 65536)" "$(cat "$work/killed-b2.console")"
same "no guest crashed" "" "$(grep -h CRASH "$work"/killed*.console)"

# ---- the other kinds ----------------------------------------------------------------------------
region both --kind bidirectional --slot-bytes 4K
guest both "channel.role=pong channel.end=1 channel.count=2000 channel.bytes=4K" -M microvm,pcie=on
host both ping "$region" --end 0 --count 2000 --bytes 4K
check "bidirectional, microvm: ends" ends "$host_pid"
holds "bidirectional, microvm: 2000 there and back" "end 0 ping: $(passed 1 2000 4096)" "$(cat "$work/both.out")"
grep -h 'done:' "$work/both.out" | sed 's/^/# /'
vm_end 10

region broad --kind broadcast --ends 3 --slot-bytes 64K
guest broad-a "channel.role=consume channel.end=1 channel.count=$n channel.bytes=64K"
a=$vm_pid
guest broad-b "channel.role=consume channel.end=2 channel.count=$n channel.bytes=64K"
b=$vm_pid
says "$work/broad-a.console" 'boot: channel' && says "$work/broad-b.console" 'boot: channel'
# shellcheck disable=SC2086
host broad produce "$region" --end 0 $slow
check "broadcast: guest A has begun" says "$work/broad-a.console" begun
check "broadcast: guest B has begun" says "$work/broad-b.console" begun
sleep 0.3
kill -9 "$(qemu_of "$b")"
check "broadcast: the sender goes on without the dead one" ends "$host_pid" 60
check "broadcast: the other guest has the rest" says "$work/broad-a.console" "end 1 consume: session 1 done: [0-9]+ tensors, [0-9]+ bytes, 0 bad, 0 lost"
ends "$a" >"$work/check.log"
ends "$b" >"$work/check.log"

region ring --kind ring --slots 4 --slot-bytes 64K
guest ring1 "channel.role=consume channel.end=1 channel.count=20000 channel.bytes=64K" -c 1
check "ring: refused on an emulated machine with one CPU" says "$work/ring1.console" 'a ring channel needs atomic instructions'
vm_end 10
guest ring "channel.role=consume channel.end=1 channel.count=20000 channel.bytes=64K" -c 2
says "$work/ring.console" 'boot: channel'
host ring produce "$region" --end 0 --count 20000 --bytes 64K
check "ring: the sender ends" ends "$host_pid"
check "ring: the receiver has the last one, and knows what it missed" says "$work/ring.console" "end 1 consume: session 1 done: [0-9]+ tensors, [0-9]+ bytes, 0 bad, [0-9]+ lost"
ring_sum=$(tr -d '\r' <"$work/ring.console" | sed -nE 's/.*done: ([0-9]+) tensors.* ([0-9]+) lost.*/\1 \2/p')
holds "ring: some were lost" '^[0-9]+ [1-9][0-9]*$' "$ring_sum"
vm_end 10

# ---- a peer that lies ---------------------------------------------------------------------------
# The first lane lies at 4096; its tail is the second word. A tail that is far ahead is no honest peer's.
region liar --slot-bytes 64K
guest liar "channel.role=consume channel.end=1 channel.count=1000000 channel.bytes=64K channel.sessions=9"
# shellcheck disable=SC2086
host liar produce "$region" --end 0 $slow
says "$work/liar.console" 'session 1 has begun'
printf '\377\377\377\177\0\0\0\0' | dd of="$region" bs=8 seek=$(((4096 + 8) / 8)) conv=notrunc 2>/dev/null
# Which rule it finds broken depends on where it was.
check "a lying peer: the guest refuses it and says why" says "$work/liar.console" \
    'session 1 broke after [0-9]+ tensors: end 0 broke the rules: ([0-9]+ tensors are under way|tensor [0-9]+ came in place)' 15
check "a lying peer: the guest ends in order" says "$work/liar.console" 'the guest is done: Protocol error' 15
check "a lying peer: the host sees that the other end has closed" says "$work/liar.out" 'session 1 broke after [0-9]+ tensors: end 1 has closed' 15
kill "$host_pid" 2>/dev/null
vm_end 10

# ---- between the MEUs of one guest ------------------------------------------------------------
region unused --slot-bytes 64K
guest meus "channel.role=meus channel.count=256 channel.check=full" -c 2 -m 96
vm_end 30
holds "two MEUs of one guest" "end 1 consume: $(passed 1 256 $mb)" "$(cat "$work/meus.console")"
grep -h 'done:' "$work/meus.console" | tr -d '\r' | sed 's/^/# /'
finish_checks
