#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# What a guest's machine can be: every variant's XML passes virt-xml-validate and `virsh define`, also where
# this host cannot start it; those that it can are started and answer; what cannot be is refused with the
# reason. libvirt is an ordinary user's, in namespaces of the test's own.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/user.sh
namespaces libvirtd build/bin/tessera build/bin/tensord-fake build/images/llm.elf build/images/llm.efi
. ci/lib.sh
user_begin
cp build/bin/tensord-fake "$work/bin/tensord"
cp build/images/llm.efi "$work/images/"
hostile="$work/models/a,b 'c' <d> & \"e\".gguf"
cp "$demo" "$hostile"
# Images that boot by themselves, as far as a file's first bytes say.
cp build/images/llm.elf "$work/models/own.elf"
cp build/images/llm.efi "$work/models/own.efi"
openssl rsa -in /usr/share/ovmf/PkKek-1-snakeoil.key -passin pass:snakeoil -out "$work/snakeoil.pem" 2>/dev/null
for kind in raw qcow2; do
    build/bin/tessera image build --model images/default-model/tessera-demo.gguf --format $kind -o "$work/models/own.$kind" >"$work/out"
done
chmod 644 "$work"/models/*

# ---- valid, whatever this host can -------------------------------------------------------------
port=$(free_port)
variants=0
# Where libvirt has no KVM it refuses the domain's type. Then libvirt's test driver has to take the domain as it is, and
# the QEMU driver all of it but the type and the CPU mode that goes with that.
defined_elsewhere() { # WHY WHAT
    local name="run ${2#"$work/models/"}"
    if ! grep -qE "Emulator .* does not support virt type 'kvm'|KVM is not supported|domain type kvm" <<<"$1"; then
        not_ok "$name: defined" "$1"
        return
    fi
    sed "s/<domain type='kvm'/<domain type='qemu'/; s/mode='host-passthrough'[^\/>]*/mode='maximum'/" "$work/dry.xml" >"$work/tcg.xml"
    if ! why=$(virsh -q -c test:///default define "$work/dry.xml" 2>&1); then
        not_ok "$name: defined by the test driver" "$why"
    elif ! why=$(v define "$work/tcg.xml" 2>&1 && v undefine v --nvram 2>&1); then
        not_ok "$name: defined but for its type" "$why"
    else
        ok "$name: valid, defined by the test driver, and but for its type"
    fi
}
# shown MODEL OPTIONS…: its XML is in $work/dry.xml
shown() {
    local what=$* why
    variants=$((variants + 1))
    if ! t run "$@" --name v --port "$port" --dry-run >"$work/dry.xml" 2>"$work/err"; then
        not_ok "run ${what#"$work/models/"}" "$(cat "$work/err")"
    elif ! why=$(virt-xml-validate "$work/dry.xml" domain 2>&1); then
        not_ok "run ${what#"$work/models/"}: valid" "$why"
    elif ! why=$(v define "$work/dry.xml" 2>&1); then
        defined_elsewhere "$why" "$what"
    elif ! why=$(v undefine v --nvram 2>&1); then
        not_ok "run ${what#"$work/models/"}: undefined again" "$why"
    else
        ok "run ${what#"$work/models/"}: valid, defined"
    fi
}
has() { # NAME TEXT
    if grep -qF -- "$2" "$work/dry.xml"; then
        ok "$1"
    else
        not_ok "$1" "no '$2' in $(tr -d '\n' <"$work/dry.xml" | head -c 3000)"
    fi
}
for accel in tcg kvm; do
    shown "$demo" --accel $accel
    shown "$demo" --accel $accel --nested
    shown "$demo" --accel $accel --cpu max,-avx512f,+pclmulqdq --vcpus 4
    shown "$demo" --accel $accel --cpu Skylake-Server --nested --numa 0,1 --vcpus 4
    shown "$demo" --accel $accel --hugepages --shared-memory --numa 0,1,2 --vcpus 3 --pin 0-2,8
    shown "$demo" --accel $accel --hugepages=1G --memory 1500M
    shown "$demo" --accel $accel --device pci:0000:65:00.0,nic:66:00.1 --device gpu:0001:b3:00.0 --iommu
    shown "$demo" --accel $accel --machine microvm --vcpus 2 --hugepages
done
has "a microvm of KVM has the host's CPU" "<cpu mode='host-passthrough'/>"
shown "$demo" --accel kvm --cpu host,-vmx --nested
shown "$demo" --machine microvm --weights disk --shared-memory
shown "$demo" --machine microvm --offload
shown "$demo" --machine microvm --cpu max,-avx2 --pin 0 --nested
shown "$demo" --boot uefi
shown "$demo" --boot uefi --weights disk --vcpus 3 --iommu
shown "$demo" --secure-boot
shown "$demo" --secure-boot=snakeoil --hugepages --nested --offload --key 'a&b<c'
has "Secure Boot: the firmware that checks" "<loader readonly='yes' secure='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.secboot.fd</loader>"
has "and its keys" "template='/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd'"
has "and system management mode" "<smm state='on'/>"
shown "$demo" --pin 1,3-5 --vcpus 6
has "the fifth CPU begins the list again" "<vcpupin vcpu='4' cpuset='1'/>"
has "QEMU's own threads, too" "<emulatorpin cpuset='1,3-5'/>"
shown "$demo" --numa 0,3 --vcpus 5 --memory 201M
has "two cells share the CPUs" "<cell id='1' cpus='2-4' memory='101' unit='MiB'/>"
has "and lie on the nodes" "<memnode cellid='1' mode='strict' nodeset='3'/>"
shown "$demo" --hugepages --memory 65M
has "memory in whole pages" "<memory unit='MiB'>66</memory>"
shown "$demo" --device 'pci:0000:65:00.0' --vcpus 1
has "a device of the host" "<address domain='0x0000' bus='0x65' slot='0x00' function='0x0'/>"
shown "$demo" --weights disk --cpu Nehalem
has "the file itself is the disk" "<source file='$demo'/>"
shown "$hostile" --machine microvm --weights disk
shown "$hostile" --boot uefi --iommu --shared-memory
for image in own.elf own.efi own.qcow2 own.raw; do
    shown "$work/models/$image"
done
has "an image boots from its disk" "<boot dev='hd'/>"
shown "$work/models/own.efi" --secure-boot=snakeoil
shown "$work/models/own.qcow2" --secure-boot --hugepages --iommu
(
    # A network has no port.
    t run "$demo" --network default --key k --vcpus 4 --machine microvm --dry-run >"$work/dry.xml"
)
check "microvm in a network: valid" virt-xml-validate "$work/dry.xml" domain
has "as many queues as CPUs" "<driver queues='4'/>"
same "nothing was started" "" "$(v list --all --name)"

# ---- refused -----------------------------------------------------------------------------------
refused() { # NAME STATUS PATTERN ARGUMENTS…
    local name=$1 status=$2 pattern=$3 found
    shift 3
    t run "$@" >"$work/out" 2>"$work/err" </dev/null
    found=$?
    if [ $found -eq "$status" ] && grep -qE -- "$pattern" "$work/err"; then
        ok "$name"
    else
        not_ok "$name" "exit $found (wanted $status), '$(head -c 400 "$work/err")' (wanted /$pattern/)"
    fi
}
refused "no such machine" 2 "'pc' is none of q35, microvm" "$demo" --machine pc
refused "a page size that is none" 2 "'4K' is none of 2M, 1G" "$demo" --hugepages=4K
refused "a CPU that is none" 2 'host, max or a model' "$demo" --cpu "a'b"
refused "no such CPU model" 1 'guest cannot be (defined|started): libvirt says' "$demo" --cpu NoSuch --timeout 20 --detach
refused "--cpu host without KVM" 2 'needs hardware KVM' "$demo" --cpu host --accel tcg
refused "a set of CPUs that is none" 2 'no set of CPUs' "$demo" --pin 3-1
refused "a CPU that this host has not" 1 'has no CPU 900' "$demo" --pin 900
refused "a node that this host has not" 1 'has no memory node 7' "$demo" --numa 0,7 --vcpus 2
refused "more nodes than CPUs" 2 '2 nodes need as many CPUs' "$demo" --numa 0,1 --vcpus 1 --dry-run
refused "microvm has no devices of the host" 2 'microvm has no --device' "$demo" --machine microvm --device gpu:auto
refused "nor UEFI" 2 'microvm has no UEFI' "$demo" --machine microvm --boot uefi
refused "nor boots images for it" 2 'microvm has no UEFI' "$work/models/own.efi" --machine microvm
refused "Secure Boot without UEFI" 2 "is UEFI's" "$demo" --secure-boot --boot pvh
refused "a device that is none" 2 'usb:1' "$demo" --device usb:1
refused "a device that is not there" 1 '00ff:1f:1f.7|no device|IOMMU' "$demo" --device pci:00ff:1f:1f.7
refused "an image and --weights" 2 'boots with its own model' "$work/models/own.elf" --weights disk
refused "an image for UEFI that is ELF" 1 'is no PE file' "$demo" --boot uefi --image "$work/models/own.elf"
refused "1 GB pages that are not there" 1 '1 pages of 1 GB.*echo [0-9]+ >/sys/kernel/mm/hugepages/hugepages-1048576kB' "$demo" --hugepages=1G
same "nothing is left of these" "" "$(v list --all --name)"

# ---- started -----------------------------------------------------------------------------------
question='{"messages":[{"role":"user","content":"What is 3 plus 4?"}],"temperature":0,"max_tokens":40}'
answers() { # NAME OPTIONS…: leaves the guest "v" running
    local name=$1
    shift
    vm_port=$port
    if t run "$demo" --name v --detach --timeout 90 --port "$port" "$@" >"$work/out" 2>&1; then
        holds "$name: answers" '"content":"[^"]*7' "$(ask /v1/chat/completions "$question")"
    else
        not_ok "$name: starts" "$(tail -n 3 "$work/out")"
    fi
}
gone() {
    t rm --force v >/dev/null 2>&1
}
vm() { # the process of the only guest
    pgrep -x qemu-system-x86
}
answers "q35, memfd" --shared-memory --vcpus 1
holds "its memory is a shared memfd" 'rw-s .*memfd' "$(cat "/proc/$(vm)/maps")"
gone
answers "microvm, mapped" --machine microvm --vcpus 1
holds "virsh shows the machine" "machine='microvm'" "$(v dumpxml v)"
holds "the weights are mapped" "$work/home/.cache/tessera/models/" "$(cat "/proc/$(vm)/maps")"
holds "microvm: powers off in order" 'v: powered off' "$(t stop v)"
holds "microvm: start" 'v: http.* serves' "$(t start v 2>/dev/null)"
gone
answers "microvm, disk" --machine microvm --weights disk --vcpus 2
gone
answers "q35, disk, a CPU model, an IOMMU" --weights disk --cpu Nehalem --iommu --vcpus 1
gone
last=$(($(nproc) - 1))
answers "pinned, one NUMA cell, nested" --pin "$last" --vcpus 2 --numa 0 --nested
pinned=0
for task in /proc/"$(vm)"/task/*; do
    case $(cat "$task/comm") in
    CPU*) [ "$(awk '/^Cpus_allowed_list/ {print $2}' "$task/status")" = "$last" ] && pinned=$((pinned + 1)) ;;
    esac
done
same "both CPUs are on the host's CPU $last" 2 $pinned
gone
answers "UEFI" --boot uefi --vcpus 1
same "its variables are kept" 1 "$(find "$work/home/.local/state/tessera" -name 'v.vars' | wc -l)"
gone
same "and go with it" 0 "$(find "$work/home" -name '*.vars' | wc -l)"
# Secure Boot: what it refuses shows images.sh.
build/bin/tessera image build --model images/default-model/tessera-demo.gguf --format raw --key "$work/snakeoil.pem" \
    --cert /usr/share/ovmf/PkKek-1-snakeoil.pem -o "$work/models/signed.raw" >"$work/out" 2>&1
chmod 644 "$work/models/signed.raw"
check "a signed image starts under Secure Boot" t run "$work/models/signed.raw" --secure-boot=snakeoil --name v --detach --timeout 90 --port "$port" --vcpus 1
holds "it answers" '"content":"[^"]*7' "$(ask /v1/chat/completions "$question")"
holds "by a loader that is secure" "secure='yes'" "$(v dumpxml v)"
gone
cp /usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd "$work/models/mine.fd"
check "as it does with variables of one's own" t run "$work/models/signed.raw" --secure-boot="$work/models/mine.fd" --name v --detach --timeout 90 --port "$port" --vcpus 1
gone
refused "variables that are not there" 1 "UEFI's variables /nonexistent.fd: No such file" "$work/models/signed.raw" --secure-boot=/nonexistent.fd
# At once: each has a name and a port of its own, and nobody spoils the start of another by trying its port.
together=()
for i in $(seq 10); do
    t run "$demo" --detach --machine microvm --vcpus 1 --timeout 90 >"$work/together.$i" 2>&1 &
    together+=($!)
done
failed=0
for i in "${together[@]}"; do
    wait "$i" || failed=$((failed + 1))
done
same "ten at once: all serve" 0 $failed
same "ten names, ten ports" "10 10" "$(t ls --json | jq -r '"\([.[].name] | unique | length) \([.[].url] | unique | length)"')"
mapfile -t together < <(v list --all --name | grep .)
t rm --force "${together[@]}" >"$work/out" 2>&1
before=$(cat /proc/sys/vm/nr_hugepages)
if sysctl -qw vm.nr_hugepages=$((before + 40)) 2>/dev/null && [ "$(awk '/^HugePages_Free/ {print $2}' /proc/meminfo)" -ge 32 ]; then
    answers "2 MB pages" --hugepages --vcpus 1
    holds "its memory is in them" 'KernelPageSize: +2048 kB' "$(cat "/proc/$(vm)/smaps")"
    refused "more than there are" 1 'take 512 pages of 2 MB' "$demo" --hugepages --memory 1G
    gone
else
    echo "ok skipped: no huge pages to be had here"
fi
sysctl -qw vm.nr_hugepages="$before" 2>/dev/null
# Between the choice of a port and QEMU's start another program takes it: here QEMU's own wrapper does.
mkdir -p "$work/over" && mount -t tmpfs -o mode=755 tmpfs "$work/over" && mkdir "$work"/over/{up,work}
if mount -t overlay overlay -o "lowerdir=/usr/bin,upperdir=$work/over/up,workdir=$work/over/work" /usr/bin 2>/dev/null; then
    mv /usr/bin/qemu-system-x86_64 /usr/bin/qemu-itself
    cat >/usr/bin/qemu-system-x86_64 <<W
#!/usr/bin/env bash
case "\$*" in
*hostfwd=tcp:127.0.0.1:$port-*) exec python3 -c 'import os, socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", $port))
s.listen(1)
s.set_inheritable(True)
os.execv("/usr/bin/qemu-itself", ["qemu-system-x86_64"] + sys.argv[1:])' "\$@" ;;
esac
exec /usr/bin/qemu-itself "\$@"
W
    chmod 755 /usr/bin/qemu-system-x86_64
    refused "a port that is taken as QEMU starts" 1 "port $port was taken on this machine in this moment" "$demo" --detach --port "$port"
    # Without --port the next one is taken: the wrapper now spoils the first free one from 8080 on.
    first=$(t run "$demo" --dry-run | grep -oE 'hostfwd=tcp:127.0.0.1:[0-9]+' | grep -oE '[0-9]+$')
    sed -i "s/127.0.0.1:$port-/127.0.0.1:$first-/; s/, $port))/, $first))/" /usr/bin/qemu-system-x86_64
    out=$(t run "$demo" --detach --name v 2>&1)
    same "another port is tried" 0 $?
    holds "and it says so" "Port $first was taken in this moment" "$out"
    gone
    umount -l /usr/bin
else
    echo "ok skipped: no overlay file system here"
fi
umount -l "$work/over"
same "nothing is left" "" "$(v list --all --name)"
echo "ok $variants variants"
finish_checks
