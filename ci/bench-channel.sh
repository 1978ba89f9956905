#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `make bench-channel`: 1 GB of tensors of 1 MB through tensor channels, beside memcpy of the same bytes on the
# host, and small tensors a second. Each path with only 16 bytes of a tensor touched ("handed over"), with a
# word of each 4 KB ("sampled"), and with every byte written by the first end and read by each other ("touched").
# Medians of REPEAT=5 runs, all paths in turn. COUNT=1024 tensors, SMALL=200000 small ones.
set -euo pipefail
cd "$(dirname "$0")/.."
repeat=${REPEAT:-5}
count=${COUNT:-1024}
small=${SMALL:-200000}
. ci/accel.sh
accelerator
tool=build/bin/tessera-channel
make --no-print-directory build/images/channel.elf $tool >/dev/null
work=$(mktemp -d "${TMPDIR:-/tmp}/tessera-bench.XXXXXX")
shm=/dev/shm
[ -w $shm ] || shm=$work
pids=()
clean() {
    local pid
    for pid in "${pids[@]:-}"; do
        [ -n "$pid" ] && kill "$pid" 2>/dev/null
    done
    wait
    rm -rf "$work" "$shm/tessera-bench-$$"-*
}
trap clean EXIT

region() { # NAME CREATE-ARGUMENTS…: sets $region
    region=$shm/tessera-bench-$$-$1
    shift
    rm -f "$region"
    $tool create "$region" --size 64M "$@"
}
guest() { # NAME APPEND [MORE QEMU ARGUMENTS]
    local name=$1 append=$2
    shift 2
    timeout 120 qemu-system-x86_64 -M q35 -bios qboot.rom "${accel_args[@]}" -m 96M -nodefaults -no-user-config \
        -no-reboot -display none -serial "file:$work/$name" -kernel build/images/channel.elf \
        -append "$append channel.timeout=60" "$@" &
    pids+=($!)
}
shared() { # the device, for guest()
    echo "-object memory-backend-file,id=c0,mem-path=$region,size=64M,share=on -device ivshmem-plain,memdev=c0"
}
finish() { # waits for the guests
    wait "${pids[@]}" || true
    pids=()
}
# us FILE PATTERN: microseconds of a session that was whole and sound
us() {
    tr -d '\r' <"$1" | sed -nE "s/.*$2.* 0 bad.* ([0-9]+) us\$/\1/p" | tail -n 1
}

# Paths: each prints microseconds, or nothing.
host_path() { # CHECK COUNT BYTES
    region host --slot-bytes "$3" --slots 32
    $tool loop "$region" --end 1 --count "$2" --bytes "$3" --check "$1" >"$work/host"
    us "$work/host" consume
}
guests_path() { # CHECK COUNT BYTES: host, guest, guest, host
    local end device
    region guests --ends 4 --slot-bytes "$3" --slots 32
    device=$(shared)
    for end in 1 2; do
        # shellcheck disable=SC2086
        guest "relay$end" "channel.role=relay channel.end=$end channel.count=$2 channel.bytes=$3 channel.check=$1" -smp 1 $device
    done
    $tool loop "$region" --end 3 --count "$2" --bytes "$3" --check "$1" --timeout 60 >"$work/guests"
    finish
    us "$work/guests" consume
}
meus_path() { # CHECK COUNT BYTES
    guest meus "channel.role=meus channel.count=$2 channel.bytes=$3 channel.check=$1" -smp 2
    finish
    us "$work/meus" consume
}
ping_path() { # CHECK COUNT BYTES
    local device
    region ping --kind bidirectional --slot-bytes "$3" --slots 8
    device=$(shared)
    # shellcheck disable=SC2086
    guest pong "channel.role=pong channel.end=1 channel.count=$2 channel.bytes=$3 channel.check=$1" -smp 1 $device
    $tool ping "$region" --end 0 --count "$2" --bytes "$3" --check "$1" --timeout 60 >"$work/ping"
    finish
    us "$work/ping" ping
}
memcpy_path() { # FIELD
    $tool memcpy --count "$count" | sed -nE "s/.* 0 bad, ([0-9]+) us; written and compared: ([0-9]+) us/\\$1/p"
}
note() { # NAME VALUE
    echo "${2:-}" >>"$work/$1.us"
}
for _ in $(seq "$repeat"); do
    note memcpy "$(memcpy_path 1)"
    note compare "$(memcpy_path 2)"
    for check in none sampled full; do
        note "host-$check" "$(host_path $check "$count" 1M)"
        note "guests-$check" "$(guests_path $check "$count" 1M)"
        note "meus-$check" "$(meus_path $check "$count" 1M)"
    done
    note small-host "$(host_path none "$small" 64)"
    note small-guests "$(guests_path none "$small" 64)"
    note small-meus "$(meus_path none "$small" 64)"
    note ping "$(ping_path none $((small / 10)) 64)"
done
median() { # NAME: microseconds; a run that broke spoils it
    if grep -qvE '^[0-9]+$' "$work/$1.us"; then
        echo broken
    else
        sort -n "$work/$1.us" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'
    fi
}
gbps() {
    awk -v us="$(median "$1")" -v n="$count" 'BEGIN{if (us + 0 == 0) print "broken"; else printf "%.2f", n * 1.048576 / us * 1000}'
}
persec() { # NAME COUNT
    awk -v us="$(median "$1")" -v n="$2" 'BEGIN{if (us + 0 == 0) print "broken"; else printf "%d", n / us * 1000000}'
}
echo "$count tensors of 1 MB, GB/s, median of $repeat, guests: $accel_text"
printf '%-44s %12s %12s %12s\n' path "handed over" sampled touched
printf '%-44s %12s %12s %12s\n' "memcpy on the host" "" "" "$(gbps memcpy)"
printf '%-44s %12s %12s %12s\n' "written and compared in one thread, no channel" "" "" "$(gbps compare)"
for path in "host:between two threads of a host process" "guests:host, guest, guest, host" "meus:between two MEUs of one guest"; do
    printf '%-44s %12s %12s %12s\n' "${path#*:}" "$(gbps "${path%%:*}-none")" "$(gbps "${path%%:*}-sampled")" "$(gbps "${path%%:*}-full")"
done
echo "Tensors of 64 bytes a second"
printf '%-44s %12s\n' "between two threads of a host process" "$(persec small-host "$small")" \
    "host, guest, guest, host" "$(persec small-guests "$small")" \
    "between two MEUs of one guest" "$(persec small-meus "$small")" \
    "there and back, host and guest, one at a time" "$(persec ping $((small / 10)))"
