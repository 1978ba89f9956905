#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Guests that are suspended and go on, and that start from a saved ready state: nothing that was under way is
# lost unasked, no two starts from one state draw the same random numbers, the clock is right, tensord is found
# again, and a state of another image, model or CPU is refused. An ordinary user's own libvirt in process and
# mount namespaces of the test's own.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/user.sh
namespaces libvirtd build/bin/tessera build/images/llm.elf
. ci/lib.sh
user_begin
[ -x build/bin/tensord ] && cp build/bin/tensord "$work/bin/"
refused() { # NAME PATTERN ARGUMENTS…: exit status 1 and a line on standard error
    local name=$1 pattern=$2 found
    shift 2
    t "$@" >"$work/out" 2>"$work/err"
    found=$?
    if [ $found -eq 1 ] && grep -qE -- "$pattern" "$work/err"; then
        ok "$name"
    else
        not_ok "$name" "exit $found (wanted 1), '$(head -c 400 "$work/err")' (wanted /$pattern/)"
    fi
}
states=$work/home/.local/state/tessera/states
vm_port=$(free_port)
question='{"messages":[{"role":"user","content":"What is 3 plus 4?"}],"temperature":0,"max_tokens":40}'
# What chance makes: many tokens at a high temperature, and the answer's name.
dice='{"prompt":"Once","max_tokens":24,"temperature":2,"ignore_eos":true}'
draw() {
    ask /v1/completions "$dice" | jq -r '.id + " " + .choices[0].text'
}
metric() { # NAME
    curl -s --max-time 5 "http://127.0.0.1:$vm_port/metrics" | sed -n "s/^tessera_$1 //p"
}
# How far the guest's clock is from ours, in seconds.
clock_error() {
    local theirs
    theirs=$(curl -si --max-time 5 "http://127.0.0.1:$vm_port/health" | tr -d '\r' | sed -n 's/^Date: //p')
    echo $(($(date +%s) - $(date -d "$theirs" +%s)))
}
# The clock reads whole seconds and a busy machine takes its time.
near() { # NAME SECONDS
    if [ "${2#-}" -le 3 ]; then
        ok "$1"
    else
        not_ok "$1" "$2 seconds off"
    fi
}
stream() { # FILE TOKENS: a streamed answer in the background; sets client
    curl -sN --max-time 60 -H 'Content-Type: application/json' \
        -d "{\"prompt\":\"Once\",\"max_tokens\":$2,\"ignore_eos\":true,\"temperature\":0,\"stream\":true}" \
        "http://127.0.0.1:$vm_port/v1/completions" >"$1" 2>/dev/null &
    client=$!
    vm_pids+=("$client")
    for _ in $(seq 200); do
        [ -s "$1" ] && return 0
        sleep 0.02
    done
    return 1
}

# ---- suspend and resume ------------------------------------------------------------------------
check "a guest runs" t run "$demo" --name demo --detach --port "$vm_port" --vcpus 1
refused "resume: it runs" "'demo' runs already|is not suspended" resume demo
first=$(ask /v1/chat/completions "$question" | jq -r '.choices[0].message.content')
check "a stream begins" stream "$work/whole" 120
holds "suspend waits for it" 'demo: suspended in' "$(t suspend demo 2>&1)"
wait "$client"
same "the stream's client: no error" 0 $?
holds "the stream came to its end" '\[DONE\]' "$(tail -n 2 "$work/whole" | tr '\n' ' ')"
holds "ls shows it" '^demo .*suspended' "$(t ls)"
holds "virsh shows it off" 'demo +shut off' "$(v list --all)"
refused "suspend: it is off" "does not run: it is suspended" suspend demo
sleep 5
holds "resume" 'serves after [0-9]+ ms, from where it was suspended' "$(t resume demo 2>&1)"
near "its clock is right at the first answer" "$(clock_error)"
same "it goes on as it was" "$first" "$(ask /v1/chat/completions "$question" | jq -r '.choices[0].message.content')"
holds "its log tells" 'resume: went on from a saved state' "$(t logs demo)"
check "a stream begins" stream "$work/cut" 400
refused "suspend does not wait for ever" 'still computes 1 answer' suspend demo --timeout 0
holds "suspend --force" 'demo: suspended in' "$(t suspend demo --force 2>&1)"
wait "$client"
holds "the cut stream: its client has an error" '^[1-9]' $?
same "and no end" 0 "$(grep -c DONE "$work/cut")"
holds "start goes on, too" 'from where it was suspended' "$(t start demo 2>&1)"
same "it answers" "$first" "$(ask /v1/chat/completions "$question" | jq -r '.choices[0].message.content')"
for _ in $(seq 100); do # the guest hears of the client's end when it sends
    [ "$(metric requests_processing)" = 0 ] && break
    sleep 0.1
done
same "the cut answer is not computed for ever" 0 "$(metric requests_processing)"

# ---- the ready state ---------------------------------------------------------------------------
refused "no ready state after a request" 'has had requests' suspend --ready demo
t stop demo >"$work/out" 2>&1
refused "no ready state yet" 'has no ready state' start --ready demo
t start demo --cold >"$work/out" 2>&1
holds "the ready state is taken" 'its ready state is saved \([0-9.]+ MB' "$(t suspend --ready demo 2>&1)"
holds "the guest is off" '^demo .* off ' "$(t ls)"
for i in 1 2; do
    holds "start $i from it" 'serves after [0-9]+ ms, from its ready state' "$(t start --ready demo 2>&1)"
    near "its clock is right" "$(clock_error)"
    draw >"$work/draw.$i"
    same "it has the whole answer" "$first" "$(ask /v1/chat/completions "$question" | jq -r '.choices[0].message.content')"
    t stop demo >"$work/out" 2>&1
done
same "two starts draw differently" false "$(cmp -s "$work/draw.1" "$work/draw.2" && echo true || echo false)"
# The same without what tells the guest: then some are alike, or the check above shows nothing. (Not each: the
# network may draw a number before the request does.)
v dumpxml demo --inactive --security-info | sed -e "/value='-fw_cfg'/d" -e '/tessera\/generation/d' >"$work/plain.xml"
v define "$work/plain.xml" >"$work/out"
t start demo --cold >"$work/out" 2>&1
v save demo "$work/home/plain" >"$work/out" 2>&1
alike=""
for _ in 1 2 3 4 5 6; do
    v restore "$work/home/plain" >"$work/out" 2>&1
    draw >>"$work/plain"
    v destroy demo >"$work/out" 2>&1
    alike=$(sort "$work/plain" | uniq -d)
    [ -n "$alike" ] && break
done
holds "without a generation starts draw alike" '^cmpl-' "$alike"
refused "another definition" "changed since: the guest's definition" start --ready demo
holds "start boots then, and says so" "changed since: the guest's definition.*it boots anew.*, booted" "$(t start demo 2>&1 | tr '\n' ' ')"
t rm --force demo >"$work/out" 2>&1
same "rm leaves nothing of it" "" "$(ls "$states")"

# ---- of something else -------------------------------------------------------------------------
check "a guest runs" t run "$demo" --name demo --detach --port "$vm_port" --vcpus 1
t suspend --ready demo >"$work/out" 2>&1
cp -p "$states/demo.ready.json" "$work/record"
lie() { # NAME VALUE: jq would round the times
    sed "s/^ \"$1\": .*/ \"$1\": $2,/" "$work/record" >"$states/demo.ready.json"
}
lie cpu '"00"'
refused "another CPU" "changed since: the host's CPU \(" start --ready demo
lie identity '"sha256:00"'
refused "another model" "changed since: the model's weights" start --ready demo
lie qemu 6002000
refused "another QEMU" 'changed since: QEMU \(6.2 then, [0-9.]+ now\)' start --ready demo
echo "{" >"$states/demo.ready.json"
refused "a damaged record" 'cannot be checked' start --ready demo
cp "$work/record" "$states/demo.ready.json"
truncate -s -100000 "$states/demo.ready"
holds "a damaged state: it boots" 'it boots anew.*booted' "$(t start demo 2>&1 | tr '\n' ' ')"
holds "suspend" 'suspended in' "$(t suspend demo 2>&1)"
touch "$work/images/llm.elf"
holds "the same image made again is the same" 'from where it was suspended' "$(t resume demo 2>&1)"
holds "suspend" 'suspended in' "$(t suspend demo 2>&1)"
echo >>"$work/images/llm.elf"
refused "resume with another image" 'cannot go on, .*changed: the image .*llm.elf.*--cold' resume demo
refused "start does not drop it either" 'cannot go on' start demo
holds "nothing is lost" '^demo .*suspended' "$(t ls)"
holds "unless asked to" ', booted' "$(t start --cold demo 2>&1)"
t rm --force demo >"$work/out" 2>&1

# ---- tensord -----------------------------------------------------------------------------------
if [ -x "$work/bin/tensord" ]; then
    guests() {
        echo '{"op":"statistics"}' | timeout 5 socat -t 2 - "UNIX-CONNECT:$work/run/tessera/tensord.sock" |
            jq '.guests | length'
    }
    check "a guest whose tokens the host computes" t run "$demo" --name far --offload=host --detach --port "$vm_port"
    same "it answers" "$first" "$(ask /v1/chat/completions "$question" | jq -r '.choices[0].message.content')"
    holds "it is suspended" 'suspended in' "$(t suspend far 2>&1)"
    same "its place at tensord is given up" 0 "$(guests)"
    holds "it goes on" 'from where it was suspended' "$(t resume far 2>&1)"
    before=$(metric 'offload_tokens_total{where="host"}')
    same "the same answer" "$first" "$(ask /v1/chat/completions "$question" | jq -r '.choices[0].message.content')"
    same "by the host" true "$([ "$(metric 'offload_tokens_total{where="host"}')" -gt "$before" ] && echo true)"
    t suspend far >"$work/out" 2>&1
    kill -TERM "$(pgrep -x tensord | head -n 1)" # the only one in this namespace
    sleep 1
    holds "it goes on with another tensord" 'from where it was suspended' "$(t resume far 2>&1)"
    before=$(metric 'offload_tokens_total{where="host"}')
    same "the same answer" "$first" "$(ask /v1/chat/completions "$question" | jq -r '.choices[0].message.content')"
    same "by the host" true "$([ "$(metric 'offload_tokens_total{where="host"}')" -gt "$before" ] && echo true)"
    t stop far >"$work/out" 2>&1
    t start far >"$work/out" 2>&1
    t suspend --ready far >"$work/out" 2>&1
    for i in 1 2; do
        holds "start $i from a ready state with tensord" 'from its ready state' "$(t start --ready far 2>&1)"
        draw >"$work/far.$i"
        same "by the host" 1 "$(metric offload_state)"
        t stop far >"$work/out" 2>&1
    done
    same "two starts draw differently" false "$(cmp -s "$work/far.1" "$work/far.2" && echo true || echo false)"
    t rm far >"$work/out" 2>&1
    kill -TERM "$(pgrep -x tensord | head -n 1)"
else
    echo "ok skipped: build/bin/tensord is not built"
fi
same "nothing is left" "" "$(v list --all --name)"
finish_checks
