// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The pool of code buffers: at most JIT_POOL_BUFFERS and JIT_POOL_BYTES live. A buffer is written
// while it cannot execute and sealed before anybody knows of it; nothing is ever made writable
// again.
#include "tensor/jit/jit_private.h"

#include <string.h>

enum { PAGE = 4096 };

struct pool_buffer *pool_place(struct code_pool *p, const void *code, size_t bytes)
{
    size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
    struct pool_buffer *b = p->buffer, *end = b + JIT_POOL_BUFFERS;
    while (b < end && b->code) {
        b++;
    }
    if (b == end || !bytes || whole > JIT_POOL_BYTES - p->bytes) {
        return NULL;
    }
    void *place = p->memory.alloc(p->memory.ctx, whole);
    if (!place) {
        return NULL;
    }
    memcpy(place, code, bytes);
    memset((uint8_t *)place + bytes, 0xcc, whole - bytes); // int3
    if (p->memory.seal(p->memory.ctx, place, whole)) {
        p->memory.free(p->memory.ctx, place, whole);
        return NULL;
    }
    *b = (struct pool_buffer){place, whole};
    p->live++;
    p->bytes += whole;
    return b;
}

void pool_release(struct code_pool *p, struct pool_buffer *b)
{
    p->memory.free(p->memory.ctx, b->code, b->bytes);
    p->live--;
    p->bytes -= b->bytes;
    *b = (struct pool_buffer){0};
}
