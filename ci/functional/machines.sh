#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The same answer on every machine: q35, pc, microvm (virtio over MMIO and over PCIe), UEFI; 1, 2 and 8 CPUs;
# 64 MB to 6 GB of memory. Logits are compared bit for bit (GET-able as raw float32 from POST /logits).
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
model=$data/stories260K.gguf
[ -f "$model" ] || model=images/default-model/tessera-demo.gguf
body='{"prompt":"Once upon a time","max_tokens":24,"temperature":0}'
reference="" reference_logits=""

# on NAME VM_START-ARGUMENTS
on() {
    local name=$1 why text logits
    shift
    vm_start "$name" -f "$model" "$@"
    if ! why=$(vm_ready 60); then
        not_ok "$name: boots and serves" "$why"
        vm_stop
        return
    fi
    text=$(ask /v1/completions "$body" | jq -r '.choices[0].text')
    logits=$(ask /logits '{"prompt":"Once upon a time, there was a"}' | sha256sum | cut -c1-16)
    bytes=$(ask /logits '{"prompt":"Once upon a time, there was a"}' | wc -c)
    if [ -z "$reference" ]; then
        reference=$text
        reference_logits=$logits
        holds "$name: answers text" '[a-z]' "$text"
        holds "$name: logits are a row of float32" '^[0-9]{4,}$' "$bytes"
    else
        same "$name: same text" "$reference" "$text"
        same "$name: same logits, bit for bit" "$reference_logits" "$logits"
    fi
    vm_stop
}

on "q35 1 CPU 64 MB" -M q35 -c 1 -m 64
on "q35 2 CPUs 64 MB" -M q35 -c 2 -m 64
on "q35 8 CPUs 6 GB" -M q35 -c 8 -m 6144
on "pc 1 CPU 64 MB" -M pc -c 1 -m 64
on "pc 2 CPUs 3.5 GB" -M pc -c 2 -m 3584
on "pc 8 CPUs 6 GB" -M pc -c 8 -m 6144
on "microvm 1 CPU 64 MB (MMIO, disk)" -M microvm -c 1 -m 64 -s blk
on "microvm 2 CPUs 512 MB (MMIO, module)" -M microvm -c 2 -m 512 -s module
on "microvm 8 CPUs 6 GB (MMIO, disk)" -M microvm -c 8 -m 6144 -s blk
on "microvm 2 CPUs 64 MB (PCIe, mapped)" -M microvm,pcie=on -c 2 -m 64
if [ -f build/images/llm.esp.img ]; then
    on "UEFI 1 CPU 64 MB" -u -c 1 -m 64
    on "UEFI 2 CPUs 256 MB" -u -c 2 -m 256
    on "UEFI 8 CPUs 6 GB" -u -c 8 -m 6144
else
    not_ok "UEFI" "build/images/llm.esp.img is not built"
fi

# The rings: split and packed, more queues than one, no MSI-X.
on "q35 packed rings" -M q35 -c 2 -m 64 -- -global virtio-net-pci.packed=on
on "q35 no MSI-X" -M q35 -c 1 -m 64 -- -global virtio-net-pci.vectors=0
finish_checks
