#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `tessera` run natively: what its commands print, that threads, chunks, guesses and packing change
# nothing, and that what is wrong is refused with a message that names it.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
t=${TESSERA:-build/bin/tessera}
demo=images/default-model/tessera-demo.gguf

# refused NAME STATUS PATTERN COMMAND…: the exit status and a line on standard error.
refused() {
    local name=$1 status=$2 pattern=$3 found
    shift 3
    "$@" >"$work/out" 2>"$work/err" </dev/null
    found=$?
    if [ $found -eq "$status" ] && grep -qE -- "$pattern" "$work/err"; then
        ok "$name"
    else
        not_ok "$name" "exit $found (wanted $status), '$(head -c 300 "$work/err")' (wanted /$pattern/)"
    fi
}
json() { # NAME FILTER COMMAND…: JSON for which the filter holds
    local name=$1 filter=$2
    shift 2
    "$@" >"$work/out" 2>"$work/err" </dev/null
    if jq -e "$filter" "$work/out" >/dev/null 2>&1; then
        ok "$name"
    else
        not_ok "$name" "$(head -c 200 "$work/out" "$work/err" | tr '\n' ' ')"
    fi
}
near() { # NAME WANTED FOUND TOLERANCE
    if awk -v a="$2" -v b="$3" -v e="$4" 'BEGIN {d = a - b; exit !(b != "" && d <= e && -d <= e)}'; then
        ok "$1"
    else
        not_ok "$1" "wanted $2 within $4, found '$3'"
    fi
}

check "--help" "$t" --help
for command in $("$t" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
    holds "$command --help names its usage" "Usage: tessera $command" "$("$t" "$command" --help 2>&1)"
done

# ---- a trained model ---------------------------------------------------------------------------
if [ -f "$data/stories260K.gguf" ]; then
    model=$data/stories260K.gguf
    want='Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to play with it, but it was too high.
Lily'"'"'s mom said, "Lily, let'"'"'s go to the park." Lily was sad and didn'"'"'t know what to do. She said, "I want to play with your ball, but'
    for way in "" "-t 1" "--lookup 5" "--draft $model" "--kv f16" "--isa scalar" "--isa avx2 --lookup 3"; do
        # shellcheck disable=SC2086
        got="Once upon a time$("$t" generate "$model" --prompt "Once upon a time" --temperature 0 -n 130 $way 2>"$work/err")"
        same "generate ${way:-as it is}: the recorded continuation" "$want" "${got:0:${#want}}"
    done
    ids=$(awk 'BEGIN {for (i = 0; i < 512; i++) printf "%s%d", i ? "," : "", (i * 7919 + 13) % 512}')
    # llama.cpp's value for the same ids, with a KV cache of F32.
    found=$("$t" eval "$model" --tokens "$ids" --json | jq .nll)
    near "negative log-likelihood of 512 ids is llama.cpp's" 17.960173927 "$found" 1e-4
    near "and with KV in f16 nearly" "$found" "$("$t" eval "$model" --tokens "$ids" --json --kv f16 | jq .nll)" 0.1
    refused "a KV type that heads of 8 values do not fit" 1 "heads of 8 values do not fit" \
        "$t" eval "$model" --tokens 1,2 --kv q8_0
else
    echo "ok skipped: $data/stories260K.gguf is not here (TESSERA_TEST_DATA names its folder)"
fi

# ---- the default model: what must not change anything ------------------------------------------
text="What is 3 plus 4? What is the capital of France? ÄÖ 漢字 "
ids=$(printf '%s' "$text" | "$t" tokenize $demo)
holds "tokenize gives a JSON array" '^\[[0-9]+(,[0-9]+)*\]$' "$ids"
ids=${ids//[\[\] ]/}
same "detokenize gives the text back" "$text" "$("$t" detokenize $demo "$ids")"
"$t" eval $demo --tokens "$ids" --logits "$work/logits" --all -t 1 >"$work/out" 2>&1
same "eval --all writes a row a position" "$(tr , '\n' <<<"$ids" | wc -l)" \
    "$(($(stat -c %s "$work/logits") / 4 / $("$t" bench $demo -p 0 -n 1 -r 1 --json | jq .vocabulary)))"
for way in "-t 2" "--chunk 1" "--chunk 7 -t 2"; do
    # shellcheck disable=SC2086
    "$t" eval $demo --tokens "$ids" --logits "$work/other" --all $way >"$work/out" 2>&1
    check "eval $way: the same bits" cmp "$work/logits" "$work/other"
done
plain=$("$t" generate $demo --prompt "What is 3 plus 4?" --seed 5 -n 40 --ids 2>/dev/null)
for way in "--lookup 4" "--draft $demo --draft-tokens 3"; do
    # shellcheck disable=SC2086
    same "generate $way: the seed's text" "$plain" \
        "$("$t" generate $demo --prompt "What is 3 plus 4?" --seed 5 -n 40 --ids $way 2>/dev/null)"
done
rm "$work/other"
check "pack" "$t" pack $demo "$work/packed.gguf"
"$t" eval "$work/packed.gguf" --tokens "$ids" --logits "$work/other" --all >"$work/out" 2>&1
check "eval of the packed file: the same bits" cmp "$work/logits" "$work/other"
whole=$("$t" eval $demo --tokens "$ids" --json | jq .nll)
for kv in f16 q8_0 q4_0; do
    near "eval with KV in $kv" "$whole" "$("$t" eval $demo --tokens "$ids" --json --kv $kv | jq .nll)" 1
done
for type in f16 q8_0 q4_0; do
    check "quantize to $type" "$t" quantize $demo "$work/$type.gguf" $type
    near "eval of the $type file" "$whole" "$("$t" eval "$work/$type.gguf" --tokens "$ids" --json | jq .nll)" 2
done
near "perplexity of a text" 1 "$(printf 'What is 3 plus 4?' | "$t" eval $demo --text - --json | jq '.tokens > 2 and .perplexity >= 1 | if . then 1 else 0 end')" 0

# ---- JSON --------------------------------------------------------------------------------------
json "generate --json" '(.tokens | length) <= 5 and .finish != null' "$t" generate $demo --prompt Hi -n 5 --json
json "eval --json" '.nll > 0 and .tokens > 3' "$t" eval $demo --tokens "$ids" --json
json "bench --json" '(.rows | length) == 4 and (.rows[0].tokens_per_s | length) == 2 and .rows[0].test == "pp16"' \
    "$t" bench $demo -p 16 -n 3 -t 1,2 -r 2 --json
json "bench --sequences" '.rows[1].sequences == 8' "$t" bench $demo -p 0 -n 3 -t 1 -r 1 --sequences 1,8 --json
json "bench --trace" '.rows[0].trace | length > 3' "$t" bench $demo -p 16 -n 0 -t 1 -r 1 --trace --json
json "bench --lookup" '.rows[0] | .steps > 0 and .accepted_tokens <= .drafted_tokens' \
    "$t" bench $demo --lookup 4 -n 30 -r 1 -t 1 --json
json "tokenize --json" 'length == 0 or type == "array"' "$t" tokenize $demo --json
json "detokenize --json" 'type == "string"' "$t" detokenize $demo "$ids" --json

# ---- embeddings --------------------------------------------------------------------------------
check "make-model" make --no-print-directory build/bin/make-model build/bin/llm-native
build/bin/make-model "$work/bert.gguf" bert F16 pooling 1 >"$work/out" 2>&1
json "embed --json: a vector of length 1" '.tokens > 2 and (.embedding | map(. * .) | add - 1 | fabs) < 1e-3' \
    "$t" embed "$work/bert.gguf" --text "hello world" --json
vector=$("$t" embed "$work/bert.gguf" --text "hello world" | jq -c .)
port=$(free_port)
timeout 60 build/bin/llm-native "$work/bert.gguf" --port "$port" >"$work/native" 2>&1 &
vm_pids+=($!)
vm_host=127.0.0.1 vm_port=$port
for _ in $(seq 100); do
    [ "$(status_of "http://127.0.0.1:$port/health")" = 200 ] && break
    sleep 0.1
done
same "/v1/embeddings gives the same vector" "$vector" \
    "$(ask /v1/embeddings '{"input":"hello world"}' | jq -c '.data[0].embedding')"
same "and among others" "$vector" \
    "$(ask /v1/embeddings '{"input":["x","hello world","a b c"]}' | jq -c '.data[1].embedding')"
same "as base64 it has four bytes a number" "$(jq length <<<"$vector")" \
    "$(($(ask /v1/embeddings '{"input":"x","encoding_format":"base64"}' | jq -r '.data[0].embedding' | base64 -d | wc -c) / 4))"
holds "it foretells no tokens and says so" "foretells no tokens" "$(ask /v1/completions '{"prompt":"x"}')"
refused "generate of a model that embeds" 1 "see .tessera embed" "$t" generate "$work/bert.gguf" --prompt Hi

# ---- what is wrong -----------------------------------------------------------------------------
"$t" >"$work/out" 2>&1
same "no command is wrong usage" 2 $?
refused "an unknown command" 2 "no command 'fly'" "$t" fly
refused "an unknown option" 2 "no option '--wings'" "$t" generate $demo --wings
refused "no prompt" 2 "wanted: MODEL" "$t" generate $demo
refused "a KV type there is not" 2 "'f64' is none of" "$t" generate $demo --prompt Hi --kv f64
refused "an ISA level there is not" 2 "'sse9' is none of" "$t" generate $demo --prompt Hi --isa sse9
refused "a temperature below 0" 2 "--temperature" "$t" generate $demo --prompt Hi --temperature -1
refused "a file that is not there" 1 "nothing.gguf" "$t" generate nothing.gguf --prompt Hi
refused "a file that is no GGUF" 1 "README.md" "$t" generate README.md --prompt Hi
head -c 5000 $demo >"$work/cut.gguf"
refused "a file that was cut off" 1 "cut.gguf" "$t" generate "$work/cut.gguf" --prompt Hi
refused "an id outside the vocabulary" 1 "vocabulary" "$t" generate $demo --tokens 1,99999999
refused "ids that are no numbers" 2 "'x' is not a list" "$t" eval $demo --tokens 1,x
refused "a prompt beyond the context" 1 "context" "$t" eval $demo --tokens "$(seq -s, 1 9000)"
refused "embed of a model that does not" 1 "embeddings" "$t" embed $demo --text Hi
refused "a type there is not" 2 "q9_9" "$t" quantize $demo "$work/x.gguf" q9_9
refused "output that cannot be written" 1 "/nowhere" "$t" eval $demo --tokens 1,2 --logits /nowhere/x
if [ -f "$data/stories260K.gguf" ]; then
    refused "a draft of another vocabulary" 1 "vocabulary" "$t" generate $demo --prompt Hi --draft "$data/stories260K.gguf"
fi
finish_checks
