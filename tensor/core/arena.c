// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Bump allocation; the same walk measures (base NULL) and then carves, so sizes cannot disagree.
#include "tensor/core/arena.h"

void *tn_arena_take(struct tn_arena *a, size_t bytes)
{
    size_t n = tn_align_up(bytes);
    if (!a->base) {
        a->used += n;
        return NULL;
    }
    if (n < bytes || n > a->size - a->used) {
        return NULL;
    }
    void *p = a->base + a->used;
    a->used += n;
    return p;
}
