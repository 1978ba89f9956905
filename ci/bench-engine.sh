#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `make bench-engine`: our engine (from the raw GGUF and from the packed file) and llama.cpp on the same
# models, in turn, run by run; medians, beside what the machine can do at most, measured in the same run.
#   MODELS=dir        SIZE-TYPE.gguf in it (110m-q8_0.gguf); otherwise they are made under build/bench
#   SIZES=110m,1b  TYPES=f16,q8_0,q4_0,q4_k_m,q6_k  THREADS=1,2  TESTS=pp128,pp512,tg64  SEQUENCES=8 (0: none)
#   REPEAT=5          rounds of a test, fewer (at least 2) when they took BUDGET=15 seconds
#   PACK=1 PEER=1     0: leaves the packed file, or llama.cpp, out
# Rows as JSON lines: build/bench/engine.json
set -euo pipefail
cd "$(dirname "$0")/.."
IFS=, read -ra sizes <<<"${SIZES:-110m,1b}"
IFS=, read -ra types <<<"${TYPES:-f16,q8_0,q4_0,q4_k_m,q6_k}"
IFS=, read -ra threads <<<"${THREADS:-1,2}"
IFS=, read -ra tests <<<"${TESTS:-pp128,pp512,tg64}"
sequences=${SEQUENCES:-8} repeat=${REPEAT:-5} budget=${BUDGET:-15} pack=${PACK:-1} peer=${PEER:-1}
tessera=${TESSERA:-build/bin/tessera}
dir=build/bench
json=$dir/engine.json
mkdir -p $dir build/bin
: >$json
fifos=$(mktemp -d "${TMPDIR:-/tmp}/tessera-bench.XXXXXX")
several=0
declare -A to=() from=() pid=() load=() first=() peak=()

cleanup() {
    local p
    for p in "${pid[@]}"; do
        kill "$p" 2>/dev/null || true
    done
    rm -rf "$fifos"
}
trap cleanup EXIT
fail() {
    echo "bench-engine: $*" >&2
    exit 1
}

[ -x "$tessera" ] || fail "$tessera is missing"
cc -std=gnu11 -O2 -pthread ci/bench/limits.c -o build/bin/limits
[ "$peer" = 0 ] || ci/bench/peer.sh
if [ "$pack" != 0 ] && ! "$tessera" pack --help >/dev/null 2>&1; then
    echo "(this tessera cannot pack: raw files only)"
    pack=0
fi

# shape SIZE: what make-model is told.
shape() {
    local most="vocabulary 32000 context 2048 head_dim 64"
    case $1 in
    110m) echo "$most embedding 768 layers 12 heads 12 kv_heads 12 feed_forward 2048 tied 1" ;;
    1b) echo "$most embedding 2048 layers 22 heads 32 kv_heads 4 feed_forward 5632 tied 0" ;;
    *) fail "no shape is known for '$1': give MODELS=dir" ;;
    esac
}
# model SIZE TYPE: sets $model.
model() {
    model=${MODELS:-$dir/models}/$1-$2.gguf
    [ -f "$model" ] && return
    [ -z "${MODELS:-}" ] || return 1
    mkdir -p "$dir/models"
    case $2 in
    *_[sml]) # mixtures
        model "$1" f16
        "$tessera" quantize "$model" "$dir/models/$1-$2.gguf" "$2" >/dev/null 2>&1 || fail "quantising $model to $2"
        model=$dir/models/$1-$2.gguf
        ;;
    *)
        [ -x build/bin/make-model ] || make --no-print-directory build/bin/make-model >/dev/null
        # shellcheck disable=SC2046
        build/bin/make-model "$model.new" llama "$2" $(shape "$1") >/dev/null || fail "making $model"
        mv "$model.new" "$model"
        ;;
    esac
}

# ---- programs that wait for tests --------------------------------------------------------------
start() { # NAME COMMAND…
    local name=$1 word in out open made
    shift
    rm -f "$fifos/$name".*
    mkfifo "$fifos/$name.in" "$fifos/$name.out"
    "$@" <"$fifos/$name.in" >"$fifos/$name.out" &
    pid[$name]=$!
    exec {in}<>"$fifos/$name.in" {out}<>"$fifos/$name.out"
    to[$name]=$in
    from[$name]=$out
    names+=("$name")
    answer "$name" || return 1 # it has said why
    read -r word open made <<<"$line"
    load[$name]=$open first[$name]=$made
    [ "$word" = ready ]
}
answer() { # NAME: sets $line
    local waited=0
    until read -r -t 5 -u "${from[$1]}" line; do
        waited=$((waited + 5))
        if [ $waited -ge 300 ] || ! kill -0 "${pid[$1]}" 2>/dev/null; then
            return 1
        fi
    done
}
once() { # NAME KIND TOKENS: one run; sets wall, cpu, work, bytes
    local memory
    # Threads go on spinning for a while after a run (llama.cpp's about 0.3 s), on the core that the next
    # program needs.
    [ "$several" = 0 ] || sleep 0.6
    echo "$2 $3" >&"${to[$1]}"
    answer "$1" || fail "$1 gave no answer to '$2 $3'"
    read -r wall cpu memory work bytes <<<"$line"
    peak[$1]=$memory
}
stop_all() {
    local name in out
    for name in "${names[@]}"; do
        echo "end 0" >&"${to[$name]}"
        wait "${pid[$name]}" 2>/dev/null || true
        in=${to[$name]} out=${from[$name]}
        exec {in}>&- {out}>&-
        unset "pid[$name]"
    done
}
start_all() { # THREADS SEQUENCES
    local longest=1 t
    for t in "${tests[@]}"; do
        t=${t#??}
        [ "$t" -le "$longest" ] || longest=$t
    done
    names=()
    start raw "$tessera" bench "$model" --paced -p "$longest" -t "$1" --sequences "$2" || return 1
    if [ "$pack" != 0 ]; then
        start packed "$tessera" bench "$packed" --paced -p "$longest" -t "$1" --sequences "$2" || return 1
    fi
    if [ "$peer" != 0 ]; then
        start peer build/bin/peer bench "$model" -t "$1" --sequences "$2" --context "$longest" || return 1
    fi
}

# ---- rows --------------------------------------------------------------------------------------
median() {
    sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'
}
raise_limits() { # THREADS: the best seen in this group
    local f d r
    read -r f d r <<<"$(build/bin/limits "$1" "$megabytes")"
    read -r fma dot reading <<<"$(awk "BEGIN {print ($f > $fma ? $f : $fma), ($d > $dot ? $d : $dot), ($r > $reading ? $r : $reading)}")"
}
# measure TEST THREADS SEQUENCES: rounds of one test, then its line in $results.
measure() {
    several=$(($2 > 1))
    local kind=${1%%[0-9]*} tokens=${1#??} name begun=$SECONDS round wall cpu work bytes
    rm -f "$fifos"/*.wall "$fifos"/*.cpu
    for name in "${names[@]}"; do
        once "$name" "$kind" $((tokens > 128 && megabytes > 500 ? 128 : tokens)) # warms up
    done
    for ((round = 0; round < repeat && (round < 2 || SECONDS - begun < budget); round++)); do
        for name in "${names[@]}"; do
            once "$name" "$kind" "$tokens"
            echo "$wall" >>"$fifos/$name.wall"
            echo "$cpu" >>"$fifos/$name.cpu"
            [ "$name" = raw ] && echo "$work $bytes" >"$fifos/work"
        done
    done
    {
        echo "$1 $2 $3 $kind $tokens $(cat "$fifos/work")"
        for name in raw packed peer; do
            if [ -f "$fifos/$name.wall" ]; then
                echo "$name $(median <"$fifos/$name.wall") $(median <"$fifos/$name.cpu")"
            fi
        done | tr '\n' ' '
        echo
    } | paste -sd' ' >>"$results"
}
# Prints $results with the limits, and appends JSON lines.
report() { # SIZE TYPE
    awk -v size="$1" -v type="$2" -v fma="$fma" -v dot="$dot" -v reading="$reading" -v json=$json '
    function rate(name) { return name in wall ? total / wall[name] : 0 }
    function share(name) { # of the arithmetic peak, or of the bandwidth
        if (!(name in wall)) return 0
        return kind == "pp" ? 2 * work / wall[name] / peak : bytes * tokens / wall[name] / reading
    }
    function show(x, format) { return x > 0 ? sprintf(format, x) : "-" }
    {
        delete wall; delete cpu
        kind = $4; tokens = $5; work = $6; bytes = $7; total = tokens * $3
        for (i = 8; i + 2 <= NF; i += 3) { wall[$i] = $(i + 1); cpu[$i] = $(i + 2) }
        peak = type ~ /^(f16|f32|bf16)$/ || dot == 0 ? fma : dot
        limit = kind == "pp" ? (peak == fma ? "FMA" : "VNNI") : "read"
        test = $1 ($3 > 1 ? "x" $3 : "")
        raw = rate("raw"); packed = rate("packed"); them = rate("peer")
        printf "%-5s %-7s %-9s %2d  %9s %9s %9s  %6s %6s  %6s %6s  %-4s", size, type, test, $2, \
            show(raw, "%.1f"), show(packed, "%.1f"), show(them, "%.1f"), show(them ? raw / them : 0, "%.2f"), \
            show(them ? packed / them : 0, "%.2f"), show(100 * share("raw"), "%.0f%%"), show(100 * share("packed"), "%.0f%%"), limit
        if ($2 == 1) # free of what else the machine does
            printf "  %9.1f %9s %9s", total / cpu["raw"], show("packed" in cpu ? total / cpu["packed"] : 0, "%.1f"), \
                show("peer" in cpu ? total / cpu["peer"] : 0, "%.1f")
        print ""
        printf "{\"size\":\"%s\",\"type\":\"%s\",\"test\":\"%s\",\"threads\":%d,\"sequences\":%d,\"raw\":%.3f,\"packed\":%.3f,\"llama_cpp\":%.3f,\"share_raw\":%.4f,\"share_packed\":%.4f,\"limit\":\"%s\",\"fma_gflops\":%s,\"vnni_gops\":%s,\"read_gb_per_s\":%s}\n", \
            size, type, $1, $2, $3, raw, packed, them, share("raw"), share("packed"), limit, fma, dot, reading >>json
    }' "$results"
}

results=$fifos/results
facts=()
printf '%-5s %-7s %-9s %2s  %9s %9s %9s  %6s %6s  %6s %6s  %-4s  %9s %9s %9s\n' size type test t raw packed llama.cpp \
    'x raw' 'x pack' 'share' 'packed' of 'cpu: raw' packed llama.cpp
for size in "${sizes[@]}"; do
    for type in "${types[@]}"; do
        model "$size" "$type" || {
            echo "(no $model)"
            continue
        }
        megabytes=$(($(stat -c %s "$model") / 1000000 + 1)) packed=$dir/$size-$type.packed packing=-
        if [ "$pack" != 0 ]; then
            begun=$(date +%s.%N)
            "$tessera" pack "$model" "$packed" >/dev/null 2>&1 || fail "packing $model"
            packing=$(awk "BEGIN {printf \"%.2f s\", $(date +%s.%N) - $begun}")
        fi
        for t in "${threads[@]}"; do
            fma=0 dot=0 reading=0
            : >"$results"
            raise_limits "$t"
            if ! start_all "$t" 1; then
                stop_all
                continue 2
            fi
            for test in "${tests[@]}"; do
                measure "$test" "$t" 1
            done
            stop_all
            if [ "$t" = "${threads[0]}" ]; then
                for name in "${names[@]}"; do
                    facts+=("$(printf '%-5s %-7s %-9s  %9.1f ms %9.1f ms %9.1f MB %9.1f MB  %s' "$size" "$type" "$name" \
                        "$(awk "BEGIN {print ${load[$name]} * 1000}")" "$(awk "BEGIN {print ${first[$name]} * 1000}")" "${peak[$name]}" \
                        "$(awk "BEGIN {print $(stat -c %s "$([ "$name" = packed ] && echo "$packed" || echo "$model")") / 1048576}")" \
                        "$([ "$name" = packed ] && echo "packing $packing")")")
                done
            fi
            if [ "$sequences" -gt 1 ]; then
                start_all "$t" "$sequences" || fail "no run with $sequences sequences"
                for test in "${tests[@]}"; do
                    case $test in tg*) measure "$test" "$t" "$sequences" ;; esac
                done
                stop_all
            fi
            raise_limits "$t"
            report "$size" "$type"
        done
        rm -f "$packed"
    done
done
echo
echo 'From the start until the model is open, and until it has made a token (file in the page cache);'
echo 'peak memory of the process, with what it mapped; the file:'
printf '%s\n' "${facts[@]}"
