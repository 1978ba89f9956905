# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# What the functional tests share: checks that print `ok NAME` or `not ok NAME: why`, and virtual
# machines with a time-out that are ended by their own process id. Source it from the repository root.

work=$(mktemp -d "${TMPDIR:-/tmp}/tessera-test.XXXXXX")
vm_pids=()
bad_checks=0
vm_host=127.0.0.1 # set by vm_start, or by a test that starts its machine otherwise
data=${TESSERA_TEST_DATA:-../shared/data}

cleanup() {
    local pid
    for pid in "${vm_pids[@]:-}"; do
        [ -n "$pid" ] && kill "$pid" 2>/dev/null
    done
    wait 2>/dev/null
    [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap cleanup EXIT

ok() {
    echo "ok $*"
}
not_ok() { # NAME WHY
    echo "not ok $1: ${2:-failed}"
    bad_checks=$((bad_checks + 1))
}
# check NAME COMMAND…: the command must succeed.
check() {
    local name=$1 log
    shift
    log=$work/check.log
    if "$@" >"$log" 2>&1; then
        ok "$name"
    else
        not_ok "$name" "exit $?: $(tail -c 300 "$log" | tr '\n' ' ')"
    fi
}
# same NAME WANTED FOUND
same() {
    if [ "$2" = "$3" ]; then
        ok "$1"
    else
        not_ok "$1" "wanted '$2', found '$3'"
    fi
}
# holds NAME PATTERN TEXT: an extended regular expression must match.
holds() {
    if grep -qE -- "$2" <<<"$3"; then
        ok "$1"
    else
        not_ok "$1" "no match for '$2' in '$(head -c 300 <<<"$3")'"
    fi
}
# hides NAME TEXT...: no process of this namespace shows any of these texts on its command line, as `ps` prints them.
hides() {
    local name=$1 text found=
    shift
    cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' >"$work/cmdlines"
    for text; do
        grep -qF -- "$text" "$work/cmdlines" && found+=" $text"
    done
    grep -qF qemu-system "$work/cmdlines" || found+=" (no QEMU runs)"
    same "$name" "" "$found"
}
finish_checks() {
    [ "$bad_checks" -eq 0 ]
}

# A port nobody listens on now, below those that outgoing connections get.
free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || {
            echo "$port"
            return
        }
    done
    return 1
}

# padded FILE [MACHINE]: a copy to map, in whole 4 KB pages, or on microvm (ivshmem) of a power of two. Prints
# its path.
padded() {
    local to size room
    size=$(stat -Lc %s "$1")
    room=$(((size + 4095) / 4096 * 4096))
    if [ "${2:-}" = microvm,pcie=on ]; then
        room=1048576
        while [ $room -lt "$size" ]; do
            room=$((room * 2))
        done
    fi
    to=$work/$(basename "$1").$room
    if [ ! -f "$to" ]; then
        cp "$1" "$to"
        chmod u+w "$to"
        truncate -s $room "$to"
    fi
    echo "$to"
}

# vm_start NAME [-M machine] [-c cpus] [-m MB] [-s pmem|blk|module|none] [-f MODEL] [-a APPEND] [-i IMAGE]
#          [-u (UEFI)] [-t SECONDS] [-p GUEST-PORT] [-n NETDEV] [-S SERIAL] [-- MORE QEMU ARGUMENTS]
# Boots an image in the background; sets vm_pid, vm_host, vm_port, vm_console, vm_monitor. No network
# forwarding is needed by hand: guest port 80 (or GUEST-PORT) is on 127.0.0.1:$vm_port. With a network
# of one's own (-n, its id is n0) one sets vm_host and vm_port. With -u an image APP.efi is given to the
# firmware as the kernel; for any other name the disk beside it, APP.esp.img, is booted.
vm_start() {
    local name=${1//[^A-Za-z0-9]/-} machine=q35 cpus=1 memory=64 source=pmem model="" append="" image=build/images/llm.elf
    local limit=120 uefi="" option size guest_port=80 netdev="" serial="" args=()
    shift
    OPTIND=1
    while getopts M:c:m:s:f:a:i:ut:p:n:S: option; do
        case $option in
        M) machine=$OPTARG ;;
        c) cpus=$OPTARG ;;
        m) memory=$OPTARG ;;
        s) source=$OPTARG ;;
        f) model=$OPTARG ;;
        a) append=$OPTARG ;;
        i) image=$OPTARG ;;
        u) uefi=1 ;;
        t) limit=$OPTARG ;;
        p) guest_port=$OPTARG ;;
        n) netdev=$OPTARG ;;
        S) serial=$OPTARG ;;
        *) return 2 ;;
        esac
    done
    shift $((OPTIND - 1))
    [ "${1:-}" = -- ] && shift
    vm_host=127.0.0.1
    vm_port=$(free_port)
    vm_console=$work/$name.console
    vm_monitor=$work/$name.monitor
    local net=virtio-net-pci,netdev=n0,romfile= blk=virtio-blk-pci rng=virtio-rng-pci
    case $machine in
    microvm) # virtio over MMIO
        net=virtio-net-device,netdev=n0 blk=virtio-blk-device rng=virtio-rng-device
        args+=(-global virtio-mmio.force-legacy=false)
        ;;
    microvm,pcie=on) ;;
    q35 | pc) [ -n "$uefi" ] || args+=(-bios qboot.rom) ;;
    esac
    args=(-M "$machine" -accel "tcg,thread=multi" -cpu max -smp "$cpus" -nodefaults -no-user-config
        -no-reboot -display none "${args[@]}")
    args+=(-netdev "${netdev:-user,id=n0,hostfwd=tcp:127.0.0.1:$vm_port-:$guest_port}" -device "$net" -device "$rng")
    args+=(-serial "${serial:-file:$vm_console}" -monitor "unix:$vm_monitor,server=on,wait=off")
    if [ "$source" = pmem ] && [ -n "$model" ]; then
        model=$(padded "$model" "$machine")
        size=$(stat -c %s "$model")
        args+=(-object "memory-backend-file,id=w0,mem-path=$model,size=$size,share=on,readonly=on")
        if [ "$machine" = microvm,pcie=on ]; then # it has no device memory for virtio-pmem
            args+=(-m "${memory}M" -device ivshmem-plain,memdev=w0)
        else
            args+=(-m "${memory}M,slots=1,maxmem=$((memory + 1024 + size / 1048576))M"
                -device virtio-pmem-pci,id=p0,memdev=w0)
        fi
    else
        args+=(-m "${memory}M")
    fi
    case $source in
    blk) args+=(-drive "file=$model,if=none,id=d0,format=raw,readonly=on" -device "$blk,drive=d0") ;;
    module) args+=(-initrd "$model") ;;
    esac
    if [ -n "$uefi" ]; then
        cp /usr/share/OVMF/OVMF_VARS.fd "$work/$name.vars"
        args+=(-drive "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE.fd"
            -drive "if=pflash,format=raw,file=$work/$name.vars")
    fi
    if [ -n "$uefi" ] && [ "${image%.efi}" = "$image" ]; then
        args+=(-drive "if=none,id=esp,format=raw,snapshot=on,file=${image%.elf}.esp.img" -device virtio-blk-pci,drive=esp)
    else
        args+=(-kernel "$image" -append "$append")
    fi
    timeout -k 5 "$limit" qemu-system-x86_64 "${args[@]}" "$@" 2>"$work/$name.qemu" &
    vm_pid=$!
    vm_pids+=("$vm_pid")
}

# vm_ready [SECONDS]: waits for /health to say 200.
vm_ready() {
    local until=$((SECONDS + ${1:-30}))
    while [ $SECONDS -lt $until ]; do
        kill -0 "$vm_pid" 2>/dev/null || break
        [ "$(curl -s -o /dev/null -w '%{http_code}' --max-time 2 "http://$vm_host:$vm_port/health")" = 200 ] && return 0
        sleep 0.05
    done
    echo "the guest is not ready; console:"
    tail -n 15 "$vm_console"
    return 1
}

# vm_end [SECONDS]: waits for the machine to end by itself; vm_status is then QEMU's exit status.
vm_end() {
    local until=$((SECONDS + ${1:-15}))
    vm_status="still running"
    while [ $SECONDS -lt $until ]; do
        if ! kill -0 "$vm_pid" 2>/dev/null; then
            wait "$vm_pid" 2>/dev/null
            vm_status=$?
            return
        fi
        sleep 0.05
    done
    vm_stop
}

# vm_stop: ends the machine at once and waits for it.
vm_stop() {
    kill "$vm_pid" 2>/dev/null
    wait "$vm_pid" 2>/dev/null
    return 0
}

# ask PATH JSON [CURL ARGUMENTS]: POST to the current machine.
ask() {
    local path=$1 body=$2
    shift 2
    curl -sS --max-time 60 -H 'Content-Type: application/json' "$@" -d "$body" "http://$vm_host:$vm_port$path"
}
status_of() { # CURL ARGUMENTS: prints the HTTP status
    curl -s -o /dev/null --max-time 60 -w '%{http_code}' "$@"
}
