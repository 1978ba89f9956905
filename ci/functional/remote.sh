#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Guests of another machine: a second libvirt daemon under a root and network of its own, reached by ssh.
# Model and image go there by storage volumes: whole, once, on from where a broken transfer stopped, and a
# damaged byte is noticed. What cannot be reached is said to be so.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/user.sh
namespaces 'libvirtd sshd' build/bin/tessera build/bin/make-model build/images/llm.elf
. ci/lib.sh
mount --make-rprivate /
mkdir -p /var/lib/tessera && mount -t tmpfs -o mode=755 tmpfs /var/lib/tessera
chmod 711 "$work"
mkdir -p "$work"/{here/bin,here/images,here/models,home/.ssh,there/home,there/run}
cp build/bin/tessera "$work/here/bin/"
cp build/images/llm.elf "$work/here/images/"
demo=$work/here/models/demo.gguf big=$work/here/models/big.gguf
cp images/default-model/tessera-demo.gguf "$demo"
build/bin/make-model "$big" llama f16 embedding 512 layers 2 feed_forward 2048 vocabulary 4096 context 256 >/dev/null
tool=$work/here/bin/tessera
as=(env -i "PATH=$PATH" "HOME=$work/home" "XDG_RUNTIME_DIR=$work/home" LC_ALL=C)
t() {
    timeout 120 "${as[@]}" "$tool" "$@"
}

# ---- the other machine -------------------------------------------------------------------------
ssh-keygen -q -t ed25519 -N '' -f "$work/key"
ssh-keygen -q -t ed25519 -N '' -f "$work/hostkey"
cp "$work/key.pub" "$work/there/authorized" && chmod 644 "$work/there/authorized"
cat >"$work/there/sshd_config" <<C
Port 22
ListenAddress 10.99.0.2
HostKey $work/hostkey
AuthorizedKeysFile $work/there/authorized
PidFile $work/there/sshd.pid
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
C
sed "\$a tess:x:64321:65534::$work/there/home:/bin/bash" /etc/passwd >"$work/there/passwd"
sed '$a tess:*:19000:0:99999:7:::' /etc/shadow >"$work/there/shadow"
chown 64321:65534 "$work/there/home"
cat >"$work/there/begin.sh" <<S
#!/bin/bash
# In a mount and network namespace of its own: of this machine's files only the programs are there.
mount --make-rprivate /
for folder in /run /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /root; do
    mkdir -p \$folder && mount -t tmpfs -o mode=755 tmpfs \$folder
done
mkdir -p /var/lib/tessera && mount -t tmpfs -o mode=755 tmpfs /var/lib/tessera
mkdir -p /run/sshd /run/lock /run/user && mkdir -m 700 /run/user/64321 && chown 64321:65534 /run/user/64321
mount -t tmpfs -o mode=755 tmpfs "$work/here"
mount --bind "$work/there/passwd" /etc/passwd && mount --bind "$work/there/shadow" /etc/shadow
cp -r /etc/libvirt "$work/there/etc" && mount --bind "$work/there/etc" /etc/libvirt
printf 'security_driver = "none"\nnamespaces = []\n' >/etc/libvirt/qemu.conf
[ -e /dev/kvm ] && mount --bind /dev/null /dev/kvm
/usr/sbin/virtlogd --daemon
/usr/sbin/libvirtd --daemon
exec /usr/sbin/sshd -D -e -f "$work/there/sshd_config"
S
unshare -mn bash -c "echo \$\$ >'$work/there/pid'; while [ ! -e '$work/there/go' ]; do sleep 0.05; done; ip link set lo up; exec bash '$work/there/begin.sh'" \
    >"$work/there/log" 2>&1 </dev/null &
vm_pids+=($!)
for _ in $(seq 100); do [ -s "$work/there/pid" ] && break; sleep 0.05; done
there=$(cat "$work/there/pid")
ip link add here0 type veth peer name there0 netns "$there"
ip addr add 10.99.0.1/24 dev here0 && ip link set here0 up
nsenter -t "$there" -n sh -c 'ip addr add 10.99.0.2/24 dev there0 && ip link set there0 up'
touch "$work/there/go"
inside() { # on the other machine
    nsenter -t "$there" -m -n "$@"
}
uri="qemu+ssh://root@10.99.0.2/system?keyfile=$work/key&no_verify=1&no_tty=1"
v() {
    timeout 60 "${as[@]}" virsh -q -c "$uri" "$@"
}
for _ in $(seq 300); do v version >/dev/null 2>&1 && break; sleep 0.2; done
check "the other machine's libvirt answers by ssh" v version
at=(--connect "$uri")
images=/var/lib/tessera/images

# ---- a transfer that breaks off ----------------------------------------------------------------
hash=$(sha256sum "$big" | cut -d ' ' -f 1)
arrived() { # bytes of the big model that were acknowledged there
    inside cat "$images/sha256-$hash.gguf.state" 2>/dev/null | tr -d '\0' | awk '{print $3 + 0}'
}
"${as[@]}" "$tool" run "$big" --detach --vcpus 1 --name big "${at[@]}" >"$work/first" 2>&1 </dev/null &
first=$!
for _ in $(seq 600); do
    [ "$(arrived)" -gt 0 ] 2>/dev/null && break
    kill -0 $first 2>/dev/null || break
    sleep 0.01
done
kill -KILL $first
wait $first 2>/dev/null
part=$(arrived)
size=$(stat -c %s "$big")
same "a tool killed while it sends leaves a part ($part of $size bytes)" true "$([ "$part" -gt 0 ] && [ "$part" -lt "$size" ] && echo true)"
same "and no guest" "" "$(v list --all --name)"
# One byte of what has arrived goes bad.
inside bash -c "printf '\\377\\377\\377\\377' | dd of=$images/sha256-$hash.gguf bs=1 seek=1000 conv=notrunc status=none"
out=$(t run "$big" --detach --vcpus 1 --name big --timeout 100 "${at[@]}" 2>&1 </dev/null)
same "the next run succeeds" 0 $?
holds "it goes on from there, notices the damage, and sends again" 'Model sent: .*the rest was there.*had arrived damaged and was sent again' "$out"
echo "     | $(grep 'Model sent' <<<"$out")"
same "what is there is the model" "$hash" "$(inside head -c "$size" "$images/sha256-$hash.gguf" | sha256sum | cut -d ' ' -f 1)"
same "in whole pages of 2 MB" 0 "$(($(inside stat -c %s "$images/sha256-$hash.gguf") % 2097152))"
holds "its endpoint is said to be out of reach, and what helps" 'not reachable from here: it is on 127.0.0.1:8080 of 10.99.0.2 alone. .ssh -N -L 8080:127.0.0.1:8080 -i .*root@10.99.0.2. brings' "$out"
check "it serves there" inside curl -sSf --max-time 5 http://127.0.0.1:8080/health
# The same once more, unbroken, and with nothing to send.
out=$(t run "$big" --detach --vcpus 1 --name again "${at[@]}" 2>&1 </dev/null)
holds "a second guest of the same model: nothing is sent" 'Image is there.*Model is there' "$(tr '\n' ' ' <<<"$out")"
holds "its port was taken there: the next one" '127.0.0.1:8081 of 10.99.0.2' "$out"
check "it serves there" inside curl -sSf --max-time 5 http://127.0.0.1:8081/health
refused "a port that is wanted and taken there" 1 'port 8080 is in use on the other machine' run "$big" --port 8080 --detach "${at[@]}"
inside bash -c "printf '\\377\\377\\377\\377' | dd of=$images/sha256-$hash.gguf bs=1 seek=2000 conv=notrunc status=none"
holds "a model that was changed there later is noticed" 'had arrived damaged and was sent again' "$(t run "$big" --detach --vcpus 1 --name third "${at[@]}" 2>&1 </dev/null)"
holds "rm --force --all" 'again: removed.*big: removed.*third: removed' "$(t rm --force --all "${at[@]}" 2>&1 | tr '\n' ' ')"

# ---- reachable ---------------------------------------------------------------------------------
refused "for others without a key" 2 'without a key' run "$demo" --listen 10.99.0.2 "${at[@]}"
out=$(t run "$demo" --detach --vcpus 1 --listen 10.99.0.2 --key s3cret-there --name open "${at[@]}" 2>&1 </dev/null)
holds "with --listen and a key: the URL" 'URL +http://10.99.0.2:8080/v1/chat/completions' "$out"
key_there=$images/open.api.key
same "its key is there, for QEMU's user alone" "600 $(inside stat -c %u "/proc/$(inside pgrep -f 'guest=open' | head -n 1)")" "$(inside stat -c '%a %u' "$key_there")"
hides "no command line has it" s3cret-there
same "nor the domain" "" "$(v dumpxml open | grep s3cret)"
same "without it: 401; with it: 200" "401 200" "$(status_of http://10.99.0.2:8080/metrics) $(status_of http://10.99.0.2:8080/metrics -H 'Authorization: Bearer s3cret-there')"
holds "chat finds it" 7 "$(t chat open 'What is 3 plus 4?' --temperature 0 --max-tokens 40 "${at[@]}" </dev/null)"
holds "ls, by its metrics" '^open +demo.gguf +running +1 +[0-9]+% +[0-9]+/64 .*http://10.99.0.2:8080' "$(t ls "${at[@]}")"
holds "inspect" "^mapped +$images/sha256-" "$(t inspect open "${at[@]}")"
holds "logs: the console's file comes through the storage pool" 'boot: llm' "$(t logs open "${at[@]}")"
same "logs -n" 1 "$(t logs open -n 1 "${at[@]}" | wc -l)"
holds "console" 'up|[0-9] s' "$(echo uptime | t console open --quiet 2 "${at[@]}")"
holds "stop" 'open: powered off' "$(t stop open "${at[@]}")"
holds "start" 'open: http://10.99.0.2:8080 serves' "$(t start open "${at[@]}" 2>/dev/null)"
if inside iptables -V >/dev/null 2>&1; then
    t stop open "${at[@]}" >/dev/null
    inside iptables -A INPUT -p tcp --dport 8080 -j DROP
    holds "behind a firewall: that is said" 'not reached from here: nothing comes back \(a firewall' "$(t start open "${at[@]}" 2>/dev/null)"
    inside iptables -D INPUT -p tcp --dport 8080 -j DROP
fi
t rm --force open "${at[@]}" >/dev/null
# In the foreground: nothing stays behind, however it ends.
t run "$demo" --vcpus 1 --listen 10.99.0.2 --key k --name front "${at[@]}" >"$work/front.out" 2>&1 </dev/null &
front=$!
for _ in $(seq 600); do
    grep -q 'serving until' "$work/front.out" && break
    sleep 0.1
done
same "with its key" "$images/front.api.key" "$(inside ls "$images/front.api.key")"
t stop front "${at[@]}" >/dev/null
wait "$front"
same "ended, its files are gone" "" "$(inside find "$images" -name 'front.*')"
out=$(t run "$demo" --detach --vcpus 1 --name inner "${at[@]}" 2>&1 </dev/null)
holds "a guest that only its machine reaches: ls says so" "^inner .*running.* its machine's 127.0.0.1:8080" "$(t ls "${at[@]}")"
refused "and chat" 1 "not reachable from here: .*ssh -N -L 8080" chat inner hello "${at[@]}"
t rm --force inner "${at[@]}" >/dev/null
sed 's/llama/nollm/' "$demo" >"$work/here/models/unknown.gguf"
refused "a model that the guest cannot run" 1 'cannot serve this model' run "$work/here/models/unknown.gguf" --vcpus 1 --timeout 30 "${at[@]}"
holds "its console is shown" 'nollm' "$(cat "$work/err")"

# ---- machine options, held to what that machine has ------------------------------------------------
other() { # NAME PATTERN-OF-XML ARGUMENTS…: a guest of another kind serves there
    local name=$1 pattern=$2
    shift 2
    t run "$model" --detach --name "$name" --listen 10.99.0.2 --key k "${at[@]}" "$@" >"$work/$name.out" 2>&1 </dev/null ||
        not_ok "run $*" "$(tail -n 3 "$work/$name.out")"
    holds "$name: it is in its XML" "$pattern" "$(v dumpxml "$name" | tr -d '\n')"
    same "$name: its image stays root's" root "$(inside stat -c %U "$(v dumpxml "$name" | sed -n 's:.*<kernel>\(.*\)</kernel>.*:\1:p')")"
    same "$name: QEMU runs as libvirt's user there" libvirt-qemu "$(inside bash -c "ps -o user:20= -p \$(cat /run/libvirt/qemu/$name.pid)" | tr -d ' ')"
    t rm --force "$name" "${at[@]}" >/dev/null
}
model=$demo
other pinned "vcpupin vcpu='0' cpuset='0'.*svm" --pin 0 --cpu max --nested --iommu --memory 96M
build/bin/make-model "$work/here/models/three.gguf" llama f16 embedding 256 layers 2 feed_forward 512 vocabulary 3072 context 64 >/dev/null
model=$work/here/models/three.gguf
other small "machine='[^']*microvm" --machine microvm --vcpus 1
model=$demo
same "small: its weights are a power of two" 8388608 "$(inside find "$images" -name '*-power.gguf' -printf %s)"
other disk "<readonly/>" --weights disk --vcpus 1 --numa 0
refused "a CPU that it does not have" 1 '--pin: the other machine has no CPU 900' run "$demo" --pin 900 "${at[@]}"
refused "a node that it does not have" 1 '--numa: the other machine has no memory node 7' run "$demo" --numa 7 "${at[@]}"
refused "pages that it does not have" 1 '--hugepages: .* the other machine has [0-9]+ free' run "$demo" --hugepages --memory 2000G "${at[@]}"
refused "a device that it does not have" 1 'the other machine has no PCI device 0000:ff:1f.7' run "$demo" --device pci:ff:1f.7 "${at[@]}"
refused "a GPU of its" 1 'how much of a GPU is free' run "$demo" --device gpu:auto "${at[@]}"
refused "UEFI there" 1 "a guest's UEFI variables are a file" run "$demo" --boot uefi "${at[@]}"
refused "KVM's CPU without KVM" 2 'the guest is emulated there' run "$demo" --cpu host --accel tcg "${at[@]}"
refused "tensor calls across machines" 1 "tensord has to run on the guest's own machine" run "$demo" --offload "${at[@]}"
refused "a fleet" 1 "agent and endpoint run beside its guests" fleets "${at[@]}"
refused "more memory than it has" 1 'the other machine has' run "$demo" --memory 4000G "${at[@]}"
same "no log and no key is left there" "" "$(inside find "$images" -name '*.log' -o -name '*.key')"
same "and no guest" "" "$(v list --all --name)"

# ---- another user's session there --------------------------------------------------------------
session="qemu+ssh://tess@10.99.0.2/session?keyfile=$work/key&no_verify=1&no_tty=1"
out=$(t run "$demo" --detach --vcpus 1 --listen 10.99.0.2 --key secret --connect "$session" 2>&1 </dev/null)
holds "a user's session there: the URL" 'URL +http://10.99.0.2:8080' "$out"
same "its key is that user's" "600 64321" "$(inside stat -c '%a %u' "$work/there/home/.local/share/tessera/images/demo.api.key")"
holds "its files are in that user's home" "Model sent: .*$work/there/home/.local/share/tessera/images/sha256-" "$out"
holds "logs" 'boot: llm' "$(t logs demo --connect "$session")"
holds "rm" 'demo: removed' "$(t rm --force demo --connect "$session")"

# ---- not there ---------------------------------------------------------------------------------
refused "no such machine" 1 'no connection to libvirt' ls --connect "qemu+ssh://root@10.99.0.3/system?keyfile=$work/key&no_verify=1&no_tty=1&command=$work/ssh1"
kill "$(cat "$work/there/sshd.pid")"
finish_checks
