#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# A real trained model (stories260K, F32) writes its recorded continuation at temperature 0, and the model
# reaches the guest in each of the four ways with the same answer.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh

want='Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to play with it, but it was too high.
Lily'"'"'s mom said, "Lily, let'"'"'s go to the park." Lily was sad and didn'"'"'t know what to do. She said, "I want to play with your ball, but'
if [ ! -f "$data/stories260K.gguf" ]; then
    # The file is not part of the project; the default model's test covers the rest of the path.
    echo "ok skipped: $data/stories260K.gguf is not here (TESSERA_TEST_DATA names its folder)"
    exit 0
fi
model=$data/stories260K.gguf
body='{"prompt":"Once upon a time","max_tokens":130,"temperature":0}'

for way in pmem blk module linked; do
    case $way in
    linked)
        check "image with the model linked in" make --no-print-directory image APP=llm MODEL="$model" LINK=1
        vm_start "$way" -m 64 -i build/images/llm-linked.elf
        ;;
    *) vm_start "$way" -m 64 -s "$way" -f "$model" ;;
    esac
    if ! why=$(vm_ready); then
        not_ok "$way: boots" "$why"
        vm_stop
        continue
    fi
    text=$(ask /v1/completions "$body" | jq -r '.choices[0].text')
    got="Once upon a time$text"
    same "$way: writes the recorded continuation" "$want" "${got:0:${#want}}"
    if [ $way = pmem ]; then
        streamed=$(ask /v1/completions '{"prompt":"Once upon a time","max_tokens":130,"temperature":0,"stream":true}' -N |
            sed -n 's/^data: \({.*\)/\1/p' | jq -j '.choices[0].text')
        same "streaming gives the same text" "$text" "$streamed"
        code=$(status_of -H 'Content-Type: application/json' -d '{"messages":[{"role":"user","content":"Hi"}]}' \
            "http://127.0.0.1:$vm_port/v1/chat/completions")
        holds "no chat template: /v1/chat/completions answers a 4xx" '^(4[0-9][0-9]|501)$' "$code"
    fi
    vm_stop
done

# 32 MB are enough under PVH.
vm_start small -m 32 -s pmem -f "$model"
if why=$(vm_ready); then
    text=$(ask /v1/completions "$body" | jq -r '.choices[0].text')
    got="Once upon a time$text"
    same "32 MB of memory: same text" "$want" "${got:0:${#want}}"
else
    not_ok "32 MB of memory: boots" "$why"
fi
vm_stop
finish_checks
