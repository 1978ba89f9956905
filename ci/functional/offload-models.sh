#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Guests whose tokens the host computes say what guests say that compute by themselves: trained models word for
# word, models of random weights by their logits after a forced prompt, within the stated tolerance across levels of
# kernels (tensor/README.md). And the daemon's store, metrics and statistics.
set -u
cd "$(dirname "$0")/../.." || exit 2
. ci/lib.sh
. ci/tensord.sh

logits_agree() { # FILE FILE TOLERANCE: worst difference, relative to the root mean square
    # shellcheck disable=SC2016 # JavaScript
    node -e '
const fs = require("fs");
const [a, b] = process.argv.slice(1, 3).map(f => { const x = fs.readFileSync(f); return new Float32Array(x.buffer, x.byteOffset, x.length / 4); });
if (a.length !== b.length || a.length < 100) { console.log(`${a.length} and ${b.length} logits`); process.exit(1); }
let worst = 0, squares = 0, best = [0, 0];
for (let i = 0; i < a.length; i++) {
    worst = Math.max(worst, Math.abs(a[i] - b[i])); squares += a[i] * a[i];
    if (a[i] > a[best[0]]) best[0] = i;
    if (b[i] > b[best[1]]) best[1] = i;
}
const off = worst / Math.sqrt(squares / a.length);
console.log(`worst ${off} of the rms, best ${best}`);
process.exit(off <= Number(process.argv[3]) ? 0 : 1);' "$1" "$2" "$3"
}
start() { # NAME MODEL COMMANDLINE: with the device if the command line says so
    local name=$1 model=$2 line=$3
    if [[ $line = *offload.mode=host* ]]; then
        seat "$name"
        offload_args "$name"
        vm_start "$name" -m 96 -f "$model" -t 200 -a "$line model.identity=$identity" -- "${device_args[@]}"
    else
        vm_start "$name" -m 96 -f "$model" -t 200 -a "$line"
    fi
    vm_ready 60
}
text() {
    ask /v1/completions "$1" | jq -c '.choices[0].text'
}
state() {
    curl -s --max-time 10 "http://$vm_host:$vm_port/metrics" | sed -n 's/^tessera_offload_state //p'
}

# ---- trained models: the same words ------------------------------------------------------------
body='{"prompt":"Once upon a time","max_tokens":100,"temperature":0,"ignore_eos":true}'
for model in "$data/stories260K.gguf" images/default-model/tessera-demo.gguf; do
    name=$(basename "$model" .gguf)
    if [ ! -f "$model" ]; then
        echo "(no $name here)"
        continue
    fi
    check "$name: a guest alone starts" start "$name-alone" "$model" ""
    want=$(text "$body")
    vm_stop
    daemon_start "d-$name" "$model" --threads 1
    check "$name: a guest with the host starts" start "$name-host" "$model" offload.mode=host
    same "$name: the host computes" 1 "$(state)"
    same "$name: the same greedy text" "$want" "$(text "$body")"
    vm_stop
    daemon_stop
done

# ---- random weights: the same logits -----------------------------------------------------------
make --no-print-directory build/bin/make-model >/dev/null || exit 1
prompt='{"tokens":[1,5,9,77,30,12,250,8,99,101,3,42,17,60,61,62,200,201,202,203,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37]}'
while read -r name type tolerance options; do
    file=$work/$name-$type.gguf
    # shellcheck disable=SC2086
    build/bin/make-model "$file" "$name" "$type" $options >/dev/null || exit 1
    check "$name $type: a guest alone starts" start "$name-$type-alone" "$file" ""
    ask /logits "$prompt" >"$work/alone"
    vm_stop
    daemon_start "d-$name-$type" "$file" --threads 1
    check "$name $type: a guest with the host starts" start "$name-$type-host" "$file" offload.mode=host
    ask /logits "$prompt" >"$work/host"
    check "$name $type: logits within $tolerance" logits_agree "$work/alone" "$work/host" "$tolerance"
    vm_stop
    [ "$name $type" = "llama q4_0" ] || daemon_stop
done <<'EOL'
qwen2 f32 1e-4
gemma2 q8_0 5e-2
llama q4_0 5e-2 embedding 256 layers 3 heads 8 kv_heads 4 head_dim 32 feed_forward 512 vocabulary 2000
EOL

# ---- the daemon that is still there ------------------------------------------------------------
made=$(control '{"op":"statistics"}' | jq '[.engines[].rows] | add')
check "the daemon counted its rows" test "$made" -ge 36
holds "it names its devices and only what is known of them" '"kind":"cpu","offered":true' "$(control '{"op":"devices"}')"
holds "the audit log knows the guest" '"guest":"llama-q4_0-host","event":"model"' "$(cat "$daemon/audit.log")"
holds "a request that is no request is refused" '"ok":false' "$(control 'nonsense')"
holds "weights that are no weights are refused" '"ok":false' "$(control '{"op":"add-model","path":"/etc/passwd"}')"
daemon_stop
check "the daemon takes its sockets with it" test ! -e "$daemon/tensord.sock"

# Weights by their hash, out of a store; metrics over HTTP.
model=images/default-model/tessera-demo.gguf
mkdir "$work/store"
cp "$model" "$work/store/new.gguf"
metrics_port=$(free_port)
daemon_start d-store "$model" --threads 1 # only to learn the identity
daemon_stop
mv "$work/store/new.gguf" "$work/store/${identity#sha256:}.gguf"
daemon=$work/d-store2
mkdir -m 700 "$daemon"
timeout -k 5 120 build/bin/tensord --dir "$daemon" --threads 1 --store "$work/store" --metrics "127.0.0.1:$metrics_port" 2>"$daemon/log" &
vm_pids+=($!)
daemon_timeout=$!
for _ in $(seq 100); do
    [ -S "$daemon/tensord.sock" ] && break
    sleep 0.05
done
holder=$(pgrep -P "$daemon_timeout")
check "a guest of the store's weights starts" start store "$model" offload.mode=host
same "the host computes with the store's file" 1 "$(state)"
text "$body" >/dev/null
metrics=$(curl -s --max-time 5 "http://127.0.0.1:$metrics_port/metrics")
holds "metrics count its tokens" 'tensord_guest_made_tokens_total\{guest="store"\} 100' "$metrics"
holds "and passes" '^tensord_passes_total [1-9]' "$metrics"
same "statistics over HTTP are JSON" store "$(curl -s --max-time 5 "http://127.0.0.1:$metrics_port/statistics" | jq -r '.guests[0].name')"
same "other paths are not found" 404 "$(status_of "http://127.0.0.1:$metrics_port/etc/passwd")"
vm_stop
kill "$daemon_timeout"
finish_checks
