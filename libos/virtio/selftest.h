// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Checks of the drivers against the real devices of a guest, for the self-test image. Each runs on
// a strand of an otherwise idle machine; the network check needs the device to itself (no stack).
#ifndef LIBOS_VIRTIO_SELFTEST_H
#define LIBOS_VIRTIO_SELFTEST_H

#include <stddef.h>

struct virtio_check {
    const char *name;
    // NULL: it holds. Otherwise what does not, or a text that begins with "skipped" (no device).
    const char *(*run)(void);
};
// "virtio devices": none is out of service.
// "virtio blk": bounds and errors; where a disk's first sector begins with VIRTIO_SCRATCH, four
//   strands write, read back and flush patterns all over it (nothing else is ever written to).
// "virtio rng": seeded within a second, no two outputs alike.
// "virtio pmem": each page of a region that begins with VIRTIO_SCRATCH holds its own offset.
// "virtio net": echoes of every size with the router of QEMU's user network (10.0.2.2).
extern const struct virtio_check virtio_checks[];
extern const size_t virtio_check_count;

#define VIRTIO_SCRATCH "TESSERA SCRATCH\n" // 16 bytes

#endif
