#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Writes the bill of materials of an image as CycloneDX 1.5: sbom.sh OUT NAME VERSION KERNEL < INPUTS.
# INPUTS is what the linker says it read (`ld --trace` twice: objects as they are, members of archives
# as "(ARCHIVE)MEMBER" or "ARCHIVE(MEMBER)"). What is Debian's is named by package and version as
# dpkg knows them; an input that is nobody's stops the build. The same inputs give the same bytes: no
# time, no serial number, sorted.
set -euo pipefail
export LC_ALL=C

out=$1 name=$2 version=$3 kernel=$4
die() {
    echo "sbom.sh: $*" >&2
    exit 1
}

# Licences by SPDX's names, as the packages' copyright files give them for the parts that are linked.
licence() { # PACKAGE
    case $1 in
    musl-dev | libjansson-dev | node-llhttp) echo MIT ;;
    libpcre2-dev | lwip) echo BSD-3-Clause ;;
    libutf8proc-dev) echo 'MIT AND Unicode-DFS-2015' ;;
    libfdt-dev) echo 'GPL-2.0-or-later OR BSD-2-Clause' ;;
    libgcc-*-dev) echo 'GPL-3.0-or-later WITH GCC-exception-3.1' ;;
    gnu-efi) echo 'BSD-3-Clause AND BSD-2-Clause' ;;
    libmbedtls-dev) echo Apache-2.0 ;;
    *) die "no licence is known for the package $1 (images/tools/sbom.sh: licence)" ;;
    esac
}
hash_of() {
    sha256sum "$1" | cut -d ' ' -f 1
}
component() { # NAME VERSION LICENCE PURL FILE HASH MEMBERS
    jq -cn --arg name "$1" --arg version "$2" --arg licence "$3" --arg purl "$4" --arg file "$5" \
        --arg hash "$6" --arg members "$7" \
        '{type: "library", "bom-ref": ($purl + "#" + ($file | split("/") | last)), name: $name, version: $version, purl: $purl,
          licenses: [if $licence | test(" ") then {expression: $licence} else {license: {id: $licence}} end],
          hashes: (if $hash == "" then [] else [{alg: "SHA-256", content: $hash}] end),
          properties: ([{name: "tessera:file", value: $file}] +
            (if $members == "" then [] else [{name: "tessera:linked", value: $members}] end))}'
}
package_component() { # PACKAGE FILE MEMBERS
    local version arch shown
    version=$(dpkg-query -W -f '${Version}' "$1") || die "dpkg does not know the package $1"
    arch=$(dpkg-query -W -f '${Architecture}' "$1")
    shown=${version//+/%2B}
    shown=${shown//:/%3A}
    shown=${shown//\~/~}
    component "$1" "$version" "$(licence "$1")" "pkg:deb/debian/$1@$shown?arch=$arch" "$2" \
        "$([ -f "$2" ] && hash_of "$2")" "$3"
}

declare -A members=() own=()
while read -r line; do
    line=${line#./}
    case $line in
    '('*.a')'*) archive=${line#(} archive=${archive%%)*} member=${line##*)} ;;
    *.a'('*')') archive=${line%%(*} member=${line##*(} member=${member%)} ;;
    *.a) continue ;; # an archive that was opened
    build/guest/third_party/lwip/*) own[lwip]=1 && continue ;;
    build/guest/third_party/llhttp/*) own[llhttp]=1 && continue ;;
    build/*.o | images/kernel.ld) continue ;; # our own
    /*.o) archive=$line member=${line##*/} ;;
    *.lds | '') continue ;;
    *) die "the linker read '$line', which is neither ours nor known" ;;
    esac
    members[$archive]+="$member"$'\n'
done

parts=$(mktemp)
trap 'rm -f "$parts"' EXIT
for archive in "${!members[@]}"; do
    real=$(readlink -f "$archive")
    package=$( (dpkg -S "$archive" 2>/dev/null || dpkg -S "$real") | head -n 1 | cut -d : -f 1)
    [ -n "$package" ] || die "$archive belongs to no Debian package"
    package_component "$package" "$archive" "$(sort -u <<<"${members[$archive]}" | sed '/^$/d' | paste -sd ' ')" >>"$parts"
done
if [ -n "${own[llhttp]:-}" ]; then
    package_component node-llhttp /usr/share/llhttp/llhttp.c "" >>"$parts"
fi
if [ -n "${own[lwip]:-}" ]; then
    lwip=$(sed -n 's/^version=//p' ci/fetch-lwip.sh)
    component lwip "$lwip" "$(licence lwip)" "pkg:deb/debian/lwip@${lwip//+/%2B}?arch=source" \
        "lwip_$lwip.orig.tar.xz" "$(cat build/third_party/lwip/.sha256)" "" >>"$parts"
fi

jq -cS -n --arg name "$name" --arg version "$version" --arg hash "$(hash_of "$kernel")" --slurpfile parts "$parts" \
    '($parts | sort_by(.["bom-ref"])) as $sorted |
     {bomFormat: "CycloneDX", specVersion: "1.5", version: 1,
      metadata: {component: {type: "operating-system", "bom-ref": "image", name: $name, version: $version,
        licenses: [{license: {id: "Apache-2.0"}}], hashes: [{alg: "SHA-256", content: $hash}]}},
      components: $sorted,
      dependencies: [{ref: "image", dependsOn: ($sorted | map(.["bom-ref"]))}]}' >"$out.part"
mv "$out.part" "$out"
