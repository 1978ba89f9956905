#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The network as it is outside QEMU's user mode: TAP devices in a network namespace of the test's own (which
# goes when it ends); static IPv4 and IPv6, ping, connections dropped, the link down and up, queues, MTU.
set -u
cd "$(dirname "$0")/../.." || exit 1
if [ "${1:-}" != inside ]; then
    if [ "$(id -u)" != 0 ] || ! unshare -n true 2>/dev/null || [ ! -c /dev/net/tun ]; then
        echo "ok skipped: TAP devices need root and /dev/net/tun"
        exit 0
    fi
    exec unshare -n "$0" inside
fi
. ci/lib.sh
model=images/default-model/tessera-demo.gguf

ip link set lo up
# tap NAME HOST4 HOST6 FLAGS
tap() {
    # shellcheck disable=SC2086 # flags are words
    ip tuntap add dev "$1" mode tap ${4:-} && ip addr add "$2" dev "$1" &&
        ip -6 addr add "$3" dev "$1" nodad && ip link set "$1" up
}
if ! why=$(tap tap0 10.77.0.1/24 fd77::1/64 2>&1 && tap tap1 10.78.0.1/24 fd78::1/64 multi_queue 2>&1); then
    not_ok "TAP devices" "$why"
    exit 1
fi

vm_start tap -c 1 -m 96 -f $model -n tap,id=n0,ifname=tap0,script=no,downscript=no \
    -a 'net.address=10.77.0.2/24 net.gateway=10.77.0.1 net.address6=fd77::2/64'
vm_host=10.77.0.2 vm_port=80
if ! why=$(vm_ready 20); then
    not_ok "static IPv4: serves" "$why"
    finish_checks
    exit 1
fi
ok "static IPv4: serves"
url4=http://10.77.0.2 url6='http://[fd77::2]'
check "ping" ping -c 3 -i 0.2 -W 2 10.77.0.2
check "ping with 1400 bytes" ping -c 2 -i 0.2 -W 2 -s 1400 10.77.0.2
reached=no
for _ in $(seq 30); do # the address is tried out for a second before it is used
    ping -6 -c 1 -W 1 fd77::2 >/dev/null 2>&1 && reached=yes && break
    sleep 0.1
done
same "static IPv6: ping" yes $reached
check "IPv6: ping with 1400 bytes" ping -6 -c 2 -i 0.2 -W 2 -s 1400 fd77::2
same "curl over IPv6" 200 "$(status_of "$url6/health")"
holds "/metrics over IPv6" '^tessera_http_connections [0-9]+' "$(curl -s --max-time 10 "$url6/metrics")"
streamed=$(curl -sN --max-time 30 -d '{"messages":[{"role":"user","content":"What is 3 plus 4?"}],"temperature":0,"stream":true}' \
    "$url6/v1/chat/completions")
same "an answer streamed over IPv6" "3 plus 4 is 7." \
    "$(sed -n 's/^data: \({.*\)/\1/p' <<<"$streamed" | jq -j '.choices[0].delta.content // ""' | sed 's/^ *//')"
holds "the stream ends" 'data: \[DONE\]' "$streamed"
same "a closed port refuses" 7 "$(curl -s --max-time 3 "http://10.77.0.2:81/" >/dev/null; echo $?)"

# A body and an answer of many segments.
head -c 100000 /dev/zero | tr '\0' 'a' | jq -Rsc '{content:.}' >"$work/body"
same "100 KB there and back: status" 200 "$(curl -s --max-time 30 -o "$work/answer" -w '%{http_code}' --data-binary "@$work/body" "$url4/tokenize")"
same "100 KB there and back: whole" 100000 "$(ask /detokenize "@$work/answer" | jq -j .content | tr -d ' ' | wc -c)"

# ab, keep-alive and not; then connections opened and dropped, some within a request.
timeout 60 ab -q -k -n 2000 -c 16 "$url4/health" >"$work/abk" 2>&1
holds "ab with keep-alive: all complete" '^Complete requests: +2000' "$(cat "$work/abk")"
holds "ab with keep-alive: none fail" '^Failed requests: +0' "$(cat "$work/abk")"
timeout 60 ab -q -n 500 -c 16 "$url4/health" >"$work/ab" 2>&1
holds "ab with new connections: none fail" '^Failed requests: +0' "$(cat "$work/ab")"
gauge() {
    curl -s --max-time 5 "$url4/metrics" | awk -v name="tessera_$1" '$1 == name {print $2}'
}
total=$(gauge http_connections_total)
opened=0
for i in $(seq 200); do
    exec 5<>/dev/tcp/10.77.0.2/80 || break
    opened=$((opened + 1))
    [ $((i % 2)) -eq 0 ] && printf 'POST /v1/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{' >&5
    exec 5>&-
done
same "200 connections opened and dropped" 200 $opened
left=unknown
for _ in $(seq 50); do
    left=$(gauge http_connections)
    [ "$left" = 1 ] && break # the one that asks
    sleep 0.1
done
same "no connection is left over" 1 "$left"
holds "all were counted" yes "$([ $(($(gauge http_connections_total) - total)) -ge 200 ] && echo yes)"

# The link goes and comes back; an answer under way goes on, for the line is TCP's to mend.
monitor() {
    echo "$1" | socat -t1 - "UNIX-CONNECT:$vm_monitor" >/dev/null
}
monitor 'set_link n0 off'
sleep 0.5
same "link down: no answer" 000 "$(curl -s -o /dev/null --max-time 1 -w '%{http_code}' "$url4/health")"
monitor 'set_link n0 on'
check "link up again: serves" vm_ready 10
same "link up again: IPv6 too" 200 "$(status_of --max-time 10 "$url6/health")"
vm_stop

# Two queue pairs on two CPUs, and a small MTU that the device tells.
vm_start queues -c 2 -m 96 -f $model -n tap,id=n0,ifname=tap1,script=no,downscript=no,queues=2 \
    -a 'net.address=10.78.0.2/24 net.address6=fd78::2/64 net.queues=2 log=debug' -- \
    -global virtio-net-pci.mq=on -global virtio-net-pci.vectors=6 -global virtio-net-pci.host_mtu=1280
vm_host=10.78.0.2 vm_port=80
check "two queues: serves" vm_ready 20
holds "two queues: both are used" 'mtu 1280, 2 pairs' "$(cat "$vm_console")"
timeout 60 ab -q -k -n 1000 -c 16 http://10.78.0.2/health >"$work/abq" 2>&1
holds "two queues: ab, none fail" '^Failed requests: +0' "$(cat "$work/abq")"
holds "two queues: ab, all complete" '^Complete requests: +1000' "$(cat "$work/abq")"
check "MTU 1280: a whole frame" ping -c 1 -W 2 -M 'do' -s 1252 10.78.0.2
exec 5<>/dev/tcp/10.78.0.2/80
segment=$(ss -tin dst 10.78.0.2 | sed -n 's/.*[^a-z]mss:\([0-9]*\).*/\1/p' | head -n 1)
exec 5>&-
same "MTU 1280: the guest asks for segments of at most 1240 bytes" yes \
    "$([ "${segment:-9999}" -le 1240 ] && echo yes || echo "${segment:-unknown}")"
same "MTU 1280: 100 KB there and back" 100000 \
    "$(ask /tokenize "@$work/body" | ask /detokenize @- | jq -j .content | tr -d ' ' | wc -c)"
vm_stop
finish_checks
