#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `make run`: boots a model's virtual machine under QEMU, waits until it serves, streams one answer
# through its HTTP endpoint, prints URL, boot time and memory, and stays until Ctrl-C.
# Environment: MODEL PROMPT PORT ONCE MEMORY CPUS MACHINE (defaults below; `make help` explains them).
set -euo pipefail
cd "$(dirname "$0")/.."

default_model=images/default-model/tessera-demo.gguf
model=${MODEL:-$default_model}
port=${PORT:-8080}
once=${ONCE:-}
machine=${MACHINE:-q35}
image=${IMAGE:-build/images/llm.elf}
cpus=${CPUS:-$(nproc)}
state=build/run/$port
console=$state/console.log

fail() {
    echo "run: $*" >&2
    exit 1
}
say() {
    printf '\033[1m==>\033[0m %s\n' "$*"
}
[ -t 1 ] || say() {
    printf '==> %s\n' "$*"
}

[ -f "$model" ] || fail "no such model file: $model (MODEL=path.gguf)"
[ "$(head -c 4 "$model")" = GGUF ] || fail "$model is not a GGUF file (it does not begin with 'GGUF')"
[ -f "$image" ] || fail "$image is not built; run 'make image APP=llm' first"
case $port in
'' | *[!0-9]*) fail "PORT must be a number, not '$port'" ;;
esac
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    fail "port $port is in use on this machine; choose another: make run PORT=8081"
fi
mkdir -p "$state" build/models

# The weights reach the guest as a read-only mapping, which must be whole pages long (on microvm a power
# of two). A file that is not is copied once and padded; the user's own file is never altered.
size=$(stat -Lc %s "$model")
mapped=$model
room=$(((size + 4095) / 4096 * 4096))
if [ "$machine" = microvm ]; then
    room=1048576
    while [ $room -lt "$size" ]; do
        room=$((room * 2))
    done
fi
if [ "$size" -ne $room ]; then
    key=$(stat -Lc '%d-%i-%s-%Y' "$model")
    mapped=build/models/$(basename "$model" .gguf)-$key-$room.gguf
    if [ ! -f "$mapped" ]; then
        say "Padding a copy of $model to whole pages: $mapped"
        cp --reflink=auto "$model" "$mapped.part"
        chmod u+w "$mapped.part"
        truncate -s $room "$mapped.part"
        mv "$mapped.part" "$mapped"
    fi
    size=$room
fi
mapped=$(realpath "$mapped")

# A KV cache and working memory grow with the model; the weights themselves take none of it.
memory=${MEMORY:-$((64 + size / 1048576 / 4))}
slot=$((size / 1048576 / 128 * 128 + 1152)) # room for it in the address space, rounded up

# shellcheck source=ci/accel.sh
. ci/accel.sh
accelerator

case $machine in
microvm) # has no device memory for virtio-pmem; ivshmem maps the file as well
    machine_args=(-M "microvm,pcie=on" -m "${memory}M" -device ivshmem-plain,memdev=w0)
    ;;
q35 | pc)
    machine_args=(-M "$machine" -bios qboot.rom -m "${memory}M,slots=1,maxmem=$((memory + slot))M"
        -device virtio-pmem-pci,id=p0,memdev=w0)
    ;;
*) fail "MACHINE must be q35, pc or microvm, not '$machine'" ;;
esac

say "Booting $(basename "$model") ($((size / 1024)) KiB, mapped read-only) on $machine, $cpus CPUs, $memory MB, $accel_text"
rm -f "$state/boot_ms" "$state/monitor.in" "$state/monitor.out"
mkfifo "$state/monitor.in" "$state/monitor.out"
build/bin/bootclock -p "$port" -o "$state/boot_ms" -t "${BOOT_TIMEOUT:-60}" -- \
    qemu-system-x86_64 "${machine_args[@]}" "${accel_args[@]}" -nodefaults -no-user-config -no-reboot \
    -display none -smp "$cpus" \
    -object "memory-backend-file,id=w0,mem-path=$mapped,size=$size,share=on,readonly=on" \
    -netdev "user,id=n0,hostfwd=tcp:127.0.0.1:$port-:80" -device virtio-net-pci,netdev=n0,romfile= \
    -device virtio-rng-pci -device pvpanic-pci -action panic=exit-failure \
    -chardev "file,id=c0,path=$console" -serial chardev:c0 \
    -chardev "pipe,id=m0,path=$state/monitor" -mon chardev=m0,mode=readline \
    -kernel "$image" -append "${APPEND:-}" &
vm=$!

finish() {
    trap - INT TERM EXIT
    if kill -0 "$vm" 2>/dev/null; then
        # The power button: the guest finishes its answers, then powers off.
        press
        for _ in $(seq 50); do
            kill -0 "$vm" 2>/dev/null || break
            sleep 0.1
        done
        kill "$vm" 2>/dev/null || true
    fi
    wait "$vm" 2>/dev/null || true
}
press() {
    # QEMU holds the other end of the pipe; the time-out is for when it is gone.
    timeout 2 tee "$state/monitor.in" >/dev/null <<<system_powerdown || true
}
trap 'echo; finish; exit 0' INT TERM
trap finish EXIT

for _ in $(seq $((${BOOT_TIMEOUT:-60} * 20))); do
    [ -s "$state/boot_ms" ] && break
    if ! kill -0 "$vm" 2>/dev/null; then
        break
    fi
    sleep 0.05
done
if [ ! -s "$state/boot_ms" ]; then
    echo "--- the guest's console ($console), last lines:" >&2
    tail -n 25 "$console" >&2 || true
    fail "the virtual machine did not serve /health"
fi

url=http://localhost:$port
prompt=${PROMPT:-What is 3 plus 4?}
say "Asking: $prompt"
body=$(jq -cn --arg p "$prompt" '{messages:[{role:"user",content:$p}],stream:true,temperature:0,max_tokens:256}')
answer=$state/answer.sse
if ! curl -sS -N --max-time 600 -H 'Content-Type: application/json' -d "$body" \
    "http://127.0.0.1:$port/v1/chat/completions" | tee "$answer" |
    sed -un 's/^data: \({.*\)/\1/p' | jq -j --unbuffered '.choices[0].delta.content // empty'; then
    fail "the answer broke off"
fi
echo
if ! grep -q '^data: \[DONE\]' "$answer"; then
    if grep -q '"not_supported_error"' "$answer"; then
        # No chat format in this file: it continues text instead.
        say "This model has no chat format; continuing the text instead"
        body=$(jq -cn --arg p "$prompt" '{prompt:$p,stream:true,temperature:0,max_tokens:128}')
        curl -sS -N --max-time 600 -H 'Content-Type: application/json' -d "$body" \
            "http://127.0.0.1:$port/v1/completions" | tee "$answer" |
            sed -un 's/^data: \({.*\)/\1/p' | jq -j --unbuffered '.choices[0].text // empty'
        echo
    fi
    grep -q '^data: \[DONE\]' "$answer" || fail "no complete answer came: $(head -c 400 "$answer")"
fi

say "URL       $url/v1/chat/completions"
say "boot      $(cat "$state/boot_ms") ms from QEMU's start to the first 200 of /health"
used=$(curl -sS --max-time 5 "http://127.0.0.1:$port/metrics" | awk '/^tessera_memory_used_bytes /{printf "%.1f", $2/1048576}')
say "memory    ${used:-?} MB of $memory MB in use in the guest"
if [ -n "$once" ] && [ "$once" != 0 ]; then
    exit 0
fi
say "serving until Ctrl-C; try: curl $url/v1/chat/completions -d '{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'"
wait "$vm" || true
