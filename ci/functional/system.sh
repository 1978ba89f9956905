#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# qemu:///system: guests that root makes run as libvirt's own user and not as root, whatever root's files
# allow; nothing that several guests share changes its owner; an ordinary user's guests run as that user.
# Everything happens in process and mount namespaces of the test's own.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/user.sh
if ! getent passwd libvirt-qemu >/dev/null; then
    echo "ok skipped: needs Debian's package libvirt-daemon-system"
    exit 0
fi
namespaces 'libvirtd' build/bin/tessera build/bin/tensord
. ci/lib.sh
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
# And as others do (Ubuntu): the group in which users are for /dev/kvm. Debian's is libvirt-qemu.
printf 'group = "kvm"\n' >>"$work/etc/qemu.conf"
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
printf 'right-key\n' >/root/key
question='{"messages":[{"role":"user","content":"What is 3 plus 4?"}],"temperature":0,"max_tokens":40}'
answers() { # NAME
    holds "$1" '"content":"[^"]*7' "$(ask /v1/chat/completions "$question")"
}

# ---- root's guests -----------------------------------------------------------------------------
# Before the first run, which makes the folder, too; what is there stays as it is.
first() {
    mount -t tmpfs -o mode=755 tmpfs /var/lib && t pkg install $demo --name first >/dev/null && stat -c '%U %a' /var/lib/tessera
}
export -f first t
export demo home as
same "pkg install under a strict umask: the system's folder lets QEMU's user through" "root 755" "$(unshare --mount bash -c "$(declare -p as); first" 2>&1)"
out=$(t run $demo --detach --port "$port" --vcpus 1 --key-file /root/key 2>&1)
same "run by root succeeds" 0 $?
completions=http://127.0.0.1:$port/v1/completions
same "a wrong key is refused" 401 "$(status_of -H 'Authorization: Bearer wrong-key' -d '{"prompt":"a"}' "$completions")"
same "the right one is not" 200 "$(status_of -H 'Authorization: Bearer right-key' -d '{"prompt":"a","max_tokens":2}' "$completions")"
# The calls below have it.
printf 'header = "Authorization: Bearer right-key"\n' >"$work/.curlrc"
export CURL_HOME=$work
key=$(echo /var/lib/tessera/state/keys/demo-*.key)
same "its file is that user's alone" "libvirt-qemu 600" "$(stat -c '%U %a' "$key")"
answers "it answers"
same "QEMU runs as libvirt's own user" libvirt-qemu "$(who demo)"
holds "the image that this user may not read: a copy, and it is said" 'Image /root/tessera/images/llm.elf: copied to where guests of a system.s libvirt may read it: /var/lib/tessera/cache/files/' "$out"
v dumpxml demo >"$work/dump.xml"
check "its XML is valid" virt-xml-validate "$work/dump.xml" domain
mapped=$(t inspect demo --json | jq -r .mapped)
holds "the weights are mapped from the system's folder" '^/var/lib/tessera/cache/models/[0-9a-f]{64}.gguf$' "$mapped"
primary=$(getent group kvm | cut -d : -f 3) group=$(getent group libvirt-qemu | cut -d : -f 3)
image=$(echo /var/lib/tessera/cache/files/*.copy)
same "which only root and the own group of QEMU's user read" "root $group 440" "$(stat -c '%U %g %a' "$mapped")"
same "and so is the image's copy" "root $group 440" "$(stat -c '%U %g %a' "$image")"
same "QEMU's group is another, and it has both" "$primary both" "$(awk -v own="$group" '/^Gid/ { gid = $2 } /^Groups/ { for (i = 2; i <= NF; i++) if ($i == own) both = "both" } END { print gid, both }' "/proc/$(cat /run/libvirt/qemu/demo.pid)/status")"
for file in "$mapped" "$image"; do
    check "a user of QEMU's primary group cannot read ${file##*.}" setpriv --reuid 65534 --regid "$primary" --clear-groups sh -c "test -e '$file' && ! cat '$file' >/dev/null 2>&1"
done
owners >"$work/owners.now"
check "nothing shared has changed hands" cmp "$work/owners" "$work/owners.now"
holds "its console's log" 'boot: llm' "$(t logs demo)"
holds "stop" 'demo: powered off' "$(t stop demo)"
rm "$key" && cp /root/key "$key" # as `tessera start` advises where it is gone
holds "start, with the key written anew" 'demo: http://.* serves' "$(t start demo 2>/dev/null)"
same "again as that user" libvirt-qemu "$(who demo)"
same "whose the key is again" "libvirt-qemu 600" "$(stat -c '%U %a' "$key")"
same "a wrong key is refused still" 401 "$(CURL_HOME=/nonexistent status_of -H 'Authorization: Bearer wrong-key' -d '{"prompt":"a"}' "$completions")"
holds "suspend" 'demo: suspended in' "$(t suspend demo 2>&1)"
holds "resume" 'demo: http://.* serves after .* ms, from where it was suspended' "$(t resume demo 2>&1)"
answers "it answers after that"
t stop demo >/dev/null && t start --cold demo >/dev/null 2>&1
holds "a ready state is saved" 'demo: its ready state is saved' "$(t suspend --ready demo 2>&1)"
holds "and started from" 'serves.* from its ready state' "$(t start --ready demo 2>&1)"
answers "it answers from there"
check "rm" t rm --force demo
port=$(free_port) vm_port=$port
# other_guest NAME ARGUMENTS…: one more kind of guest.
other_guest() {
    local name=$1
    shift
    t run "$@" --name "$name" --detach --port "$port" --vcpus 1 >"$work/$name.out" 2>&1 || not_ok "run $*" "$(tail -n 5 "$work/$name.out")"
    answers "$name: it answers"
    same "$name: as libvirt's user" libvirt-qemu "$(who "$name")"
    [ "${traced:-no}" = no ] || rules_of "$name"
    t rm --force "$name" >/dev/null
}
other_guest whole $whole
mkdir -p /usr/lib/tessera-test && mount -t tmpfs tmpfs /usr/lib/tessera-test && cp $home/images/llm.elf /usr/lib/tessera-test/
other_guest lib $demo --image /usr/lib/tessera-test/llm.elf # which virt-aa-helper would refuse
holds "an image among the system's own files: a copy" 'llm.elf: copied to where guests' "$(cat "$work/lib.out")"
umount /usr/lib/tessera-test && rmdir /usr/lib/tessera-test

# ---- kinds of guests, and what AppArmor would say ----------------------------------------------
# No kernel here enforces it: libvirt's helper writes a guest's rules (and refuses what it does not like), and what
# a traced QEMU really used is held against those, libvirt's own and ours.
helper=/usr/lib/libvirt/virt-aa-helper
end_libvirtd() {
    kill "$(cat /run/libvirtd.pid)"
    for _ in $(seq 100); do [ -e /run/libvirtd.pid ] || break; sleep 0.1; done
}
begin_libvirtd() { # COMMAND…: in the background, or before it is
    end_libvirtd
    "$@" </dev/null >"$work/libvirtd.log" 2>&1 &
    for _ in $(seq 300); do v version >/dev/null 2>&1 && break; sleep 0.1; done
}
# rules_of NAME: as libvirt would load them for this guest, which runs.
rules_of() {
    local uuid
    uuid=libvirt-$(v domuuid "$1")
    v dumpxml "$1" >"$work/$1.xml"
    if $helper -c -d -u "$uuid" <"$work/$1.xml" >"$work/$1.rules" 2>&1; then
        ok "$1: libvirt's helper writes rules for it"
    else
        not_ok "$1: libvirt's helper writes rules for it" "$(head -c 300 "$work/$1.rules")"
    fi
    grep '^  ' "$work/$1.rules" | grep -v '#include' >"/etc/apparmor.d/libvirt/$uuid.files"
    printf '#include <tunables/global>\nprofile x flags=(attach_disconnected) {\n#include <abstractions/libvirt-qemu>\n#include <libvirt/%s.files>\n}\n' "$uuid" >"$work/$1.profile"
}
# covered NAME: what it used and AppArmor would refuse.
covered() {
    apparmor_parser -p "$work/$1.profile" >"$work/$1.flat" 2>/dev/null
    python3 ci/tools/apparmor_covers.py "$1" "$(id -u libvirt-qemu)" "$work/trace" "$work/$1.flat"
}
traced=no
if [ -x $helper ] && command -v strace >/dev/null && command -v apparmor_parser >/dev/null; then
    traced=yes
    mkdir "$work/apparmor.d" && cp -r /etc/apparmor.d/. "$work/apparmor.d/" && mount --bind "$work/apparmor.d" /etc/apparmor.d
    begin_libvirtd strace --seccomp-bpf -ff -y -s 200 -e trace=execve,clone,clone3,openat,connect,mmap,fcntl -o "$work/trace" /usr/sbin/libvirtd
else
    echo "ok skipped: AppArmor's parser, libvirt's helper or strace are not installed"
fi
for kind in plain: "small:--machine microvm" "calls:--offload=host" "disk:--weights disk" "uefi:--boot uefi --memory 192M"; do
    name=${kind%%:*}
    read -ra more <<<"${kind#*:}"
    other_guest "$name" $demo "${more[@]}"
    [ $traced = yes ] || continue
    if [ "$name" = plain ]; then
        holds "without our rules the weights are refused" 'refused: r /var/lib/tessera/cache/models/' "$(covered plain)"
        # As the README says.
        tee -a /etc/apparmor.d/local/abstractions/libvirt-qemu <hypercall/host/apparmor/libvirt-qemu >/dev/null
    fi
    out=$(covered "$name")
    holds "$name: QEMU used files ($(tail -n 1 <<<"$out"))" '^[0-9]{2,} accesses, [0-9]{3,} rules$' "$out"
    same "$name: and with our rules none is refused" "" "$(grep refused <<<"$out")"
done
[ $traced = no ] || begin_libvirtd /usr/sbin/libvirtd --daemon

# ---- what these leave --------------------------------------------------------------------------
same "tensord's folder lets that user's group through, and nobody else" "root $group 710" "$(stat -c '%U %g %a' /run/tessera-0)"
same "its control socket is root's alone" "root 600" "$(stat -c '%U %a' /run/tessera-0/tensord.sock)"
t pkg install $demo --name kept >/dev/null 2>&1
out=$(t run kept --detach --port "$port" --vcpus 1 2>&1)
holds "a model of the store, made under a strict umask: the copy serves" 'Waiting' "$out"
same "as libvirt's user" libvirt-qemu "$(who kept)"
t rm --force kept >/dev/null
owners >"$work/owners.now"
check "still nothing shared has changed hands" cmp "$work/owners" "$work/owners.now"
same "no guest is left" "" "$(v list --all --name)"
same "and no file of one" "" "$(find /var/lib/tessera/state -type f -name '[a-z]*')"

# ---- an ordinary user's, of the same libvirt ---------------------------------------------------
mkdir -p "$work/user/bin" "$work/user/images" "$work/user/home" && cp $home/bin/tessera "$work/user/bin/" && cp $home/images/llm.elf "$work/user/images/"
cp $demo "$work/user/home/demo.gguf" && chown -R 65534:65534 "$work/user" && chmod 700 "$work/user"
mine() {
    timeout 100 setpriv --reuid 65534 --regid 65534 --clear-groups env -i "PATH=$PATH" "HOME=$work/user/home" LC_ALL=C \
        "$work/user/bin/tessera" "$@" --connect qemu:///system </dev/null
}
# As the package leaves it, with which libvirt cannot start a guest as anybody else.
chown libvirt-qemu:libvirt-qemu /var/lib/libvirt/qemu && chmod 750 /var/lib/libvirt/qemu
out=$(mine run "$work/user/home/demo.gguf" --name mine --detach --port "$port" 2>&1)
holds "an ordinary user, whom libvirt's folder does not let pass: that is said, and what mends it" \
    'QEMU would run as nobody, and /var/lib/libvirt/qemu does not let nobody pass. Mend, once: sudo dpkg-statoverride' "$out"
holds "doctor says so, too" 'missing +/var/lib/libvirt/qemu does not let nobody pass' "$(mine doctor)"
mend=$(mine doctor --json | jq -r '.findings[] | select(.check == "qemu user" and .mend) | .mend' | sed 's/^sudo //')
mkdir -p "$work/dpkg" && touch "$work/dpkg/statoverride" && mount --bind "$work/dpkg" /var/lib/dpkg
check "the command that doctor names" bash -c "$mend"
umount /var/lib/dpkg
out=$(mine run "$work/user/home/demo.gguf" --name mine --detach --port "$port" --vcpus 1 2>&1) || not_ok "an ordinary user's guest" "$out"
answers "an ordinary user's guest answers"
same "it runs as that user" nobody "$(who mine)"
holds "and maps the user's own copy" "$work/user/home/.cache/tessera/models/" "$(mine inspect mine)"
mine rm --force mine >/dev/null
finish_checks
