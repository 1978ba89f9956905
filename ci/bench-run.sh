#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `make bench-run`: what `tessera run` takes beyond QEMU's own, and what memory a guest adds. In turn in one
# run: QEMU started by hand until the first 200 of /health, and `tessera run --detach` until it returns; one
# guest and many at once, on q35 and microvm; medians. libvirt is an ordinary user's, in namespaces of the
# benchmark's own, and warm: the first start of all is a line of its own. Where the time goes: a table of the
# stages of one run, and one of what each process computes. PSS is split into what an idle QEMU of that machine
# has, its emulator's translations, the mapped weights, and the rest: the guest's.
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
mkdir -p "$work"/{bin,images,home,run,ms} && chmod 755 "$work"/{bin,images} && chmod 777 "$work/ms"
# A user's sockets and states are in memory, as where logind makes the folder.
mount -t tmpfs tmpfs "$work/run"
trap 'kill "${vm_pids[@]}" 2>/dev/null; umount -l "$work/run"; cleanup' EXIT
cp build/bin/{tessera,bootclock} "$work/bin/"
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
# run_all MACHINE COUNT: guests g1 to gCOUNT at once, by `tessera run`, from a shell that is there already. A
# line each into $work/ms/each: wall computed connect plan create guest, in milliseconds.
run_all() {
    local i wall cpu
    # shellcheck disable=SC2016
    "${as[@]}" bash -c 'for i in $(seq "$2"); do
        "$0/bin/bootclock" -e -t 200 -o "$0/ms/g$i.ms" -l "$0/ms/g$i.log" -- "$0/bin/tessera" run "$0/model.gguf" \
            --detach --name "g$i" --machine "$1" --vcpus 1 --memory 64M &
    done; wait' "$work" "$1" "$2" </dev/null
    : >"$work/ms/each"
    for i in $(seq "$2"); do
        read -r wall cpu 2>/dev/null <"$work/ms/g$i.ms" || {
            echo "bench-run: g$i: $(cat "$work/ms/g$i.log")" >&2
            return 1
        }
        echo "${wall%.*} ${cpu%.*} $(sed -nE "s/.*connection ([0-9]+) ms, model and plan ([0-9]+) ms, libvirt and QEMU ([0-9]+) ms, the guest ([0-9]+) ms.*/\1 \2 \3 \4/p" "$work/ms/g$i.log")" >>"$work/ms/each"
        rm "$work/ms/g$i.ms"
    done
}
computed() { # PROGRAM: milliseconds that all its processes have computed
    local p
    for p in $(pgrep -x "$1"); do
        sed 's/^.*) //' "/proc/$p/stat"
    done | awk -v hz="$(getconf CLK_TCK)" '{s += $12 + $13} END {printf "%d", s * 1000 / hz}'
}
column() { # FILE NUMBER: its median
    cut -d' ' -f"$2" "$1" | median
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
run_all q35 1 || exit 1
echo "The first start of all (libvirt's daemon starts and asks QEMU what it can): $(column "$work/ms/each" 1) ms"
echo
# Keeps the daemon there, as any guest does.
"${as[@]}" virsh -q event --loop --event lifecycle >/dev/null 2>&1 &
vm_pids+=($!)
t rm --force g1 >/dev/null

# What the program takes before it begins: it loads libvirt's library and all that this one needs.
for _ in $(seq "$rounds"); do
    "${as[@]}" "$work/bin/bootclock" -e -o "$work/ms/load" -- "$work/bin/tessera" --help
    cat "$work/ms/load"
done >"$work/ms/loads"

memory=() cpu=()
echo "Of many at once: until the last one answers; the stages are each one's own, medians. \"Loading\" is \`tessera --help\`,"
echo "\"end\" what follows the first 200: the line of memory in use, closing."
echo
echo "| machine | guests | QEMU by hand | \`tessera run\` | beyond QEMU | loading | connection | plan | libvirt and QEMU | to the first 200 | end |"
echo "|---|---|---|---|---|---|---|---|---|---|---|"
for machine in ${MACHINES:-q35 microvm}; do
    for count in 1 "$many"; do
        turns=$rounds
        [ "$count" -gt 1 ] && turns=$many_rounds
        rm -f "$work"/ms/{alone,runs,cpu}
        for turn in $(seq "$turns"); do
            files=() names=()
            for i in $(seq "$count"); do
                by_hand "$machine" "hand$i" $((30000 + i))
                files+=("$work/ms/hand$i")
                names+=("g$i")
            done
            wait_for "${files[@]}"
            hand=$(computed qemu-system-x86)
            cat "${files[@]}" | sort -n | tail -n 1 >>"$work/ms/alone"
            end_hands
            daemon=$(computed libvirtd) logger=$(computed virtlogd)
            run_all "$machine" "$count" || exit 1
            # Of many, the last one says how long all took; the stages are medians.
            line=$(sort -n "$work/ms/each" | tail -n 1 | cut -d' ' -f1)
            for c in 2 3 4 5 6; do
                line+=" $(column "$work/ms/each" $c)"
            done
            echo "$line" >>"$work/ms/runs"
            echo "$hand $(computed qemu-system-x86) $(($(computed libvirtd) - daemon)) $(($(computed virtlogd) - logger))" >>"$work/ms/cpu"
            [ "$turn" -eq "$turns" ] && pss guests
            t rm --force "${names[@]}" >/dev/null
        done
        alone=$(median <"$work/ms/alone") stages=()
        for c in 1 2 3 4 5 6; do
            stages+=("$(column "$work/ms/runs" $c)")
        done
        read -r wall tool connect plan create guest <<<"${stages[*]}"
        load=$(column "$work/ms/loads" 1) end=-
        [ "$count" -eq 1 ] && end=$((wall - load - connect - plan - create - guest))
        echo "| $machine | $count | $alone | $wall | $((wall - alone)) | $load | $connect | $plan | $create | $guest | $end |"
        cpu+=("| $machine | $count |$(for c in 1 2; do echo " $(($(column "$work/ms/cpu" $c) / count)) |"; done | paste -sd '') $tool | $(column "$work/ms/loads" 2) |$(for c in 3 4; do echo " $(($(column "$work/ms/cpu" $c) / count)) |"; done | paste -sd '')")
        idle_floor "$machine" "$count"
        memory+=("$(awk -v m="$machine" -v n="$count" 'NR == FNR {f = $1; ft = $3; next}
            {printf "| %s | %d | %.1f | %.1f | %.1f | %.2f | %.1f |", m, n, $1, f, $3 - ft, $2, $1 - f - ($3 - ft) - $2}' "$work/ms/floor" "$work/ms/guests")")
    done
done
echo
echo "What was computed until the last one answers, ms a guest"
echo
echo "| machine | guests | QEMU by hand | QEMU | the program | of it loading | libvirtd | virtlogd |"
echo "|---|---|---|---|---|---|---|---|"
printf '%s\n' "${cpu[@]}"
echo
echo "| machine | guests | PSS | QEMU's floor | translations | weights | the guest's |"
echo "|---|---|---|---|---|---|---|"
printf '%s\n' "${memory[@]}"
