#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `tessera doctor` as an ordinary user on this machine and over trees that stand for others: what it says of
# hardware, libvirt, permissions and leftovers, and that the commands it names mend what they are said to mend.
# Everything happens in process and mount namespaces of the test's own.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/user.sh
namespaces libvirtd build/bin/tessera build/bin/tensord-fake build/images/llm.elf
. ci/lib.sh
user_begin
# Nothing of this machine's own daemons is seen or started.
for folder in /run /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /etc/libvirt/qemu; do
    mkdir -p $folder && mount -t tmpfs -o mode=755 tmpfs $folder
done
cp build/bin/tensord-fake "$work/bin/tensord"
# doctor ARGUMENTS…: sets out, json and status.
doctor() {
    timeout 150 "${as[@]}" "$work/bin/tessera" doctor "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    out=$(cat "$work/out")
}
# finding CHECK: the findings of one check as "state text | cost | mend | advice".
finding() {
    jq -r --arg c "$1" '.findings[] | select(.check == $c) |
        "\(.state) \(.text) | \(.cost // "") | \(.mend // "") | \(.advice // "")"' "$work/out"
}

# ---- this machine ------------------------------------------------------------------------------
doctor
same "guests can run here" 0 "$status"
hardware=no
grep -qwE 'vmx|svm' /proc/cpuinfo && [ -w /dev/kvm ] && hardware=yes
if [ $hardware = no ]; then
    holds "it says by emulation" '^Guests can run here, by emulation \(TCG\): [0-9]+ ok' "$out"
fi
holds "the session's libvirt answers" '^ok +libvirt +qemu:///session answers: libvirt [0-9]+\.' "$out"
holds "programs are named with their versions" '^ok +(programs)? +QEMU 1:[0-9]' "$out"
holds "what the image drives" 'llm.elf drives .*virtio-net' "$out"
holds "no GPU driver: --offload" 'no driver for GPUs: --device gpu: is refused, --offload' "$out"
doctor --json
same "--json: the same exit status" 0 "$status"
check "--json: each finding has a state and a text" jq -e '.can_run and (.findings | length > 10) and
    all(.findings[]; (.state | IN("ok", "warning", "missing")) and (.text | length > 0))' "$work/out"
check "--json: what is missing has a price" jq -e 'all(.findings[] | select(.state == "missing"); .cost | length > 0)' "$work/out"
doctor --fix-plan
check "--fix-plan is a shell script" sh -n "$work/out"
doctor --connect "qemu+unix:///session?socket=/nonexistent" --json
same "without libvirt no guest can run" "1 false" "$status $(jq .can_run "$work/out")"
holds "and it says what mends it" '^missing no connection to libvirt .*libvirtd --timeout 120' "$(finding libvirt)"
doctor --connect "qemu+ssh://nowhere.invalid/system" --json
holds "another machine that is not reached: how to look for the cause" '^missing no connection .*ssh nowhere.invalid virsh -c qemu:///system version.*must work without asking' "$(finding libvirt)"
doctor "$work/bin/tessera" --json
holds "what is no model is said to be none" '^warning .*/bin/tessera is no GGUF file' "$(finding model)"
doctor --connect test:///default
same "a URI of another driver" 1 "$status"
doctor --nothing
same "wrong usage" 2 "$status"

# ---- other machines ----------------------------------------------------------------------------
tree=$work/tree
put() { # PATH TEXT
    mkdir -p "$tree/$(dirname "$1")"
    printf '%s\n' "$2" >"$tree/$1"
}
device() { # ADDRESS VENDOR PRODUCT CLASS DRIVER GROUP
    local at=$tree/sys/bus/pci/devices/$1
    mkdir -p "$at" "$tree/sys/kernel/iommu_groups/$6"
    echo "$2" >"$at/vendor"
    echo "$3" >"$at/device"
    echo "$4" >"$at/class"
    echo -1 >"$at/numa_node"
    [ -z "$5" ] || ln -s "../../../../bus/pci/drivers/$5" "$at/driver"
    ln -s "../../../../kernel/iommu_groups/$6" "$at/iommu_group"
}
put proc/meminfo $'MemTotal: 16000000 kB\nMemAvailable: 8000000 kB'
put proc/cmdline 'quiet intel_iommu=on'
put proc/cpuinfo $'processor : 0\nvendor_id : GenuineIntel\nmodel name : Xeon\nflags : fpu\n'
put dev/kvm ''
chmod 666 "$tree/dev/kvm"
doctor --root "$tree" --json
holds "the trap is named" '^warning /dev/kvm is there, but .* neither vmx nor svm: a trap .*interpreted' "$(finding kvm)"
holds "with what it costs" 'die on SSE.*do not force --accel kvm' "$(finding kvm)"
same "and not taken" tcg "$(jq -r .accel "$work/out")"
same "a tree without QEMU: no guest can run" 1 "$status"
holds "QEMU's package is named" '^missing QEMU .*apt-get install --no-install-recommends qemu-system-x86' "$(finding programs)"

put proc/cpuinfo $'processor : 0\nvendor_id : GenuineIntel\nmodel name : Xeon\nflags : fpu vmx pdpe1gb\nvmx flags : ept\n'
put sys/module/kvm_intel/parameters/ept Y
put sys/module/kvm_intel/parameters/nested N
put sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 0
device 0000:65:00.0 0x10de 0x2330 0x030200 nvidia 12
device 0000:65:00.1 0x10de 0x22ba 0x040300 snd_hda_intel 12
device 0000:5e:00.0 0x15b3 0x101d 0x020000 mlx5_core 9
doctor --root "$tree" --json
same "VT-x with EPT: hardware" kvm "$(jq -r .accel "$work/out")"
holds "EPT is seen" '^ok EPT' "$(finding processor)"
holds "nested is off, and what turns it on" '^missing .*options kvm_intel nested=1' "$(finding nested)"
holds "huge pages: the command" 'sysctl vm.nr_hugepages=1953` reserves 3906 MB' "$(finding 'huge pages')"
holds "the IOMMU's groups are counted" '^ok 2 groups' "$(finding iommu)"
holds "vfio-pci is missing" '^missing vfio-pci' "$(finding iommu)"
holds "a shared group is said with who shares it" \
    '^warning 0000:65:00.0 \[10de:2330\] display, .*group 12 with 0000:65:00.1 \(multimedia, driver snd_hda_intel\)' "$(finding devices)"
holds "one alone" '^ok 0000:5e:00.0 \[15b3:101d\] network, .*group 9 alone.*nodedev-detach pci_0000_5e_00_0' "$(finding devices)"
chmod 600 "$tree/dev/kvm"
doctor --root "$tree" --json
holds "a /dev/kvm that this user may not open" '^missing this user may not open /dev/kvm .*usermod -aG kvm nobody' "$(finding kvm)"
rm "$tree/dev/kvm"
doctor --root "$tree" --json
holds "no /dev/kvm: the module" '^missing the processor could.*modprobe kvm_intel' "$(finding kvm)"

# ---- a model's permissions ---------------------------------------------------------------------
doctor "$demo" --json
holds "a readable model" "^ok nobody may read $demo" "$(finding model)"
mkdir -p "$work/models/a b/c" && cp "$demo" "$work/models/a b/c/m.gguf" && chmod 700 "$work/models/a b"
doctor "$work/models/a b/c/m.gguf" --json
same "an unreadable one: exit status" 1 "$status"
holds "the first folder that refuses is named" "^missing nobody may not read .*: the folder $work/models/a b refuses" "$(finding model)"
if command -v setfacl >/dev/null; then
    for _ in 1 2; do # the folder, then what was behind it
        mend=$(jq -r '.findings[] | select(.check == "model") | .mend // empty' "$work/out")
        [ -z "$mend" ] || sh -c "${mend#sudo }"
        doctor "$work/models/a b/c/m.gguf" --json
    done
    same "its commands mend it" 0 "$status"
    check "in truth, too" "${as[@]}" head -c 4 "$work/models/a b/c/m.gguf"
else
    echo "ok skipped: setfacl (package acl) is not installed"
fi

# ---- leftovers ---------------------------------------------------------------------------------
cache=$work/home/.cache/tessera
mkdir -p "$cache"/{models,hashes} "$work/run/tessera"
echo half >"$cache/models/dead.part"
echo busy >"$cache/models/live.part"
touch -d '1 hour ago' "$cache/hashes/fe01-12.a1B2c3"
echo new >"$cache/hashes/fe01-13.a1B2c3"
stale=$cache/models/$(printf 'a%.0s' {1..64})
echo copy >"$stale.gguf" && echo -n /gone/model.gguf >"$stale.from" && touch -d '1 hour ago' "$stale.from"
fresh=$cache/models/$(printf 'b%.0s' {1..64})
echo copy >"$fresh.gguf" && echo -n /gone/model.gguf >"$fresh.from"
mkdir -p "$work/home/.local/state/tessera/states"
touch -d '1 hour ago' "$work/home/.local/state/tessera/states/demo.json.12.part"
touch "$work/home/.local/state/tessera/states/demo.json.13.part"
keys=$work/home/.local/state/tessera/keys
mkdir -p "$keys"
hash=$(timeout 20 "${as[@]}" "$work/bin/tessera" run "$demo" --dry-run --key k --name orphan 2>/dev/null | grep -oE 'keys/orphan-[0-9a-f]{8}' | tail -c 9)
touch -d '1 hour ago' "$keys/orphan-$hash.key" "$keys/orphan-$hash.key.12.part" "$keys/orphan-00000000.key" "$keys/notes.txt"
touch "$keys/young-$hash.key"
chown -R 65534:65534 "$work/home"
chmod 700 "$work/run/tessera" && chown 65534:65534 "$work/run/tessera"
touch "$cache/models/live.lock" && chmod 666 "$cache/models/live.lock"
flock "$cache/models/live.lock" sleep 100 &
vm_pids+=($!)
until_true() { # COMMAND…: for five seconds
    for _ in $(seq 100); do
        "$@" && return
        sleep 0.05
    done
}
until_true sh -c "! flock -n '$cache/models/live.lock' true"
"${as[@]}" "$work/bin/tensord" --dir "$work/run/tessera" --control "$work/run/tessera/tensord.sock" >"$work/tensord.log" 2>&1 </dev/null &
vm_pids+=($!)
until_true test -S "$work/run/tessera/tensord.sock"
echo '{"op":"add-guest","name":"orphan","region_mb":64}' | timeout 5 socat -t 2 - "UNIX-CONNECT:$work/run/tessera/tensord.sock" >"$work/added"
holds "tensord has a place for a guest that is none" '"ok": ?true' "$(cat "$work/added")"
echo '{"op":"add-guest","name":"busy","region_mb":64}' | timeout 5 socat -t 2 - "UNIX-CONNECT:$work/run/tessera/tensord.sock" >>"$work/added"
(sleep 100 | socat - "UNIX-CONNECT:$work/run/tessera/busy.ivshmem" >/dev/null 2>&1) & # as a guest's QEMU is
vm_pids+=($!)
: >"$work/run/tessera/gone.ivshmem"
# shellcheck disable=SC2016 # awk's own variables
until_true awk -v path="$work/run/tessera/busy.ivshmem" '$8 == path && $6 == "03" { found = 1 } END { exit !found }' /proc/net/unix
# While a definition of the system's is closed to this user and libvirt does not answer, its guest may need the copy.
install -m 600 /dev/null /etc/libvirt/qemu/others.xml
doctor --json
same "a copy that an unknown guest may need is not named" "" "$(jq -r '.findings[].text' "$work/out" | grep 'source is gone')"
rm /etc/libvirt/qemu/others.xml
doctor --json
left=$(jq -r '.findings[] | select(has("mended")) | .text' "$work/out")
holds "a half-made copy is named" "dead.part: a file that was never finished" "$left"
holds "a half-made hash" "fe01-12.a1B2c3: a file" "$left"
holds "a half-written record of a saved state" "demo.json.12.part: a file" "$left"
holds "an orphaned place at tensord" "memory for 'orphan', which is no guest" "$left"
holds "a socket of a tensord that is gone" "gone.ivshmem: the socket" "$left"
holds "a key of no guest" "orphan-$hash.key: the key of a guest or fleet that is not there" "$left"
holds "a key's file that was never finished" "orphan-$hash.key.12.part: a key" "$left"
holds "a copy whose source is gone" "1 copy for guests whose source is gone or changed" "$left"
same "what is in use or new is not, nor another connection's" 8 "$(wc -l <<<"$left")"
check "naming changes nothing" test -e "$cache/models/dead.part" -a -S "$work/run/tessera/orphan.ivshmem"
doctor --mend
same "--mend succeeds" 0 "$status"
same "and says what it did" 8 "$(grep -c ': mended$' "$work/out")"
same "what was left is gone" "" "$(ls -d "$cache/models/dead.part" "$cache/hashes/fe01-12.a1B2c3" "$work"/run/tessera/{orphan,gone}.ivshmem "$stale".{gguf,from} 2>/dev/null)"
same "of keys, what may be somebody's stays" "notes.txt orphan-00000000.key young-$hash.key" "$(cd "$keys" && printf '%s ' * | sed 's/ $//')"
check "what is in use stays" test -e "$cache/models/live.part" -a -e "$fresh.gguf" -a -e "$cache/hashes/fe01-13.a1B2c3" -a -S "$work/run/tessera/busy.ivshmem"
doctor --json
same "nothing is left to name" 0 "$(jq '[.findings[] | select(has("mended"))] | length' "$work/out")"
# A guest whose image is gone.
cp "$work/images/llm.elf" "$work/models/own.elf"
if timeout 100 "${as[@]}" "$work/bin/tessera" run "$demo" --image "$work/models/own.elf" --detach --vcpus 1 >"$work/run.out" 2>&1 </dev/null; then
    doctor --json
    same "a healthy guest is no leftover" "" "$(finding guests)"
    rm "$work/models/own.elf"
    doctor --json
    holds "a guest whose image is gone is named" "^warning the guest 'demo' runs, and .*own.elf is not there any more .*put the file back, or .tessera rm --force demo" "$(finding guests)"
    timeout 60 "${as[@]}" "$work/bin/tessera" stop demo >"$work/run.out" 2>&1 </dev/null
else
    not_ok "a guest runs" "$(tail -n 3 "$work/run.out" | tr '\n' ' ')"
fi

# ---- AppArmor ----------------------------------------------------------------------------------
if command -v apparmor_parser >/dev/null; then
    {
        printf '#include <tunables/global>\nprofile tessera-test {\n  #include <abstractions/base>\n'
        cat hypercall/host/apparmor/libvirt-qemu
        printf '}\nprofile tessera-helper {\n'
        cat hypercall/host/apparmor/virt-aa-helper
        printf '}\n'
    } >"$work/profile"
    check "the AppArmor rules are accepted" apparmor_parser -Q -K "$work/profile"
    sed 's/ rk,$/ rzk,/' "$work/profile" >"$work/broken"
    check "and broken ones would not be" sh -c "! apparmor_parser -Q -K '$work/broken'"
else
    echo "ok skipped: apparmor_parser is not installed"
fi
finish_checks
