// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reads `virtio_mmio.device=SIZE@BASE:IRQ[:ID]` from a kernel command line, the form in which VMMs
// without ACPI announce virtio-mmio transports. Source: Linux, admin-guide/kernel-parameters.
#ifndef LIBOS_VIRTIO_MMIO_CMDLINE_H
#define LIBOS_VIRTIO_MMIO_CMDLINE_H

#include <stdint.h>

struct mmio_entry {
    uint64_t base, bytes;
    unsigned gsi;
};

// The next entry after *cursor, which moves past it. 1, 0 (no more), -EINVAL (malformed; cursor
// moves past it too). Base and size are checked: 512 bytes to 64 KB, no wrap-around.
int mmio_cmdline_next(const char **cursor, struct mmio_entry *out);

#endif
