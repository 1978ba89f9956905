#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `make bench-run`: what `tessera run` takes beyond QEMU's own, and what memory a guest adds. In turn in one
# run: QEMU started by hand until the first 200 of /health, and `tessera run --detach` until it returns; one
# guest and many at once, on q35 and microvm; medians. libvirt is an ordinary user's, in namespaces of the
# benchmark's own, and warm: the first start of all is a line of its own. PSS is split into what an idle QEMU
# of that machine has, its emulator's translations, the mapped weights, and the rest: the guest's.
# ROUNDS=7 MANY=32 MANY_ROUNDS=3 MACHINES="q35 microvm" MODEL=file.gguf
set -u
cd "$(dirname "$0")/.." || exit 1
if [ "$(id -u)" -ne 0 ] || ! command -v libvirtd >/dev/null || ! unshare -mpf --mount-proc true 2>/dev/null; then
    echo "bench-run: needs root (for namespaces of its own) and libvirt's daemon" >&2
    exit 1
fi
if [ -z "${BENCH_RUN_INSIDE:-}" ]; then
    make --no-print-directory build/bin/tessera build/bin/bootclock build/images/llm.elf >/dev/null || exit 1
    exec env BENCH_RUN_INSIDE=1 unshare -mpf --mount-proc --kill-child "$0"
fi
. ci/lib.sh
. ci/accel.sh
accelerator
rounds=${ROUNDS:-7} many=${MANY:-32} many_rounds=${MANY_ROUNDS:-3}
mount --make-rprivate /
chmod 711 "$work"
mkdir -p "$work"/{bin,images,home,run,ms} && chmod 755 "$work"/{bin,images}
# A user's sockets and states are in memory, as where logind makes the folder.
mount -t tmpfs tmpfs "$work/run"
trap 'kill "${vm_pids[@]}" 2>/dev/null; umount -l "$work/run"; cleanup' EXIT
cp build/bin/tessera "$work/bin/"
cp build/images/llm.elf "$work/images/"
cp "${MODEL:-images/default-model/tessera-demo.gguf}" "$work/model.gguf"
chmod 644 "$work/model.gguf"
chown 65534:65534 "$work"/{home,run} && chmod 700 "$work/run"
as=(setpriv --reuid 65534 --regid 65534 --clear-groups env -i "PATH=$PATH" "HOME=$work/home"
    "XDG_RUNTIME_DIR=$work/run" LC_ALL=C)
t() {
    timeout 200 "${as[@]}" "$work/bin/tessera" "$@"
}
median() {
    sort -n | awk '{v[NR] = $1} END {if (NR) printf "%.0f", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2; else print "none"}'
}

mapped=$work/power.gguf size=2097152
cp "$work/model.gguf" "$mapped"
while [ $size -lt "$(stat -c %s "$mapped")" ]; do
    size=$((size * 2))
done
truncate -s $size "$mapped"
chmod 444 "$mapped"

# by_hand MACHINE NAME PORT: QEMU in the background until it is ended; milliseconds in $work/ms/NAME.
by_hand() {
    local args=(-nodefaults -no-user-config -no-reboot -display none -smp 1 "${accel_args[@]}"
        -object "memory-backend-file,id=w0,mem-path=$mapped,size=$size,share=on,readonly=on"
        -netdev "user,id=n0,hostfwd=tcp:127.0.0.1:$3-:80"
        -kernel "$work/images/llm.elf" -append "name=$2" -serial "file:$work/ms/$2.console")
    case $1 in
    q35) args+=(-M q35 -bios qboot.rom -m "64M,slots=1,maxmem=2G" -device virtio-pmem-pci,memdev=w0
        -device virtio-net-pci,netdev=n0,romfile= -device virtio-rng-pci) ;;
    microvm) args+=(-M microvm,pcie=on -m 64M -global virtio-mmio.force-legacy=false -device ivshmem-plain,memdev=w0
        -device virtio-net-device,netdev=n0 -device virtio-rng-device) ;;
    esac
    rm -f "$work/ms/$2"
    build/bin/bootclock -p "$3" -a 2000 -t 120 -o "$work/ms/$2" -- qemu-system-x86_64 "${args[@]}" &
    hands+=($!)
}
end_hands() {
    kill "${hands[@]}" 2>/dev/null
    wait "${hands[@]}" 2>/dev/null
    hands=()
}
wait_for() { # FILES…: until all are written
    local until=$((SECONDS + 150)) f
    for f in "$@"; do
        while [ ! -s "$f" ] && [ $SECONDS -lt $until ]; do
            sleep 0.01
        done
    done
}
# run_one MACHINE NAME: the wall time, and the tool's own parts, in $work/ms/NAME.run: wall connect plan create guest.
run_one() {
    local out wall
    # The clock is the user's shell's own: no other program runs between it and the tool.
    # shellcheck disable=SC2016
    out=$(timeout 200 "${as[@]}" bash -c 'begun=${EPOCHREALTIME/./}
        "$0/bin/tessera" run "$0/model.gguf" --detach --name "$1" --machine "$2" --vcpus 1 --memory 64M || exit
        echo "wall $(((${EPOCHREALTIME/./} - begun) / 1000))"' "$work" "$2" "$1" 2>&1) || {
        echo "bench-run: $out" >&2
        return 1
    }
    wall=$(sed -n 's/^wall //p' <<<"$out")
    echo "$wall $(sed -nE 's/.*connection ([0-9]+) ms, model and plan ([0-9]+) ms, libvirt and QEMU ([0-9]+) ms, the guest ([0-9]+) ms.*/\1 \2 \3 \4/p' <<<"$out")" >"$work/ms/$2.run"
}
# pss NAME: of every QEMU in this namespace, the mean of: all, weights, translations (MB), into $work/ms/NAME.
pss() {
    local p
    for p in $(pgrep -x qemu-system-x86); do
        awk '/^[0-9a-f]+-/ {kind = /\.gguf/ ? "w" : $2 ~ /x/ && $6 == "" ? "t" : "o"} /^Pss:/ {s[kind] += $2}
            END {print s["w"] + s["t"] + s["o"], s["w"] + 0, s["t"] + 0}' "/proc/$p/smaps"
    done | awk '{a += $1; w += $2; t += $3} END {if (NR) printf "%.2f %.2f %.2f\n", a / NR / 1024, w / NR / 1024, t / NR / 1024}' >"$work/ms/$1"
}
idle_floor() { # MACHINE COUNT: an idle QEMU without a guest, into $work/ms/floor
    local i
    for i in $(seq "$2"); do
        qemu-system-x86_64 -M "$1" -nodefaults -no-user-config -display none -m 64M "${accel_args[@]}" -S 2>/dev/null &
        hands+=($!)
    done
    sleep $((2 + $2 / 8))
    pss floor
    end_hands
}
hands=()

echo "Times in ms, memory in MB a guest; $accel_text, 1 CPU and 64 MB a guest, $(nproc) CPUs of the host"
run_one q35 first || exit 1
read -r wall connect plan create guest <"$work/ms/first.run"
echo "The first start of all (libvirt's daemon starts and asks QEMU what it can): $wall ms"
echo
# Keeps the daemon there, as any guest does.
"${as[@]}" virsh -q event --loop --event lifecycle >/dev/null 2>&1 &
vm_pids+=($!)
t rm --force first >/dev/null

memory=()
echo "Of many at once: until the last one answers; the parts are each one's own, medians."
echo
echo "| machine | guests | QEMU by hand | \`tessera run\` | beyond QEMU | connection | plan | libvirt and QEMU | to the first 200 | program |"
echo "|---|---|---|---|---|---|---|---|---|---|"
for machine in ${MACHINES:-q35 microvm}; do
    for count in 1 "$many"; do
        turns=$rounds
        [ "$count" -gt 1 ] && turns=$many_rounds
        : >"$work/ms/alone"
        : >"$work/ms/runs"
        for turn in $(seq "$turns"); do
            names=() files=() runs=()
            for i in $(seq "$count"); do
                by_hand "$machine" "hand$i" $((30000 + i))
                files+=("$work/ms/hand$i")
            done
            wait_for "${files[@]}"
            cat "${files[@]}" | sort -n | tail -n 1 >>"$work/ms/alone"
            end_hands
            for i in $(seq "$count"); do
                run_one "$machine" "g$i" &
                runs+=($!)
                names+=("g$i")
            done
            wait "${runs[@]}" || exit 1
            # Of many, the last one says how long all took; the parts are medians.
            if [ "$count" -eq 1 ]; then
                cat "$work/ms/g1.run" >>"$work/ms/runs"
            else
                wall=$(cat "$work"/ms/g*.run | sort -n | tail -n 1 | cut -d' ' -f1)
                echo "$wall $(for c in 2 3 4 5; do cut -d' ' -f$c "$work"/ms/g*.run | median; echo; done | paste -sd' ')" >>"$work/ms/runs"
            fi
            [ "$turn" -eq "$turns" ] && pss guests
            t rm --force "${names[@]}" >/dev/null
            rm -f "$work"/ms/g*.run
        done
        alone=$(median <"$work/ms/alone")
        wall=$(cut -d' ' -f1 "$work/ms/runs" | median)
        parts=()
        for c in 2 3 4 5; do
            parts+=("$(cut -d' ' -f$c "$work/ms/runs" | median)")
        done
        program=$((wall - parts[0] - parts[1] - parts[2] - parts[3]))
        [ "$count" -gt 1 ] && program=-
        echo "| $machine | $count | $alone | $wall | $((wall - alone)) | ${parts[0]} | ${parts[1]} | ${parts[2]} | ${parts[3]} | $program |"
        idle_floor "$machine" "$count"
        memory+=("$(awk -v m="$machine" -v n="$count" 'NR == FNR {f = $1; ft = $3; next}
            {printf "| %s | %d | %.1f | %.1f | %.1f | %.2f | %.1f |", m, n, $1, f, $3 - ft, $2, $1 - f - ($3 - ft) - $2}' "$work/ms/floor" "$work/ms/guests")")
    done
done
echo
echo "| machine | guests | PSS | QEMU's floor | translations | weights | the guest's |"
echo "|---|---|---|---|---|---|---|"
printf '%s\n' "${memory[@]}"
