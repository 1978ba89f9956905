// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Virtual address ranges (vspace.h).
#include "libos/mem/vspace.h"

#include "libos/spin.h"

#include <errno.h>

static struct vspace_hole *record_get(struct vspace *v)
{
    struct vspace_hole *h = v->unused;
    if (h) {
        v->unused = h->next;
        return h;
    }
    return v->record(sizeof *h);
}
static void record_put(struct vspace *v, struct vspace_hole *h)
{
    h->next = v->unused;
    v->unused = h;
}

int vspace_init(struct vspace *v, uint64_t base, uint64_t end, void *(*record)(size_t bytes))
{
    *v = (struct vspace){.base = base, .end = end, .record = record};
    v->holes = record_get(v);
    if (!v->holes) {
        return -ENOMEM;
    }
    *v->holes = (struct vspace_hole){base, end - base, 0};
    return 0;
}

// Cuts [base, base + bytes) out of the hole *at.
static int cut(struct vspace *v, struct vspace_hole **at, uint64_t base, uint64_t bytes)
{
    struct vspace_hole *h = *at;
    uint64_t before = base - h->base, after = h->bytes - before - bytes;
    if (before && after) {
        struct vspace_hole *rest = record_get(v);
        if (!rest) {
            return -ENOMEM;
        }
        *rest = (struct vspace_hole){base + bytes, after, h->next};
        h->bytes = before;
        h->next = rest;
    } else if (before) {
        h->bytes = before;
    } else if (after) {
        h->base = base + bytes;
        h->bytes = after;
    } else {
        *at = h->next;
        record_put(v, h);
    }
    return 0;
}

uint64_t vspace_alloc(struct vspace *v, uint64_t bytes, uint64_t align)
{
    uint64_t found = 0;
    spin_lock(&v->lock);
    for (struct vspace_hole **at = &v->holes; *at; at = &(*at)->next) {
        uint64_t base = ((*at)->base + align - 1) & ~(align - 1);
        uint64_t skip = base - (*at)->base;
        if (skip <= (*at)->bytes && (*at)->bytes - skip >= bytes) {
            if (cut(v, at, base, bytes) == 0) {
                found = base;
            }
            break;
        }
    }
    spin_unlock(&v->lock);
    return found;
}

int vspace_free(struct vspace *v, uint64_t base, uint64_t bytes)
{
    if (bytes == 0 || base < v->base || base >= v->end || bytes > v->end - base) {
        return -EINVAL;
    }
    int result = 0;
    spin_lock(&v->lock);
    struct vspace_hole *prev = 0, *next = v->holes;
    while (next && next->base < base) {
        prev = next;
        next = next->next;
    }
    if ((prev && prev->base + prev->bytes > base) || (next && base + bytes > next->base)) {
        result = -EINVAL;
    } else if (prev && prev->base + prev->bytes == base) {
        prev->bytes += bytes;
        if (next && prev->base + prev->bytes == next->base) {
            prev->bytes += next->bytes;
            prev->next = next->next;
            record_put(v, next);
        }
    } else if (next && base + bytes == next->base) {
        next->base = base;
        next->bytes += bytes;
    } else {
        struct vspace_hole *h = record_get(v);
        if (h) {
            *h = (struct vspace_hole){base, bytes, next};
            *(prev ? &prev->next : &v->holes) = h;
        } else {
            result = -ENOMEM;
        }
    }
    spin_unlock(&v->lock);
    return result;
}

int vspace_taken(struct vspace *v, uint64_t base, uint64_t bytes)
{
    if (bytes == 0 || base < v->base || base >= v->end || bytes > v->end - base) {
        return 0;
    }
    int taken = 1;
    spin_lock(&v->lock);
    for (struct vspace_hole *h = v->holes; h && h->base < base + bytes; h = h->next) {
        if (h->base + h->bytes > base) {
            taken = 0;
        }
    }
    spin_unlock(&v->lock);
    return taken;
}
