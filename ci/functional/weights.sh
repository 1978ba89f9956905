#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# One file of weights in several guests: an ordinary guest that writes to it dies of its own page table, a hostile
# one that makes its page table writable, or has a device write, changes nothing; neither the file nor what
# neighbours read and answer. With either protection off the same attack gets through.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
selftest=build/images/selftest.elf
[ -r $selftest ] || {
    not_ok "weights" "$selftest is not there: make image APP=selftest"
    exit 1
}
model=$data/stories260K.gguf
[ -f "$model" ] || model=images/default-model/tessera-demo.gguf
file=$(padded "$model" microvm,pcie=on) # of a power of two, so that both kinds of device take it
file_size=$(stat -c %s "$file")
head -c 65536 /dev/urandom >"$work/disk"
sum() {
    sha256sum <"$1" | cut -c1-64
}

# vm NAME DEVICE FILE READONLY IMAGE APPEND: a guest that maps FILE by pmem (q35) or ivshmem (microvm).
vm() {
    local machine=q35 device=virtio-pmem-pci room=(-m slots=1,maxmem=2G) net=()
    if [ "$2" = ivshmem ]; then
        machine=microvm,pcie=on device=ivshmem-plain room=()
    fi
    [ "$5" = build/images/llm.elf ] || net=(-n "user,id=n0") # no port of the host's for those that serve nothing
    vm_start "$1" -M $machine -s none -i "$5" -a "$6 debug-exit=0x501" -t 240 "${net[@]}" -- "${room[@]}" \
        -object "memory-backend-file,id=w0,mem-path=$3,size=$file_size,share=on,readonly=$4" -device $device,memdev=w0 \
        -drive "file=$work/disk,if=none,id=d0,format=raw,readonly=on" -device virtio-blk-pci,drive=d0 \
        -device isa-debug-exit,iobase=0x501
}
console() {
    tr -d '\r' <"$vm_console"
}
# attack NAME DEVICE FILE READONLY TEST [APPEND]: runs to its end; the console is in $out.
attack() {
    vm "$1" "$2" "$3" "$4" $selftest "test=$5 ${6:-}"
    vm_end 60
    out=$(console)
}
# until_said CONSOLE PATTERN: waits until it is there.
until_said() {
    for _ in $(seq 400); do
        grep -q "$2" "$1" 2>/dev/null && return 0
        sleep 0.05
    done
    return 1
}

# ---- the neighbours ----------------------------------------------------------------------------
# One answers from the weights, one looks at all of their bytes again and again.
body='{"prompt":"Once upon a time","max_tokens":24,"temperature":0}'
server_answers() {
    curl -sS --max-time 60 -H 'Content-Type: application/json' -d "$body" "http://127.0.0.1:$server_port/v1/completions" |
        jq -r '.choices[0].text'
    curl -sS --max-time 60 -H 'Content-Type: application/json' -d '{"prompt":"Once upon a time, there was a"}' \
        "http://127.0.0.1:$server_port/logits" | sha256sum
}
# neighbours KIND FILE: starts both on it.
neighbours() {
    vm "watcher $1" "$1" "$2" on $selftest test=watch-weights
    watcher_pid=$vm_pid watcher_console=$vm_console watcher_monitor=$vm_monitor
    until_said "$watcher_console" watching || not_ok "$1: the watcher starts" "$(tail -n 3 "$watcher_console")"
    fingerprint=$(tr -d '\r' <"$watcher_console" | sed -n 's/^weights: fingerprint \([0-9a-f]*\), watching/\1/p')
    vm "server $1" "$1" "$2" on build/images/llm.elf ""
    server_pid=$vm_pid server_port=$vm_port
    local why
    why=$(vm_ready 60) || not_ok "$1: the server starts" "$why"
    answer=$(server_answers)
    holds "$1: a neighbour answers" '[a-z]{3,}.* ' "$answer"
}
# ask_on LOG: asks without a pause until it is killed, one line an answer.
ask_on() {
    while :; do
        server_answers | tr '\n' ' '
        echo
    done >"$1" 2>&1
}
# end_neighbours NAME: the server goes; the watcher says what it saw, in $watched.
end_neighbours() {
    kill "$server_pid" 2>/dev/null
    wait "$server_pid" 2>/dev/null
    echo system_powerdown | socat - "unix:$watcher_monitor" >/dev/null 2>&1
    until_said "$watcher_console" '^watched [0-9]'
    watched=$(tr -d '\r' <"$watcher_console" | grep '^watched')
    kill "$watcher_pid" 2>/dev/null
    wait "$watcher_pid" 2>/dev/null
}

# ---- with the protections ----------------------------------------------------------------------
for kind in pmem ivshmem; do
    before=$(sum "$file")
    neighbours $kind "$file"
    ask_on "$work/answers" &
    asking=$!
    vm_pids+=("$asking")

    for place in "" -middle -last; do
        attack "ordinary$place $kind" $kind "$file" on "attack-weights$place"
        holds "$kind: an ordinary write$place faults" \
            '^--- CRASH on CPU 0: page fault: write of address 0x[0-9a-f]+ \(memory that may not be written\)' "$out"
        holds "$kind: the report$place names the writer" '^  #0 .* scribble_on_weights\+0x' "$out"
        case $place in
        "") offset=0x0 ;;
        -middle) offset=$(printf '0x%x' $(((file_size - 4096) / 2 / 4096 * 4096))) ;;
        -last) offset=$(printf '0x%x' $((file_size - 4096))) ;;
        esac
        holds "$kind: the report$place names the weights" \
            "^the address is byte $offset of weights: a file of the host, $((file_size / 1024)) KB .*read-only" "$out"
        same "$kind: nothing$place runs on" 0 "$(grep -cE 'ATTACK SUCCEEDED|written without' <<<"$out")"
    done

    answers_before=$(wc -l <"$work/answers")
    for round in 1 2 3; do # long enough for the neighbours to notice
        attack "hostile $kind $round" $kind "$file" on hostile-weights
        [ $round -gt 1 ] || first=$out
    done
    out=$first
    for way in "a second, writable mapping" "an uncached writable mapping" "a device's writes" \
        "the ordinary mapping made writable"; do
        holds "$kind: a hostile guest, $way: reads back the same" \
            "^hostile: $way: 0 bytes read back otherwise, the whole is the same\$" "$out"
    done
    holds "$kind: a hostile guest changes nothing" '^weights: UNCHANGED$' "$out"
    same "$kind: it does not succeed" 0 "$(grep -c 'ATTACK SUCCEEDED' <<<"$out")"
    holds "$kind: and goes on living" '^PASS hostile-weights' "$out"
    same "$kind: it saw what the neighbour sees" "$fingerprint" \
        "$(sed -n 's/^weights: fingerprint \([0-9a-f]*\)$/\1/p' <<<"$out")"

    # An ordinary guest without its page table's protection: still the host's.
    attack "unprotected $kind" $kind "$file" on attack-weights protect=-weights
    holds "$kind: with protect=-weights the write does not fault, and changes nothing" \
        '^written without a fault, and UNCHANGED$' "$out"

    same "$kind: the file is the same" "$before" "$(sum "$file")"
    # The answer that was under way when the attacks ended.
    answers_now=$(wc -l <"$work/answers")
    for _ in $(seq 200); do
        [ "$(wc -l <"$work/answers")" -gt $((answers_now + 1)) ] && break
        sleep 0.05
    done
    kill "$asking" 2>/dev/null
    wait "$asking" 2>/dev/null
    count=$(wc -l <"$work/answers")
    if [ "$count" -gt "$answers_before" ]; then
        ok "$kind: the neighbour answered during the attacks"
    else
        not_ok "$kind: the neighbour answered during the attacks" "$count answers, $answers_before before the hostile guest"
    fi
    same "$kind: every answer of the neighbour is the same" "$(tr '\n' ' ' <<<"$answer" | sed 's/ $//')" \
        "$(head -n "$count" "$work/answers" | sort -u | sed 's/ $//')"
    end_neighbours
    holds "$kind: the neighbour saw no byte change" "^watched [0-9]{2,} times: fingerprint $fingerprint, changed 0 times\$" \
        "$watched"

    # ---- without: on a copy, which the host maps writable for the attacker alone ---------------
    copy=$work/copy.$kind
    cp "$file" "$copy"
    neighbours $kind "$copy"
    attack "hostile off $kind" $kind "$copy" off hostile-weights
    for way in "a second, writable mapping" "an uncached writable mapping" "a device's writes" \
        "the ordinary mapping made writable"; do
        holds "$kind, readonly=off: $way gets through" \
            "^hostile: $way: [1-9][0-9]* bytes read back otherwise, the whole is CHANGED\$" "$out"
    done
    holds "$kind, readonly=off: the hostile guest succeeds" '^ATTACK SUCCEEDED$' "$out"
    if [ "$before" != "$(sum "$copy")" ]; then
        ok "$kind, readonly=off: the file is changed"
    else
        not_ok "$kind, readonly=off: the file is changed" "it is the same"
    fi
    end_neighbours
    holds "$kind, readonly=off: a neighbour sees it" 'changed [1-9][0-9]* times$' "$watched"

    cp "$file" "$copy"
    attack "ordinary off $kind" $kind "$copy" off attack-weights
    holds "$kind, readonly=off: an ordinary write still faults" '^--- CRASH .*write of address' "$out"
    same "$kind, readonly=off: and the file is the same" "$before" "$(sum "$copy")"
    attack "both off $kind" $kind "$copy" off attack-weights protect=-weights
    holds "$kind, both off: an ordinary write gets through" '^ATTACK SUCCEEDED$' "$out"
    if [ "$before" != "$(sum "$copy")" ]; then
        ok "$kind, both off: the file is changed"
    else
        not_ok "$kind, both off: the file is changed" "it is the same"
    fi
done
finish_checks
