#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Plain libvirt: a domain with <kernel> boots, `virsh console` reaches the shell, `virsh shutdown` powers it
# off. Uses a private daemon (own folders and sockets), which ends with the test.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
if [ "$(id -u)" -ne 0 ] || ! command -v libvirtd >/dev/null; then
    echo "ok skipped: a private libvirtd needs root and libvirt's daemon"
    exit 0
fi
model=$(padded images/default-model/tessera-demo.gguf)
size=$(stat -c %s "$model")
image=$(realpath build/images/llm.elf)
root=$work/libvirt
mkdir -p "$root"/{run,cache,config,data}
export XDG_RUNTIME_DIR=$root/run XDG_CACHE_HOME=$root/cache XDG_CONFIG_HOME=$root/config XDG_DATA_HOME=$root/data HOME=$root
chmod 711 "$work"
printf 'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nremember_owner = 0\nnamespaces = []\nstdio_handler = "file"\n' >"$root/qemu.conf"
# A system-mode daemon with all its folders under ours, in a mount namespace of its own.
mkdir -p "$root"/{etc,var-lib,var-run,var-cache,var-log}
cp -r /etc/libvirt/. "$root/etc/" 2>/dev/null
cp "$root/qemu.conf" "$root/etc/qemu.conf"
uri="qemu+unix:///system?socket=$root/var-run/libvirt-sock"
cat >"$root/etc/libvirtd.conf" <<C
unix_sock_dir = "$root/var-run"
auth_unix_rw = "none"
auth_unix_ro = "none"
C
unshare -m bash -c "mount --make-rprivate / && mount --bind '$root/etc' /etc/libvirt && mount --bind '$root/var-lib' /var/lib/libvirt &&
    mount --bind '$root/var-cache' /var/cache/libvirt && mkdir -p /run/libvirt && mount -t tmpfs tmpfs /run/libvirt && mount --bind '$root/var-log' /var/log/libvirt &&
    exec timeout -k 5 240 libvirtd --config '$root/etc/libvirtd.conf' --pid-file '$root/libvirtd.pid'" >"$root/libvirtd.log" 2>&1 &
vm_pids+=($!)
for _ in $(seq 100); do
    [ -S "$root/var-run/libvirt-sock" ] && break
    sleep 0.1
done
v() {
    timeout 60 virsh -q -c "$uri" "$@"
}
if ! why=$(v version 2>&1); then
    not_ok "a private libvirtd starts" "$why $(tail -n 3 "$root/libvirtd.log")"
    finish_checks
    exit 1
fi
port=$(free_port)
domain() { # NAME TYPE-ATTRIBUTE EXTRA
    cat <<X
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>$1</name><memory unit='MiB'>96</memory><vcpu>2</vcpu>
  <os><type arch='x86_64' machine='$2'>hvm</type><kernel>$image</kernel></os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <serial type='pty'><target port='0'/></serial><console type='pty'/>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-m'/><qemu:arg value='slots=1,maxmem=2G'/>
    <qemu:arg value='-object'/><qemu:arg value='memory-backend-file,id=w0,mem-path=$model,size=$size,share=on,readonly=on'/>
    <qemu:arg value='-device'/><qemu:arg value='virtio-pmem-pci,id=p0,memdev=w0,bus=$3,addr=0x1d'/>
    <qemu:arg value='-netdev'/><qemu:arg value='user,id=n0,hostfwd=tcp:127.0.0.1:$port-:80'/>
    <qemu:arg value='-device'/><qemu:arg value='virtio-net-pci,netdev=n0,romfile=,bus=$3,addr=0x1e'/>
  </qemu:commandline>
</domain>
X
}
for machine in q35 pc; do
    bus=pcie.0
    [ $machine = pc ] && bus=pci.0
    domain "tessera-$machine" $machine $bus >"$work/$machine.xml"
    if ! why=$(v create "$work/$machine.xml" 2>&1); then
        not_ok "$machine: virsh create" "$why"
        continue
    fi
    ok "$machine: virsh create"
    vm_port=$port
    vm_pid=$(cat "$root"/libvirtd.pid)
    vm_console=/dev/null
    check "$machine: serves under libvirt" vm_ready 30
    holds "$machine: virsh list shows it" "tessera-$machine +running" "$(v list)"
    holds "$machine: answers" '"content":"[^"]*7' "$(ask /v1/chat/completions '{"messages":[{"role":"user","content":"What is 3 plus 4?"}],"temperature":0,"max_tokens":40}')"
    # The console: type a command, read its answer, leave with ^].
    seen=$( (
        sleep 1
        printf '\r'
        sleep 0.5
        printf 'sysinfo\r'
        sleep 2
        printf '\035'
    ) | timeout 20 script -qec "virsh -q -c '$uri' console tessera-$machine --force" /dev/null 2>&1)
    holds "$machine: virsh console reaches the shell" 'CPU|cpu' "$seen"
    v shutdown "tessera-$machine" >/dev/null 2>&1
    gone=no
    for _ in $(seq 60); do
        if ! v list --name | grep -q "tessera-$machine"; then
            gone=yes
            break
        fi
        sleep 0.25
    done
    same "$machine: virsh shutdown powers off" yes $gone
    [ $gone = yes ] || v destroy "tessera-$machine"
done
finish_checks
