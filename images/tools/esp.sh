#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Makes a FAT disk image that UEFI firmware boots: esp.sh OUT APP.efi [MODEL] [MANIFEST] [CMDLINE].
# The application stands where firmware looks on removable media (UEFI 2.9, 3.5.1.1); the other
# files where the wrapper in platform/uefi/ looks. CMDLINE is the text itself.
set -euo pipefail

out=$1 app=$2 model=${3:-} manifest=${4:-} cmdline=${5:-}
for file in "$app" ${model:+"$model"} ${manifest:+"$manifest"}; do
    [ -r "$file" ] || { echo "esp.sh: cannot read $file" >&2; exit 1; }
done

bytes=$(stat -Lc %s "$app")
[ -z "$model" ] || bytes=$((bytes + $(stat -Lc %s "$model")))
[ -z "$manifest" ] || bytes=$((bytes + $(stat -Lc %s "$manifest")))
kilobytes=$((bytes / 1024 + bytes / 102400 + 2048))

part=$out.part
rm -f "$part"
truncate -s "${kilobytes}K" "$part"
mkfs.vfat -n TESSERA "$part" >/dev/null
mmd -i "$part" ::/EFI ::/EFI/BOOT ::/tessera
mcopy -i "$part" "$app" ::/EFI/BOOT/BOOTX64.EFI
[ -z "$model" ] || mcopy -i "$part" "$model" ::/tessera/model.gguf
[ -z "$manifest" ] || mcopy -i "$part" "$manifest" ::/tessera/manifest.dtb
if [ -n "$cmdline" ]; then
    printf '%s\n' "$cmdline" | mcopy -i "$part" - ::/tessera/cmdline.txt
fi
mv "$part" "$out"
