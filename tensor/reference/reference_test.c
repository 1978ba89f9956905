// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The engine against the reference in doubles: every architecture and every variant of its
// equations, on models with float weights.
//
// Links: @tensor tensor/reference/parts_host.c tensor/reference/decoders_host.c
//
// Links: tensor/reference/bert_host.c tensor/model/synthetic_host.c tensor/core/pool_host.c
//
// Links: tensor/model/synthetic_vocabulary_host.c
#include "tensor/exec.h"
#include "tensor/ir/ir.h"
#include "tensor/model/synthetic.h"
#include "tensor/reference/reference.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 40, CHUNK = 24, PAGES = 4 }; // more tokens than a window has

struct setup {
    void *file;
    struct tn_model *model;
    struct tn_executor *x;
    int32_t ids[TOKENS];
};

static void open_setup(struct setup *s, const struct synthetic_options *o, uint32_t context,
                       uint32_t kv)
{
    char error[256] = "";
    size_t bytes;
    s->file = synthetic_model(o, &bytes);
    assert_non_null(s->file);
    if (tn_model_open(s->file, bytes, &s->model, error, sizeof error) != 0) {
        fail_msg("%s: %s", o->architecture, error);
    }
    struct tn_executor_options e = {.isa = tn_isa_best(),
                                    .pool = &tn_pool_single,
                                    .max_tokens = TOKENS,
                                    .max_sequences = 1,
                                    .kv_page_total = PAGES,
                                    .context = context,
                                    .kv_type = kv};
    if (tn_executor_open(s->model, &e, &s->x, error, sizeof error) != 0) {
        fail_msg("%s: %s", o->architecture, error);
    }
    for (uint32_t i = 0; i < TOKENS; i++) {
        s->ids[i] = (int32_t)((i * 7919 + i * i * 31 + 5) % o->vocabulary);
    }
}

static void close_setup(struct setup *s)
{
    tn_executor_close(s->x);
    tn_model_close(s->model);
    free(s->file);
}

static double relative(const float *found, const double *right, size_t count)
{
    double off = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)found[i] - right[i];
        off += d * d;
        size += right[i] * right[i];
    }
    return sqrt(off / size);
}

// Relative rms of all logits.
static double distance(const struct synthetic_options *o, uint32_t context, uint32_t kv)
{
    static const uint32_t pages[PAGES] = {2, 0, 3, 1};
    struct setup s;
    open_setup(&s, o, context, kv);
    size_t count = (size_t)TOKENS * o->vocabulary;
    float *logits = malloc(count * sizeof *logits);
    double *right = malloc(count * sizeof *right);
    for (uint32_t at = 0; at < TOKENS; at += CHUNK) {
        struct tn_step_sequence q = {.tokens = s.ids + at,
                                     .token_count = TOKENS - at < CHUNK ? TOKENS - at : CHUNK,
                                     .position = at,
                                     .kv_pages = pages,
                                     .kv_page_count = PAGES,
                                     .logits = logits + (size_t)at * o->vocabulary};
        assert_int_equal(tn_step(s.x, &q, 1), 0);
    }
    assert_true(reference_logits(tn_model_gguf(s.model), s.ids, TOKENS, context, right));
    double d = relative(logits, right, count);
    free(right);
    free(logits);
    close_setup(&s);
    return d;
}

static void expect(const char *what, double found, double most)
{
    if (!(found <= most)) {
        fail_msg("%s: relative rms %g, at most %g", what, found, most);
    }
}

static void each_architecture_computes_its_equations(void **unused)
{
    (void)unused;
    for (size_t i = 0; synthetic_architectures[i]; i++) {
        struct synthetic_options o;
        assert_true(synthetic_default(synthetic_architectures[i], TN_F32, &o));
        if (strcmp(o.architecture, "bert") != 0) {
            expect(o.architecture, distance(&o, 0, TN_F32), 1e-5);
        }
    }
}

static void weights_of_two_bytes_are_exact(void **unused)
{
    (void)unused;
    static const uint32_t types[] = {TN_F16, TN_BF16};
    for (int t = 0; t < 2; t++) {
        struct synthetic_options o;
        assert_true(synthetic_default("llama", types[t], &o));
        expect(tn_type_info(types[t])->name, distance(&o, 0, TN_F32), 1e-5);
    }
}

static void llama_has_its_variants(void **unused)
{
    (void)unused;
    struct synthetic_options plain, o;
    assert_true(synthetic_default("llama", TN_F32, &plain));
    o = plain, o.biases = true, o.tied = true;
    expect("biases", distance(&o, 0, TN_F32), 1e-5);
    o = plain, o.rope_freqs = true;
    expect("rope_freqs", distance(&o, 0, TN_F32), 1e-5);
    o = plain, o.rope_scaling = "linear";
    expect("linear", distance(&o, 0, TN_F32), 1e-5);
    o = plain, o.rope_scaling = "yarn", o.rope_context = 64, o.rope_attention_factor = 1.25f;
    expect("yarn", distance(&o, 0, TN_F32), 1e-5);
    o = plain, o.rope_scaling = "none", o.head_dim = 24;
    expect("heads of their own size", distance(&o, 0, TN_F32), 1e-5);
    o = plain, o.experts = 8, o.experts_used = 2, o.expert_feed_forward = o.feed_forward;
    expect("experts", distance(&o, 0, TN_F32), 1e-5);
    o.experts_used = 8;
    expect("all experts", distance(&o, 0, TN_F32), 1e-5);
}

static void longrope_goes_by_the_configured_context(void **unused)
{
    (void)unused;
    struct synthetic_options o;
    assert_true(synthetic_default("phi3", TN_F32, &o));
    o.rope_scaling = "longrope";
    o.rope_context = 64;
    o.rope_attention_factor = 1.19f;
    expect("short factors", distance(&o, 64, TN_F32), 1e-5);
    expect("long factors", distance(&o, 65, TN_F32), 1e-5);
}

static void windows_of_several_sizes(void **unused)
{
    (void)unused;
    static const char *const names[] = {"gemma2", "gemma3", "gpt-oss"};
    static const uint32_t windows[] = {1, 7, 32, 33, 100};
    for (int n = 0; n < 3; n++) {
        for (int w = 0; w < 5; w++) {
            struct synthetic_options o;
            assert_true(synthetic_default(names[n], TN_F32, &o));
            o.window = windows[w];
            o.layers = n == 1 ? 6 : 2;
            expect(names[n], distance(&o, 0, TN_F32), 1e-5);
        }
    }
}

static void kept_keys_and_values_lose_little(void **unused)
{
    (void)unused;
    static const struct {
        uint32_t type;
        double most;
    } kinds[] = {{TN_F16, 2e-3}, {TN_Q8_0, 2e-2}, {TN_Q4_0, 2.5e-1}};
    for (int k = 0; k < 3; k++) {
        struct synthetic_options o;
        assert_true(synthetic_default("llama", TN_F32, &o));
        o.head_dim = 32;
        double d = distance(&o, 0, kinds[k].type);
        expect(tn_type_info(kinds[k].type)->name, d, kinds[k].most);
        assert_true(d > 1e-5); // it did keep them in that type
    }
}

static void bert_pools_its_rows(void **unused)
{
    (void)unused;
    static const uint32_t page[PAGES] = {3, 1, 0, 2};
    static const uint32_t poolings[] = {IR_POOL_MEAN, IR_POOL_FIRST, IR_POOL_LAST};
    for (int p = 0; p < 3; p++) {
        struct synthetic_options o;
        assert_true(synthetic_default("bert", TN_F32, &o));
        o.pooling = poolings[p];
        struct setup s;
        open_setup(&s, &o, 0, TN_F32);
        struct tn_model_info info;
        tn_model_info(s.model, &info);
        assert_true(info.embeds);
        float found[64];
        double right[64];
        assert_int_equal(o.embedding, 64);
        struct tn_step_sequence q = {.tokens = s.ids,
                                     .token_count = TOKENS,
                                     .kv_pages = page,
                                     .kv_page_count = PAGES,
                                     .logits_from = TOKENS,
                                     .embedding = found};
        assert_int_equal(tn_step(s.x, &q, 1), 0);
        assert_true(reference_embedding(tn_model_gguf(s.model), s.ids, TOKENS, right));
        expect("bert", relative(found, right, 64), 1e-5);
        q.embedding = NULL;
        assert_int_equal(tn_step(s.x, &q, 1), 0);
        q.logits_from = 0; // it has no logits
        assert_int_equal(tn_step(s.x, &q, 1), -EINVAL);
        close_setup(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_architecture_computes_its_equations),
        cmocka_unit_test(weights_of_two_bytes_are_exact),
        cmocka_unit_test(llama_has_its_variants),
        cmocka_unit_test(longrope_goes_by_the_configured_context),
        cmocka_unit_test(windows_of_several_sizes),
        cmocka_unit_test(kept_keys_and_values_lose_little),
        cmocka_unit_test(bert_pools_its_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
