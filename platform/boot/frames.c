// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The boot frame allocator: one cursor moving up through the memory map.
#include "platform/boot/frames.h"
#include "platform/paging.h"

#include <errno.h>

void pf_frames_init(struct pf_frames *f, const struct pf_range *ranges, uint32_t count,
                    uint64_t limit)
{
    f->ranges = ranges;
    f->range_count = count;
    f->taken_count = 0;
    f->next = PF_LOW_MEMORY;
    f->limit = limit;
}

int pf_frames_occupy(struct pf_frames *f, uint64_t base, uint64_t length)
{
    if (length == 0) {
        return 0;
    }
    if (f->taken_count == sizeof f->taken / sizeof f->taken[0]) {
        return -ENOSPC;
    }
    uint64_t start = base & ~(PF_PAGE - 1);
    uint64_t end = (base + length + PF_PAGE - 1) & ~(PF_PAGE - 1);
    uint32_t i = f->taken_count++; // kept sorted
    for (; i > 0 && f->taken[i - 1].base > start; i--) {
        f->taken[i] = f->taken[i - 1];
    }
    f->taken[i] = (struct pf_module){start, end - start};
    return 0;
}

// The lowest stretch of free whole pages at or above `from`; its end in *end. UINT64_MAX: none.
static uint64_t free_stretch(const struct pf_frames *f, uint64_t from, uint64_t *end)
{
    for (uint32_t i = 0; i < f->range_count; i++) {
        const struct pf_range *r = &f->ranges[i];
        uint64_t low = (r->base + PF_PAGE - 1) & ~(PF_PAGE - 1);
        uint64_t high = (r->base + r->length) & ~(PF_PAGE - 1);
        if (r->type != PF_RANGE_RAM || high <= from || high <= low) {
            continue;
        }
        if (low < from) {
            low = from;
        }
        for (uint32_t k = 0; k < f->taken_count; k++) {
            const struct pf_module *t = &f->taken[k];
            if (t->base + t->length <= low) {
                continue;
            }
            if (t->base > low) {
                if (t->base < high) {
                    high = t->base;
                }
                break;
            }
            low = t->base + t->length;
        }
        if (low < high) {
            *end = high;
            return low;
        }
        // The rest of this range may begin after an occupied piece that ended `high`.
        if (low < ((r->base + r->length) & ~(PF_PAGE - 1))) {
            from = low;
            i--;
        }
    }
    return UINT64_MAX;
}

uint64_t pf_frames_take(struct pf_frames *f)
{
    uint64_t end;
    uint64_t frame = free_stretch(f, f->next, &end);
    if (frame == UINT64_MAX || frame + PF_PAGE > f->limit) {
        return 0;
    }
    f->next = frame + PF_PAGE;
    return frame;
}

size_t pf_frames_left(const struct pf_frames *f, struct pf_range *out, size_t max)
{
    size_t count = 0;
    uint64_t from = f->next;
    while (count < max) {
        uint64_t end;
        uint64_t base = free_stretch(f, from, &end);
        if (base == UINT64_MAX) {
            break;
        }
        out[count++] = (struct pf_range){base, end - base, PF_RANGE_RAM, 0};
        from = end;
    }
    return count;
}
