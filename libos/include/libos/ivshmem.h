// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Memory that the host shares with this guest by ivshmem-plain (PCI 1af4:1110 without interrupts;
// BAR 2 is the memory). What others write there can change at any time. Source: QEMU
// docs/specs/ivshmem-spec.
#ifndef LIBOS_IVSHMEM_H
#define LIBOS_IVSHMEM_H

#include <stddef.h>
#include <stdint.h>

// A region that begins so is a tensor channel, one that begins with zeros will be one; any other
// holds weights (libos/virtio.h, pmem_at).
#define IVSHMEM_CHANNEL_MAGIC 0x314e414843525354ull // "TSRCHAN1"

struct ivshmem_plain {
    char location[16]; // "pci 00:04.0"
    uint64_t phys, bytes;
};

// Regions in bus order, found by virtio_init; they stay as they are.
size_t ivshmem_plain_count(void);
const struct ivshmem_plain *ivshmem_plain_at(size_t i); // NULL beyond the last

// Maps a region to be read and written (never executed), write-back; the same address each time.
// Any strand. NULL: no such region, or no memory. Writes are dropped where the host has mapped its
// file read-only; nothing shows that but the memory itself.
void *ivshmem_plain_map(size_t i);

#endif
