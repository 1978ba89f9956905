#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `tessera image`: the same bytes twice, in every format; a guest that takes the sealed manifest and model
# and nothing else; UEFI Secure Boot (OVMF's secure build, the keys that come with it) with a byte changed in
# every part, and the same without Secure Boot, which shows what it is that refuses.
set -u
cd "$(dirname "$0")/../.." || exit 1
make --no-print-directory build/bin/tessera build/images/llm.elf build/images/llm.efi >&2 || exit 1
. ci/lib.sh
root=$PWD
demo=$root/images/default-model/tessera-demo.gguf
tessera=$root/build/bin/tessera
formats="pvh uefi raw qcow2"
question='{"messages":[{"role":"user","content":"What is 3 plus 4?"}],"temperature":0,"max_tokens":40}'
t() {
    timeout 100 "$tessera" image "$@" </dev/null
}
refused() { # NAME PATTERN ARGUMENTS…: the tool fails and says so
    local name=$1 pattern=$2 found
    shift 2
    t "$@" >"$work/out" 2>"$work/err"
    found=$?
    if [ $found -eq 1 ] && grep -qE -- "$pattern" "$work/out" "$work/err"; then
        ok "$name"
    else
        not_ok "$name" "exit $found, '$(head -c 300 "$work/err")' (wanted 1 and /$pattern/)"
    fi
}
# changed FILE PATTERN|OFFSET COPY: a copy in which the first byte of a text, or that byte, is another.
changed() {
    local at=$2 byte
    [[ $at =~ ^[0-9]+$ ]] || at=$(LC_ALL=C grep -obUaP -- "$2" "$1" | head -n 1 | cut -d : -f 1)
    [ -n "$at" ] || {
        not_ok "a byte to change" "no '$2' in $1"
        return 1
    }
    cp "$1" "$3"
    byte=$(od -An -tu1 -j "$at" -N 1 "$1")
    # shellcheck disable=SC2059
    printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$3" bs=1 seek="$at" conv=notrunc status=none
}

# ---- equal inputs, equal bytes -------------------------------------------------------------------
cat >"$work/m.dts" <<'D'
/dts-v1/;
/ {
    compatible = "tessera,manifest-1";
    guest-name = "sealed-1";
    http { port = <8088>; key = "first"; };
    later-invention { x = "y"; };
};
D
mkdir -p "$work/one" "$work/two/deeper"
cp "$demo" "$work/two/padded.gguf"
chmod u+w "$work/two/padded.gguf"
truncate -s 2M "$work/two/padded.gguf"
build() { # FOLDER MODEL FORMAT
    (cd "$1" && t build --model "$2" --manifest "$work/m.dts" --set http.key=s3cret --set engine.context=256 \
        --format "$3" -o "$3.img")
}
for format in $formats; do
    check "$format: builds" build "$work/one" "$demo" "$format"
done
sleep 1.1
for format in $formats; do
    (umask 077 && TZ=Asia/Tokyo LC_ALL=C.UTF-8 TMPDIR=$work/two build "$work/two/deeper" ../padded.gguf "$format") >"$work/out" 2>&1
    check "$format: the same bytes at another place and time, from a padded model" cmp "$work/one/$format.img" "$work/two/deeper/$format.img"
done
(cd "$work/two" && t build --model "$demo" --manifest "$work/m.dts" --set http.key=other --set engine.context=256 --format raw -o other.img) >"$work/out" 2>&1
if cmp -s "$work/one/raw.img" "$work/two/other.img"; then
    not_ok "another setting gives another image" "they are equal"
else
    ok "another setting gives another image"
fi
same "nothing else is left" "" "$(find "$work/one" "$work/two/deeper" -type f ! -name '*.img')"

# ---- what is inside -------------------------------------------------------------------------------
# Zeros that fill a file up are not part of the model (hypercall/host/store/README.md).
content=$(t inspect "$work/one/pvh.img" --json | jq .sealed.model_bytes)
hash=$(head -c "$content" "$demo" | sha256sum | cut -d ' ' -f 1)
same "what follows the model is zeros" "" "$(tail -c +$((content + 1)) "$demo" | tr -d '\0')"
for format in $formats; do
    t inspect "$work/one/$format.img" --json >"$work/$format.json"
    same "$format: inspect --json" "$format true $hash $content 8088 true sealed-1 tessera-llm 0.1.0" \
        "$(jq -r '"\(.kind) \(.model.inside) \(.sealed.model_sha256) \(.sealed.model_bytes) \(.http_port) \(.key_required) \(.guest_name) \(.kernel.name) \(.kernel.version)"' "$work/$format.json")"
    check "$format: verify" t verify "$work/one/$format.img"
done
same "the manifest's hash is the same in all" 1 "$(jq -r .sealed.manifest_sha256 "$work"/{pvh,uefi,raw,qcow2}.json | sort -u | wc -l)"
same "the build is the ELF file's" "$(readelf -n build/images/llm.elf 2>/dev/null | sed -n 's/.*Build ID: //p')" "$(jq -r .kernel.build_id "$work/qcow2.json")"
t inspect "$work/one/raw.img" --manifest >"$work/out"
holds "the manifest as text, the key masked" 'context = <256>;.*port = <8088>;.*key = "\*+";' "$(tr '\n' ' ' <"$work/out")"
same "the key is not shown" 0 "$(t inspect "$work/one/raw.img" | grep -c s3cret)"
check "dtc reads that text" dtc -q -I dts -O dtb -o /dev/null "$work/out"
dd if="$work/one/raw.img" of="$work/esp" bs=1M skip=1 status=none
same "its partition table is sound (blkid checks its sums)" gpt "$(blkid -p -o value -s PTTYPE "$work/one/raw.img")"
check "fsck.vfat finds nothing" fsck.vfat -n "$work/esp"
mcopy -i "$work/esp" ::/tessera/model.gguf "$work/model.out" && check "its model is the file" cmp -n "$content" "$demo" "$work/model.out"
check "qemu-img check" qemu-img check "$work/one/qcow2.img"
check "the qcow2 holds the raw disk" qemu-img compare "$work/one/qcow2.img" "$work/one/raw.img"

# ---- bill of materials ----------------------------------------------------------------------------
t inspect "$work/one/uefi.img" --sbom >"$work/sbom.json"
same "CycloneDX 1.5" "CycloneDX 1.5" "$(jq -r '"\(.bomFormat) \(.specVersion)"' "$work/sbom.json")"
for archive in $(tr ' ' '\n' <build/images/llm.list | grep '\.a$'); do
    same "it has $(basename "$archive") as it was linked" "$(sha256sum "$archive" | cut -d ' ' -f 1)" \
        "$(jq -r --arg f "$archive" '.components[] | select(.properties[0].value == $f).hashes[0].content' "$work/sbom.json")"
done
same "and lwIP, llhttp, gnu-efi" "gnu-efi lwip node-llhttp" "$(jq -r '.components[].name' "$work/sbom.json" | grep -xE 'lwip|node-llhttp|gnu-efi' | sort -u | paste -sd ' ')"
same "each with version and licence" 0 "$(jq '[.components[] | select((.version | length) == 0 or (.licenses | length) == 0)] | length' "$work/sbom.json")"
same "versions as dpkg has them" "$(dpkg-query -W -f '${Version}' musl-dev)" "$(jq -r '.components[] | select(.name == "musl-dev").version' "$work/sbom.json")"

# ---- what is no image ------------------------------------------------------------------------------
refused "a model is no image" 'is a model \(GGUF\), no image' inspect "$demo"
refused "a program is no image" 'no kernel of this project' inspect /bin/true
refused "a folder is no image" 'is no file but a folder' inspect "$work"
refused "a text is no image" 'no other image|too small' inspect "$0"
for format in $formats; do
    head -c 300000 "$work/one/$format.img" >"$work/cut"
    refused "$format: a cut image" 'damaged|no disk|cannot be read|no whole' inspect "$work/cut"
done
qemu-img create -q -f qcow2 -b /etc/passwd -F raw "$work/hostile.qcow2"
refused "a qcow2 that names another file" 'backing file' inspect "$work/hostile.qcow2"
refused "no such key" 'no such key' build --model "$demo" --set http.prot=1 -o "$work/x"
refused "no number" 'expected a whole number' build --model "$demo" --set http.port=many -o "$work/x"
refused "a manifest that is none" 'dtc says|is no manifest' build --model "$demo" --manifest "$0" -o "$work/x"
refused "no model" 'GGUF|magic|not a' build --model "$0" -o "$work/x"
check "nothing was made" test ! -e "$work/x"

# ---- a sealed guest --------------------------------------------------------------------------------
answers() { # NAME: with the key of the manifest
    local why
    if ! why=$(vm_ready 90); then
        not_ok "$1" "$why"
        return 1
    fi
    same "$1: no key, no answer" 401 "$(status_of "http://127.0.0.1:$vm_port/metrics")"
    holds "$1" '"content":"[^"]*7' "$(ask /v1/chat/completions "$question" -H 'Authorization: Bearer s3cret')"
}
ends_refusing() { # NAME PATTERN: the guest ends by itself, as failed
    vm_end 90
    same "$1: QEMU tells of a crash" 1 "$vm_status"
    holds "$1" "$2" "$(cat "$vm_console")"
}
panics=(-device pvpanic -action panic=exit-failure)
vm_start pvh -p 8088 -i "$work/one/pvh.img" -a nokaslr
answers "PVH on q35 serves"
holds "it says that the model was checked" 'image: the model is the sealed one: [0-9]+ KB' "$(cat "$vm_console")"
holds "a bare word has no effect, and it says so" 'image is sealed: "nokaslr".* has no effect' "$(cat "$vm_console")"
vm_stop
vm_start microvm -p 8088 -M microvm -i "$work/one/pvh.img"
answers "PVH on microvm, whose devices come on the command line, serves"
vm_stop
vm_start line -p 8088 -i "$work/one/pvh.img" -a 'http.key=mine' -- "${panics[@]}"
ends_refusing "a setting on the command line" 'refused: this image is sealed .* take "http.key=mine" away'
vm_start host -p 8088 -i "$work/one/pvh.img" -- -fw_cfg name=opt/org.tessera/http.key,string=mine "${panics[@]}"
ends_refusing "a key from the host" 'refused: this image is sealed and takes no API key from the host'
printf '/dts-v1/; / { compatible = "tessera,manifest-1"; shell = "off"; };' | dtc -q -O dtb -o "$work/other.dtb"
vm_start tree -i "$work/one/pvh.img" -- -initrd "$work/other.dtb" "${panics[@]}"
ends_refusing "another manifest beside it" 'refused: the manifest \(manifest.dtb, [0-9]+ bytes\) is not the one'
changed "$work/one/pvh.img" 'later-invention' "$work/manifest.img"
vm_start manifest -i "$work/manifest.img" -- "${panics[@]}"
ends_refusing "a byte of the manifest" 'refused: the manifest .* is not the one'
refused "verify finds it, too" 'WRONG +manifest' verify "$work/manifest.img"
# The last weight's last bit: a model that still works.
changed "$demo" $((content - 1)) "$work/changed.gguf"
chmod u+w "$work/changed.gguf"
vm_start control -f "$work/changed.gguf"
check "control: a model with a changed byte runs in an image that is not sealed" vm_ready 30
vm_stop
t build --model "$demo" --set http.key=s3cret --model-outside -o "$work/outside.img" >"$work/out"
holds "an image without the model says so" 'not inside: give it' "$(cat "$work/out")"
refused "verify: another model" "WRONG +model .*SHA-256 is" verify "$work/outside.img" --model "$work/changed.gguf"
check "verify: the model" t verify "$work/outside.img" --model "$demo"
vm_start outside -i "$work/outside.img" -f "$demo"
answers "it takes the mapped model, filled up with zeros"
vm_stop
for source in pmem blk module; do
    vm_start "changed-$source" -i "$work/outside.img" -s $source -f "$work/changed.gguf" -- "${panics[@]}"
    ends_refusing "a byte of the model ($source)" "refused: the model's SHA-256 is [0-9a-f]{64}, this image is sealed with $hash"
done

# ---- Secure Boot -----------------------------------------------------------------------------------
ovmf=/usr/share/OVMF keys=/usr/share/ovmf/PkKek-1-snakeoil
openssl rsa -in $keys.key -passin pass:snakeoil -out "$work/key" 2>"$work/err" || not_ok "OVMF's key" "$(cat "$work/err")"
cert=$keys.pem
openssl req -new -x509 -newkey rsa:2048 -nodes -subj /CN=another -keyout "$work/other.key" -out "$work/other.pem" 2>"$work/err"
for format in uefi raw qcow2; do
    check "$format: signs" t sign --key "$work/key" --cert $cert "$work/one/$format.img" "$work/signed.$format"
    check "$format: verify --cert" t verify "$work/signed.$format" --cert $cert
    refused "$format: verify by another certificate" 'WRONG +signature' verify "$work/signed.$format" --cert "$work/other.pem"
done
refused "what is not sealed is not signed" 'is not sealed: signed, it would' sign --key "$work/key" --cert $cert build/images/llm.efi "$work/x"
refused "PVH images are not signed" 'is a PVH image, which no firmware checks' sign --key "$work/key" --cert $cert "$work/one/pvh.img" "$work/x"
refused "an unsigned one has no good signature" 'WRONG +signature .*is not signed' verify "$work/one/raw.img" --cert $cert
check "signed when it is built" t build --model "$demo" --manifest "$work/m.dts" --set http.key=s3cret --format raw \
    --key "$work/key" --cert $cert -o "$work/built.raw"
check "verify --cert" t verify "$work/built.raw" --cert $cert

# secure NAME DISK [off]: boots a disk under the secure firmware; `off`: without keys in it.
secure() {
    local name=$1 disk=$2 vars=$ovmf/OVMF_VARS_4M.snakeoil.fd format=raw
    [ "${3:-}" = off ] && vars=$ovmf/OVMF_VARS_4M.fd
    [ "${disk##*.}" = qcow2 ] && format=qcow2
    cp "$vars" "$work/$name.vars"
    vm_port=$(free_port) vm_console=$work/$name.console
    timeout -k 5 120 qemu-system-x86_64 -M q35,smm=on -accel tcg -cpu max -m 160 -nodefaults -no-user-config -no-reboot \
        -display none -global driver=cfi.pflash01,property=secure,value=on -global ICH9-LPC.disable_s3=1 \
        -drive "if=pflash,unit=0,format=raw,readonly=on,file=$ovmf/OVMF_CODE_4M.secboot.fd" \
        -drive "if=pflash,unit=1,format=raw,file=$work/$name.vars" \
        -drive "if=none,id=d0,format=$format,snapshot=on,file=$disk" -device virtio-blk-pci,drive=d0,bootindex=0 \
        -netdev "user,id=n0,hostfwd=tcp:127.0.0.1:$vm_port-:8088" -device virtio-net-pci,netdev=n0,romfile= \
        -device virtio-rng-pci -serial "file:$vm_console" "${panics[@]}" 2>"$work/$name.qemu" &
    vm_pid=$!
    vm_pids+=("$vm_pid")
}
# The firmware says so, and nothing of the guest has run.
firmware_refuses() { # NAME
    local until=$((SECONDS + 90))
    while [ $SECONDS -lt $until ] && kill -0 "$vm_pid" 2>/dev/null; do
        grep -aqE 'Access Denied|llm 0|refused' "$vm_console" 2>/dev/null && break
        sleep 0.2
    done
    vm_stop
    holds "$1" 'BdsDxe: failed to load .*: Access Denied' "$(tr -d '\0' <"$vm_console")"
    same "$1: nothing of it has run" 0 "$(grep -ac 'boot: llm' "$vm_console")"
}
secure signed "$work/signed.raw"
answers "signed: the secure firmware boots it and it serves"
vm_stop
secure signed-qcow2 "$work/signed.qcow2"
answers "signed qcow2: serves"
vm_stop
secure unsigned "$work/one/raw.img"
firmware_refuses "unsigned: the firmware refuses"
t sign --key "$work/other.key" --cert "$work/other.pem" "$work/one/raw.img" "$work/stranger.raw" >"$work/out"
secure stranger "$work/stranger.raw"
firmware_refuses "signed by a stranger: the firmware refuses"
changed "$work/signed.raw" 'CycloneDX' "$work/kernel.raw"
secure kernel "$work/kernel.raw"
firmware_refuses "a byte of the application: the firmware refuses"
secure kernel-off "$work/kernel.raw" off
answers "control: without Secure Boot the same disk serves"
vm_stop
changed "$work/signed.raw" 'later-invention' "$work/manifest.raw"
secure manifest "$work/manifest.raw"
ends_refusing "a byte of the disk's manifest: the guest refuses" 'refused: the manifest .* is not the one'
cp "$work/signed.raw" "$work/model.raw"
mcopy -o -i "$work/model.raw@@1M" "$work/changed.gguf" ::/tessera/model.gguf
secure model "$work/model.raw"
ends_refusing "a byte of the disk's model: the guest refuses" "refused: the model's SHA-256 is"
cp "$work/signed.raw" "$work/line.raw"
echo 'http.key=mine' | mcopy -i "$work/line.raw@@1M" - ::/tessera/cmdline.txt
secure line-file "$work/line.raw"
ends_refusing "a command line put on the disk: the guest refuses" 'refused: this image is sealed .*http.key=mine'
# The model inside the signed application.
changed "$work/signed.uefi" 'GGUF\x03' "$work/inside.efi"
images/tools/esp.sh "$work/inside.raw" "$work/inside.efi" >"$work/out" 2>&1
secure inside "$work/inside.raw"
firmware_refuses "a byte of the model inside the application: the firmware refuses"
finish_checks
