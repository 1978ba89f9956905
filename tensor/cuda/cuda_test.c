// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The CUDA executor on the emulated device, held against the reference in doubles and against the
// CPU executor; its rows' bits; what it does with K and V; what it refuses.
//
// Links: @tensor @cuda tensor/cuda/fake_driver_host.c tensor/reference/parts_host.c
//
// Links: tensor/reference/decoders_host.c tensor/model/synthetic_host.c tensor/core/pool_host.c
//
// Links: tensor/model/synthetic_vocabulary_host.c tensor/reference/bert_host.c
//
// Links: tensor/format/gguf_write_host.c
// Libs: -rdynamic -ldl
#include "tensor/cuda.h"
#include "tensor/cuda/fake_driver_host.h"
#include "tensor/model/synthetic.h"
#include "tensor/pack.h"
#include "tensor/reference/reference.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

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

static struct synthetic_options model_of(const char *architecture, uint32_t type)
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

static void open_model(struct setup *s, const struct synthetic_options *o)
{
    char error[256] = "";
    *s = (struct setup){0};
    s->file = synthetic_model(o, &s->bytes);
    assert_non_null(s->file);
    if (tn_model_open(s->file, s->bytes, &s->model, error, sizeof error)) {
        fail_msg("%s: %s", o->architecture, error);
    }
}

static void open_device(struct setup *s, uint32_t kv_type, uint32_t pages)
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

static void close_setup(struct setup *s)
{
    tn_cuda_executor_close(s->x);
    tn_cuda_model_close(s->weights);
    tn_cuda_device_close(s->device);
    tn_model_close(s->model);
    free(s->file);
    assert_int_equal(fake_cuda_open_things(), 0);
}

static void *store_of(const struct setup *s, uint32_t pages)
{
    void *kv = aligned_alloc(64, (s->page_bytes * pages + 63) & ~(size_t)63);
    assert_non_null(kv);
    memset(kv, 0xff, s->page_bytes * pages); // no numbers
    return kv;
}

static float *logits_of(size_t rows)
{
    float *logits = malloc(rows * VOCABULARY * sizeof *logits);
    assert_non_null(logits);
    return logits;
}

static void make_tokens(int32_t *ids, uint32_t count, uint32_t seed)
{
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = (int32_t)((seed * 131 + i * 7919 + i * i * 31) % VOCABULARY);
    }
}

static const uint32_t pages[3] = {4, 0, 2};

// All logits of one sequence, in chunks.
static void run(struct setup *s, const int32_t *ids, uint32_t count, uint32_t chunk, uint64_t run,
                void *kv, float *logits)
{
    for (uint32_t at = 0; at < count; at += chunk) {
        struct tn_step_sequence q = {.tokens = ids + at,
                                     .token_count = count - at < chunk ? count - at : chunk,
                                     .position = at,
                                     .kv_pages = pages,
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
static void run_cpu(const struct setup *s, const int32_t *ids, uint32_t count, uint32_t from,
                    void *kv, float *logits)
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
                                 .kv_pages = pages,
                                 .kv_page_count = 3,
                                 .kv = kv,
                                 .kv_page_total = TOTAL,
                                 .logits = logits};
    assert_int_equal(tn_step(x, &q, 1), 0);
    tn_executor_close(x);
}

static double distance(const float *found, const double *right, const float * or, size_t count)
{
    double off = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        double r = right ? right[i] : (double) or [i], d = (double)found[i] - r;
        off += d * d;
        size += r * r;
    }
    return sqrt(off / size);
}

static void expect(const char *architecture, uint32_t type, const char *what, double found,
                   double most)
{
    if (!(found <= most)) {
        fail_msg("%s %s: %g from %s, at most %g", architecture, tn_type_info(type)->name, found,
                 what, most);
    }
}

static const struct {
    const char *architecture;
    uint32_t type, kv_type;
} cases[] = {{"llama", TN_F32, TN_F32},   {"llama", TN_F16, TN_F16},   {"llama", TN_Q8_0, TN_F32},
             {"llama", TN_Q4_0, TN_F16},  {"llama", TN_Q4_K, TN_F32},  {"qwen2", TN_BF16, TN_F32},
             {"qwen2", TN_Q4_1, TN_F16},  {"qwen3", TN_F32, TN_F32},   {"qwen3", TN_Q6_K, TN_F32},
             {"phi3", TN_F16, TN_F32},    {"phi3", TN_Q5_0, TN_F32},   {"gemma2", TN_F32, TN_F32},
             {"gemma2", TN_Q5_K, TN_F32}, {"gemma3", TN_Q8_0, TN_F32}, {"gpt2", TN_F32, TN_F32},
             {"gpt2", TN_Q5_1, TN_F16}};
enum { CASES = sizeof cases / sizeof *cases };

static void logits_are_the_equations_and_the_cpus(void **unused)
{
    (void)unused;
    int32_t ids[TOKENS];
    make_tokens(ids, TOKENS, 1);
    size_t count = (size_t)TOKENS * VOCABULARY;
    float *found = logits_of(TOKENS), *cpu = logits_of(TOKENS);
    double *right = malloc(count * sizeof *right);
    for (int t = 0; t < CASES; t++) {
        struct setup s;
        struct synthetic_options o = model_of(cases[t].architecture, cases[t].type);
        open_model(&s, &o);
        open_device(&s, cases[t].kv_type, PAGES);
        void *kv = store_of(&s, TOTAL);
        run(&s, ids, TOKENS, 33, 7, kv, found);
        run_cpu(&s, ids, TOKENS, 0, kv, cpu);
        assert_true(reference_logits(tn_model_gguf(s.model), ids, TOKENS, 0, right));
        bool halves = cases[t].kv_type == TN_F16, blocks = tn_type_info(o.type)->block_values > 1;
        expect(o.architecture, o.type, "the equations", distance(found, right, NULL, count),
               halves ? 1e-3 : 1e-5);
        // The CPU rounds the inputs of quantised products: that, and no more, lies between them.
        double rounding = distance(cpu, right, NULL, count);
        if (getenv("VERBOSE")) {
            print_message("%s %s KV %s: %.1e from the equations, %.1e from the CPU, that %.1e\n",
                          o.architecture, tn_type_info(o.type)->name, tn_type_info(s.kv_type)->name,
                          distance(found, right, NULL, count), distance(found, NULL, cpu, count),
                          rounding);
        }
        expect(o.architecture, o.type, "the CPU", distance(found, NULL, cpu, count),
               blocks   ? 1.05 * rounding + 1e-4
               : halves ? 1e-3
                        : 1e-4);
        free(kv);
        close_setup(&s);
    }
    free(found);
    free(cpu);
    free(right);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_the_equations_and_the_cpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
