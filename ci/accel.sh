# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tessera authors
#
# Chooses QEMU's accelerator: KVM only when the CPU says vmx or svm *and* /dev/kvm opens. A /dev/kvm
# without either flag exists on some machines and interprets guests at about 1 µs an instruction.
# Sets accel_args (array) and accel_text. ACCEL=kvm|tcg overrides.

accelerator() {
    local choice=${ACCEL:-auto}
    if [ "$choice" = auto ]; then
        choice=tcg
        if grep -qwE 'vmx|svm' /proc/cpuinfo && [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
            choice=kvm
        fi
    fi
    # Both are read by the scripts that source this file.
    # shellcheck disable=SC2034
    case $choice in
    kvm)
        accel_args=(-accel kvm -cpu host)
        accel_text="hardware KVM"
        ;;
    tcg)
        accel_args=(-accel "tcg,thread=multi" -cpu max)
        accel_text="emulated (TCG: no hardware virtualisation here)"
        ;;
    *)
        echo "ACCEL must be auto, kvm or tcg, not '$choice'" >&2
        return 1
        ;;
    esac
}
