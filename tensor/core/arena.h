// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A block of memory handed out from front to back and never given back in parts.
#ifndef TENSOR_CORE_ARENA_H
#define TENSOR_CORE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#define TN_ALIGN 64u // a cache line, and the widest vector

struct tn_arena {
    uint8_t *base; // NULL: only measures
    size_t size, used;
};

static inline size_t tn_align_up(size_t n)
{
    return (n + TN_ALIGN - 1) & ~(size_t)(TN_ALIGN - 1);
}

// 64-byte aligned; not cleared. With base NULL it only counts `used` and returns NULL. NULL when
// full.
void *tn_arena_take(struct tn_arena *a, size_t bytes);

#endif
