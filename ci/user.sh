# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# What the tests of the tool on libvirt share: namespaces of the script's own, and in them an ordinary user
# who has installed Tessera and whose libvirt starts by itself. Source it first, then
#     namespaces 'libvirtd haproxy' build/bin/tessera build/images/llm.elf
#     . ci/lib.sh
#     user_begin

# namespaces 'PROGRAMS' TARGETS…: builds the targets and runs the script again from its beginning in process,
# mount and network namespaces of its own, so that no daemon outlives it and no port is another's; returns
# there. The script is skipped where that cannot be.
namespaces() {
    local program missing=""
    if [ -n "${TESSERA_NAMESPACES:-}" ]; then
        unset TESSERA_NAMESPACES
        mount --make-rprivate /
        ip link set lo up
        return
    fi
    for program in $1; do
        command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || missing+=" $program"
    done
    if [ "$(id -u)" -ne 0 ] || [ -n "$missing" ] || ! unshare -mpnf --mount-proc true 2>/dev/null; then
        # Where everything was installed for the tests, nothing is passed by.
        [ -z "${CI:-}" ] || { echo "not ok namespaces: needs root (for namespaces of its own) and ${missing:-$1}" && exit 1; }
        echo "ok skipped: needs root (for namespaces of its own) and ${missing:-$1}"
        exit 0
    fi
    shift
    make --no-print-directory "$@" >&2 || exit 1
    exec env TESSERA_NAMESPACES=1 unshare -mpnf --mount-proc --kill-child "$0" </dev/null
}

# user_begin: $work/bin and $work/images as installed, $work/models with the demonstration model ($demo), all
# of it where the user may read; a home and a folder for sockets. The user is "${as[@]}".
user_begin() {
    chmod 711 "$work"
    mkdir -p "$work"/{bin,images,models,home,run} && chmod 755 "$work"/{bin,images,models}
    cp build/bin/tessera "$work/bin/"
    cp build/images/llm.elf "$work/images/"
    demo=$work/models/demo.gguf
    cp images/default-model/tessera-demo.gguf "$demo" && chmod 644 "$demo"
    chown 65534:65534 "$work"/{home,run} && chmod 700 "$work/run"
    as=(setpriv --reuid 65534 --regid 65534 --clear-groups env -i "PATH=$PATH:/usr/sbin" "HOME=$work/home"
        "XDG_RUNTIME_DIR=$work/run" LC_ALL=C TERM=xterm)
}
t() { # the tool as that user
    timeout "${T_SECONDS:-120}" "${as[@]}" "$work/bin/tessera" "$@"
}
v() {
    timeout 60 "${as[@]}" virsh -q "$@"
}
# refused NAME STATUS PATTERN ARGUMENTS…: the tool's exit status and a line on standard error.
refused() {
    local name=$1 status=$2 pattern=$3 found
    shift 3
    t "$@" >"$work/out" 2>"$work/err" </dev/null
    found=$?
    if [ $found -eq "$status" ] && grep -qE -- "$pattern" "$work/err"; then
        ok "$name"
    else
        not_ok "$name" "exit $found (wanted $status), '$(head -c 400 "$work/err")' (wanted /$pattern/)"
    fi
}
