#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `make bench-snapshot`: a guest's start to its first answer, from a boot and from its saved ready state, in turn:
# QEMU alone (q35, qboot; -incoming), and `tessera start` with libvirt. The demonstration model and larger ones.
# Milliseconds, medians (smallest to largest); "CPU" is what a process computed, of QEMU also under libvirt.
# RUNS=9, MODELS="110m-q4_0" (of bench-offload's shapes), CPUS=2.
set -u
cd "$(dirname "$0")/.." || exit 1
if [ -z "${TESSERA_BENCH_INSIDE:-}" ]; then
    make --no-print-directory -j2 build/bin/tessera build/bin/bootclock build/bin/make-model build/images/llm.elf >/dev/null || exit 1
    [ "$(id -u)" -eq 0 ] || { echo "needs root, for namespaces of its own"; exit 1; }
    exec env TESSERA_BENCH_INSIDE=1 unshare -mpf --mount-proc --kill-child "$0"
fi
. ci/lib.sh
. ci/accel.sh
accelerator
mount --make-rprivate /
runs=${RUNS:-9} cpus=${CPUS:-2}
chmod 711 "$work"
mkdir -p "$work"/{bin,images,models,home,run} && chmod 755 "$work"/{bin,images,models}
cp build/bin/{tessera,bootclock} "$work/bin/"
cp build/images/llm.elf "$work/images/"
chown 65534:65534 "$work"/{home,run} && chmod 700 "$work/run"
as=(setpriv --reuid 65534 --regid 65534 --clear-groups env -i "PATH=$PATH" "HOME=$work/home"
    "XDG_RUNTIME_DIR=$work/run" LC_ALL=C)
t() {
    timeout 100 "${as[@]}" "$work/bin/tessera" "$@" </dev/null
}
# One token: the first of an answer. The milliseconds that it takes are in $took; the shell's own clock, since
# each program that runs in between would count.
answer() {
    local begun=${EPOCHREALTIME/./}
    curl -s -o /dev/null --max-time 60 -H 'Content-Type: application/json' \
        -d '{"prompt":"Once","max_tokens":1}' "http://127.0.0.1:$vm_port/v1/completions" || return
    took=$(((${EPOCHREALTIME/./} - begun) / 1000))
}
computed() { # PROCESS: milliseconds
    awk -v hz="$(getconf CLK_TCK)" '{sub(/^.*\) /, ""); print int(($12 + $13) * 1000 / hz)}' "/proc/$1/stat"
}
median() { # FILE
    sort -n "$1" | awk '{v[NR] = $1} END {if (NR) printf "%d (%d to %d)", v[int((NR + 1) / 2)] / 2 + v[int(NR / 2) + 1] / 2, v[1], v[NR]; else print "none"}'
}
shape() { # as bench-offload's
    case $1 in
    110m) echo "layers 12 embedding 768 heads 12 kv_heads 12 head_dim 64 feed_forward 2048 vocabulary 32000 context 1024" ;;
    1b) echo "layers 16 embedding 2048 heads 32 kv_heads 8 head_dim 64 feed_forward 8192 vocabulary 128256 context 2048" ;;
    esac
}

# ---- QEMU alone --------------------------------------------------------------------------------
# qemu MS-FILE MORE…: starts it, adds the time to its first answer to MS-FILE; leaves it running, sets clock.
qemu() {
    local to=$1
    shift
    rm -f "$work/ms"
    build/bin/bootclock -p "$vm_port" -t 60 -o "$work/ms" -l "$work/qemu.log" -- qemu-system-x86_64 -M q35 \
        -bios qboot.rom "${accel_args[@]}" -nodefaults -no-user-config -no-reboot -display none -smp "$cpus" \
        -m "$memory,slots=1,maxmem=8G" -device virtio-rng-pci \
        -object "memory-backend-file,id=w0,mem-path=$mapped,size=$size,share=on,readonly=on" \
        -device virtio-pmem-pci,memdev=w0 -netdev "user,id=n0,hostfwd=tcp:127.0.0.1:$vm_port-:80" \
        -device virtio-net-pci,netdev=n0,romfile= -serial "file:$work/console" \
        -fw_cfg name=opt/org.tessera/generation,file=/proc/sys/kernel/random/uuid \
        -monitor "unix:$work/monitor,server=on,wait=off" -kernel build/images/llm.elf "$@" </dev/null &
    clock=$!
    vm_pids+=("$clock")
    for _ in $(seq 1200); do
        [ -s "$work/ms" ] && break
        sleep 0.05
    done
    [ "$to" = none ] && return
    answer || return
    awk -v more="$took" '{print int($1 + more)}' "$work/ms" >>"$work/$to"
    # Hundredths of a second that QEMU computed: what a machine that does other things too does not blur.
    computed "$(pgrep -P "$clock")" >>"$work/$to.cpu"
}
end() {
    kill "$clock"
    wait "$clock" 2>/dev/null
}
alone() {
    qemu none
    echo "migrate \"exec:cat >$work/state\"" | timeout 60 socat -t 20 - "UNIX-CONNECT:$work/monitor" >/dev/null
    for _ in $(seq 200); do # postmigrate
        echo 'info migrate' | timeout 5 socat -t 0.2 - "UNIX-CONNECT:$work/monitor" | grep -q completed && break
        sleep 0.1
    done
    end
    for _ in $(seq "$runs"); do
        qemu qemu.cold
        end
        qemu qemu.ready -incoming "exec:cat $work/state"
        end
    done
}

# ---- tessera and libvirt -----------------------------------------------------------------------
with_libvirt() {
    t run "$model" --name bench --detach --port "$vm_port" --vcpus "$cpus" --memory "$memory" >"$work/out" 2>&1 || cat "$work/out"
    t suspend --ready bench >"$work/out" 2>&1 || cat "$work/out"
    libvirtd=$(pgrep -x libvirtd)
    for _ in $(seq "$runs"); do
        for kind in cold ready; do
            daemon=$(computed "$libvirtd")
            if "${as[@]}" "$work/bin/bootclock" -e -t 100 -o "$work/home/ms" -l "$work/home/out" -- \
                "$work/bin/tessera" start --$kind bench </dev/null && answer; then
                read -r wall program <"$work/home/ms"
                echo $((${wall%.*} + took)) >>"$work/tessera.$kind"
                echo "${program%.*}" >>"$work/tessera.$kind.program"
                echo $(($(computed "$libvirtd") - daemon)) >>"$work/tessera.$kind.libvirtd"
                computed "$(pgrep -x qemu-system-x86)" >>"$work/tessera.$kind.cpu"
            fi
            t stop bench >"$work/out" 2>&1
        done
    done
    state=$(stat -c %s "$work/home/.local/state/tessera/states/bench.ready")
    t rm bench >"$work/out" 2>&1
}

echo "To the first token of a first answer, milliseconds, median of $runs (smallest to largest), $accel_text, $cpus CPUs"
printf '%-10s %-14s %-24s %-24s %s\n' model by boot 'ready state' 'state, MB'
for name in demo ${MODELS:-110m-q4_0}; do
    model=$work/models/$name.gguf memory=64M
    if [ "$name" = demo ]; then
        cp images/default-model/tessera-demo.gguf "$model"
    else
        # shellcheck disable=SC2046
        build/bin/make-model "$model" llama "${name#*-}" $(shape "${name%%-*}") >"$work/out" || cat "$work/out"
        memory=512M
    fi
    chmod 644 "$model"
    mapped=$work/mapped.gguf
    cp "$model" "$mapped"
    chmod 644 "$mapped"
    truncate -s %2M "$mapped"
    size=$(stat -c %s "$mapped")
    vm_port=$(free_port)
    rm -f "$work"/{qemu,tessera}.{cold,ready}*
    alone
    touch "$work"/qemu.{cold,ready}{,.cpu}
    printf '%-10s %-14s %-24s %-24s %s\n' "$name" QEMU "$(median "$work/qemu.cold")" "$(median "$work/qemu.ready")" \
        "$(awk "BEGIN {printf \"%.1f\", $(stat -c %s "$work/state") / 1048576}")"
    printf '%-10s %-14s %-24s %s\n' "$name" "QEMU's CPU" "$(median "$work/qemu.cold.cpu")" "$(median "$work/qemu.ready.cpu")"
    [ -n "${ALONE:-}" ] && continue
    with_libvirt
    touch "$work"/tessera.{cold,ready}{,.cpu,.program,.libvirtd}
    printf '%-10s %-14s %-24s %-24s %s\n' "$name" tessera "$(median "$work/tessera.cold")" \
        "$(median "$work/tessera.ready")" "$(awk "BEGIN {printf \"%.1f\", $state / 1048576}")"
    # Of `tessera start`: QEMU's, the program's, libvirt's daemon's.
    for part in QEMU:cpu program:program libvirtd:libvirtd; do
        printf '%-10s %-14s %-24s %s\n' "$name" "${part%:*}'s CPU" "$(median "$work/tessera.cold.${part#*:}")" \
            "$(median "$work/tessera.ready.${part#*:}")"
    done
done
