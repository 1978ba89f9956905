#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# What is decided by how long requests take, with real guests under real load: a canary that is right
# and slow goes back, an equal one is taken; more guests come where the 95th percentile exceeds its
# target, and stay away where it does not. In process and mount namespaces of the test's own.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/user.sh
namespaces 'libvirtd haproxy' build/bin/tessera build/bin/make-model build/images/llm.elf
. ci/lib.sh
. ci/fleet.sh
fleet_begin
# A token of it takes about fifteen times as long as one of the others.
build/bin/make-model "$work/models/slow.gguf" llama Q8_0 embedding 384 layers 8 feed_forward 1024 vocabulary 4096 context 256 >/dev/null
chmod 644 "$work/models/slow.gguf"

# clients_begin MODEL COUNT TOKENS: that ask until clients_end, which tells how many were answered otherwise
# than by 200.
client() { # MODEL TOKENS FILE
    while [ ! -e "$work/clients.end" ]; do
        curl -s -o /dev/null --max-time 100 -w '%{http_code}\n' "$url/v1/completions" \
            -d '{"model":"'"$1"'","prompt":"Once","max_tokens":'"$2"',"ignore_eos":true}' </dev/null
    done >"$3"
}
clients_begin() {
    rm -f "$work"/clients.*
    client_pids=()
    local i
    for i in $(seq "$2"); do
        client "$1" "$3" "$work/clients.$i" &
        client_pids+=($!)
    done
}
clients_end() {
    touch "$work/clients.end"
    wait "${client_pids[@]}"
    same "$1: every request was answered" "" "$(cat "$work"/clients.[0-9] | grep -v '^200$' | sort | uniq -c)"
}
agent_log() {
    cat "$work"/run/tessera/agent.log-*
}

fleet_yaml 1 1 "    autoscale: {min: 1, max: 2, p95: 3s, queue: 0, cooldown: 5s}" >"$work/fleet.yaml"
check "up" t up "$work/fleet.yaml"

# ---- a canary's latency ------------------------------------------------------------------------
clients_begin chat 3 6
out=$(t deploy shop/chat --model "$work/models/slow.gguf" --strategy canary --weight 50 --requests 5 --step-seconds 100 --latency-ratio 4 2>&1)
same "a canary that is slow: exit status 1" 1 $?
holds "it was rolled back, and why" 'rolled back: requests take [0-9]+ ms on average, [0-9.]+ times those of the old version' "$out"
out=$(t deploy shop/chat --memory 72M --strategy canary --weight 50 --requests 20 --step-seconds 1 --latency-ratio 4 2>&1)
status=$?
same "one that is as quick is taken: $(tail -n 1 <<<"$out")" 0 $status
clients_end "canaries"

# ---- the 95th percentile -----------------------------------------------------------------------
is_count() { # OF CODE
    [ "$(guests code | wc -l)" = "$1" ]
}
clients_begin code 1 1
until_true 8 is_count 2
clients_end "quick requests"
same "requests that are quick enough bring no guest" 1 "$(guests code | wc -l)"
clients_begin code 8 100
check "requests that take too long do" until_true 60 is_count 2
clients_end "slow requests"
holds "and the agent says why" 'code goes from 1 to 2 guests: more load than its target \(load [0-9]+, p95 [0-9]{4,} ms\)' "$(agent_log)"
check "down" t down shop
same "nothing is left in libvirt" "" "$(v list --all --name)"
finish_checks
