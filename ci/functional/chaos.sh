#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Everything that a fleet runs on is killed with SIGKILL at a moment of chance, while it comes up, is
# scaled, deployed, idles, goes down: the command itself, the agent's processes, HAProxy's, libvirt's
# daemon, QEMU. After each: the same command again succeeds, nothing is orphaned, nothing is lost.
# SEED=N makes the same choices again; ROUNDS=N rounds.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/user.sh
namespaces 'libvirtd haproxy' build/bin/tessera build/images/llm.elf
. ci/lib.sh
. ci/fleet.sh
fleet_begin
RANDOM=${SEED:-7}
victims=(tessera worker supervisor agent master haproxy libvirtd qemu)

# victim KIND: the process ids of it that run.
victim() {
    case $1 in
    tessera) pgrep -f "^$work/bin/tessera (up|scale|deploy|down)" ;;
    worker) pgrep -f '^tessera agent --worker' ;;
    supervisor) pgrep -f '^tessera agent' | grep -vxFf <(victim worker) ;;
    agent) pgrep -f '^tessera agent' ;;
    master) pgrep -x haproxy | head -n 1 ;;
    haproxy) pgrep -x haproxy | tail -n 1 ;;
    libvirtd) pgrep -x libvirtd ;;
    qemu) pgrep -f '^/usr/bin/qemu-system-x86_64 -name guest=shop-' | head -n 1 ;;
    esac
}
# hit KIND MILLISECONDS: kills it after a time.
hit() {
    local pids
    sleep "$(printf '%d.%03d' $(($2 / 1000)) $(($2 % 1000)))"
    pids=$(victim "$1")
    # shellcheck disable=SC2086
    [ -n "$pids" ] && kill -KILL $pids 2>/dev/null
}
# whole NAME CHAT CODE: as it is wanted, and nothing besides.
whole() {
    local domains qemus agents
    check "$1: it settles" until_true 60 settled
    same "$1: guests" "$2 $3" "$(guests chat | wc -l) $(guests code | wc -l)"
    domains=$(v list --all --name | grep -c '^shop-')
    qemus=$(pgrep -c -f '^/usr/bin/qemu-system-x86_64 -name guest=')
    same "$1: no orphan: domains, QEMU processes" "$(($2 + $3)) $(($2 + $3))" "$domains $qemus"
    until_true 10 one_of_each
    agents=$(pgrep -f '^tessera agent' | wc -l)
    same "$1: one agent of two processes, one HAProxy" "2 1" "$agents $(masters)"
    same "$1: it answers" 200 "$(status_of "$url/v1/chat/completions" -d "$question")"
    same "$1: both models" 200 "$(status_of "$url/v1/chat/completions" -d "${question/chat/code}")"
}
masters() { # HAProxy processes whose parent is none
    local pid n=0
    for pid in $(pgrep -x haproxy); do
        [ "$(ps -o comm= -p "$(ps -o ppid= -p "$pid" | tr -d ' ')" 2>/dev/null)" = haproxy ] || n=$((n + 1))
    done
    echo $n
}
one_of_each() {
    [ "$(pgrep -f '^tessera agent' | wc -l) $(masters)" = "2 1" ]
}

# round NAME KIND MOST-MS COMMAND…: the command, something killed while it runs, the command again.
round() {
    local name=$1 kind=$2 after=$((RANDOM % $3)) killer out
    shift 3
    name="$name, $kind killed after $after ms"
    hit "$kind" "$after" &
    killer=$!
    t "$@" >"$work/first" 2>&1
    wait "$killer" 2>/dev/null
    out=$(t "$@" 2>&1)
    local status=$?
    [ $status -eq 0 ] && out=
    same "$name: the second run succeeds" "0 " "$status $(tail -c 300 <<<"$out" | tr '\n' ' ' | sed 's/ $//')"
}

# A deployment that is over is not begun again: what runs already is what was wanted.
deployed() { # MEMORY-MB
    v dumpxml "$(guests chat | head -n 1)" | grep -q "<memory unit='KiB'>$(($1 * 1024))<"
}

deploy_again() {
    settled && { deployed "$1" || t deploy shop/chat --memory "$1M" --latency-ratio 50 >/dev/null 2>&1; }
}

fleet_yaml 2 1 >"$work/fleet.yaml"
round up tessera 1500 up "$work/fleet.yaml"
whole "up" 2 1
memory=64
for i in $(seq "${ROUNDS:-8}"); do
    kind=${victims[$(((RANDOM + i) % ${#victims[@]}))]}
    case $((i % 4)) in
    0)
        fleet_yaml 2 1 >"$work/fleet.yaml"
        round "$i scale down" "$kind" 1500 scale shop chat=2 code=1
        whole "$i" 2 1
        ;;
    1)
        round "$i scale up" "$kind" 3000 scale shop chat=3 code=1
        whole "$i" 3 1
        ;;
    2)
        memory=$((memory + 4))
        name="$i deploy, $kind killed"
        hit "$kind" $((RANDOM % 5000)) &
        killer=$!
        t deploy shop/chat --memory ${memory}M --latency-ratio 50 >"$work/first" 2>&1
        wait "$killer" 2>/dev/null
        # Killed after the deployment's end: any command brings the agent back.
        [ "$kind" = agent ] && settled && t scale shop chat=3 >"$work/out" 2>&1
        check "$name: it goes on by itself or by a second run" until_true 90 deploy_again $memory
        whole "$i" 3 1
        check "$name: the new version serves" deployed $memory
        ;;
    3)
        hit "$kind" $((RANDOM % 1000))
        same "$i idle, $kind killed: status tells of the fleet" 0 "$(t status shop >"$work/out" 2>&1; echo $?)"
        [ "$kind" = agent ] && t up "$work/fleet.yaml" --no-wait >"$work/out" 2>&1 && t scale shop chat=3 >"$work/out" 2>&1
        whole "$i" 3 1
        ;;
    esac
done
round "down" "${victims[$((RANDOM % 7))]}" 1500 down shop
same "nothing is left in libvirt" "" "$(v list --all --name)"
same "no QEMU, no HAProxy" "" "$(pgrep -f '^/usr/bin/qemu-system-x86_64 -name' || pgrep -x haproxy)"
same "nothing of it in the folder" "" "$(ls "$work/run/tessera/fleet" 2>/dev/null)"

finish_checks
