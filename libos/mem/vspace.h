// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Virtual address ranges: an address-ordered list of free ranges, first fit, joined when freed.
#ifndef LIBOS_MEM_VSPACE_H
#define LIBOS_MEM_VSPACE_H

#include <stddef.h>
#include <stdint.h>

struct vspace_hole {
    uint64_t base, bytes;
    struct vspace_hole *next;
};
struct vspace {
    uint32_t lock; // protects all below
    uint64_t base, end;
    struct vspace_hole *holes;  // by address; joined, never empty
    struct vspace_hole *unused; // records to use again
    // Gets room for one record (never given back); NULL when out of memory.
    void *(*record)(size_t bytes);
};

int vspace_init(struct vspace *v, uint64_t base, uint64_t end, void *(*record)(size_t bytes));
// bytes: multiple of 4096; align: a power of two. Address, or 0.
uint64_t vspace_alloc(struct vspace *v, uint64_t bytes, uint64_t align);
// Any part of what was handed out. 0; -EINVAL if outside or (partly) free already; -ENOMEM.
int vspace_free(struct vspace *v, uint64_t base, uint64_t bytes);
// True if no byte of the range is free, so it belongs to somebody.
int vspace_taken(struct vspace *v, uint64_t base, uint64_t bytes);

#endif
