// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// ivshmem-doorbell devices: memory that the machine shares with programs of the host, and doorbells
// in both directions. Source: QEMU docs/specs/ivshmem-spec, revision 1 of the device.
#ifndef LIBOS_IVSHMEM_DOORBELL_H
#define LIBOS_IVSHMEM_DOORBELL_H

#include "libos/sched.h"

#include <stddef.h>
#include <stdint.h>

enum { IVSHMEM_MOST_VECTORS = 4 };

struct ivshmem_doorbell {
    void *memory; // mapped write-back, readable and writable; others may change it at any time
    uint64_t bytes;
    uint32_t peer;                             // our own number among the peers
    unsigned vectors;                          // that wake somebody
    char location[16];                         // "pci 00:03.0"
    uint64_t interrupts[IVSHMEM_MOST_VECTORS]; // taken; written by the boot CPU

    // The driver's.
    volatile uint32_t *registers;
    struct wake *wakes[IVSHMEM_MOST_VECTORS];
};

// How many the machine has. Any strand.
size_t ivshmem_doorbell_count(void);
// Opens device n: maps it, and lets vector i of the device set wakes[i] (wakes live for ever). 0;
// -ENODEV (no such device), or -EINVAL, -ENOSPC, -ENOMEM and in *why what is wrong with it. Once
// for each device, by one strand at a time.
int ivshmem_doorbell_open(size_t n, struct wake *const *wakes, unsigned vectors,
                          struct ivshmem_doorbell **out, const char **why);
// Rings vector `vector` of peer `peer`. Any strand.
void ivshmem_doorbell_ring(const struct ivshmem_doorbell *d, uint16_t peer, uint16_t vector);

#endif
