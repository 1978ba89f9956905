#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Guests whose tokens the host computes (tensor calls over ivshmem-doorbell, stock QEMU, tensord): the same
# text and logits as guests that compute by themselves, whatever happens to the host meanwhile.
set -u
cd "$(dirname "$0")/../.." || exit 2
. ci/lib.sh
. ci/tensord.sh
model=images/default-model/tessera-demo.gguf
prompt="Once upon a time"
body='{"prompt":"'$prompt'","max_tokens":120,"temperature":0,"ignore_eos":true}'
long='{"prompt":"'$prompt'","max_tokens":400,"temperature":0.8,"seed":7,"ignore_eos":true}'

guest() { # NAME [CMDLINE]: a guest with the device
    local name=$1
    seat "$name"
    offload_args "$name"
    vm_start "$name" -m 96 -f $model -t 240 -a "model.identity=$identity ${2:-offload.mode=host}" -- "${device_args[@]}"
    vm_ready 60
}
text_of() { # BODY: the text of a completion
    ask /v1/completions "$1" | jq -c '.choices[0].text'
}
metric() { # NAME: its value
    curl -s --max-time 10 "http://$vm_host:$vm_port/metrics" | grep "^tessera_$1 " | sed 's/.* //'
}
wait_for_metric() { # NAME VALUE SECONDS
    local until=$((SECONDS + $3))
    while [ $SECONDS -lt $until ]; do
        [ "$(metric "$1")" = "$2" ] && return 0
        sleep 0.1
    done
    return 1
}

# ---- the reference: a guest alone ---------------------------------------------------------------------
vm_start alone -m 96 -f $model -t 240
check "a guest without the device starts" vm_ready 60
same "without the device this machine computes" 0 "$(metric offload_state)"
want=$(text_of "$body")
want_long=$(text_of "$long")
ask /logits '{"prompt":"'"$prompt"'"}' >"$work/logits.alone"
vm_stop

# ---- by the host --------------------------------------------------------------------------------------
daemon_start d1 $model --threads 1
check "a guest with the device starts" guest g1
same "the host computes" 1 "$(metric offload_state)"
same "greedy text is the guest's own" "$want" "$(text_of "$body")"
made=$(metric 'offload_tokens_total{where="host"}')
check "the host made it" test "${made:-0}" -ge 100
ask /logits '{"prompt":"'"$prompt"'"}' >"$work/logits.host"
# shellcheck disable=SC2016 # JavaScript
check "logits agree within a thousandth" node -e '
const fs = require("fs");
const [a, b] = process.argv.slice(1).map(f => { const x = fs.readFileSync(f); return new Float32Array(x.buffer, x.byteOffset, x.length / 4); });
const most = a.reduce((m, x) => Math.max(m, Math.abs(x)), 0), worst = a.reduce((m, x, i) => Math.max(m, Math.abs(x - b[i])), 0);
if (a.length !== b.length || a.length < 100 || !(worst < 1e-3 * most)) { console.log(a.length, b.length, worst); process.exit(1); }' \
    "$work/logits.alone" "$work/logits.host"
same "the host refused nothing" 0 "$(grep -c '"refused"' "$daemon/audit.log")"
holds "props say who computes" '"state":"host","epoch":1' "$(curl -s "http://$vm_host:$vm_port/props")"
vm_stop

check "auto starts" guest g2 "offload.mode=auto calls.bench=50"
holds "auto says both times and takes the faster" "a token takes the host [0-9.]+ ms, this machine about [0-9.]+ ms" \
    "$(cat "$vm_console")"
faster=$(sed -n 's/.*a token takes the host \([0-9.]*\) ms, this machine about \([0-9.]*\) ms.*/\1 \2/p' "$vm_console" |
    awk '{print ($1 < $2) ? 1 : 0}')
same "it is the one that computes" "$faster" "$(metric offload_state)"
for _ in $(seq 100); do
    grep -q '^call sleep' "$vm_console" && break
    sleep 0.1
done
holds "round trips are measured at boot" '^call spin [0-9.]+ [0-9.]+ 50' "$(tr -d '\r' <"$vm_console")"
holds "asleep, too" '^call sleep [0-9.]+ [0-9.]+ 50' "$(tr -d '\r' <"$vm_console")"
vm_stop

# Processes in the place of guests: eight at once by the host, each as alone.
prompts=("Once" "One plus" "The sky" "A planet" "A plan" "Two" "Who is" "What")
native() { # OPTIONS: sets native_pid, vm_host, vm_port
    vm_host=127.0.0.1
    vm_port=$(free_port)
    timeout 200 build/bin/llm-native "$model" --port "$vm_port" --threads 1 "$@" >"$work/native.log" 2>&1 &
    vm_pid=$!
    vm_pids+=("$vm_pid")
    vm_console=$work/native.log
    vm_ready 20
}
texts() { # FOLDER [&]: a file a prompt, all at once with &
    local i pids=()
    mkdir "$1"
    for i in "${!prompts[@]}"; do
        text_of '{"prompt":"'"${prompts[$i]}"'","max_tokens":150,"seed":'"$i"',"ignore_eos":true}' >"$1/$i" &
        [ -n "${2:-}" ] || wait $!
        pids+=($!)
    done
    wait "${pids[@]}"
}
check "a process computes alone" native
texts "$work/solo"
vm_stop
control '{"op":"add-guest","name":"p1","region_mb":64}' >/dev/null
check "a process plays a guest" native --offload "$daemon/p1.ivshmem" --identity "$identity"
texts "$work/host" at-once
check "eight texts at once by the host are those of one alone" diff -r "$work/solo" "$work/host"
same "the host made all of them" 1200 "$(metric 'offload_tokens_total{where="host"}')"
vm_stop

check "off starts" guest g3 "offload.mode=off"
same "off is off" 0 "$(metric offload_state)"
same "and has the same text" "$want" "$(text_of "$body")"
vm_stop

identity_before=$identity
identity=sha256:$(printf '0%.0s' $(seq 64))
check "a guest with weights that the host has not starts" guest g4
holds "it says so" "computed by this machine: .*not found" "$(cat "$vm_console")"
same "it answers" "$want" "$(text_of "$body")"
identity=$identity_before
vm_stop
kill "$daemon_timeout"

# ---- what happens to the host: bit for bit the same, so at the guest's own level of kernels -----------
daemon_start d2 $model --threads 1 --isa scalar
check "a guest for the host's accidents starts" guest g5
text_of "$long" >"$work/long" # its bits are the guest's
same "sampled text is the guest's own" "$want_long" "$(cat "$work/long")"

# Answers go on while the worker is killed again and again, mostly in the middle of runs.
(
    until [ -e "$work/enough" ]; do
        text_of "$long"
    done >"$work/texts"
) &
asker=$!
for _ in 1 2 3 4; do
    sleep 0.73
    kill -9 "$(worker)" 2>/dev/null
done
sleep 0.5
touch "$work/enough"
wait "$asker"
check "answers came beside four killed workers" test "$(wc -l <"$work/texts")" -ge 3
same "each is whole" "" "$(grep -vxF -- "$want_long" "$work/texts")"
check "the guest noticed" test "$(metric offload_losses_total)" -ge 2
check "the guest is back with the host" wait_for_metric offload_state 1 5
epoch=$(metric offload_epoch)
check "in another epoch" test "$epoch" -ge 2
before=$(metric 'offload_tokens_total{where="host"}')
same "the host's text again" "$want_long" "$(text_of "$long")"
check "made by the host" test "$(metric 'offload_tokens_total{where="host"}')" -gt "$before"

# A worker that stands still.
text_of "$long" >"$work/stopped" &
asker=$!
sleep 0.05
kill -STOP "$(worker)"
begun=$SECONDS
same "a host that stands still does not stop the guest" "$want" "$(text_of "$body")"
check "nor for long" test $((SECONDS - begun)) -le 30
same "the guest says that it computes" 0 "$(metric offload_state)"
holds "and why" "the host does not answer" "$(cat "$vm_console")"
wait "$asker"
same "the answer that was under way is whole" "$want_long" "$(cat "$work/stopped")"
kill -CONT "$(worker)"
check "it returns when the host goes on" wait_for_metric offload_state 1 10
same "with the same text" "$want" "$(text_of "$body")"
check "no page stays with a lost run" wait_for_metric offload_pages_quarantined 0 5

# A host that writes garbage: over its page, and over the completions, while an answer is under way. The guest must
# neither stop nor fall, and what it says must be right; the memory is the holder's.
region=$(find -L "/proc/$holder/fd" -maxdepth 1 -type f 2>/dev/null | while read -r f; do
    [[ $(readlink "$f") = *tessera-region* ]] && echo "$f"
done | head -n 1)
check "the region is found" test -n "$region"
text_of "$long" >"$work/garbage" &
asker=$!
kill -STOP "$(worker)" # so that nobody mends what is written
for i in 1 2 3 4 5 6; do
    head -c 384 /dev/urandom | dd of="$region" bs=128 seek=0 count=3 conv=notrunc status=none
    head -c 65536 /dev/urandom | dd of="$region" bs=16384 seek=1 conv=notrunc status=none
    sleep 0.1
done
wait "$asker"
same "an answer beside garbage is whole" "$want_long" "$(cat "$work/garbage")"
same "so is one after it" "$want" "$(text_of "$body")"
check "the guest lives beside garbage" kill -0 "$vm_pid"
kill -KILL "$(worker)" # the next one writes the page anew
check "with a host in its right mind it is offloaded again" wait_for_metric offload_state 1 10
same "with the same text as ever" "$want" "$(text_of "$body")"

# The holder: nobody will come any more.
kill -9 "$holder"
sleep 1
same "without a holder the guest answers" "$want" "$(text_of "$body")"
same "by itself" 0 "$(metric offload_state)"
same "and again" "$want" "$(text_of "$body")"
holds "it says that this is for good" "by itself from now on" "$(cat "$vm_console")"
check "the guest lives" kill -0 "$vm_pid"
vm_stop
finish_checks
