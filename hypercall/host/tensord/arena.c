// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// First fit over at most HC_MOST_BUFFERS buffers, in whole pages.
#include "hypercall/host/tensord/arena.h"

#include <string.h>

enum { PAGE = 4096 };

void arena_open(struct arena *a, uint64_t region_bytes)
{
    uint32_t serials[HC_MOST_BUFFERS];
    for (uint32_t i = 0; i < HC_MOST_BUFFERS; i++) { // old handles stay old
        serials[i] = a->buffers[i].serial;
    }
    memset(a, 0, sizeof *a);
    for (uint32_t i = 0; i < HC_MOST_BUFFERS; i++) {
        a->buffers[i].serial = serials[i];
    }
    a->begin = HC_ARENA;
    a->end = region_bytes;
}

// The lowest place for `bytes`: before, between or behind the buffers; *rank: how many lie below
// it. 0: none.
static uint64_t find_place(const struct arena *a, uint64_t bytes, uint32_t *rank)
{
    uint64_t at = a->begin;
    for (*rank = 0; *rank < a->count; ++*rank) {
        const struct buffer *b = &a->buffers[a->order[*rank]];
        if (bytes <= b->offset - at) {
            return at;
        }
        at = b->offset + b->bytes;
    }
    return bytes <= a->end - at ? at : 0;
}

int arena_lend(struct arena *a, uint64_t bytes, uint32_t *handle, uint64_t *offset)
{
    if (bytes == 0) {
        return HC_BAD_VALUE;
    }
    if (bytes > a->end - a->begin) {
        return HC_NO_MEMORY;
    }
    bytes = (bytes + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    uint32_t i = 0, rank;
    uint64_t at = find_place(a, bytes, &rank);
    while (i < HC_MOST_BUFFERS && a->buffers[i].bytes) {
        i++;
    }
    if (at == 0 || i == HC_MOST_BUFFERS) {
        return HC_NO_MEMORY;
    }
    struct buffer *b = &a->buffers[i];
    *b = (struct buffer){.offset = at, .bytes = bytes, .serial = b->serial + 1};
    memmove(&a->order[rank + 1], &a->order[rank], (a->count - rank) * sizeof *a->order);
    a->order[rank] = (uint16_t)i;
    a->count++;
    a->lent += bytes;
    *handle = handle_make(i, b->serial);
    *offset = at;
    return 0;
}

struct buffer *arena_buffer(struct arena *a, uint32_t handle)
{
    uint32_t i = handle_index(handle);
    if (i >= HC_MOST_BUFFERS || !a->buffers[i].bytes ||
        handle != handle_make(i, a->buffers[i].serial)) {
        return NULL;
    }
    return &a->buffers[i];
}

int arena_return(struct arena *a, uint32_t handle)
{
    struct buffer *b = arena_buffer(a, handle);
    if (!b) {
        return HC_BAD_HANDLE;
    }
    uint32_t rank = 0;
    while (a->order[rank] != handle_index(handle)) {
        rank++;
    }
    a->count--;
    memmove(&a->order[rank], &a->order[rank + 1], (a->count - rank) * sizeof *a->order);
    a->lent -= b->bytes;
    b->bytes = 0;
    return 0;
}

int arena_resolve(struct arena *a, const struct hc_span *s, uint64_t bytes, uint64_t align,
                  uint64_t *offset)
{
    const struct buffer *b = arena_buffer(a, s->buffer);
    if (!b || s->zero) {
        return HC_BAD_HANDLE;
    }
    if (s->offset > b->bytes || bytes > b->bytes - s->offset || s->offset % align) {
        return HC_BAD_RANGE;
    }
    *offset = b->offset + s->offset;
    return 0;
}
