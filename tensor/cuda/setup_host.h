// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: a synthetic model on the emulated device, and beside it on the CPU.
#ifndef TENSOR_CUDA_SETUP_HOST_H
#define TENSOR_CUDA_SETUP_HOST_H

#include "tensor/cuda.h"
#include "tensor/model/synthetic.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { TOKENS = 70, VOCABULARY = 320, PAGES = 64, TOTAL = 5 };

struct setup {
    void *file;
    size_t bytes;
    struct tn_model *model;
    struct tn_cuda_device *device;
    struct tn_cuda_model *weights;
    struct tn_cuda_executor *x;
    uint32_t kv_type;
    size_t page_bytes;
};

// Small, but of whole blocks of the type.
struct synthetic_options model_of(const char *architecture, uint32_t type);
void open_model(struct setup *s, const struct synthetic_options *o);
void open_device(struct setup *s, uint32_t kv_type, uint32_t pages);
void close_setup(struct setup *s); // nothing of the device's may be left
// A sequence's own store, full of what are no numbers; the caller frees.
void *store_of(const struct setup *s, uint32_t pages);
float *logits_of(size_t rows);
void make_tokens(int32_t *ids, uint32_t count, uint32_t seed);

extern const uint32_t setup_pages[3]; // of a store of TOTAL
// All logits of one sequence, in chunks.
void run(struct setup *s, const int32_t *ids, uint32_t count, uint32_t chunk, uint64_t run,
         void *kv, float *logits);
// The same on the CPU from position `from` on.
void run_cpu(const struct setup *s, const int32_t *ids, uint32_t count, uint32_t from, void *kv,
             float *logits);

#endif
