// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Physical pages in two levels (pages.h). Single pages come from low frames and long runs from
// high ones, so that a few scattered pages do not break up the memory that models want.
#include "libos/mem/pages.h"

#include "libos/spin.h"
#include "platform/power.h"

#include <errno.h>
#include <string.h>

static uint64_t frame_phys(const struct mem_pages *p, uint64_t i)
{
    return (p->first_frame + i) * MEM_FRAME;
}

static void partial_push(struct mem_pages *p, uint64_t i)
{
    struct mem_frame *f = &p->frame[i];
    f->prev = 0;
    f->next = p->partial;
    if (f->next) {
        p->frame[f->next - 1].prev = (uint32_t)i + 1;
    }
    p->partial = (uint32_t)i + 1;
}

static void partial_remove(struct mem_pages *p, uint64_t i)
{
    struct mem_frame *f = &p->frame[i];
    if (f->prev) {
        p->frame[f->prev - 1].next = f->next;
    } else {
        p->partial = f->next;
    }
    if (f->next) {
        p->frame[f->next - 1].prev = f->prev;
    }
}

static void frame_split(struct mem_pages *p, uint64_t i, bool used)
{
    struct mem_frame *f = &p->frame[i];
    memset(f->used, used ? 0xff : 0, sizeof f->used);
    memset(p->tag[i], 0, MEM_FRAME_PAGES);
    f->free_pages = used ? 0 : MEM_FRAME_PAGES;
    p->state[i] = MEM_FRAME_SPLIT;
    if (!used) {
        partial_push(p, i);
    }
}

static void frame_set_free(struct mem_pages *p, uint64_t i)
{
    p->state[i] = MEM_FRAME_FREE;
    if (i < p->lowest_free) {
        p->lowest_free = i;
    }
    if (i >= p->highest_free) {
        p->highest_free = i + 1;
    }
}

static bool bit_get(const struct mem_frame *f, unsigned page)
{
    return f->used[page / 64] >> (page % 64) & 1;
}

// First page at or after `from` whose bit is `value`, or 512.
static unsigned bit_find(const struct mem_frame *f, unsigned from, bool value)
{
    while (from < MEM_FRAME_PAGES) {
        uint64_t word = value ? f->used[from / 64] : ~f->used[from / 64];
        word >>= from % 64;
        if (word) {
            return from + (unsigned)__builtin_ctzll(word);
        }
        from = (from / 64 + 1) * 64;
    }
    return MEM_FRAME_PAGES;
}

static void bits_set(struct mem_pages *p, uint64_t i, unsigned page, unsigned count)
{
    struct mem_frame *f = &p->frame[i];
    for (unsigned k = page; k < page + count; k++) {
        f->used[k / 64] |= 1ull << (k % 64);
    }
    memset(&p->tag[i][page], 0, count);
    f->free_pages -= count;
    if (f->free_pages == 0) {
        partial_remove(p, i);
    }
}

static void bits_clear(struct mem_pages *p, uint64_t i, unsigned page, unsigned count)
{
    struct mem_frame *f = &p->frame[i];
    for (unsigned k = page; k < page + count; k++) {
        if (!bit_get(f, k) || p->tag[i][k] == MEM_TAG_RESERVED) {
            pf_panic("mem: page 0x%lx freed twice",
                     (unsigned long)(frame_phys(p, i) + k * MEM_PAGE));
        }
        f->used[k / 64] &= ~(1ull << (k % 64));
    }
    if (f->free_pages == 0) {
        partial_push(p, i);
    }
    f->free_pages += count;
    if (f->free_pages == MEM_FRAME_PAGES) {
        partial_remove(p, i);
        frame_set_free(p, i);
    }
}

// Marks [base, end) of usable RAM as free at boot.
static void add_range(struct mem_pages *p, uint64_t base, uint64_t end)
{
    while (base < end) {
        uint64_t i = base / MEM_FRAME - p->first_frame;
        uint64_t stop = (base / MEM_FRAME + 1) * MEM_FRAME;
        if (stop > end) {
            stop = end;
        }
        p->total_pages += (stop - base) / MEM_PAGE;
        p->free_pages += (stop - base) / MEM_PAGE;
        if (stop - base == MEM_FRAME) {
            frame_set_free(p, i);
        } else {
            if (p->state[i] == MEM_FRAME_NONE) {
                frame_split(p, i, true);
                memset(p->tag[i], MEM_TAG_RESERVED, MEM_FRAME_PAGES);
            }
            memset(&p->tag[i][base % MEM_FRAME / MEM_PAGE], 0, (stop - base) / MEM_PAGE);
            bits_clear(p, i, (unsigned)(base % MEM_FRAME / MEM_PAGE),
                       (unsigned)((stop - base) / MEM_PAGE));
        }
        base = stop;
    }
}

int mem_pages_init(struct mem_pages *p, struct pf_range *ranges, size_t count,
                   uintptr_t virt_offset)
{
    memset(p, 0, sizeof *p);
    p->virt_offset = virt_offset;
    uint64_t low = UINT64_MAX, high = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t end = (ranges[i].base + ranges[i].length) & ~(MEM_PAGE - 1);
        ranges[i].base = (ranges[i].base + MEM_PAGE - 1) & ~(MEM_PAGE - 1);
        ranges[i].length = end > ranges[i].base ? end - ranges[i].base : 0;
        if (ranges[i].length) {
            low = ranges[i].base < low ? ranges[i].base : low;
            high = end > high ? end : high;
        }
    }
    if (low >= high) {
        return -ENOMEM;
    }
    p->first_frame = low / MEM_FRAME;
    p->frame_count = (high + MEM_FRAME - 1) / MEM_FRAME - p->first_frame;
    p->lowest_free = p->frame_count;

    // bitmap records, then state bytes, then tags: all in one piece
    uint64_t n = p->frame_count;
    uint64_t bytes = n * sizeof(struct mem_frame) + n + n * MEM_FRAME_PAGES;
    bytes = (bytes + MEM_PAGE - 1) & ~(MEM_PAGE - 1);
    for (size_t i = 0; i < count && !p->metadata_bytes; i++) {
        if (ranges[i].length >= bytes) {
            uint8_t *at = (uint8_t *)(uintptr_t)(ranges[i].base + virt_offset);
            p->frame = (struct mem_frame *)at;
            p->state = at + n * sizeof(struct mem_frame);
            p->tag = (uint8_t(*)[MEM_FRAME_PAGES])(p->state + n);
            p->metadata_bytes = bytes;
            ranges[i].base += bytes;
            ranges[i].length -= bytes;
        }
    }
    if (!p->metadata_bytes) {
        return -ENOMEM;
    }
    memset(p->state, MEM_FRAME_NONE, n);
    for (size_t i = 0; i < count; i++) {
        add_range(p, ranges[i].base, ranges[i].base + ranges[i].length);
    }
    return 0;
}

static uint64_t alloc_small(struct mem_pages *p, unsigned pages)
{
    for (uint32_t at = p->partial; at; at = p->frame[at - 1].next) {
        struct mem_frame *f = &p->frame[at - 1];
        if (f->free_pages < pages) {
            continue;
        }
        for (unsigned k = bit_find(f, 0, false); k + pages <= MEM_FRAME_PAGES;) {
            unsigned end = pages == 1 ? k + 1 : bit_find(f, k, true);
            if (end - k >= pages) {
                bits_set(p, at - 1, k, pages);
                return frame_phys(p, at - 1) + k * MEM_PAGE;
            }
            k = bit_find(f, end, false);
        }
    }
    while (p->lowest_free < p->frame_count && p->state[p->lowest_free] != MEM_FRAME_FREE) {
        p->lowest_free++;
    }
    if (p->lowest_free == p->frame_count) {
        return 0;
    }
    uint64_t i = p->lowest_free++;
    frame_split(p, i, false);
    bits_set(p, i, 0, pages);
    return frame_phys(p, i);
}

static uint64_t alloc_frames(struct mem_pages *p, uint64_t pages)
{
    uint64_t frames = (pages + MEM_FRAME_PAGES - 1) / MEM_FRAME_PAGES;
    unsigned tail = (unsigned)(pages % MEM_FRAME_PAGES);
    while (p->highest_free && p->state[p->highest_free - 1] != MEM_FRAME_FREE) {
        p->highest_free--;
    }
    uint64_t run = 0;
    for (uint64_t i = p->highest_free; i-- > 0;) {
        run = p->state[i] == MEM_FRAME_FREE ? run + 1 : 0;
        if (run < frames) {
            continue;
        }
        memset(&p->state[i], MEM_FRAME_WHOLE, frames);
        if (tail) { // the rest of the last frame stays available as pages
            frame_split(p, i + frames - 1, false);
            bits_set(p, i + frames - 1, 0, tail);
        }
        return frame_phys(p, i);
    }
    return 0;
}

uint64_t mem_pages_alloc(struct mem_pages *p, size_t pages)
{
    if (pages == 0 || pages > p->total_pages) {
        return 0;
    }
    spin_lock(&p->lock);
    uint64_t phys = 0;
    if (pages <= p->free_pages) {
        phys = pages < MEM_FRAME_PAGES ? alloc_small(p, (unsigned)pages) : alloc_frames(p, pages);
    }
    if (phys) {
        p->free_pages -= pages;
    }
    spin_unlock(&p->lock);
    return phys;
}

void mem_pages_free(struct mem_pages *p, uint64_t phys, size_t pages)
{
    uint64_t end = phys + pages * MEM_PAGE;
    uint64_t base = p->first_frame * MEM_FRAME;
    if (phys % MEM_PAGE || phys < base || end > base + p->frame_count * MEM_FRAME || end < phys) {
        pf_panic("mem: free of 0x%lx, %lu pages: not RAM of the allocator", (unsigned long)phys,
                 (unsigned long)pages);
    }
    spin_lock(&p->lock);
    while (phys < end) {
        uint64_t i = phys / MEM_FRAME - p->first_frame;
        uint64_t stop = (phys / MEM_FRAME + 1) * MEM_FRAME;
        if (stop > end) {
            stop = end;
        }
        if (p->state[i] == MEM_FRAME_WHOLE && stop - phys == MEM_FRAME) {
            frame_set_free(p, i);
        } else {
            if (p->state[i] == MEM_FRAME_WHOLE) { // part of a large block is given back
                frame_split(p, i, true);
            }
            if (p->state[i] != MEM_FRAME_SPLIT) {
                pf_panic("mem: page 0x%lx freed twice", (unsigned long)phys);
            }
            bits_clear(p, i, (unsigned)(phys % MEM_FRAME / MEM_PAGE),
                       (unsigned)((stop - phys) / MEM_PAGE));
        }
        p->free_pages += (stop - phys) / MEM_PAGE;
        phys = stop;
    }
    spin_unlock(&p->lock);
}

// The reads below take no lock: the caller asks about a page that it holds, and neither the state
// of such a page's frame nor its tag changes under it.
bool mem_pages_owns(struct mem_pages *p, uint64_t phys)
{
    uint64_t i = phys / MEM_FRAME - p->first_frame;
    if (phys / MEM_FRAME < p->first_frame || i >= p->frame_count) {
        return false;
    }
    uint8_t state = __atomic_load_n(&p->state[i], __ATOMIC_RELAXED);
    unsigned page = (unsigned)(phys % MEM_FRAME / MEM_PAGE);
    return state == MEM_FRAME_WHOLE || (state == MEM_FRAME_SPLIT && bit_get(&p->frame[i], page) &&
                                        p->tag[i][page] != MEM_TAG_RESERVED);
}

void mem_pages_set_tag(struct mem_pages *p, uint64_t phys, uint8_t tag)
{
    uint64_t i = phys / MEM_FRAME - p->first_frame;
    if (p->state[i] == MEM_FRAME_SPLIT) {
        p->tag[i][phys % MEM_FRAME / MEM_PAGE] = tag;
    }
}

uint8_t mem_pages_tag(struct mem_pages *p, uint64_t phys)
{
    if (!mem_pages_owns(p, phys)) {
        return 0;
    }
    uint64_t i = phys / MEM_FRAME - p->first_frame;
    return p->state[i] == MEM_FRAME_SPLIT ? p->tag[i][phys % MEM_FRAME / MEM_PAGE] : 0;
}
