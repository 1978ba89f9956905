// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Virtio 1.x devices: discovery over PCI and MMIO, and the device kinds that are not net or blk.
#ifndef LIBOS_VIRTIO_H
#define LIBOS_VIRTIO_H

#include <stddef.h>
#include <stdint.h>

// Finds and starts all virtio devices (net, blk, rng, pmem). Devices that misbehave are logged and left out.
void virtio_init(void);

// Persistent-memory regions (virtio-pmem): file-backed memory of the host, here read-only.
struct pmem_region {
    uint64_t phys, bytes;
    const void *data; // mapped write-back, read-only, 2 MB pages where aligned
};
size_t pmem_count(void);
const struct pmem_region *pmem_at(size_t i);

// Random bytes of the CSPRNG (seeded from virtio-rng, RDSEED/RDRAND, and timing). Any strand.
void random_bytes(void *out, size_t bytes);

#endif
