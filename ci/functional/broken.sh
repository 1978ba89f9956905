#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Models that are not there or not whole: the guest says what is wrong and lives on.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
model=images/default-model/tessera-demo.gguf

# refused NAME PATTERN VM_START-ARGUMENTS: every route says 503 with a reason, the console too.
refused() {
    local name=$1 pattern=$2 code="" text
    shift 2
    vm_start "$name" -m 64 "$@"
    for _ in $(seq 100); do
        code=$(status_of "http://127.0.0.1:$vm_port/health")
        [ "$code" = 503 ] && ! curl -s "http://127.0.0.1:$vm_port/health" | grep -q 'Loading model' && break
        kill -0 "$vm_pid" 2>/dev/null || break
        sleep 0.1
    done
    same "$name: /health is 503" 503 "$code"
    text=$(curl -s --max-time 5 "http://127.0.0.1:$vm_port/health")
    holds "$name: says what is wrong" "$pattern" "$text"
    same "$name: completions too" 503 "$(status_of -d '{"prompt":"a"}' "http://127.0.0.1:$vm_port/v1/completions")"
    same "$name: the machine still runs" 0 "$(kill -0 "$vm_pid"; echo $?)"
    vm_stop
}

size=$(stat -c %s $model)
head -c $((size / 2)) $model >"$work/half.gguf"
head -c 100 $model >"$work/head.gguf"
head -c 4194304 /dev/zero >"$work/empty.img"
head -c 65536 /dev/urandom >"$work/noise.img"
refused "truncated file on a disk" 'tensor|past the end|truncated|bytes' -s blk -f "$work/half.gguf"
refused "truncated file mapped" 'tensor|past the end|truncated|bytes' -s pmem -f "$work/half.gguf"
refused "100 bytes of a model" 'GGUF|truncated|past the end|ends' -s module -f "$work/head.gguf"
refused "empty disk" 'GGUF|model' -s blk -f "$work/empty.img"
refused "noise on a disk" 'GGUF|model' -s blk -f "$work/noise.img"
refused "no model at all" 'model' -s none
finish_checks
