// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Sorting and flattening of the firmware's memory map (ACPI 6.4 ch. 15: entries may come in any
// order and may overlap).
#include "platform/boot/ranges.h"

#include <errno.h>
#include <stdbool.h>

// Larger is stronger: what must not be touched wins over what may be used.
static unsigned strength(uint32_t type)
{
    switch (type) {
    case PF_RANGE_RAM:
        return 1;
    case PF_RANGE_PMEM:
        return 2;
    case PF_RANGE_ACPI:
        return 3;
    case PF_RANGE_NVS:
        return 4;
    case PF_RANGE_BAD:
        return 6;
    default:
        return 5; // reserved, and every type not known here
    }
}

static uint64_t end_of(const struct pf_range *r)
{
    uint64_t room = UINT64_MAX - r->base;
    return r->base + (r->length < room ? r->length : room);
}

static void sort_by_base(struct pf_range *ranges, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        struct pf_range moved = ranges[i];
        uint32_t k = i;
        for (; k > 0 && ranges[k - 1].base > moved.base; k--) {
            ranges[k] = ranges[k - 1];
        }
        ranges[k] = moved;
    }
}

// The strongest range that covers `at`, and the nearest border after it.
static const struct pf_range *covering(const struct pf_range *ranges, uint32_t count, uint64_t at,
                                       uint64_t *border)
{
    const struct pf_range *best = NULL;
    *border = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t end = end_of(&ranges[i]);
        if (ranges[i].base > at) {
            if (ranges[i].base < *border) {
                *border = ranges[i].base;
            }
            break; // sorted: none after this one begins earlier
        }
        if (end > at) {
            if (end < *border) {
                *border = end;
            }
            if (best == NULL || strength(ranges[i].type) > strength(best->type)) {
                best = &ranges[i];
            }
        }
    }
    return best;
}

int pf_ranges_normalise(struct pf_range *ranges, uint32_t count)
{
    static struct pf_range flat[PF_MAX_RANGES]; // used once, on the boot CPU
    uint32_t used = 0;

    sort_by_base(ranges, count);
    uint64_t at = count > 0 ? ranges[0].base : UINT64_MAX;
    while (at < UINT64_MAX) {
        uint64_t border;
        const struct pf_range *r = covering(ranges, count, at, &border);
        if (r != NULL) {
            struct pf_range *last = used > 0 ? &flat[used - 1] : NULL;
            if (last != NULL && last->type == r->type && last->base + last->length == at) {
                last->length += border - at;
            } else if (used == PF_MAX_RANGES) {
                return -ENOSPC;
            } else {
                flat[used++] = (struct pf_range){at, border - at, r->type, 0};
            }
        }
        at = border;
    }
    for (uint32_t i = 0; i < used; i++) {
        ranges[i] = flat[i];
    }
    return (int)used;
}
