#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Gets lwIP's source package from the Debian mirror this machine already uses, checks the pinned
# SHA-256 of the upstream tarball, and unpacks it under build/third_party/lwip. Changes nothing of
# the system's apt configuration, needs no root, and does nothing when the tree is already there.
# LWIP_TARBALL=/path/lwip_2.1.3+dfsg1.orig.tar.xz uses a file at hand instead of the network.
set -eu

version=2.1.3+dfsg1
tarball=lwip_${version}.orig.tar.xz
sha256=0a8276d09fc4e97bbba2f953d74af2388fc2195ea156be9d7589e297a68fde24

cd "$(dirname "$0")/.."
third_party=build/third_party
target=$third_party/lwip
stamp=$target/.sha256

say() { printf 'fetch-lwip: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sha256" ]; then
    exit 0
fi

mkdir -p "$third_party"
work=$(mktemp -d "$third_party/.lwip.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# Writes source entries derived from the installed ones into $1, in whichever form they have.
derive_sources() {
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        sed -n 's/^[[:space:]]*deb\(-src\)\{0,1\}[[:space:]]/deb-src /p' "$file" |
            grep -i debian >>"$1/derived.list" || true
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        grep -qi 'debian' "$file" || continue
        sed 's/^[Tt]ypes:.*/Types: deb-src/' "$file" >"$1/$(basename "$file")"
    done
    sort -u -o "$1/derived.list" "$1/derived.list" 2>/dev/null || true
    [ -s "$1/derived.list" ] || rm -f "$1/derived.list"
    [ -n "$(ls "$1")" ]
}

download() {
    command -v apt-get >/dev/null || die "apt-get is missing; set LWIP_TARBALL to a local $tarball"
    root=$(cd "$work" && pwd)
    mkdir -p "$root/sources" "$root/lists/partial" "$root/archives/partial" "$root/package"
    derive_sources "$root/sources" ||
        die "no Debian entry in /etc/apt/sources.list or /etc/apt/sources.list.d"
    set -- \
        -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$root/sources" \
        -o Dir::State::lists="$root/lists" -o Dir::Cache="$root" \
        -o Dir::Cache::archives="$root/archives" -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Languages=none -o Acquire::Retries=3 -o Acquire::http::Timeout=30 \
        -o Acquire::IndexTargets::deb-src::Contents-dsc::DefaultEnabled=false
    say "fetching the index of source packages"
    apt-get "$@" -qq update >"$work/log" 2>&1 || say "warning: some package lists are missing"
    say "fetching $tarball"
    (cd "$root/package" && apt-get "$@" -qq source --only-source --download-only --tar-only lwip) \
        >>"$work/log" 2>&1 || true
    if [ ! -f "$root/package/$tarball" ]; then
        cat "$work/log" >&2
        die "$tarball did not arrive (this Debian release may carry another version); set LWIP_TARBALL"
    fi
    archive=$root/package/$tarball
}

archive=${LWIP_TARBALL:-}
if [ -z "$archive" ]; then
    download
elif [ ! -f "$archive" ]; then
    die "LWIP_TARBALL=$archive does not exist"
fi

found=$(sha256sum "$archive" | cut -d' ' -f1)
[ "$found" = "$sha256" ] || die "wrong SHA-256 of $archive: found $found, wanted $sha256"

mkdir "$work/tree"
tar -xJf "$archive" -C "$work/tree" --strip-components=1
[ -f "$work/tree/src/core/tcp.c" ] || die "$archive does not contain src/core/tcp.c"
printf '%s\n' "$sha256" >"$work/tree/.sha256"
# Replaced in one step, so that an interrupted run leaves no half tree behind.
rm -rf "$target"
mv "$work/tree" "$target"
say "lwIP $version is in $target"
