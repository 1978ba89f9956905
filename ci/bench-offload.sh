#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `make bench-offload`: guests whose tokens the host computes (tensord), beside the native engine.
#   PARTS=speed,fleet,memory
#   speed    one guest under emulation beside `tessera bench`, in turn, the guest idle meanwhile
#            SPEED=110m-q4_0,1b-q8_0  THREADS=1,2  TOKENS=64  ROUNDS=5
#   fleet    GUESTS=8 guests of FLEET=1b-q8_0, alone and together, with and without shared passes; FLEET_TOKENS=64
#   memory   proportional set sizes of 1, 8 and 32 guests (COUNTS=1,8,32)
#   MODELS=dir   SIZE-TYPE.gguf in it; otherwise they are made under build/bench/models
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. ci/lib.sh
. ci/tensord.sh
parts=,${PARTS:-speed,fleet,memory},
models=${MODELS:-build/bench/models}
export DAEMON_LIMIT=3000

shape() {
    local most="vocabulary 32000 context 2048 head_dim 64"
    case $1 in
    110m) echo "$most embedding 768 layers 12 heads 12 kv_heads 12 feed_forward 2048 tied 1" ;;
    1b) echo "$most embedding 2048 layers 22 heads 32 kv_heads 4 feed_forward 5632 tied 0" ;;
    *) return 1 ;;
    esac
}
# model SIZE-TYPE: prints the path of a mappable file, made if it is missing.
model() {
    local file=$models/$1.gguf
    if [ ! -f "$file" ]; then
        mkdir -p "$models"
        # shellcheck disable=SC2046
        build/bin/make-model "$file.new" llama "${1#*-}" $(shape "${1%%-*}") >/dev/null && mv "$file.new" "$file"
    fi
    padded "$file"
}
metric() { # PORT NAME
    curl -s --max-time 20 "http://127.0.0.1:$1/metrics" | awk -v n="tessera_$2" '$1 == n {print $2}'
}
median() {
    sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'
}
# guest NAME MODEL: boots one whose tokens the host computes.
guest() {
    seat "$1" || return
    offload_args "$1"
    vm_start "$1" -m "${GUEST_MB:-128}" -f "$2" -t 3000 -a "model.identity=$identity offload.mode=host $3" -- "${device_args[@]}"
    vm_ready 120
}
body() { # TOKENS
    echo '{"prompt":[1,5,9,77,300],"max_tokens":'"$1"',"temperature":0,"ignore_eos":true}'
}

# decode PORT TOKENS: tokens a second between the first and the last, by the guest's own clock.
decode() {
    local before after
    before=$(metric "$1" request_decode_time_seconds_sum)
    vm_port=$1 ask /v1/completions "$(body "$2")" >/dev/null
    after=$(metric "$1" request_decode_time_seconds_sum)
    awk -v a="$before" -v b="$after" -v n="$2" 'BEGIN {print (n - 1) / (b - a)}'
}

speed() {
    local size file threads native offloaded tokens=${TOKENS:-64}
    echo "One guest under emulation, tokens/s of $tokens tokens; medians of ${ROUNDS:-5} rounds in turn"
    printf '%-12s %8s %10s %10s %8s\n' model threads native guest ratio
    for size in $(tr , ' ' <<<"${SPEED:-110m-q4_0,1b-q8_0}"); do
        file=$(model "$size")
        for threads in $(tr , ' ' <<<"${THREADS:-1,2}"); do
            daemon_start "speed-$size-$threads" "$file" --threads "$threads"
            guest "g-$size-$threads" "$file" "" || return 1
            decode "$vm_port" 8 >/dev/null
            native="" offloaded=""
            for _ in $(seq "${ROUNDS:-5}"); do
                native+=$(build/bin/tessera bench "$file" -p 0 -n "$tokens" -t "$threads" -r 1 --kv f16 --json |
                    jq '.rows[0].tokens_per_s[0]')$'\n'
                offloaded+=$(decode "$vm_port" "$tokens")$'\n'
            done
            native=$(printf %s "$native" | median)
            offloaded=$(printf %s "$offloaded" | median)
            printf '%-12s %8s %10.1f %10.1f %8.3f\n' "$size" "$threads" "$native" "$offloaded" \
                "$(awk -v a="$offloaded" -v b="$native" 'BEGIN {print a / b}')"
            vm_stop
            daemon_stop
        done
    done
}

# together N TOKENS: N guests (ports in $ports) answer at once; sets rate (tokens/s of all) and texts.
together() {
    local i began ended pids=()
    began=$(date +%s.%N)
    for i in $(seq 0 $(($1 - 1))); do
        vm_port=${ports[$i]} ask /v1/completions "$(body "$2")" --max-time 900 | jq -c '.choices[0].text' >"$work/text.$i" &
        pids+=($!)
    done
    wait "${pids[@]}"
    ended=$(date +%s.%N)
    rate=$(awk -v a="$began" -v b="$ended" -v n="$1" -v t="$2" 'BEGIN {print n * t / (b - a)}')
}
batch() { # the daemon's passes and sequences in them
    control '{"op":"statistics"}' | jq -r '[.engines[] | .passes, .passes * .mean_batch] | @tsv'
}

fleet() {
    local file tokens=${FLEET_TOKENS:-64} n=${GUESTS:-8} alone how one all before after wrong i
    file=$(model "${FLEET:-1b-q8_0}")
    echo "$n guests of ${FLEET:-1b-q8_0}, one compute thread; tokens/s over whole requests of $tokens tokens"
    printf '%-22s %10s %10s %8s %12s %s\n' passes 'one guest' "$n guests" ratio 'mean batch' 'answers equal to solo'
    for how in shared apart; do
        alone=()
        [ $how = apart ] && alone=(--no-coalescing)
        daemon_start "fleet-$how" "$file" --threads "${FLEET_THREADS:-1}" "${alone[@]}"
        ports=()
        for i in $(seq "$n"); do
            guest "f-$how-$i" "$file" "" || return 1
            ports+=("$vm_port")
        done
        together 1 4
        one=""
        for _ in $(seq "${ROUNDS:-3}"); do
            together 1 "$tokens"
            one+=$rate$'\n'
        done
        one=$(printf %s "$one" | median)
        cp "$work/text.0" "$work/solo"
        before=$(batch)
        all="" wrong=0
        for _ in $(seq "${ROUNDS:-3}"); do
            together "$n" "$tokens"
            all+=$rate$'\n'
            for i in $(seq 0 $((n - 1))); do
                cmp -s "$work/text.$i" "$work/solo" || wrong=$((wrong + 1))
            done
        done
        all=$(printf %s "$all" | median)
        after=$(batch)
        printf '%-22s %10.2f %10.2f %8.2f %12.2f %s\n' "$how" "$one" "$all" \
            "$(awk -v a="$all" -v b="$one" 'BEGIN {print a / b}')" \
            "$(awk -v x="$before" -v y="$after" 'BEGIN {split(x, a); split(y, b); print (b[2] - a[2]) / (b[1] - a[1])}')" \
            "$([ $wrong -eq 0 ] && echo yes || echo "NO: $wrong differ")"
        for i in "${vm_pids[@]}"; do
            [ "$i" = "$daemon_timeout" ] || kill "$i" 2>/dev/null
        done
        sleep 1
        daemon_stop
    done
}

# pss PID FILE: kB of the process, and of these the mapping of FILE.
pss() {
    awk -v f="$2" '/^[0-9a-f]+-[0-9a-f]+ /{mine = index($0, f) > 0} /^Pss:/{all += $2; if (mine) w += $2} END {print all + 0, w + 0}' \
        "/proc/$1/smaps" 2>/dev/null
}
qemu_of() { # the QEMU below its `timeout`
    pgrep -P "$1" qemu | head -n 1
}

memory() {
    local file n i a b pids=() bare=() sum weights daemon_kb daemon_weights
    local -A floor=()
    file=$(model "${FLEET:-1b-q8_0}")
    # Bare guests, as many: what QEMU itself takes. They share its code, too.
    nasm -f elf32 ci/bench/floor.asm -o "$work/floor.o" && ld -m elf_i386 -Ttext 0x100000 -e start "$work/floor.o" -o "$work/floor.elf"
    for n in $(tr , ' ' <<<"${COUNTS:-1,8,32}"); do
        while [ ${#bare[@]} -lt "$n" ]; do
            vm_start "bare-${#bare[@]}" -m "${GUEST_MB:-128}" -s none -i "$work/floor.elf" -t 120
            bare+=("$vm_pid")
        done
        sleep 2
        sum=0
        for i in "${bare[@]}"; do
            read -r a b < <(pss "$(qemu_of "$i")" "$file")
            sum=$((sum + a))
        done
        floor[$n]=$sum
    done
    for i in "${bare[@]}"; do
        vm_pid=$i
        vm_stop
    done
    echo "Memory by proportional set size, MB; model ${FLEET:-1b-q8_0}, after one answer of each guest; QEMU's floor is as many bare guests"
    printf '%8s %12s %14s %14s %14s %12s\n' guests total 'QEMU floor' 'guests beyond' tensord 'weights once'
    daemon_start memory "$file" --threads 2
    ports=()
    for n in $(tr , ' ' <<<"${COUNTS:-1,8,32}"); do
        while [ ${#ports[@]} -lt "$n" ]; do
            i=$((${#ports[@]} + 1))
            REGION_MB=64 guest "m-$i" "$file" "" || return 1
            pids+=("$(qemu_of "$vm_pid")")
            ports+=("$vm_port")
            vm_port=${ports[-1]} ask /v1/completions "$(body 8)" >/dev/null
        done
        sum=0 weights=0
        for i in "${pids[@]}"; do
            read -r a b < <(pss "$i" "$file")
            sum=$((sum + a - b))
            weights=$((weights + b))
        done
        read -r daemon_kb daemon_weights < <(pss "$(worker)" "$file")
        weights=$((weights + daemon_weights))
        daemon_kb=$((daemon_kb - daemon_weights))
        awk -v n="$n" -v s="$sum" -v f="${floor[$n]}" -v d="$daemon_kb" -v w="$weights" 'BEGIN {
            printf "%8d %12.1f %14.1f %14.1f %14.1f %12.1f   (a guest beyond QEMU: %.1f)\n", n, (s + d + w) / 1024,
                f / 1024, (s - f) / 1024, d / 1024, w / 1024, (s - f) / 1024 / n}'
    done
    daemon_stop
}

make --no-print-directory -j2 build/bin/make-model build/bin/tessera build/bin/tensord build/images/llm.elf >/dev/null || exit 1
case $parts in *,speed,*) speed || exit 1 ;; esac
case $parts in *,fleet,*) fleet || exit 1 ;; esac
case $parts in *,memory,*) memory || exit 1 ;; esac
exit 0
