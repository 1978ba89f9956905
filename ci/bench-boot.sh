#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# `make bench-boot`: from QEMU's start to the first 200 of /health with the model mapped and ready, beside
# the smallest possible PVH guest's first serial byte (the floor: same machine, firmware, CPU, memory,
# devices) and a Debian cloud kernel with busybox httpd. All in turn in one run; medians.
# RUNS=10, ROWS="q35 q35-seabios microvm linux uefi" choose what is measured.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/accel.sh
accelerator
runs=${RUNS:-10}
rows=${ROWS:-q35 q35-seabios microvm linux}
dir=build/bench
mkdir -p $dir
make --no-print-directory build/images/llm.elf build/bin/bootclock >/dev/null
model=${MODEL:-images/default-model/tessera-demo.gguf}
nasm -f elf32 ci/bench/floor.asm -o $dir/floor.o
ld -m elf_i386 -Ttext 0x100000 -e start $dir/floor.o -o $dir/floor.elf

cp "$model" $dir/model.gguf
chmod u+w $dir/model.gguf
size=2097152 # a power of two, for microvm's sake
while [ $size -lt "$(stat -c %s $dir/model.gguf)" ]; do
    size=$((size * 2))
done
truncate -s $size $dir/model.gguf

free_port() {
    local port
    while port=$((20000 + RANDOM % 20000)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo $port
}

# The cloud kernel, with an initramfs of busybox and the virtio-net modules, serving /health.
linux_guest() {
    [ -f $dir/linux/initrd ] && return
    local package k=$dir/linux modules m
    rm -rf $k
    mkdir -p $k/root/{bin,proc,sys,dev,lib,www}
    package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/{print $2; exit}')
    (cd $k && apt-get download "$package" >/dev/null 2>&1 && dpkg-deb -x ./*.deb tree)
    cp $k/tree/boot/vmlinuz-* $k/vmlinuz
    modules="virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net"
    for m in $modules; do
        find $k/tree -name "$m.ko" -exec cp {} $k/root/lib/ \;
    done
    cp "$(command -v busybox)" $k/root/bin/busybox
    {
        echo '#!/bin/busybox sh'
        echo '/bin/busybox mount -t proc proc /proc'
        for m in $modules; do
            echo "/bin/busybox insmod /lib/$m.ko"
        done
        echo '/bin/busybox ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up'
        echo 'exec /bin/busybox httpd -f -p 80 -h /www'
    } >$k/root/init
    chmod +x $k/root/init
    echo '{"status":"ok"}' >$k/root/www/health
    (cd $k/root && find . | cpio -o -H newc --quiet) | gzip -1 >$k/initrd
}

measure() { # ROW KIND [MS]: prints milliseconds, or nothing if it did not come up; then lets it go on
    local row=$1 kind=$2 linger=${3:-0} port args=() boot=() clock=()
    port=$(free_port)
    case $row in
    q35 | linux) args=(-M q35 -bios qboot.rom) ;;
    q35-seabios) args=(-M q35) ;;
    microvm) args=(-M microvm,pcie=on) ;;
    uefi) args=(-M q35 -drive "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE.fd") ;;
    esac
    args+=("${accel_args[@]}" -nodefaults -no-user-config -no-reboot -display none -smp "${CPUS:-2}")
    args+=(-netdev "user,id=n0,hostfwd=tcp:127.0.0.1:$port-:80" -device "virtio-net-pci,netdev=n0,romfile=")
    if [ "$row" = linux ]; then
        args+=(-m 128M)
    else
        args+=(-object "memory-backend-file,id=w0,mem-path=$dir/model.gguf,size=$size,share=on,readonly=on")
        if [ "$row" = microvm ]; then
            args+=(-m 64M -device "ivshmem-plain,memdev=w0")
        else
            args+=(-m "64M,slots=1,maxmem=2G" -device "virtio-pmem-pci,memdev=w0")
        fi
    fi
    case $kind in
    floor)
        clock=(-b)
        boot=(-kernel "$dir/floor.elf" -serial stdio)
        ;;
    ours)
        clock=(-p "$port")
        boot=(-kernel build/images/llm.elf -serial "file:$dir/$row.console")
        ;;
    linux)
        clock=(-p "$port")
        boot=(-kernel "$dir/linux/vmlinuz" -initrd "$dir/linux/initrd" -append "quiet console=ttyS0" -serial "file:$dir/linux.console")
        ;;
    esac
    rm -f $dir/ms
    if build/bin/bootclock "${clock[@]}" -k -w "$linger" -t 60 -o $dir/ms -- qemu-system-x86_64 "${args[@]}" "${boot[@]}"; then
        cat $dir/ms
    fi
}
median() {
    sort -n | awk '{v[NR] = $1} END {if (NR) printf "%.1f", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2; else print "none"}'
}

case " $rows " in
*" linux "*) linux_guest ;;
esac
echo "From QEMU's start, milliseconds, median of $runs (smallest to largest), $accel_text, ${CPUS:-2} CPUs"
for row in $rows; do
    for kind in floor ours linux; do
        : >"$dir/$row.$kind"
    done
done
for i in $(seq "$runs"); do
    for row in $rows; do
        if [ "$row" = linux ]; then
            measure linux linux >>"$dir/$row.linux"
        else
            measure "$row" floor >>"$dir/$row.floor"
            # The last one may live on until it has printed its stages.
            measure "$row" ours $((i == runs ? 500 : 0)) >>"$dir/$row.ours"
        fi
    done
    [ -t 2 ] && printf '\rrun %d of %d' "$i" "$runs" >&2
done
[ -t 2 ] && printf '\r%20s\r' '' >&2
range() {
    sort -n "$1" | sed -n '1p;$p' | paste -sd- | sed 's/-/ to /'
}
linux_ms=none
for row in $rows; do
    if [ "$row" = linux ]; then
        linux_ms=$(median <"$dir/linux.linux")
        printf '%-12s Debian cloud kernel + busybox httpd, first 200: %s (%s)\n' linux "$linux_ms" "$(range $dir/linux.linux)"
    else
        floor=$(median <"$dir/$row.floor")
        ours=$(median <"$dir/$row.ours")
        printf '%-12s floor %s (%s)   first 200 %s (%s)   above the floor %s\n' "$row" "$floor" \
            "$(range "$dir/$row.floor")" "$ours" "$(range "$dir/$row.ours")" \
            "$(awk -v a="$ours" -v b="$floor" 'BEGIN{printf "%.1f", a - b}')"
    fi
done
if [ "$linux_ms" != none ] && [ -s $dir/q35.ours ]; then
    awk -v l="$linux_ms" -v o="$(median <$dir/q35.ours)" 'BEGIN{printf "Linux takes %.1f times as long as ours on q35\n", l / o}'
fi
for row in $rows; do
    if [ "$row" != linux ] && [ -f "$dir/$row.console" ]; then
        echo "$row, the guest's own stages, last run ($(tail -n 1 "$dir/$row.ours") ms in all):"
        tr -d '\r' <"$dir/$row.console" | sed -n '/^boot, time since/,$p' | grep '^  '
    fi
done
