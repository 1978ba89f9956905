// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// x86-64 code made at run time for one shape: vector kernels whose length is a constant, loops
// unrolled, tails masked, chains of elementwise operations fused into one pass. Needs AVX2 and FMA.
//
// Memory is never writable and executable at once. It comes from an interface, because only the
// host or the libos can change what a page may do:
//   host   jit_host_memory(): mmap, then mprotect;
//   guest  the libos WILL supply the three functions over its page tables; until it does, jit_open
//          gets NULL and says -ENOTSUP ("not available"), and callers use their ordinary kernels.
#ifndef TENSOR_JIT_H
#define TENSOR_JIT_H

#include "tensor/exec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    JIT_POOL_BYTES = 2 << 20, // all live code, in whole pages
    JIT_POOL_BUFFERS = 64,    // live at once: cached ones and evicted ones still held
    JIT_CACHE_ENTRIES = 32,
    JIT_MAX_LENGTH = 1 << 20, // elements of one kernel
    JIT_MAX_INPUTS = 6,       // of a chain
    JIT_MAX_STEPS = 16,
};

// `bytes` is a multiple of 4096 everywhere. Calls come one at a time.
struct jit_memory {
    void *ctx;
    void *(*alloc)(void *ctx, size_t bytes);           // writable, not executable; NULL: none left
    int (*seal)(void *ctx, void *code, size_t bytes);  // MUST end all writing before it may execute
    void (*free)(void *ctx, void *code, size_t bytes); // sealed or not
};
const struct jit_memory *jit_host_memory(void); // not in guests

// Every kernel's results have the same bits on AVX2 and AVX-512, and those of the executor's row
// kernels of these levels: an element depends on its own inputs alone; sums have 64 lanes, element
// i in lane i mod 64, folded in halves.
enum jit_kind {
    JIT_ADD,         // out = a + b
    JIT_DOT,         // sum of a b
    JIT_AXPY,        // y = a x + y
    JIT_SILU_MUL,    // gate = gate / (1 + exp(-gate)) up
    JIT_ROPE_HALVES, // n = pairs; table: [n] cosines, [n] sines; x: [n] first, [n] second halves
    JIT_ROPE_NEIGHBOURS, // n = pairs; table: [2n] cosines each twice, [2n] sines as -sine, sine
    JIT_RMS_NORM,        // y = x / sqrt(mean(x^2) + epsilon) weight
    JIT_CHAIN,           // out = steps over the inputs
    JIT_KIND_COUNT
};

// A step's operands are values: 0 to inputs - 1 are the inputs, inputs + i is what step i gave. The
// last step's value is the output.
enum jit_step_kind {
    JIT_STEP_ADD,
    JIT_STEP_SUB,
    JIT_STEP_MUL,
    JIT_STEP_DIV,
    JIT_STEP_MIN,
    JIT_STEP_MAX,
    JIT_STEP_FMA,   // a b + c, rounded once
    JIT_STEP_SCALE, // a number
    JIT_STEP_SHIFT, // a + number
    JIT_STEP_SILU,
    JIT_STEP_GELU, // by tanh
    JIT_STEP_COUNT
};
struct jit_step {
    uint8_t kind, a, b, c;
    float number;
};

struct jit_shape {
    enum jit_kind kind;
    uint32_t length;
    float epsilon; // JIT_RMS_NORM
    uint32_t inputs, steps;
    struct jit_step step[JIT_MAX_STEPS]; // JIT_CHAIN
};

// Pointers need no alignment. An output may be one of the inputs itself, not overlap it otherwise.
union jit_entry {
    void (*add)(float *out, const float *a, const float *b);
    float (*dot)(const float *a, const float *b);
    void (*axpy)(float *y, const float *x, float a);
    void (*silu_mul)(float *gate, const float *up);
    void (*rope)(float *out, const float *x, const float *table);
    void (*rms_norm)(float *y, const float *x, const float *weight);
    void (*chain)(float *out, const float *const *inputs);
    void *code;
};
struct jit_code {
    union jit_entry run;
    size_t bytes;
};

struct jit;
// isa: avx2 or above. 0; -ENOTSUP with the reason in `error`; -ENOMEM. Thread-safe after opening.
int jit_open(const struct jit_memory *memory, enum tn_isa isa, struct jit **out, char *error,
             size_t error_bytes);
// All code must have been put back.
void jit_close(struct jit *j);
// The kernel of that shape, compiled on first use; the one used longest ago leaves the cache. Stays
// valid until it is put back. 0; -EINVAL: no such kernel (a value that is not there yet, length 0
// or beyond JIT_MAX_LENGTH); -ENOMEM: no memory, or all buffers are held; -E2BIG: too many values
// alive at once for the registers.
int jit_get(struct jit *j, const struct jit_shape *shape, const struct jit_code **out);
void jit_put(struct jit *j, const struct jit_code *code);

struct jit_statistics {
    uint64_t compiled, found, evicted;
    size_t live_buffers, live_bytes, cached;
};
void jit_count(struct jit *j, struct jit_statistics *out);

#endif
