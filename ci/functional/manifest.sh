#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# The manifest, compiled by dtc, reaches the guest as a module, in a cpio archive and on the ESP, and takes
# effect; the command line overrides it; what is wrong in it stops the boot with its path.
set -u
cd "$(dirname "$0")/../.." || exit 1
. ci/lib.sh
model=images/default-model/tessera-demo.gguf

# dtb NAME BODY: $work/NAME.dtb with a root of ours.
dtb() {
    printf '/dts-v1/; / { compatible = "tessera,manifest-1"; %s };\n' "$2" >"$work/$1.dts"
    dtc -q -I dts -O dtb -o "$work/$1.dtb" "$work/$1.dts" || not_ok "dtc $1" "$(cat "$work/$1.dts")"
}
dtb good 'guest-name = "alpha-1"; http { port = <8088>; key = "from-manifest"; };
    model { model-name = "small-world"; }; far-future { new = <1>; deeper { x = "y"; }; };'

# serves NAME KEY MODEL-NAME: port, key and name are what the manifest (or the command line) said.
serves() {
    local why url=http://127.0.0.1:$vm_port
    if ! why=$(vm_ready 40); then
        not_ok "$1: serves on the manifest's port" "$why"
        return
    fi
    ok "$1: serves on the manifest's port"
    same "$1: without the key" 401 "$(status_of "$url/metrics")"
    same "$1: with the key" 200 "$(status_of -H "Authorization: Bearer $2" "$url/metrics")"
    same "$1: model's name" "$3" "$(curl -s --max-time 5 "$url/v1/models" | jq -r '.data[0].id')"
    holds "$1: answers" '7' "$(ask /v1/chat/completions \
        '{"messages":[{"role":"user","content":"What is 3 plus 4?"}],"temperature":0}' -H "Authorization: Bearer $2" | jq -r '.choices[0].message.content')"
}

vm_start module -p 8088 -f $model -- -initrd "$work/good.dtb"
serves "module" from-manifest small-world
holds "the console names the port" 'listening on port 8088, API key required' "$(cat "$vm_console")"
vm_stop

vm_start override -p 8089 -f $model -a 'http.port=8089 http.key=from-line model.name="two words"' -- -initrd "$work/good.dtb"
serves "command line over manifest" from-line "two words"
same "command line over manifest: the manifest's key is void" 401 \
    "$(status_of -H 'Authorization: Bearer from-manifest' "http://127.0.0.1:$vm_port/metrics")"
vm_stop

vm_start host -p 8089 -f $model -a 'http.port=8089 http.key=from-line' -- -initrd "$work/good.dtb" -fw_cfg name=opt/org.tessera/http.key,string=from-host
serves "a key from the host over the command line" from-host small-world
same "a key from the host: the command line's is void" 401 \
    "$(status_of -H 'Authorization: Bearer from-line' "http://127.0.0.1:$vm_port/metrics")"
vm_stop
# The manifest and the model in one archive, among files that are neither, in a folder.
mkdir -p "$work/tree/etc"
cp $model "$work/tree/model.gguf"
cp "$work/good.dtb" "$work/tree/manifest.dtb"
echo hello >"$work/tree/etc/motd"
(cd "$work/tree" && find . | cpio -o -H newc --quiet >"$work/boot.cpio")
vm_start cpio -p 8088 -s module -f "$work/boot.cpio"
serves "cpio" from-manifest small-world
vm_stop

# On the ESP: manifest, model and command line.
if [ -f build/images/llm.efi ]; then
    if images/tools/esp.sh "$work/all.esp.img" build/images/llm.efi $model "$work/good.dtb" 'model.name=from-esp' 2>"$work/esp.log"; then
        vm_start esp -u -p 8088 -s none -m 96 -i "$work/all.elf"
        serves "ESP" from-manifest from-esp
        vm_stop
    else
        not_ok "ESP with manifest and model" "$(cat "$work/esp.log")"
    fi
    # The firmware loads the application itself; the command line comes as its load options.
    vm_start efi -u -p 8088 -f $model -m 96 -i build/images/llm.efi -a 'http.port=8088 http.key=opt model.name=options'
    serves "-kernel llm.efi" opt options
    vm_stop
else
    not_ok "ESP" "build/images/llm.efi is not built"
fi

# refused NAME PATTERN VM_START-ARGUMENTS: the boot ends with a report that names the place, and QEMU fails.
refused() {
    local name=$1 pattern=$2
    shift 2
    vm_start "$name" "$@" -device pvpanic-pci -action panic=exit-failure
    vm_end 5
    same "$name: QEMU fails" 1 "$vm_status"
    holds "$name: the console says where" "$pattern" "$(cat "$vm_console")"
}
dtb unknown-property 'http { prot = <80>; };'
refused "unknown property" 'manifest, /http/prot' -f $model -- -initrd "$work/unknown-property.dtb"
dtb bad-port 'http { port = <70000>; };'
refused "port out of range" 'manifest, /http/port: 70000 is not valid; expected a port, 1 to 65535' -- -initrd "$work/bad-port.dtb"
dtb bad-address 'net { address = "10.0.2.15"; };'
refused "address without prefix" 'manifest, /net/address: "10.0.2.15" is not valid' -- -initrd "$work/bad-address.dtb"
dtb bad-type 'http { key = <5>; };'
refused "number for a text" 'manifest, /http/key' -- -initrd "$work/bad-type.dtb"
printf 'sec ret\n' >"$work/bad.key"
refused "a key from the host that is none" 'opt/org.tessera/http.key: not valid; expected printable' -- -fw_cfg "name=opt/org.tessera/http.key,file=$work/bad.key"
same "and it is not shown" "" "$(grep 'sec ret' "$vm_console")"
printf '/dts-v1/; / { compatible = "someone,else"; http { port = <80>; }; };\n' >"$work/foreign.dts"
dtc -q -I dts -O dtb -o "$work/foreign.dtb" "$work/foreign.dts"
refused "a foreign tree" 'manifest.*tessera,manifest-1' -- -initrd "$work/foreign.dtb"
refused "wrong value on the command line" 'command line, http.port: "none" is not valid' -a 'http.port=none' --

# Damaged files: the boot must not go on as if no key had been asked for.
head -c 120 "$work/good.dtb" >"$work/cut.dtb"
refused "a cut device tree" 'manifest: (not a sound device tree|.*cannot be a device tree)' -- -initrd "$work/cut.dtb"
head -c $(($(stat -c %s "$work/boot.cpio") / 2)) "$work/boot.cpio" >"$work/cut.cpio"
refused "a cut archive" 'module 0: cpio archive damaged at byte [0-9]+' -- -initrd "$work/cut.cpio"
gzip -c "$work/boot.cpio" >"$work/boot.cpio.gz"
refused "a compressed archive" 'module 0: .*is compressed' -- -initrd "$work/boot.cpio.gz"
tr '\320' 'X' <"$work/good.dtb" >"$work/noise.dtb"
refused "a module of no known kind" 'module 0.*is no GGUF, device tree or' -- -initrd "$work/noise.dtb"
finish_checks
