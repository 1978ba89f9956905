#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# qemu:///system: guests that root makes run as libvirt's own user and not as root, whatever root's files
# allow; nothing that several guests share changes its owner; an ordinary user's guests run as that user.
# Everything happens in process and mount namespaces of the test's own.
set -u
cd "$(dirname "$0")/../.." || exit 1
if [ "$(id -u)" -ne 0 ] || ! command -v libvirtd >/dev/null || ! getent passwd libvirt-qemu >/dev/null ||
    ! unshare -mpf --mount-proc true 2>/dev/null; then
    echo "ok skipped: needs root (for namespaces of its own) and Debian's package libvirt-daemon-system"
    exit 0
fi
if [ -z "${TESSERA_SYSTEM_INSIDE:-}" ]; then
    make --no-print-directory build/bin/tessera build/bin/tensord >&2 || exit 1
    exec env TESSERA_SYSTEM_INSIDE=1 unshare -mpf --mount-proc --kill-child "$0"
fi
. ci/lib.sh
mount --make-rprivate /
mkdir -p /var/lib/tessera
for folder in /run /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /var/lib/tessera /root; do
    mkdir -p $folder && mount -t tmpfs -o mode=755 tmpfs $folder
done
chmod 700 /root
chmod 711 "$work"
[ -e /dev/kvm ] && mount --bind /dev/null /dev/kvm # else libvirt asks it for half a minute
# As Debian configures it, but that anybody may connect: nobody is there to ask for a password.
cp -r /etc/libvirt "$work/etc" && rm -rf "$work"/etc/qemu/*.xml && mount --bind "$work/etc" /etc/libvirt
printf 'auth_unix_rw = "none"\nunix_sock_rw_perms = "0777"\n' >/etc/libvirt/libvirtd.conf
umask 077
# All of it root's alone: programs, image, models.
home=/root/tessera
mkdir -p $home/{bin,images} /root/models
cp build/bin/{tessera,tensord} $home/bin/
cp build/images/{llm.elf,llm.efi} $home/images/
demo=/root/models/demo.gguf whole=/root/models/whole.gguf
cp images/default-model/tessera-demo.gguf $demo
cp $demo $whole && truncate -s 2M $whole # whole pages: would be mapped itself
as=(env -i "PATH=$PATH" HOME=/root LC_ALL=C)
t() {
    timeout 100 "${as[@]}" $home/bin/tessera "$@" </dev/null
}
v() {
    timeout 60 virsh -q -c qemu:///system "$@"
}
/usr/sbin/virtlogd --daemon </dev/null >/dev/null 2>&1
/usr/sbin/libvirtd --daemon </dev/null >"$work/libvirtd.log" 2>&1
for _ in $(seq 300); do v version >/dev/null 2>&1 && break; sleep 0.1; done
check "libvirt as Debian configures it answers" v version
owners() { # of what may not change hands
    stat -c '%U:%G %a %n' $demo $whole $home/images/* /usr/share/OVMF/OVMF_CODE_4M.fd
}
owners >"$work/owners"
who() { # NAME: the user that its QEMU runs as
    ps -o user:20= -p "$(cat "/run/libvirt/qemu/$1.pid")" | tr -d ' '
}
port=$(free_port)
vm_host=127.0.0.1 vm_port=$port
question='{"messages":[{"role":"user","content":"What is 3 plus 4?"}],"temperature":0,"max_tokens":40}'
answers() { # NAME
    holds "$1" '"content":"[^"]*7' "$(ask /v1/chat/completions "$question")"
}

# ---- root's guests -----------------------------------------------------------------------------
out=$(t run $demo --detach --port "$port" --vcpus 1 2>&1)
same "run by root succeeds" 0 $?
echo "$out" | sed 's/^/     | /'
answers "it answers"
same "QEMU runs as libvirt's own user" libvirt-qemu "$(who demo)"
holds "the image that this user may not read: a copy, and it is said" 'Image /root/tessera/images/llm.elf: copied to where libvirt-qemu, as who QEMU runs, may read it: /var/lib/tessera/cache/files/' "$out"
v dumpxml demo >"$work/dump.xml"
check "its XML is valid" virt-xml-validate "$work/dump.xml" domain
mapped=$(t ls --json | jq -r '.[0].mapped')
holds "the weights are mapped from the system's folder" '^/var/lib/tessera/cache/models/[0-9a-f]{64}.gguf$' "$mapped"
same "which only root and the group of QEMU's user read" "root $(id -gn libvirt-qemu) 440" "$(stat -c '%U %G %a' "$mapped")" || stat "$mapped"
check "another user cannot read them" setpriv --reuid 65534 --regid 65534 --clear-groups sh -c "! cat '$mapped' >/dev/null 2>&1"
owners >"$work/owners.now"
check "nothing shared has changed hands" cmp "$work/owners" "$work/owners.now"
KEEPGOING=1
finish_checks
