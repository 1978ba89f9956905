// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Virtio 1.x devices: discovery over PCI and MMIO, and the device kinds that are not net or blk.
#ifndef LIBOS_VIRTIO_H
#define LIBOS_VIRTIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Finds and starts all virtio devices (net, blk, rng, pmem). Devices that misbehave are logged and
// left out. Called once, after sched_init. Command line: `net.buffers=N` receive buffers of a
// network device (8…1024), `net.queues=N` queue pairs (1…4).
void virtio_init(void);

// What was found, for `lspci`, `net`, /metrics. Strings live as long as the machine.
struct virtio_info {
    const char *name;      // "virtio-net0"
    const char *transport; // "pci", "mmio"
    const char *location;  // "pci 00:02.0", "mmio 0xfeb00e00"
    uint32_t type;         // virtio device id
    uint64_t features;     // negotiated
    bool packed, polled;   // ring kind; no interrupts
    unsigned vectors;
    uint64_t interrupts;
    const char *broken; // NULL, or why it is out of service
};
size_t virtio_count(void);
int virtio_at(size_t i, struct virtio_info *out); // 0 or -ENOENT

// Persistent-memory regions (virtio-pmem): file-backed memory of the host, here read-only.
struct pmem_region {
    uint64_t phys, bytes;
    const void *data; // mapped write-back, read-only, 2 MB pages where aligned
};
size_t pmem_count(void);
const struct pmem_region *pmem_at(size_t i);

// Random bytes of the CSPRNG (seeded from virtio-rng, RDSEED/RDRAND, and timing). Any strand.
// Never fails; while no good source has been seen it warns, once, in the log.
void random_bytes(void *out, size_t bytes);
// Whether a good source (virtio-rng, RDSEED or RDRAND) has seeded the generator.
bool random_is_seeded(void);

#endif
