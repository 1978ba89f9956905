// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Physical pages in two levels: RAM is cut into frames of 2 MB; a frame is whole (free or part of
// a large block) or split into 512 pages under a bitmap. One byte of state a frame is cleared at
// boot; the bitmap (80 bytes) and the page tags (512 bytes) of a frame are touched when it is
// split.
#ifndef LIBOS_MEM_PAGES_H
#define LIBOS_MEM_PAGES_H

#include "platform/boot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEM_PAGE        4096ul
#define MEM_FRAME       (2ul << 20)
#define MEM_FRAME_PAGES 512u

#define MEM_TAG_RESERVED 0xff // page of a split frame that is not RAM of ours

enum mem_frame_state { MEM_FRAME_NONE, MEM_FRAME_FREE, MEM_FRAME_WHOLE, MEM_FRAME_SPLIT };

struct mem_frame { // valid while its state is SPLIT
    uint64_t used[MEM_FRAME_PAGES / 64];
    uint32_t free_pages;
    uint32_t next, prev; // list of split frames with free pages; index + 1, 0 = none
};

struct mem_pages {
    uint32_t lock; // protects everything below
    uint64_t first_frame, frame_count;
    uint8_t *state;                  // [frame_count], enum mem_frame_state
    struct mem_frame *frame;         // [frame_count]
    uint8_t (*tag)[MEM_FRAME_PAGES]; // [frame_count]; what a page of a split frame is used for
    uint32_t partial;                // head of the list of split frames with free pages
    uint64_t lowest_free;            // no frame below this index is FREE
    uint64_t highest_free;           // no frame at or above this index is FREE
    uint64_t total_pages, free_pages;
    uint64_t metadata_bytes;
    uintptr_t virt_offset; // virtual = physical + this
};

// Takes over `ranges` (RAM, sorted). The metadata is carved out of one of them. 0 or -ENOMEM.
int mem_pages_init(struct mem_pages *p, struct pf_range *ranges, size_t count,
                   uintptr_t virt_offset);
// `pages` contiguous pages, not cleared; 2 MB-aligned from 512 pages up. Physical address, 0 if
// there is no such run. Any core.
uint64_t mem_pages_alloc(struct mem_pages *p, size_t pages);
// Gives back any whole number of pages that mem_pages_alloc handed out; panics on a page that
// is not allocated.
void mem_pages_free(struct mem_pages *p, uint64_t phys, size_t pages);
// True if this page is allocated from here.
bool mem_pages_owns(struct mem_pages *p, uint64_t phys);
// The tag of an allocated page of a split frame (0 when freshly allocated, or not one of those).
void mem_pages_set_tag(struct mem_pages *p, uint64_t phys, uint8_t tag);
uint8_t mem_pages_tag(struct mem_pages *p, uint64_t phys);

#endif
