// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The CUDA executor on the emulated device, held against the reference in doubles and against the
// CPU executor; its rows' bits; what it does with K and V; packed weights.
//
// Links: @tensor @cuda tensor/cuda/fake_driver_host.c tensor/cuda/setup_host.c
//
// Links: tensor/model/synthetic_host.c tensor/model/synthetic_vocabulary_host.c
//
// Links: tensor/reference/parts_host.c tensor/reference/decoders_host.c
//
// Links: tensor/reference/bert_host.c tensor/core/pool_host.c
// Libs: -rdynamic -ldl
#include "tensor/cuda/fake_driver_host.h"
#include "tensor/cuda/setup_host.h"
#include "tensor/model/model_private.h"
#include "tensor/pack.h"
#include "tensor/reference/reference.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

// ---- bits --------------------------------------------------------------------------------------

static void same_bits(const struct synthetic_options *o, const float *a, const float *b,
                      size_t rows, const char *how)
{
    if (memcmp(a, b, rows * VOCABULARY * sizeof *a) != 0) {
        fail_msg("%s %s: other bits with %s", o->architecture, tn_type_info(o->type)->name, how);
    }
}

static void bits_do_not_depend_on_chunks_or_the_order_of_threads(void **unused)
{
    (void)unused;
    static const uint32_t chunks[] = {1, 5, 33};
    float *whole = logits_of(TOKENS), *other = logits_of(TOKENS);
    int32_t ids[TOKENS];
    make_tokens(ids, TOKENS, 2);
    for (int t = 0; t < CASES; t += t % 4 == 3 ? 1 : 2) {
        struct setup s;
        struct synthetic_options o = model_of(cases[t].architecture, cases[t].type);
        open_model(&s, &o);
        open_device(&s, cases[t].kv_type, PAGES);
        void *kv = store_of(&s, TOTAL);
        run(&s, ids, TOKENS, TOKENS, 1, kv, whole);
        for (uint32_t c = 0; c < 3; c++) {
            fake_cuda_backwards(c == 1);
            run(&s, ids, TOKENS, chunks[c], c == 2 ? 0 : 2 + c, kv, other);
            fake_cuda_backwards(false);
            same_bits(&o, whole, other, TOKENS, c == 1 ? "threads backwards" : "chunks");
        }
        free(kv);
        close_setup(&s);
    }
    free(whole);
    free(other);
}

// Each with a store of its own, of another size: ragged, some decoding, some reading prompts.
static void bits_do_not_depend_on_company(void **unused)
{
    (void)unused;
    enum { MOST = 9, LENGTH = 40 };
    float *alone = logits_of(MOST * LENGTH), *together = logits_of(MOST * LENGTH);
    int32_t ids[MOST][LENGTH];
    size_t row = VOCABULARY, each = LENGTH * row;
    for (int t = 0; t < CASES; t += 3) {
        struct setup s;
        struct synthetic_options o = model_of(cases[t].architecture, cases[t].type);
        void *kv[MOST];
        open_model(&s, &o);
        open_device(&s, cases[t].kv_type, PAGES);
        for (uint32_t i = 0; i < MOST; i++) {
            make_tokens(ids[i], LENGTH, i);
            kv[i] = store_of(&s, TOTAL + i);
            run(&s, ids[i], LENGTH, LENGTH, 100 + i, kv[i], alone + i * each);
        }
        uint32_t at[MOST] = {0}, left = MOST * LENGTH;
        for (uint32_t step = 0; left > 0; step++) {
            struct tn_step_sequence q[MOST];
            uint32_t n = 0;
            for (uint32_t i = 0; i < MOST; i++) {
                uint32_t take = 1 + (step * 5 + i * 3) % (i % 3 ? 9 : 1);
                take = take < LENGTH - at[i] ? take : LENGTH - at[i];
                if (take && (step + i) % 4) {
                    q[n++] = (struct tn_step_sequence){.tokens = &ids[i][at[i]],
                                                       .token_count = take,
                                                       .position = at[i],
                                                       .kv_pages = setup_pages,
                                                       .kv_page_count = 3,
                                                       .kv = kv[i],
                                                       .kv_page_total = TOTAL + i,
                                                       .run = i % 4 ? 200 + i : 0,
                                                       .logits = together + i * each + at[i] * row};
                    at[i] += take;
                    left -= take;
                }
            }
            assert_int_equal(n ? tn_cuda_step(s.x, q, n) : 0, 0);
        }
        same_bits(&o, alone, together, MOST * LENGTH, "company");
        for (uint32_t i = 0; i < MOST; i++) {
            free(kv[i]);
        }
        close_setup(&s);
    }
    free(alone);
    free(together);
}

// ---- K and V -----------------------------------------------------------------------------------

// What one executor stored the other goes on from, both ways.
static void the_cpu_goes_on_where_the_device_stopped_and_back(void **unused)
{
    (void)unused;
    enum { FIRST = 45 };
    float *cpu = logits_of(TOKENS), *mixed = logits_of(TOKENS);
    int32_t ids[TOKENS];
    make_tokens(ids, TOKENS, 3);
    size_t rest = (size_t)(TOKENS - FIRST) * VOCABULARY;
    for (int half = 0; half < 2; half++) {
        struct setup s;
        struct synthetic_options o = model_of("qwen3", TN_F32);
        open_model(&s, &o);
        open_device(&s, half ? TN_F16 : TN_F32, PAGES);
        void *kv = store_of(&s, TOTAL), *other = store_of(&s, TOTAL);
        run_cpu(&s, ids, TOKENS, 0, other, cpu);
        run(&s, ids, FIRST, 20, 1, kv, mixed);
        run_cpu(&s, ids, TOKENS, FIRST, kv, mixed);
        expect("qwen3", TN_F32, "the CPU alone",
               distance(mixed, NULL, cpu + (size_t)FIRST * VOCABULARY, rest), half ? 1e-3 : 1e-5);
        run_cpu(&s, ids, FIRST, 0, other, mixed);
        struct tn_step_sequence q = {.tokens = ids + FIRST,
                                     .token_count = TOKENS - FIRST,
                                     .position = FIRST,
                                     .kv_pages = setup_pages,
                                     .kv_page_count = 3,
                                     .kv = other,
                                     .kv_page_total = TOTAL,
                                     .run = 1,
                                     .logits = mixed};
        assert_int_equal(tn_cuda_step(s.x, &q, 1), 0);
        expect("qwen3", TN_F32, "the CPU alone",
               distance(mixed, NULL, cpu + (size_t)FIRST * VOCABULARY, rest), half ? 1e-3 : 1e-5);
        free(kv);
        free(other);
        close_setup(&s);
    }
    free(cpu);
    free(mixed);
}

static uint64_t loaded(const struct setup *s)
{
    struct tn_cuda_statistics t;
    tn_cuda_get_statistics(s->x, &t);
    return t.loaded_pages;
}

static void a_runs_k_and_v_stay_on_the_device(void **unused)
{
    (void)unused;
    struct setup s;
    struct synthetic_options o = model_of("llama", TN_F32);
    float *right = logits_of(TOKENS), *found = logits_of(TOKENS);
    int32_t ids[TOKENS];
    make_tokens(ids, TOKENS, 4);
    open_model(&s, &o);
    open_device(&s, TN_F32, 6); // two whole runs' pages
    void *kv = store_of(&s, TOTAL);
    run(&s, ids, TOKENS, 7, 1, kv, right);
    assert_int_equal(loaded(&s), 0);
    // Within the run the store is not looked at; another run looks.
    struct tn_step_sequence last = {.tokens = ids + TOKENS - 1,
                                    .token_count = 1,
                                    .position = TOKENS - 1,
                                    .kv_pages = setup_pages,
                                    .kv_page_count = 3,
                                    .kv = kv,
                                    .kv_page_total = TOTAL,
                                    .run = 2,
                                    .logits = found};
    assert_int_equal(tn_cuda_step(s.x, &last, 1), 0);
    assert_int_equal(loaded(&s), 3);
    same_bits(&o, right + (size_t)(TOKENS - 1) * VOCABULARY, found, 1, "loading");
    last.run = 1; // the same position once more: it is not the next one
    assert_int_equal(tn_cuda_step(s.x, &last, 1), 0);
    assert_int_equal(loaded(&s), 6);
    // A third one takes the pages of the one that was idle for longest: that is 2, then 1.
    last.run = 3;
    assert_int_equal(tn_cuda_step(s.x, &last, 1), 0);
    same_bits(&o, right + (size_t)(TOKENS - 1) * VOCABULARY, found, 1, "others' pages");
    // More than there are at once: refused, and nothing lasts of it.
    struct tn_step_sequence three[3] = {last, last, last};
    three[1].run = three[2].run = 0;
    assert_int_equal(tn_cuda_step(s.x, three, 3), -ENOSPC);
    three[1].logits = found + VOCABULARY;
    assert_int_equal(tn_cuda_step(s.x, three, 2), 0);
    same_bits(&o, found, found + VOCABULARY, 1, "two of the same run");
    free(kv);
    free(right);
    free(found);
    close_setup(&s);
}

// ---- weights -----------------------------------------------------------------------------------

// The open model's matrices become what they are in a packed file.
static void pack(struct setup *s)
{
    struct ir_graph *g = &s->model->graph;
    for (uint32_t i = 0; i < g->op_count; i++) {
        for (int j = 0; j < 2; j++) {
            struct ir_matrix *m = &g->ops[i].matrix[j];
            if (!m->data) {
                continue;
            }
            size_t strip = 16 * m->row_bytes;
            uint8_t *packed = ir_own(g, (m->rows + 15) / 16, strip);
            assert_non_null(packed);
            for (uint32_t row = 0; row < m->rows; row += 16) {
                uint32_t rows = m->rows - row < 16 ? m->rows - row : 16;
                tn_pack_strip(m->type, m->data + row * m->row_bytes, m->row_bytes, rows, m->columns,
                              packed + row / 16 * strip);
            }
            m->data = packed;
            m->type |= TN_PACKED;
        }
    }
}

static void packed_files_are_the_same_model(void **unused)
{
    (void)unused;
    static const uint32_t types[] = {TN_F32, TN_BF16, TN_Q8_0, TN_Q4_K};
    float *plain = logits_of(TOKENS), *packed = logits_of(TOKENS);
    int32_t ids[TOKENS];
    make_tokens(ids, TOKENS, 5);
    for (int t = 0; t < 4; t++) {
        struct setup s;
        struct synthetic_options o = model_of("llama", types[t]);
        for (int round = 0; round < 2; round++) {
            open_model(&s, &o);
            if (round) {
                pack(&s);
            }
            open_device(&s, TN_F32, PAGES);
            void *kv = store_of(&s, TOTAL);
            run(&s, ids, TOKENS, 33, 1, kv, round ? packed : plain);
            free(kv);
            close_setup(&s);
        }
        same_bits(&o, plain, packed, TOKENS, "a packed file");
    }
    free(plain);
    free(packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_the_equations_and_the_cpus),
        cmocka_unit_test(bits_do_not_depend_on_chunks_or_the_order_of_threads),
        cmocka_unit_test(bits_do_not_depend_on_company),
        cmocka_unit_test(the_cpu_goes_on_where_the_device_stopped_and_back),
        cmocka_unit_test(a_runs_k_and_v_stay_on_the_device),
        cmocka_unit_test(packed_files_are_the_same_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
