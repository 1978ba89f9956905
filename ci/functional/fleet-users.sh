#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Two users on one qemu:///system: each sees and changes their own fleets only, and neither's agent
# touches the other's guests. A system's libvirt of the test's own, in namespaces of its own.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/user.sh
namespaces 'libvirtd haproxy' build/bin/tessera build/images/llm.elf
. ci/lib.sh
. ci/fleet.sh
fleet_begin
for folder in /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do
    mkdir -p $folder && mount -t tmpfs -o mode=755 tmpfs $folder
done
{ # libvirt wants its callers to have names
    cat /etc/passwd
    echo "tess-one:x:64321:65534::$work/64321:/bin/sh"
    echo "tess-two:x:64322:65534::$work/64322:/bin/sh"
} >"$work/passwd"
chmod 644 "$work/passwd"
mount --bind "$work/passwd" /etc/passwd
cp -r /etc/libvirt "$work/etc" && mount --bind "$work/etc" /etc/libvirt
printf 'security_driver = "none"\nnamespaces = []\nstdio_handler = "file"\n' >/etc/libvirt/qemu.conf
printf 'unix_sock_rw_perms = "0777"\nauth_unix_rw = "none"\n' >/etc/libvirt/libvirtd.conf
timeout -k 5 240 libvirtd --timeout 200 >"$work/libvirtd.log" 2>&1 </dev/null &
vm_pids+=($!)
until_true 30 test -S /run/libvirt/libvirt-sock

as() { # ID COMMAND…
    local id=$1
    shift
    timeout 100 setpriv --reuid "$id" --regid 65534 --clear-groups env -i "PATH=$PATH:/usr/sbin" "HOME=$work/$id" \
        "XDG_RUNTIME_DIR=$work/$id/run" LC_ALL=C LIBVIRT_DEFAULT_URI=qemu:///system "$@" </dev/null
}
fleet_of() { # ID NAME: writes a fleet.yaml
    mkdir -p "$work/$1/run"
    cat >"$work/$1/fleet.yaml" <<Y
fleet: $2
endpoint: {listen: 127.0.0.1:$(free_port)}
models: [{name: chat, model: $demo, vcpus: 1}]
Y
    chown -R "$1:65534" "$work/$1" && chmod 700 "$work/$1"
}
t=$work/bin/tessera
refused() { # NAME ARGUMENTS…: by whose it is
    local name=$1 out
    shift
    out=$(as 64322 "$t" "$@" 2>&1)
    same "$name: exit status" 1 $?
    holds "$name: whose it is" "'shop' is another user's \(tess-one, user id 64321\).*give yours another name" "$out"
}
ours() { # NAME: that run
    virsh -q -c qemu:///system list --name | grep "^$1-"
}

fleet_of 64321 shop
fleet_of 64322 shop
out=$(as 64321 "$t" up "$work/64321/fleet.yaml" 2>&1)
same "the first user's fleet is up: $(tail -n 1 <<<"$out")" 1 "$(ours shop | wc -l)"
first=$(ours shop)
holds "its guest says whose it is" '<tessera:owner>64321<' "$(virsh -c qemu:///system dumpxml "$first")"
same "the second user does not see it" "" "$(as 64322 "$t" fleets 2>&1 | grep shop)"
refused "its name is taken" up "$work/64322/fleet.yaml"
refused "nobody else scales it" scale shop/chat 2
refused "nobody else takes it down" down shop
fleet_of 64322 mart
out=$(as 64322 "$t" up "$work/64322/fleet.yaml" 2>&1)
same "the second user's own is up: $(tail -n 1 <<<"$out")" 1 "$(ours mart | wc -l)"
second=$(ours mart)
their_fleets() { # ID
    as "$1" "$t" fleets --json 2>&1 | jq -r '[.[].name] | join(" ")'
}
same "each user's list has exactly their own" "shop, mart" "$(their_fleets 64321), $(their_fleets 64322)"
refused "nobody else sees its state" status shop
same "each has an agent" 4 "$(pgrep -c -f '^tessera agent')"

# ---- what nobody carries any more --------------------------------------------------------------
virsh -q -c qemu:///system undefine shop.fleet >/dev/null
gone() {
    [ -z "$(ours shop)" ]
}
check "without its carrier the first one's guests go" until_true 30 gone
same "the second one's stay" "$second" "$(ours mart)"
out=$(as 64322 "$t" down mart 2>&1)
same "down: $(tail -n 1 <<<"$out")" "" "$(virsh -q -c qemu:///system list --all --name)"
finish_checks
