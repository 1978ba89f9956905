// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Handles, and the buffers that HC_ALLOC lends out of a region's arena. All of it is the worker's
// private memory: what a guest can write decides nothing here. A guest that frees a buffer which a
// call in flight still uses harms its own data: the memory stays its own.
#ifndef TENSORD_ARENA_H
#define TENSORD_ARENA_H

#include "hypercall/abi/call.h"

#include <stdbool.h>

// A handle is an index and a serial number that changes with each use, so that old ones are
// refused. 0 is none.
static inline uint32_t handle_make(uint32_t index, uint32_t serial)
{
    return (serial & 0xffff) << 16 | (index + 1);
}
static inline uint32_t handle_index(uint32_t handle)
{
    return (handle & 0xffff) - 1;
}

struct buffer {
    uint64_t offset, bytes; // in the region; bytes 0: free
    uint32_t serial;
};

struct arena {
    uint64_t begin, end; // of what can be lent
    struct buffer buffers[HC_MOST_BUFFERS];
    uint16_t order[HC_MOST_BUFFERS]; // indices of the lent ones by offset
    uint32_t count;                  // lent
    uint64_t lent;                   // bytes
};

void arena_open(struct arena *a, uint64_t region_bytes);
// 0, HC_NO_MEMORY, HC_BAD_VALUE (no bytes).
int arena_lend(struct arena *a, uint64_t bytes, uint32_t *handle, uint64_t *offset);
// 0, HC_BAD_HANDLE.
int arena_return(struct arena *a, uint32_t handle);
// The buffer of a handle, or NULL.
struct buffer *arena_buffer(struct arena *a, uint32_t handle);
// Where `bytes` bytes at a span lie in the region. 0, HC_BAD_HANDLE, HC_BAD_RANGE (it leaves the
// buffer, or is not a multiple of `align`).
int arena_resolve(struct arena *a, const struct hc_span *s, uint64_t bytes, uint64_t align,
                  uint64_t *offset);

#endif
