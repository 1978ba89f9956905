// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Virtio 1.x devices: discovery over PCI and MMIO, and the device kinds that are not net or blk.
#ifndef LIBOS_VIRTIO_H
#define LIBOS_VIRTIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Find and start the virtio devices: blk and pmem; net and rng. Devices that misbehave are logged
// and left out. Each called once, after sched_init; the two may run beside each other. Command
// line: `net.buffers=N` receive buffers of a network device (8…1024), `net.queues=N` queue pairs
// (1…4).
void virtio_init(void);
void virtio_init_network(void);

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

// Persistent-memory regions (virtio-pmem, ivshmem-plain): file-backed memory of the host, here
// read-only.
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

// Checks of the drivers against the real devices of a guest, for self-test images. Each runs on a
// strand of an otherwise idle machine; virtio-net needs the device to itself (no network stack).
struct virtio_check {
    const char *name;
    // NULL: it holds, or there is no such device (the log says "skipped"). Otherwise what does not.
    const char *(*run)(void);
};
// "virtio-devices": none is out of service.
// "virtio-blk": bounds and errors; where a disk's first sector begins with VIRTIO_SCRATCH, four
//   strands write, read back and flush patterns all over it (nothing else is ever written to).
// "virtio-rng": seeded within a second, no two outputs alike.
// "virtio-pmem": each page of a region that begins with VIRTIO_SCRATCH holds its own offset.
// "virtio-net": echoes of every size with the router of QEMU's user network (10.0.2.2).
extern const struct virtio_check virtio_checks[]; // the last one has no name

#define VIRTIO_SCRATCH "TESSERA SCRATCH\n" // 16 bytes

#endif
