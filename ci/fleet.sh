# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# What the functional tests of fleets share: programs, models and folders of an ordinary user, and load
# through an endpoint. Source it after ci/user.sh and ci/lib.sh.

# fleet_begin: user_begin, and sets port, url, small, question.
fleet_begin() {
    user_begin
    small=$work/models/small.gguf
    build/bin/tessera quantize "$demo" "$small" q8_0 >/dev/null 2>&1 || cp "$demo" "$small"
    sed 's/llama/nollm/' "$demo" >"$work/models/unknown.gguf"
    # Loads, says that it is healthy, and computes nonsense: weights that are no numbers.
    cp "$demo" "$work/models/damaged.gguf"
    local size at
    size=$(stat -c %s "$demo")
    for at in $(seq 500 7 990); do
        head -c 136 /dev/zero | tr '\0' '\377' |
            dd of="$work/models/damaged.gguf" bs=1 seek=$((size * at / 1000)) conv=notrunc 2>/dev/null
    done
    chmod 644 "$work"/models/*
    port=$(free_port)
    url=http://127.0.0.1:$port
    question='{"model":"chat","messages":[{"role":"user","content":"What is 3 plus 4?"}],"temperature":0,"max_tokens":16}'
}

# fleet_yaml CHAT CODE [MORE OF CODE]: a fleet of two models with so many guests.
fleet_yaml() {
    cat <<Y
fleet: shop
endpoint:
  listen: 127.0.0.1:$port
models:
  - name: chat
    model: models/demo.gguf
    replicas: $1
    vcpus: 1
    health: {interval: 1s, timeout: 2s}
  - name: code
    model: models/small.gguf
    replicas: $2
    vcpus: 1
    health: {interval: 1s, timeout: 2s}
${3:-}
Y
}

# ---- load --------------------------------------------------------------------------------------
# load_begin NAME REQUESTS CLIENTS: ab in the background; load_end NAME: waits, and every request must
# have been answered with 200.
load_begin() {
    echo "$question" >"$work/question.json"
    ab -q -l -n "$2" -c "$3" -s 100 -T application/json -p "$work/question.json" \
        "$url/v1/chat/completions" >"$work/$1.ab" 2>&1 </dev/null &
    load_pid=$!
}
load_end() {
    wait "$load_pid"
    local status=$? failed other
    failed=$(sed -n 's/^Failed requests: *//p' "$work/$1.ab")
    other=$(sed -n 's/^Non-2xx responses: *//p' "$work/$1.ab")
    same "$1: every request of ab is answered" "0 failed, 0 other than 200" \
        "${failed:-$(tail -n 1 "$work/$1.ab" | tr -d '\n') (exit $status)} failed, ${other:-0} other than 200"
}
# streams_begin NAME CLIENTS: clients that ask for streams until told to end; streams_end NAME counts:
# whole ones, those that broke off with an error, those that ended in silence, those that never began.
stream_client() { # FILE
    local body=${question/\}]/\}],\"stream\":true} n=0 status
    while [ ! -e "$work/streams.end" ]; do
        n=$((n + 1))
        curl -sS -N --max-time 100 -H 'Content-Type: application/json' -d "$body" -o "$1.$n" \
            -w '%{http_code}' "$url/v1/chat/completions" >"$1.code" 2>"$1.err" </dev/null
        status=$?
        if [ $status -eq 0 ] && grep -q '^data: \[DONE\]' "$1.$n"; then
            echo whole
        elif grep -q '^data: .*"error"' "$1.$n" 2>/dev/null || { [ $status -ne 0 ] && [ -s "$1.$n" ]; }; then
            echo broken
        elif [ "$(cat "$1.code")" = 200 ] && [ $status -eq 0 ]; then
            echo silent
        else
            echo "lost: status $(cat "$1.code"), curl $status, $(tail -n 1 "$1.err")"
        fi
        rm -f "$1.$n"
    done >"$1"
}
streams_begin() {
    rm -f "$work/streams.end"
    stream_pids=()
    local i
    for i in $(seq "$2"); do
        stream_client "$work/$1.stream.$i" &
        stream_pids+=($!)
    done
}
streams_end() {
    touch "$work/streams.end"
    wait "${stream_pids[@]}"
    cat "$work/$1".stream.[0-9] >"$work/$1.streams"
    whole=$(grep -c '^whole' "$work/$1.streams")
    broken=$(grep -c '^broken' "$work/$1.streams")
    same "$1: no stream ended in silence or never began ($whole whole, $broken broke off with an error)" "" \
        "$(grep -E '^(silent|lost)' "$work/$1.streams" | sort | uniq -c | head -n 3)"
    [ "$whole" -gt 0 ] || not_ok "$1: streams were answered" "none"
}
# until_true SECONDS COMMAND…
until_true() {
    local until=$((SECONDS + $1))
    shift
    while [ $SECONDS -lt $until ]; do
        "$@" && return 0
        sleep 0.2
    done
    return 1
}
settled() {
    [ "$(t status shop --json 2>/dev/null | jq .settled)" = true ]
}
# guests SERVICE: names of those that run.
guests() {
    v list --name | grep "^shop-$1-" | sort
}
qemu_of() { # GUEST
    pgrep -f "qemu-system-x86_64 -name guest=$1," | head -n 1
}
