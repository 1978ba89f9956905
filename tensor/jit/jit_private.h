// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the parts of the JIT share: the kernels' writer and the pool of code buffers.
#ifndef TENSOR_JIT_JIT_PRIVATE_H
#define TENSOR_JIT_JIT_PRIVATE_H

#include "tensor/jit.h"
#include "tensor/jit/body.h"

// ---- kernels.c: the code of a shape ------------------------------------------------------------
struct kernel_work {
    struct assembler out;
    struct body body;
};
// 0; -EINVAL: no such kernel; -E2BIG: more values at once than registers, or more code than `room`.
int kernel_check(const struct jit_shape *s);
int kernel_write(struct kernel_work *w, const struct target *t, const struct jit_shape *s,
                 void *code, size_t room);

// ---- sums.c: reductions
// ------------------------------------------------------------------------------ Register 0's
// lowest lane becomes the sum of x[i] y[i], i < length (y may be x), x and y in general registers.
// Uses all vector registers and RAX.
void sum_of_products(struct assembler *a, const struct target *t, int x, int y, uint32_t length);

// ---- pool.c: buffers, never writable and executable at once ------------------------------------
struct pool_buffer {
    void *code; // NULL: free
    size_t bytes;
};
struct code_pool {
    struct jit_memory memory;
    struct pool_buffer buffer[JIT_POOL_BUFFERS];
    size_t live, bytes;
};
// Copies the code into a buffer of its own and seals it. NULL: no room, or the memory refused.
struct pool_buffer *pool_place(struct code_pool *p, const void *code, size_t bytes);
void pool_release(struct code_pool *p, struct pool_buffer *b);

#endif
