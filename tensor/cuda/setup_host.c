// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A synthetic model on the emulated device.
#include "tensor/cuda/setup_host.h"

#include "tensor/cuda/fake_driver_host.h"

#include <stdlib.h>
#include <string.h>

struct synthetic_options model_of(const char *architecture, uint32_t type)
{
    struct synthetic_options o;
    assert_true(synthetic_default(architecture, type, &o));
    if (tn_type_info(type)->block_values > 32) { // whole super-blocks
        o.embedding = o.feed_forward = 256;
        o.head_dim = 64;
        o.layers = 1;
    }
    return o;
}

void open_model(struct setup *s, const struct synthetic_options *o)
{
    char error[256] = "";
    *s = (struct setup){0};
    s->file = synthetic_model(o, &s->bytes);
    assert_non_null(s->file);
    if (tn_model_open(s->file, s->bytes, &s->model, error, sizeof error)) {
        fail_msg("%s: %s", o->architecture, error);
    }
}

void open_device(struct setup *s, uint32_t kv_type, uint32_t pages)
{
    char error[256] = "";
    const struct tn_cuda_executor_options o = {
        .max_tokens = 128, .max_sequences = 16, .kv_type = kv_type, .pages = pages};
    s->kv_type = kv_type;
    s->page_bytes = tn_kv_page_bytes(s->model, kv_type);
    if (tn_cuda_device_open("", 0, NULL, &s->device, error, sizeof error) ||
        tn_cuda_model_open(s->device, s->model, &s->weights, error, sizeof error) ||
        tn_cuda_executor_open(s->weights, &o, &s->x, error, sizeof error)) {
        fail_msg("%s", error);
    }
}

void close_setup(struct setup *s)
{
    tn_cuda_executor_close(s->x);
    tn_cuda_model_close(s->weights);
    tn_cuda_device_close(s->device);
    tn_model_close(s->model);
    free(s->file);
    assert_int_equal(fake_cuda_open_things(), 0);
}

void *store_of(const struct setup *s, uint32_t pages)
{
    void *kv = aligned_alloc(64, (s->page_bytes * pages + 63) & ~(size_t)63);
    assert_non_null(kv);
    memset(kv, 0xff, s->page_bytes * pages); // no numbers
    return kv;
}

float *logits_of(size_t rows)
{
    float *logits = malloc(rows * VOCABULARY * sizeof *logits);
    assert_non_null(logits);
    return logits;
}

void make_tokens(int32_t *ids, uint32_t count, uint32_t seed)
{
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = (int32_t)((seed * 131 + i * 7919 + i * i * 31) % VOCABULARY);
    }
}

const uint32_t setup_pages[3] = {4, 0, 2};

// All logits of one sequence, in chunks.
void run(struct setup *s, const int32_t *ids, uint32_t count, uint32_t chunk, uint64_t run,
         void *kv, float *logits)
{
    for (uint32_t at = 0; at < count; at += chunk) {
        struct tn_step_sequence q = {.tokens = ids + at,
                                     .token_count = count - at < chunk ? count - at : chunk,
                                     .position = at,
                                     .kv_pages = setup_pages,
                                     .kv_page_count = 3,
                                     .kv = kv,
                                     .kv_page_total = TOTAL,
                                     .run = run,
                                     .logits = logits + (size_t)at * VOCABULARY};
        int rc = tn_cuda_step(s->x, &q, 1);
        if (rc) {
            fail_msg("step: %d %s", rc, tn_cuda_failure(s->x));
        }
    }
}

// The same on the CPU, its store brought along.
void run_cpu(const struct setup *s, const int32_t *ids, uint32_t count, uint32_t from, void *kv,
             float *logits)
{
    char error[256];
    struct tn_executor *x;
    const struct tn_executor_options o = {.isa = tn_isa_best(),
                                          .pool = &tn_pool_single,
                                          .max_tokens = 128,
                                          .max_sequences = 1,
                                          .kv_type = s->kv_type};
    assert_int_equal(tn_executor_open(s->model, &o, &x, error, sizeof error), 0);
    struct tn_step_sequence q = {.tokens = ids + from,
                                 .token_count = count - from,
                                 .position = from,
                                 .kv_pages = setup_pages,
                                 .kv_page_count = 3,
                                 .kv = kv,
                                 .kv_page_total = TOTAL,
                                 .logits = logits};
    assert_int_equal(tn_step(x, &q, 1), 0);
    tn_executor_close(x);
}
