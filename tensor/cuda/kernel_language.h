// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What kernels are written in: C with a few words, compiled for NVIDIA GPUs (by clang, as CUDA
// without CUDA's headers) and for the emulated device of tests. A block's work is a sequence of
// phases: in each all threads run, then all wait. Nothing but shared arrays outlives a phase, so a
// loop over the threads computes the same. Only operations that IEEE 754 defines are used (add,
// multiply, fused multiply-add, divide, square root, conversions), so both should give the same
// bits. Source of the special registers: PTX ISA, "Special Registers".
#ifndef TENSOR_CUDA_KERNEL_LANGUAGE_H
#define TENSOR_CUDA_KERNEL_LANGUAGE_H

#include "tensor/cuda/kernel_types.h"

enum { BLOCK_THREADS = CUDA_BLOCK_THREADS };

#ifdef __CUDA__

#define KERNEL(NAME, PARAMETERS)                                                                   \
    extern "C" __attribute__((global)) void NAME(const struct PARAMETERS p)
#define DEVICE static inline __attribute__((device, always_inline))
#define SHARED __attribute__((shared))
// Before a loop of a constant number of turns: what it indexes stays in registers.
#define UNROLLED _Pragma("unroll")
#define BLOCK_X  ((uint32_t)__nvvm_read_ptx_sreg_ctaid_x())
#define BLOCK_Y  ((uint32_t)__nvvm_read_ptx_sreg_ctaid_y())
#define EACH_THREAD(t)                                                                             \
    for (uint32_t t = (uint32_t)__nvvm_read_ptx_sreg_tid_x(), once = 1; once;                      \
         once = 0, __syncthreads())

DEVICE float half_to_float(uint16_t h)
{
    __fp16 f;
    __builtin_memcpy(&f, &h, sizeof f);
    return f;
}

DEVICE uint16_t float_to_half(float f)
{
    __fp16 h = (__fp16)f;
    uint16_t u;
    __builtin_memcpy(&u, &h, sizeof u);
    return u;
}

#else

#include "tensor/half.h"

// Which block it is, and whether its threads take their turns from the last to the first: results
// that change with the order show a missing wait.
struct kernel_place {
    uint32_t x, y;
    int backwards;
};
#define KERNEL(NAME, PARAMETERS)                                                                   \
    static void NAME(const struct kernel_place block, const struct PARAMETERS p)
#define DEVICE static inline __attribute__((always_inline))
#define SHARED
#define UNROLLED
#define BLOCK_X block.x
#define BLOCK_Y block.y
#define EACH_THREAD(t)                                                                             \
    for (uint32_t turn = 0, t;                                                                     \
         turn < BLOCK_THREADS && ((t = block.backwards ? BLOCK_THREADS - 1 - turn : turn), 1);     \
         turn++)
#define half_to_float tn_f16_to_f32
#define float_to_half tn_f32_to_f16

#endif

DEVICE uint32_t float_bits(float f)
{
    uint32_t u;
    __builtin_memcpy(&u, &f, sizeof u);
    return u;
}

DEVICE float bits_float(uint32_t u)
{
    float f;
    __builtin_memcpy(&f, &u, sizeof f);
    return f;
}

// Four floats that lie together, 16-byte aligned.
typedef float four_floats __attribute__((vector_size(16)));

// Sums in halves: what values[0] is after each thread of the first half has added the second's.
// Between the phases of a kernel, whose threads all come here.
#define TREE(COUNT, STRIDE, STATEMENT)                                                             \
    for (uint32_t reach = (COUNT) / 2; reach > 0; reach /= 2) {                                    \
        EACH_THREAD(t)                                                                             \
        {                                                                                          \
            if (t % (STRIDE) < reach) {                                                            \
                STATEMENT;                                                                         \
            }                                                                                      \
        }                                                                                          \
    }

#endif
