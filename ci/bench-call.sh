#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `make bench-call`: the round trip of an empty tensor call, spinning and sleeping, beside the floor: a bare guest
# with the same device and wake mode (ci/bench/call_floor), and two processes of the host for information. All in
# turn in one run, so that what else the machine does falls on all of them; medians of the rounds' figures.
#   ROUNDS=10         how often each is measured       CALLS=2000   round trips a round and mode
#   PIN=0,1           the core of the host's side and that of QEMU, both of floor and real path: left to the
#                     scheduler (PIN=), some rounds run on one core and some on two, which makes factors of four
#   --json            prints JSON lines, one a mode; they are in build/bench/call.json in any case
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/accel.sh
accelerator
rounds=${ROUNDS:-10} calls=${CALLS:-2000} pin=${PIN-0,1}
case ${1:-} in
'' | --json) as_json=${1:-} ;;
*)
    sed -n '5,11s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
dir=build/bench
rows=$dir/call.rows # WHO MODE MEDIAN P99 CALLS, one a round
mkdir -p $dir
: >$rows
make --no-print-directory build/images/call-floor.elf build/bin/call-floor-peer >/dev/null
socket=$(mktemp -u "${TMPDIR:-/tmp}/tessera-call.XXXXXX")
pids=()
cores=() guest_side=() # guest_side: before a QEMU
if [ -n "$pin" ] && [ "$(nproc)" -gt 1 ]; then
    cores=("${pin%,*}" "${pin#*,}")
    guest_side=(taskset -c "${pin#*,}")
    accel_text="$accel_text; the host's side on core ${pin%,*}, QEMU on core ${pin#*,}"
fi

cleanup() {
    local p
    real_stop
    for p in "${pids[@]}"; do
        kill "$p" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -f "$socket"
}
fail() {
    echo "bench-call: $*" >&2
    exit 1
}
# record WHO "call MODE MEDIAN_US P99_US CALLS"
record() {
    [[ $2 =~ ^call\ [a-z-]+\ [0-9.]+\ [0-9.]+\ [0-9]+$ ]] || fail "$1 answered: ${2:-nothing}"
    echo "$1 ${2#call }" >>$rows
}

# ---- the floor: the bare guest and its peer ----------------------------------------------------
floor_modes="spin sleep guest-sleeps host-sleeps spin-pause host-spin host-sleep"
floor_start() {
    local line
    coproc FLOOR { exec build/bin/call-floor-peer "$socket" "${cores[@]}"; }
    # shellcheck disable=SC2153 # set by coproc
    pids+=("$FLOOR_PID")
    exec {floor_out}<&"${FLOOR[0]}" {floor_in}>&"${FLOOR[1]}"
    floor_hears listening
    "${guest_side[@]}" timeout -k 5 $((60 + rounds * 30)) qemu-system-x86_64 -M q35 -bios qboot.rom "${accel_args[@]}" -m 16 -smp 1 \
        -nodefaults -no-user-config -no-reboot -display none -serial file:$dir/call-floor.console \
        -kernel build/images/call-floor.elf -chardev "socket,id=c,path=$socket" \
        -device ivshmem-doorbell,chardev=c,vectors=2 </dev/null &
    pids+=($!)
    floor_hears ready
}
floor_hears() { # WORD: the peer's next line begins with it
    line=""
    read -r -t 60 -u "$floor_out" line || fail "the floor's peer said nothing"
    [[ $line = "$1"* ]] || fail "the floor's peer said: $line"
}
floor_round() {
    local mode line who
    for mode in $floor_modes; do
        echo "$mode $calls" >&"$floor_in"
        floor_hears "call $mode "
        who=floor
        [[ $mode = host-sp* || $mode = host-sleep ]] && who=host
        record $who "$line"
    done
}
floor_stop() {
    echo quit >&"$floor_in"
}

# ---- the real path: a guest with the libos, and tensord ----------------------------------------
# Two of each, because the wake mode is forced on both sides as it is for the floor: a daemon that spins as long as
# calls come, and one that always sleeps. Each guest's shell measures when asked; the line of its daemon's mode counts.
real_dir=$(mktemp -d "${TMPDIR:-/tmp}/tessera-call.XXXXXX")
declare -A real_in=() real_out=()
real_daemon() { # MODE SPIN_US
    local dir=$real_dir/$1 model=images/default-model/tessera-demo.gguf identity request=""
    mkdir -m 700 "$dir"
    ${cores[0]:+taskset -c "${cores[0]}"} timeout -k 5 $((120 + rounds * 60)) build/bin/tensord --dir "$dir" --threads 1 --spin "$2" 2>"$dir/log" &
    pids+=($!)
    for _ in $(seq 100); do
        [ -S "$dir/tensord.sock" ] && break
        sleep 0.05
    done
    request='{"op":"add-model","path":"'$(realpath "$model")'"}'
    identity=$(socat -t 10 - "UNIX-CONNECT:$dir/tensord.sock" <<<"$request" | jq -r .identity)
    request='{"op":"add-guest","name":"g","region_mb":64}'
    socat -t 10 - "UNIX-CONNECT:$dir/tensord.sock" <<<"$request" >/dev/null
    mkfifo "$dir/in" "$dir/out"
    "${guest_side[@]}" timeout -k 5 $((120 + rounds * 60)) qemu-system-x86_64 -M q35 -bios qboot.rom "${accel_args[@]}" -m 96 -smp 1,maxcpus=2 \
        -nodefaults -no-user-config -no-reboot -display none -serial stdio -kernel build/images/llm.elf -initrd "$model" \
        -append "offload.mode=host model.identity=$identity" -netdev user,id=n -device virtio-net-pci,netdev=n,romfile= \
        -chardev "socket,id=c,path=$dir/g.ivshmem" -device ivshmem-doorbell,chardev=c,vectors=2 <>"$dir/in" >"$dir/out" 2>"$dir/qemu" &
    pids+=($!)
    exec {in}<>"$dir/in" {out}<"$dir/out"
    # shellcheck disable=SC2154 # set by exec
    real_in[$1]=$in real_out[$1]=$out
    real_hears "$1" "listening on port"
}
real_hears() { # MODE PATTERN: sets line to the next one of the guest's console with it
    while read -r -t 60 -u "${real_out[$1]}" line; do
        line=${line%$'\r'}
        [[ $line = *$2* ]] && return 0
    done
    return 1
}
real_start() {
    make --no-print-directory build/bin/tensord build/images/llm.elf >/dev/null
    real_why="the guest did not come up: see its console"
    real_daemon spin 1000 && real_daemon sleep 0
}
real_round() {
    local mode line
    for mode in spin sleep; do
        printf 'calls bench %d\r' "$calls" >&"${real_in[$mode]}"
        real_hears $mode "call $mode " || fail "the guest did not measure"
        record real "call $mode ${line##*call "$mode" }"
        [ $mode = sleep ] || real_hears $mode "call sleep " || fail "the guest did not end its round"
    done
}
real_stop() {
    rm -rf "$real_dir"
}

# ---- figures -----------------------------------------------------------------------------------
# figure WHO MODE COLUMN: the median over the rounds, or nothing. 3: medians, 4: 99th percentiles.
figure() {
    awk -v w="$1" -v m="$2" -v c="$3" '$1 == w && $2 == m {print $c}' $rows | sort -n |
        awk '{v[NR] = $1} END {if (NR) printf "%.3f", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2}'
}
range() { # WHO MODE: of the rounds' medians
    awk -v w="$1" -v m="$2" '$1 == w && $2 == m {print $3}' $rows | sort -n | sed -n '1p;$p' | paste -sd- | sed 's/-/ to /'
}
print_row() { # WHO MODE WORDS
    printf '  %-6s %-13s %9s us   p99 %9s   (%s)   %s\n' "$1" "$2" "$(figure "$1" "$2" 3)" "$(figure "$1" "$2" 4)" \
        "$(range "$1" "$2")" "$3"
}
words_of() {
    case $1 in
    spin) echo "both spin" ;;
    sleep) echo "doorbell, poll, MSI-X, hlt" ;;
    guest-sleeps) echo "the host spins, MSI-X, hlt" ;;
    host-sleeps) echo "doorbell, poll, the guest spins" ;;
    spin-pause) echo "both spin, the guest with pause" ;;
    host-spin) echo "two processes spin" ;;
    host-sleep) echo "two processes, eventfd and poll" ;;
    esac
}
print_json() {
    local who mode
    while read -r who mode; do
        printf '{"who":"%s","mode":"%s","median_us":%s,"p99_us":%s,"rounds":%d,"calls":%d,"accel":"%s"}\n' "$who" "$mode" \
            "$(figure "$who" "$mode" 3)" "$(figure "$who" "$mode" 4)" "$rounds" "$calls" "${accel_args[1]%%,*}"
    done < <(awk '{print $1, $2}' $rows | sort -u)
}
verdicts() {
    awk -v f="$(figure floor sleep 3)" -v r="$(figure real sleep 3)" 'BEGIN {
        printf "sleeping: %.2f times the floor (at most 1.5): %s\n", r / f, r <= 1.5 * f ? "held" : "NOT HELD"}'
    awk -v f="$(figure floor spin 3)" -v r="$(figure real spin 3)" 'BEGIN {
        printf "spinning: %.3f us above the floor (at most 1): %s\n", r - f, r <= f + 1 ? "held" : "NOT HELD"}'
}

trap cleanup EXIT
floor_start
real=1
real_start || real=0
for round in $(seq "$rounds"); do
    floor_round
    [ $real = 0 ] || real_round
    if [ -t 2 ]; then
        printf '\rround %d of %d' "$round" "$rounds" >&2
    fi
done
[ ! -t 2 ] || printf '\r%20s\r' '' >&2
floor_stop
print_json >$dir/call.json
if [ -n "$as_json" ]; then
    cat $dir/call.json
    exit
fi
echo "Round trip of an empty call, $rounds rounds of $calls, $accel_text"
echo "  (medians over the rounds; lowest to highest median of a round)"
for mode in spin sleep; do
    print_row floor $mode "$(words_of $mode)"
    [ $real = 0 ] || print_row real $mode "a guest with the libos, and tensord"
done
for mode in guest-sleeps host-sleeps spin-pause; do
    print_row floor $mode "$(words_of $mode)"
done
for mode in host-spin host-sleep; do
    print_row host $mode "$(words_of $mode)"
done
if [ $real = 0 ]; then
    echo "the real path: not measured: $real_why"
else
    verdicts
fi
