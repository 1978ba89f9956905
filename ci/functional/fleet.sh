#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# A fleet as an ordinary user: up, load through its endpoint while a guest is killed, scaled and
# deployed, a bad version rolled back, to zero and awake again, down. In process and mount namespaces
# of the test's own, so that no daemon outlives it.
set -u
cd "$(dirname "$0")/../.." || exit 1
if [ "$(id -u)" -ne 0 ] || ! command -v libvirtd >/dev/null || ! command -v haproxy >/dev/null ||
    ! unshare -mpf --mount-proc true 2>/dev/null; then
    echo "ok skipped: needs root (for namespaces of its own), libvirt's daemon and HAProxy"
    exit 0
fi
if [ -z "${TESSERA_FLEET_INSIDE:-}" ]; then
    make --no-print-directory build/bin/tessera build/images/llm.elf >&2 || exit 1
    exec env TESSERA_FLEET_INSIDE=1 unshare -mpf --mount-proc --kill-child "$0"
fi
. ci/lib.sh
. ci/fleet.sh
fleet_begin

# ---- up ----------------------------------------------------------------------------------------
fleet_yaml 4 2 >"$work/fleet.yaml"
out=$(t up "$work/fleet.yaml" --dry-run 2>&1)
holds "up --dry-run tells the plan" '^\+ .*chat' "$out"
same "and makes nothing" "" "$(v list --all --name)"
out=$(t up "$work/fleet.yaml" 2>&1)
same "up of 6 guests of two models succeeds" 0 $?
holds "it tells where" "shop is up after .*http://127.0.0.1:$port" "$out"
same "libvirt shows 6 guests that run" 6 "$(v list --name | grep -c '^shop-')"
holds "and what carries the fleet, off" 'shop.fleet +shut off' "$(v list --all)"
v dumpxml shop.fleet >"$work/carrier.xml"
check "its XML is valid" virt-xml-validate "$work/carrier.xml" domain
same "a request is answered" 200 "$(status_of "$url/v1/chat/completions" -d "$question")"
same "by the other model, too" 200 "$(status_of "$url/v1/chat/completions" -d "${question/chat/code}")"
before=$(v list --name | sort)
out=$(t up "$work/fleet.yaml" 2>&1)
holds "a second up says that nothing is to do" 'Nothing to do' "$out"
same "and changes nothing" "$before" "$(v list --name | sort)"
finish_checks
