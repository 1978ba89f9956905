# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The daemon for functional tests and benches: started in a folder of its own, asked over its control
# socket, ended by its process id. Source it after ci/lib.sh.

# control JSON: the daemon's answer.
control() {
    socat -t 30 - "UNIX-CONNECT:$daemon/tensord.sock" <<<"$1"
}
# daemon_start NAME MODEL [OPTIONS]: sets daemon (its folder), holder (process id), identity (of the model).
daemon_start() {
    daemon=$work/$1
    local model=$2
    mkdir -m 700 "$daemon"
    shift 2
    timeout -k 5 "${DAEMON_LIMIT:-300}" build/bin/tensord --dir "$daemon" "$@" >"$daemon/log" 2>&1 &
    daemon_timeout=$!
    vm_pids+=("$daemon_timeout")
    disown # it may be killed on purpose, and nobody need be told
    for _ in $(seq 200); do
        [ -S "$daemon/tensord.sock" ] && break
        sleep 0.05
    done
    holder=$(pgrep -P "$daemon_timeout")
    identity=$(control '{"op":"add-model","path":"'"$(realpath "$model")"'"}' | jq -r .identity)
}
daemon_stop() {
    kill "$daemon_timeout" 2>/dev/null
    tail --pid="$holder" -s 0.05 -f /dev/null
}
worker() {
    pgrep -P "$holder" | head -n 1
}
# seat NAME [MEMBERS]: makes a guest known; MEMBERS are more JSON, as in ',"weight":50'.
seat() {
    control '{"op":"add-guest","name":"'"$1"'","region_mb":'"${REGION_MB:-64}""${2:-}"'}' >/dev/null
}
# offload_args NAME: sets device_args, QEMU's arguments for the guest's seat. QEMU's emulator drops the guest's fences
# where there can be one CPU only, and with them, now and then, a doorbell: hence maxcpus.
offload_args() {
    # shellcheck disable=SC2034
    device_args=(-chardev "socket,id=hc,path=$daemon/$1.ivshmem" -device ivshmem-doorbell,vectors=2,chardev=hc
        -smp maxcpus=4)
}
