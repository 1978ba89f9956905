// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Between the parts of the libos that hand out memory: zone accounting, mapped regions, and the
// record of each large block.
#ifndef LIBOS_MEM_INTERNAL_H
#define LIBOS_MEM_INTERNAL_H

#include "libos/mem.h"
#include "libos/mem/pages.h"
#include "libos/mem/slab.h"
#include "libos/mem/vspace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern struct mem_pages mem_pool;
extern struct slab_set mem_slabs;
extern struct vspace mem_space; // PF_VMAP_BASE … PF_VMAP_END

// ---- zones.c --------------------------------------------------------------------------------
// Adds to what a zone holds; false (and a failure counted) when that would pass its limit.
bool mem_account(enum mem_zone zone, int64_t delta_pages);
void mem_count_alloc(enum mem_zone zone);
void mem_count_free(enum mem_zone zone);
// "heap" or "stack": a guard that an attack test has switched off (`protect=-heap` on the command
// line of an image built for attack tests).
bool mem_protection_off(const char *name);

// ---- region.c: pages mapped read-write in the vmap window -------------------------------------
// Address of `pages` mapped pages followed by `guard_pages` unmapped ones; NULL if out of memory.
// The contents are whatever they were. Not accounted.
void *region_create(size_t pages, size_t guard_pages, size_t align);
void region_destroy(void *base, size_t pages, size_t guard_pages);
// Gives frames to those pages of [va, va + pages) that have none (cleared), and sets the
// protection of all. 0 or -ENOMEM. *added counts the new pages.
int region_back(uint64_t va, size_t pages, unsigned prot, size_t *added);
// Takes the frames away; the addresses stay reserved. Returns how many pages there were.
size_t region_drop(uint64_t va, size_t pages);

// ---- extent.c: one record a large block -------------------------------------------------------
enum extent_kind { EXTENT_DIRECT, EXTENT_MAPPED, EXTENT_MALLOC };
struct extent {
    uint64_t base;  // of its first page
    uint64_t pages; // mapped
    uint64_t bytes; // asked for
    uint64_t block; // address given out
    uint32_t caller;
    uint8_t zone, kind;
    struct extent *next;
};
struct extent *extent_new(void); // NULL when out of memory
void extent_delete(struct extent *e);
void extent_insert(struct extent *e);
// The record of the block in the page of `address`, taken out if `remove`; NULL if there is none.
struct extent *extent_find(const void *address, bool remove);
// The malloc block whose pages or guard page hold `address`, looked for everywhere. For the crash
// report: takes no lock.
const struct extent *extent_near(uint64_t address);

// ---- large.c: malloc beyond the slab classes --------------------------------------------------
void *large_alloc(size_t bytes, size_t align, uint32_t caller);
void large_free(void *block);
size_t large_size(const void *block);
void large_flush_cache(void);

// Bytes asked for of any malloc block.
size_t mem_block_size(const void *block);
uint32_t mem_caller(const void *return_address);

#endif
