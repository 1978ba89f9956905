// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Four-level page tables as data. An entry that is not zero is in use; one without PRESENT holds
// a frame that must not be accessed (PTE_HELD). Tables are never freed.
#include "platform/paging/table.h"
#include "platform/paging.h"

#include <errno.h>

// Bytes that one entry of a level covers; level 1 is the page table, level 4 the PML4.
static uint64_t level_span(unsigned level)
{
    return 1ull << (12 + 9 * (level - 1));
}

static uint64_t *table_at(const struct pf_table *t, uint64_t phys)
{
    return (uint64_t *)(uintptr_t)(phys + t->offset);
}

static uint64_t *slot(const struct pf_table *t, uint64_t table, uint64_t virt, unsigned level)
{
    return &table_at(t, table)[virt >> (12 + 9 * (level - 1)) & 511];
}

static bool is_leaf(uint64_t entry, unsigned level)
{
    return level == 1 || (entry & PTE_LARGE) != 0;
}

static int check(uint64_t virt, uint64_t bytes)
{
    uint64_t last = virt + bytes - 1;
    if (bytes == 0 || ((virt | bytes) & (PF_PAGE - 1)) != 0 || last < virt) {
        return -EINVAL;
    }
    uint64_t top = (uint64_t)((int64_t)virt >> 47), top_last = (uint64_t)((int64_t)last >> 47);
    return top == top_last && (top == 0 || top == UINT64_MAX) ? 0 : -EINVAL;
}

// Walks to the deepest entry for `virt` and says at which level it stands.
static uint64_t *find(const struct pf_table *t, uint64_t virt, unsigned *level)
{
    uint64_t table = t->root;
    for (unsigned l = 4;; l--) {
        uint64_t *e = slot(t, table, virt, l);
        if (*e == 0 || is_leaf(*e, l)) {
            *level = l;
            return e;
        }
        table = *e & PTE_ADDRESS;
    }
}

// The entry at `level` itself, with the tables above it made. NULL: something larger is mapped
// (*error = -EEXIST) or no frame (-ENOMEM).
static uint64_t *make(struct pf_table *t, uint64_t virt, unsigned level, int *error)
{
    uint64_t table = t->root;
    for (unsigned l = 4; l > level; l--) {
        uint64_t *e = slot(t, table, virt, l);
        if (*e == 0) {
            uint64_t frame = t->take(t);
            if (frame == 0) {
                *error = -ENOMEM;
                return NULL;
            }
            *e = frame | PTE_PRESENT | PTE_WRITE | PTE_ACCESSED;
        } else if (is_leaf(*e, l)) {
            *error = -EEXIST;
            return NULL;
        }
        table = *e & PTE_ADDRESS;
    }
    return slot(t, table, virt, level);
}

// Replaces a large page by a table of the next smaller ones with the same rights.
static int split(struct pf_table *t, uint64_t *entry, unsigned level)
{
    uint64_t frame = t->take(t);
    if (frame == 0) {
        return -ENOMEM;
    }
    uint64_t old = *entry;
    uint64_t flags = old & ~PTE_ADDRESS;
    if (level == 2) {
        flags &= ~PTE_LARGE;
    }
    uint64_t step = level_span(level - 1);
    uint64_t *small = table_at(t, frame);
    for (unsigned i = 0; i < 512; i++) {
        small[i] = ((old & PTE_ADDRESS) + i * step) | flags;
    }
    // One 8-byte store: another CPU sees the large page or all the small ones.
    __atomic_store_n(entry, frame | PTE_PRESENT | PTE_WRITE | PTE_ACCESSED, __ATOMIC_RELEASE);
    return 0;
}

static unsigned largest_level(const struct pf_table *t, uint64_t virt, uint64_t phys, uint64_t left)
{
    for (unsigned level = t->page1g ? 3 : 2; level > 1; level--) {
        uint64_t span = level_span(level);
        if (left >= span && ((virt | phys) & (span - 1)) == 0) {
            return level;
        }
    }
    return 1;
}

// Whether any entry of the range is in use.
static bool in_use(const struct pf_table *t, uint64_t virt, uint64_t bytes)
{
    uint64_t last = virt + bytes - 1;
    for (;;) {
        unsigned level;
        if (*find(t, virt, &level) != 0) {
            return true;
        }
        uint64_t end = virt | (level_span(level) - 1);
        if (end >= last) {
            return false;
        }
        virt = end + 1;
    }
}

int pf_table_map(struct pf_table *t, uint64_t virt, uint64_t phys, uint64_t bytes, uint64_t flags)
{
    int error = check(virt, bytes);
    if (error != 0 || (phys & (PF_PAGE - 1)) != 0 || (phys & ~(PTE_ADDRESS | (PF_PAGE - 1))) != 0) {
        return -EINVAL;
    }
    if (in_use(t, virt, bytes)) {
        return -EEXIST;
    }
    if (!t->nx) {
        flags &= ~PTE_NX;
    }
    uint64_t done = 0;
    while (done < bytes) {
        unsigned level = largest_level(t, virt + done, phys + done, bytes - done);
        uint64_t *e = make(t, virt + done, level, &error);
        if (e != NULL && *e != 0) {
            // A table emptied by an earlier unmap stands where a large page would fit.
            level = 1;
            e = make(t, virt + done, level, &error);
        }
        if (e == NULL) {
            if (done > 0) {
                (void)pf_table_unmap(t, virt, done); // whole entries of ours: no split needed
            }
            return error;
        }
        uint64_t entry = (phys + done) | flags | PTE_ACCESSED | PTE_DIRTY;
        *e = level > 1 ? entry | PTE_LARGE : entry;
        done += level_span(level);
    }
    return 0;
}

// Applies `change` to every entry in use within the range.
static int each(struct pf_table *t, uint64_t virt, uint64_t bytes,
                uint64_t (*change)(uint64_t entry, uint64_t flags), uint64_t flags)
{
    int error = check(virt, bytes);
    if (error != 0) {
        return error;
    }
    uint64_t last = virt + bytes - 1;
    for (;;) {
        unsigned level;
        uint64_t *e = find(t, virt, &level);
        uint64_t mask = level_span(level) - 1;
        if (*e != 0) {
            if ((virt & mask) != 0 || last - virt < mask) {
                error = split(t, e, level);
                if (error != 0) {
                    return error;
                }
                continue;
            }
            __atomic_store_n(e, change(*e, flags), __ATOMIC_RELEASE);
        }
        if ((virt | mask) >= last) {
            return 0;
        }
        virt = (virt | mask) + 1;
    }
}

static uint64_t emptied(uint64_t entry, uint64_t flags)
{
    (void)entry;
    (void)flags;
    return 0;
}

static uint64_t protected(uint64_t entry, uint64_t flags)
{
    entry &= ~(PTE_PRESENT | PTE_WRITE | PTE_NX | PTE_HELD);
    return entry | flags | ((flags & PTE_PRESENT) != 0 ? 0 : PTE_HELD);
}

int pf_table_unmap(struct pf_table *t, uint64_t virt, uint64_t bytes)
{
    return each(t, virt, bytes, emptied, 0);
}

int pf_table_protect(struct pf_table *t, uint64_t virt, uint64_t bytes, uint64_t flags)
{
    flags &= PTE_PRESENT | PTE_WRITE | (t->nx ? PTE_NX : 0);
    return each(t, virt, bytes, protected, flags);
}

uint64_t pf_table_lookup(const struct pf_table *t, uint64_t virt, uint64_t *span)
{
    unsigned level;
    uint64_t entry = *find(t, virt, &level);
    *span = level_span(level);
    return entry;
}

uint64_t pf_table_phys(const struct pf_table *t, uint64_t virt)
{
    uint64_t span;
    uint64_t entry = pf_table_lookup(t, virt, &span);
    if (entry == 0) {
        return UINT64_MAX;
    }
    return (entry & PTE_ADDRESS & ~(span - 1)) | (virt & (span - 1));
}
