#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The number of guests by load: more of them, fewer, none, and a request that wakes one, also while the
# agent is killed. In process and mount namespaces of the test's own.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/user.sh
namespaces 'libvirtd haproxy' build/bin/tessera build/images/llm.elf
. ci/lib.sh
. ci/fleet.sh
fleet_begin

autoscale() { # MIN MAX MORE
    fleet_yaml 1 1 "    autoscale: {min: $1, max: $2, queue: 2, idle: 3s, cooldown: 4s}
    pin: 0-1
    cpu: max" >"$work/fleet.yaml"
}
no_code() {
    ! v list --name | grep -q '^shop-code-'
}
code=${question/chat/code}
autoscale 0 3
out=$(t up "$work/fleet.yaml" 2>&1)
same "up of a fleet with autoscale succeeds" 0 $?
holds "its guests are pinned as fleet.yaml says" "<vcpupin vcpu='0' cpuset='0'/>" "$(v dumpxml "$(v list --all --name | grep ^shop-code- | head -n 1)")"

# ---- more under load, fewer without ------------------------------------------------------------
question=$code load_begin grown 160 12
grown() {
    [ "$(guests code | wc -l)" -ge 2 ]
}
check "under load there are more guests" until_true 60 grown
load_end grown
check "without requests all of them go" until_true 60 no_code
holds "and the endpoint stays" 'code 0 of 0 ready' "$(t fleets)"
same "its health, too" 200 "$(status_of "$url/health")"
holds "libvirt keeps what carries the fleet" 'shop.fleet +shut off' "$(v list --all)"

one_sleeps() {
    [ "$(v list --all --name | grep -c '^shop-code-')" = 1 ] && ls "$work"/home/.local/state/tessera/states/shop-code-*.ready >/dev/null 2>&1 && no_code
}
check "one guest sleeps, with a ready state from before any request" until_true 40 one_sleeps

# ---- awake -------------------------------------------------------------------------------------
same "a request wakes one, and is answered" 200 "$(status_of "$url/v1/chat/completions" -d "$code")"
same "one guest is there" 1 "$(guests code | wc -l)"
holds "it is the one that slept" 'is started again, (booted|from its ready state)' "$(cat "$work"/run/tessera/agent.log-*)"
check "it goes again" until_true 40 no_code
for i in 1 2 3 4 5 6; do
    status_of "$url/v1/chat/completions" -d "$code" >"$work/wake.$i" &
    wakes[i]=$!
done
wait "${wakes[@]}"
same "six at once: all are answered" "200 200 200 200 200 200" "$(cat "$work"/wake.[1-6] | fold -w 3 | paste -sd ' ')"
check "it goes again" until_true 40 no_code
status_of "$url/v1/chat/completions" -d "$code" >"$work/wake" &
waker=$!
sleep 0.7
kill -KILL "$(pgrep -f '^tessera agent --worker')"
wait "$waker"
same "the worker is killed while a request waits: it is answered" 200 "$(cat "$work/wake")"
check "it goes again" until_true 40 no_code
pgrep -f '^tessera agent' | grep -vxF "$(pgrep -f '^tessera agent --worker')" | xargs kill -KILL
same "after the supervisor's death a request is answered" 200 "$(status_of "$url/v1/chat/completions" -d "$code")"
same "both processes are there" 2 "$(pgrep -c -f '^tessera agent')"

# ---- zero by hand ------------------------------------------------------------------------------
fleet_yaml 1 1 >"$work/fleet.yaml"
t up "$work/fleet.yaml" >"$work/out" 2>&1
t scale shop/code 0 >"$work/out" 2>&1
same "scaled to zero by hand" 0 "$(guests code | wc -l)"
same "a request is refused rather than held" 503 "$(status_of "$url/v1/chat/completions" -d "$code")"
same "the other model answers" 200 "$(status_of "$url/v1/chat/completions" -d "$question")"
before=$(pgrep -f '^tessera agent' | sort)
holds "a second agent is refused" 'an agent runs already' "$(t agent 2>&1)"
check "agent --stop succeeds" t agent --stop
no_agent() {
    ! pgrep -f '^tessera agent' >/dev/null
}
check "both processes end" until_true 10 no_agent
same "without an agent the endpoint answers" 200 "$(status_of "$url/v1/chat/completions" -d "$question")"
holds "status says that none runs" 'No agent runs' "$(t status shop)"
check "down starts one" t down shop
same "nothing is left in libvirt" "" "$(v list --all --name)"
check "without fleets the agent ends by itself" until_true 60 no_agent
finish_checks
