#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The console shell, typed at over a serial line: every command, line editing, Ctrl-C, reboot and shutdown.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
model=images/default-model/tessera-demo.gguf
serial=$work/serial

# Pipes: QEMU repeats a byte now and then where it writes one by one to a socket whose reader is slow.
mkfifo "$serial.in" "$serial.out"
# Log lines would come between what is typed and answered. The last option makes the machine start again where the guest asks for it.
vm_start shell -c 2 -m 96 -f $model -a log=warn -S chardev:c0 -- -chardev "pipe,id=c0,path=$serial" -action reboot=reset
timeout 120 cat "$serial.out" >"$vm_console" &
vm_pids+=($!)
exec 4<>"$serial.in"
if ! why=$(vm_ready); then
    not_ok "the guest boots" "$why"
    finish_checks
    exit 1
fi

mark=0
# keys TEXT (as printf's format): types; what is said from here on is looked at.
keys() {
    mark=$(stat -c %s "$vm_console")
    # shellcheck disable=SC2059 # escapes are wanted
    printf "$1" >&4
}
said() {
    tail -c "+$((mark + 1))" "$vm_console" | tr -d '\r'
}
# heard PATTERN SECONDS
heard() {
    local until=$((SECONDS + $2))
    while [ $SECONDS -lt $until ]; do
        said | grep -qE -- "$1" && return 0
        sleep 0.05
    done
    return 1
}
# answers NAME PATTERN: the console says so within 10 s.
answers() {
    if heard "$2" 10; then
        ok "$1"
    else
        not_ok "$1" "no match for '$2' in '$(said | tail -c 400)'"
    fi
}
prompt='tessera> $'

answers "the guest says what its start took" '^ +listening +[0-9.]+ ms' # the last that it says unasked
keys '\r'
answers "a key wakes the shell" "$prompt"
keys 'help\r'
answers "help ends on a prompt" "$prompt"
for command in sysinfo mem ps lspci net log uptime chat reboot shutdown; do
    holds "help lists $command" "^  $command " "$(said)"
done
keys 'help chat\r'
answers "help chat" 'ask the model'
keys 'sysinfo\r'
answers "sysinfo: CPUs" '^CPUs +2 online of 2'
answers "sysinfo: memory" '^memory +[0-9.]+ MB'
keys 'mem\r'
for zone in TENSOR MODEL DMA STORE KERNEL; do
    answers "mem: zone $zone" "^(${zone}|${zone,,}) "
done
keys 'ps\r'
for strand in shell net engine; do
    answers "ps: strand $strand" " $strand "
done
keys 'lspci\r'
answers "lspci: network" '\[1af4:10(00|41)\] virtio network'
answers "lspci: who drives it" '\[1af4:10(00|41)\] .*: virtio-net$'
answers "lspci: a device without a driver says so" 'ICH9 AHCI: no driver$'
answers "lspci: the driver" '^virtio-net0: pci .*, split ring, [0-9]+ vectors'
answers "lspci: persistent memory" '\[1af4:105b\]'
keys 'net\r'
answers "net: link and address" '^link up'
answers "net: address" '10\.0\.2\.15'
keys 'log 5\r'
answers "log" 'listening on port 80'
keys 'uptime\r'
answers "uptime" '^up 0:00:[0-9]{2}; it is 20[0-9]{2}-'
keys 'status\r'
answers "status" 'tokens +[0-9]+ read'
keys 'chat What is 3 plus 4?\r'
answers "chat answers" '^3 plus 4 is 7\.'
answers "chat gives the prompt back" "$prompt"

keys 'frobnicate now\r'
# shellcheck disable=SC2016 # the backquotes are the answer's
answers "an unknown command is named" '^frobnicate: no such command; `help` lists them'
keys 'log 0\r'
answers "a bad argument is named" '"0" is not a number from 1 to 1000000'
keys 'chat "open\r'
answers "an open quote is named" 'a quote is not closed'

# Line editing: history, completion, moving and deleting.
keys 'uname\r'
answers "uname" '^Tessera$'
keys '\033[A\r'
answers "arrow up brings the last command back" '^Tessera$'
keys '\033[A -a\r'
answers "a recalled line can be edited" '^Tessera .* llm [0-9.]+ x86_64'
keys 'upt\t\r'
answers "Tab completes a command" '^up [0-9]:'
keys 'help sysi\t\r'
answers "Tab completes an argument" 'the machine and this image'
keys 's\t\t'
answers "Tab twice lists what fits" 'shutdown.*status.*sysinfo'
keys '\025uptimeX\177\r'
answers "Ctrl-U and Backspace delete" '^up [0-9]:'
keys 'ptime\001u\r'
answers "Ctrl-A goes to the front" '^up [0-9]:'
keys 'reboot\003'
answers "Ctrl-C drops the line" "$prompt"
keys '\r'
answers "the dropped line does not run" "$prompt"

# Ctrl-C in the middle of an answer; the model is free again afterwards.
# A model this small answers in no time; the loop is for answers that end before the key comes.
stopped=no
for _ in $(seq 10); do
    keys 'chat Count from 1 to 20.\r\003'
    heard 'chat: interrupted' 2 && stopped=yes && break
done
same "Ctrl-C stops an answer" yes $stopped
running=1
for _ in $(seq 40); do
    running=$(curl -s --max-time 2 "http://127.0.0.1:$vm_port/metrics" | awk '/^tessera_requests_processing /{print $2}')
    [ "${running:-1}" = 0 ] && break
    sleep 0.1
done
same "no request is left over" 0 "${running:-unknown}"
keys 'chat What is 3 plus 4?\r'
answers "the next chat answers" '^3 plus 4 is 7\.'

# Restart: the same machine comes back and serves again.
before=$(curl -s "http://127.0.0.1:$vm_port/metrics" | awk '/^tessera_tokens_predicted_total /{print $2}')
holds "tokens were counted" '^[1-9]' "$before"
keys 'reboot\r'
answers "reboot says so" 'restarting'
for _ in $(seq 100); do # the old one still finishes what it does
    after=$(curl -s --max-time 1 "http://127.0.0.1:$vm_port/metrics" | awk '/^tessera_tokens_predicted_total /{print $2}')
    [ "$after" = 0 ] && break
    sleep 0.1
done
same "the guest boots and serves again, its counters at 0" 0 "$after"
same "QEMU went on running" 0 "$(kill -0 "$vm_pid"; echo $?)"
answers "it says so" '^ +listening +[0-9.]+ ms'
keys '\r'
answers "the shell is there again" "$prompt"
keys 'shutdown\r'
answers "shutdown says so" 'shutting down'
vm_end 15
same "shutdown powers off" 0 "$vm_status"
finish_checks
