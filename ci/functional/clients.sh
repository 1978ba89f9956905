#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Real clients, good and bad, against one guest that must live through all of them: the npm `openai` client,
# curl, ab, slowhttptest, a prompt of 1 MB, 200 connections opened and dropped, broken requests.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
model=images/default-model/tessera-demo.gguf
key=test-key-7

if [ ! -d build/npm/node_modules/openai ]; then
    mkdir -p build/npm
    cp ci/functional/openai/package.json build/npm/
    (cd build/npm && npm install --no-audit --no-fund --silent) || not_ok "npm install openai" "npm failed"
fi
cp ci/functional/openai/client.mjs build/npm/

vm_start clients -c 2 -m 96 -t 600 -f "$model" -a "http.key=$key"
if ! why=$(vm_ready); then
    not_ok "the guest boots" "$why"
    finish_checks
    exit 1
fi
url=http://127.0.0.1:$vm_port
auth=(-H "Authorization: Bearer $key")
alive() {
    same "$1: the guest lives on" '{"status":"ok"}' "$(curl -s --max-time 10 "$url/health" | tr -d ' \n')"
}

BASE_URL=$url/v1 API_KEY=$key timeout 300 node build/npm/client.mjs >"$work/openai.log" 2>&1
grep -E '^(ok|not ok) ' "$work/openai.log" || not_ok "openai client" "$(tail -c 300 "$work/openai.log")"
bad_checks=$((bad_checks + $(grep -c '^not ok' "$work/openai.log")))

# The key guards every route but /health and /v1/models.
same "no key: /health" 200 "$(status_of "$url/health")"
same "no key: /v1/models" 200 "$(status_of "$url/v1/models")"
for route in /metrics /props; do
    same "no key: $route" 401 "$(status_of "$url$route")"
    same "key: $route" 200 "$(status_of "${auth[@]}" "$url$route")"
done
for route in /v1/completions /v1/chat/completions /tokenize /detokenize; do
    same "no key: $route" 401 "$(status_of -d '{}' "$url$route")"
done
same "X-Api-Key works too" 200 "$(status_of -H "X-Api-Key: $key" "$url/metrics")"
same "a key that is a prefix of the right one" 401 "$(status_of -H "Authorization: Bearer ${key%?}" "$url/metrics")"

# Errors in OpenAI's shape, naming the field.
error_names() { # NAME STATUS FIELD PATH BODY
    local answer
    answer=$(ask "$4" "$5" "${auth[@]}" -w '\n%{http_code}')
    same "$1: status" "$2" "$(tail -n 1 <<<"$answer")"
    holds "$1: message" "$3" "$(jq -r '.error | select(.type and .code).message' <<<"$(sed '$d' <<<"$answer")" 2>&1)"
}
error_names "bad JSON" 400 'JSON' /v1/chat/completions '{"messages":'
error_names "messages of the wrong type" 400 'messages' /v1/chat/completions '{"messages":5}'
error_names "no messages" 400 'messages' /v1/chat/completions '{}'
error_names "role missing" 400 'messages\[0\]\.role|role' /v1/chat/completions '{"messages":[{"content":"x"}]}'
error_names "max_tokens of the wrong type" 400 'max_tokens' /v1/completions '{"prompt":"a","max_tokens":"many"}'
error_names "stop of the wrong type" 400 'stop' /v1/completions '{"prompt":"a","stop":5}'
error_names "token out of range" 400 'tokens|prompt' /v1/completions '{"prompt":[99999999]}'
error_names "no such route" 404 '.' /v1/nothing '{}'
same "wrong method" 405 "$(status_of "${auth[@]}" "$url/v1/chat/completions")"

# A prompt of 1 MB does not fit the context: a 4xx that says so, quickly.
head -c 1000000 /dev/zero | tr '\0' 'a' >"$work/long"
jq -Rsc '{messages:[{role:"user",content:.}]}' "$work/long" >"$work/long.json"
answer=$(curl -s --max-time 60 "${auth[@]}" -H 'Content-Type: application/json' -w '\n%{http_code}' \
    --data-binary "@$work/long.json" "$url/v1/chat/completions")
same "a prompt of 1 MB: status" 400 "$(tail -n 1 <<<"$answer")"
holds "a prompt of 1 MB: type" exceed_context_size_error "$answer"
head -c 9000000 /dev/zero | tr '\0' ' ' >"$work/huge"
same "a body of 9 MB" 413 "$(status_of "${auth[@]}" --data-binary "@$work/huge" "$url/v1/completions")"
alive "after long prompts"

# A long text is tokenised beside the network, not in its place.
jq -Rsc '{content:.}' "$work/long" >"$work/text.json"
(curl -s --max-time 60 "${auth[@]}" --data-binary "@$work/text.json" -o "$work/tokens" "$url/tokenize"; touch "$work/tokenised") &
long_pid=$!
for _ in 1 2 3; do alive "while 1 MB is tokenised"; done
same "those answers did not wait for it" absent "$([ -e "$work/tokenised" ] && echo present || echo absent)"
wait $long_pid
holds "1 MB is tokenised" '"tokens":\[[0-9]' "$(head -c 100 "$work/tokens")"

# Load.
timeout 120 ab -q -n 2000 -c 16 "$url/health" >"$work/ab" 2>&1
holds "ab -n 2000 -c 16: all complete" '^Complete requests: +2000' "$(cat "$work/ab")"
holds "ab -n 2000 -c 16: none fail" '^Failed requests: +0' "$(cat "$work/ab")"
timeout 120 ab -q -k -n 2000 -c 16 "$url/health" >"$work/abk" 2>&1
holds "ab with keep-alive: none fail" '^Failed requests: +0' "$(cat "$work/abk")"
alive "after ab"

# Slow clients: headers, body, reading. The server must stay available to others meanwhile.
slow() { # NAME SLOWHTTPTEST-ARGUMENTS
    local name=$1
    shift
    (cd "$work" && timeout 60 slowhttptest "$@" -c 60 -r 30 -l 12 -p 3 -u "$url/health" >"$name.slow" 2>&1) &
    local slow_pid=$!
    sleep 5
    alive "during slowhttptest $name"
    wait $slow_pid
}
slow headers -H -i 3
slow body -B -i 3 -s 8192
slow read -X -w 1 -y 8 -n 2 -z 4 -k 3
alive "after slowhttptest"

# 200 connections opened and dropped, half of them in the middle of a request.
for i in $(seq 200); do
    exec 3<>"/dev/tcp/127.0.0.1/$vm_port" || break
    [ $((i % 2)) -eq 0 ] && printf 'POST /v1/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{' >&3
    exec 3>&-
done
alive "after 200 dropped connections"

# Clients that vanish in the middle of a stream free their requests.
for _ in $(seq 6); do
    timeout 0.5 curl -sN "${auth[@]}" -d '{"prompt":"one two","max_tokens":220,"ignore_eos":true,"stream":true}' \
        "$url/v1/completions" >/dev/null 2>&1
done
running=1
for _ in $(seq 40); do
    running=$(curl -s "${auth[@]}" "$url/metrics" | awk '/^tessera_requests_processing /{print $2}')
    [ "${running:-1}" = 0 ] && break
    sleep 0.25
done
same "vanished clients free their requests" 0 "${running:-unknown}"

# Protocol corners.
raw() { # SECONDS < REQUEST: prints the answer
    timeout "$1" socat -t"$1" - "TCP:127.0.0.1:$vm_port"
}
answer=$(printf 'GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' | raw 5)
same "two pipelined requests get two answers" 2 "$(grep -c 'HTTP/1.1 200' <<<"$answer")"
answer=$(printf 'GARBAGE\r\n\r\n' | raw 5)
holds "garbage gets a 400" '^HTTP/1.1 400' "$answer"
answer=$(printf 'POST /tokenize HTTP/1.1\r\nHost: a\r\nX-Api-Key: %s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n8\r\n{"conten\r\n9\r\nt":"a b"}\r\n0\r\n\r\n' "$key" | raw 5)
holds "a chunked request body" '"tokens"' "$answer"
answer=$(printf 'POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' | raw 5)
holds "length and chunked together: 400" '^HTTP/1.1 400' "$answer"
answer=$(curl -s --max-time 10 -H 'Expect: 100-continue' "${auth[@]}" -d '{"content":"a"}' -v "$url/tokenize" 2>&1)
holds "Expect: 100-continue" '100 Continue' "$answer"

# Tokens there and back.
ids=$(ask /tokenize '{"content":"What is 3 plus 4?"}' "${auth[@]}" | jq -c .tokens)
text=$(ask /detokenize "{\"tokens\":$ids}" "${auth[@]}" | jq -r .content)
same "tokenize and detokenize" "What is 3 plus 4?" "$text"

# What Prometheus reads.
metrics=$(curl -s "${auth[@]}" "$url/metrics")
for m in prompt_tokens_total tokens_predicted_total requests_processing time_to_first_token_seconds_bucket kv_cache_usage; do
    holds "metrics: $m" "$m" "$metrics"
done
alive "at the end"

# The power button drains and powers off.
echo system_powerdown | socat -t1 - "UNIX-CONNECT:$vm_monitor" >/dev/null
gone=no
for _ in $(seq 50); do
    kill -0 "$vm_pid" 2>/dev/null || {
        gone=yes
        break
    }
    sleep 0.2
done
same "the power button powers off" yes $gone
finish_checks
