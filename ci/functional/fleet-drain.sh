#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Guests that go finish what they have begun: long streams are under way through the endpoint while
# their guests are replaced, scaled away, or lose to another version; each ends whole. With a short
# `drain` the same stream breaks off with an error, so that these checks are known to see a guest that
# went too early. In process and mount namespaces of the test's own.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/user.sh
namespaces 'libvirtd haproxy' build/bin/tessera build/images/llm.elf
. ci/lib.sh
. ci/fleet.sh
fleet_begin

draining() { # SECONDS GUESTS
    cat <<Y
fleet: shop
endpoint: {listen: 127.0.0.1:$port, drain: $1}
models:
  - {name: chat, model: models/demo.gguf, replicas: $2, vcpus: 1, health: {interval: 1s, timeout: 2s}}
Y
}
long_client() { # FILE VERSION
    curl -sS -N --max-time 100 -D "$1.head" -o "$1" "$url/v1/completions" -H "X-Tessera-Version: $2" \
        -d '{"model":"chat","prompt":"Once","max_tokens":400,"ignore_eos":true,"stream":true}' 2>"$1.err"
    echo "$? $(date '+%F %T')" >"$1.end"
}
# long_begin NAME COUNT [VERSION]: streams, each of which has begun afterwards.
long_begin() {
    long_pids=()
    local i
    for i in $(seq "$2"); do
        long_client "$work/$1.$i" "${3:-stable}" &
        long_pids+=($!)
    done
    for i in $(seq "$2"); do
        until_true 40 grep -qs '^data: ' "$work/$1.$i" || not_ok "$1: stream $i begins" "$(cat "$work/$1.$i.err")"
    done
}
# long_end NAME: all end whole, and one at least did so after its guest was drained.
long_end() {
    local i end guest drained whole=0 met=0
    wait "${long_pids[@]}"
    for i in $(seq ${#long_pids[@]}); do
        end=$(cat "$work/$1.$i.end")
        guest=$(tr -d '\r' <"$work/$1.$i.head" | sed -n 's/^[Xx]-[Tt]essera-[Gg]uest: //p')
        drained=$(sed -n "s/^\([0-9-]* [0-9:]*\) .*: $guest is drained\$/\1/p" "$work"/run/tessera/agent.log-* | tail -n 1)
        [ "${end%% *}" = 0 ] && grep -q '^data: \[DONE\]' "$work/$1.$i" && whole=$((whole + 1))
        [ -n "$drained" ] && [[ ! "${end#* }" < "$drained" ]] && met=$((met + 1))
    done
    same "$1: every stream that had begun ends whole" "${#long_pids[@]}" "$whole"
    check "$1: streams were under way at guests that went ($met)" test "$met" -gt 0
}
holding() { # the canary's guests serve, and the deployment waits
    [ "$(t status shop --json | jq -r '.services[0].deployment | "\(.phase) \(.weight)"')" = "shifting 50" ]
}

draining 60s 2 >"$work/fleet.yaml"
check "up" t up "$work/fleet.yaml"
long_begin rolling 4 # two a guest: longer than the guest itself would let them end
out=$(t deploy shop/chat --memory 72M --latency-ratio 50 2>&1)
status=$?
same "a rolling deployment succeeds: $(tail -n 1 <<<"$out")" 0 $status
long_end rolling
long_begin scale-down 3
check "scaled down" t scale shop/chat 1
long_end scale-down
long_begin blue-green 2
out=$(t deploy shop/chat --memory 76M --strategy blue-green --requests 0 --step-seconds 1 2>&1)
status=$?
same "blue/green succeeds: $(tail -n 1 <<<"$out")" 0 $status
long_end blue-green

# ---- both ends of a canary ---------------------------------------------------------------------
canary=(t deploy shop/chat --memory 80M --strategy canary --weight 50 --hold --no-wait)
check "a canary begins" "${canary[@]}"
check "it serves" until_true 40 holding
long_begin canary-back 2 canary
out=$(t deploy shop/chat --rollback 2>&1)
status=$?
same "it is taken back: $(tail -n 1 <<<"$out")" 0 $status
long_end canary-back
check "that settles" until_true 40 settled
check "a canary begins again" "${canary[@]}"
check "it serves" until_true 40 holding
long_begin canary-on 2 stable
out=$(t deploy shop/chat --promote 2>&1)
status=$?
same "it is promoted: $(tail -n 1 <<<"$out")" 0 $status
long_end canary-on
check "that settles" until_true 40 settled

# ---- the bound ---------------------------------------------------------------------------------
draining 1s 1 >"$work/fleet.yaml"
check "drain is changed while the fleet runs" t up "$work/fleet.yaml" --yes
check "that settles" until_true 60 settled
long_begin bound 6
check "scaled to none" t scale shop/chat 0
wait "${long_pids[@]}"
# The guest itself lets what it has begun end, for the ten seconds that it has to power off.
for i in 1 2 3 4 5 6; do
    holds "a stream that lasts longer than drain breaks off with an error" '^[1-9]|"error"' \
        "$(cut -d ' ' -f 1 "$work/bound.$i.end") $(grep '"error"' "$work/bound.$i")"
    same "and not as if it were whole" 0 "$(grep -c 'DONE' "$work/bound.$i")"
done
check "down" t down shop
same "nothing is left in libvirt" "" "$(v list --all --name)"
finish_checks
