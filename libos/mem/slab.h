// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Small blocks: eight classes, 16 … 2048 bytes. Each block is followed by at least 16 canary bytes
// (they start right behind the bytes asked for); what is known of a block (size, who asked, in use
// or free) is kept at the front of its slab, out of reach of an overrun of the block itself.
#ifndef LIBOS_MEM_SLAB_H
#define LIBOS_MEM_SLAB_H

#include "libos/mem/pages.h"

#define SLAB_CLASSES 8
#define SLAB_MAX     2048u

// Page tags of slabs: 1 … SLAB_CLASSES on the first page, SLAB_TAG_TAIL on the others.
#define SLAB_TAG_TAIL (SLAB_CLASSES + 1)

struct slab; // private

struct slab_class {
    uint32_t lock; // protects all below
    struct slab *partial;
    struct slab *spare; // one empty slab is kept
    uint64_t used_bytes, slab_pages;
};
struct slab_set {
    struct mem_pages *pages;
    struct slab_class class[SLAB_CLASSES];
    // Accounts `delta` pages; false refuses (limit of the zone). May be NULL.
    bool (*account)(int64_t delta_pages);
    bool check; // canaries and poison are checked (off only in attack tests)
};

// 1 … SLAB_MAX bytes, 16-byte aligned; NULL when out of pages. `caller`: offset of the return
// address in the image, told when the block is found damaged. Any core.
void *slab_alloc(struct slab_set *s, size_t bytes, uint32_t caller);
// True if the pointer lies in a slab page; then slab_free and slab_usable take it (and panic
// if it is not the start of a block in use).
bool slab_owns(struct slab_set *s, const void *block);
void slab_free(struct slab_set *s, void *block);
size_t slab_size(struct slab_set *s, const void *block);

#endif
