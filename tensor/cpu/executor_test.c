// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The executor as a whole: batch invariance bit for bit (DESIGN decision 11) for every architecture
// and weight type, and its limits. What it computes is held against doubles in tensor/reference.
//
// Links: @tensor tensor/core/pool_host.c tensor/model/synthetic_host.c
//
// Links: tensor/model/synthetic_vocabulary_host.c
#include "tensor/exec.h"
#include "tensor/model/synthetic.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 70, VOCABULARY = 320, PAGES = 64, WIDEST = 64 };

struct setup {
    void *file;
    struct tn_model *model;
    struct tn_pool *pool;
    struct tn_executor *x;
};

static struct tn_executor_options options(enum tn_isa isa, struct tn_pool *pool, uint32_t kv)
{
    return (struct tn_executor_options){.isa = isa,
                                        .pool = pool,
                                        .max_tokens = 128,
                                        .max_sequences = WIDEST,
                                        .kv_page_total = PAGES,
                                        .kv_type = kv};
}

static struct synthetic_options model_of(const char *architecture, uint32_t type)
{
    struct synthetic_options o;
    assert_true(synthetic_default(architecture, type, &o));
    if (tn_type_info(type)->block_values > 32) { // whole super-blocks
        o.embedding = o.feed_forward = o.expert_feed_forward = 256;
        o.head_dim = 64;
        o.layers = 1;
    }
    return o;
}

static void open_model(struct setup *s, const struct synthetic_options *o)
{
    char error[256] = "";
    size_t bytes;
    s->file = synthetic_model(o, &bytes);
    assert_non_null(s->file);
    if (tn_model_open(s->file, bytes, &s->model, error, sizeof error) != 0) {
        fail_msg("%s: %s", o->architecture, error);
    }
}

static void open_executor(struct setup *s, enum tn_isa isa, unsigned threads, uint32_t kv)
{
    char error[256] = "";
    s->pool = threads > 1 ? tn_pool_threads(threads) : &tn_pool_single;
    struct tn_executor_options o = options(isa, s->pool, kv);
    if (tn_executor_open(s->model, &o, &s->x, error, sizeof error) != 0) {
        fail_msg("%s", error);
    }
}

static void close_executor(struct setup *s)
{
    tn_executor_close(s->x);
    tn_pool_free(s->pool);
}

static void close_model(struct setup *s)
{
    tn_model_close(s->model);
    free(s->file);
}

static struct tn_step_sequence part(const int32_t *tokens, uint32_t count, uint32_t position,
                                    const uint32_t *pages, uint32_t page_count, float *logits)
{
    return (struct tn_step_sequence){.tokens = tokens,
                                     .token_count = count,
                                     .position = position,
                                     .kv_pages = pages,
                                     .kv_page_count = page_count,
                                     .logits = logits};
}

static void make_tokens(int32_t *ids, uint32_t count, uint32_t seed)
{
    for (uint32_t i = 0; i < count; i++) {
        ids[i] = (int32_t)((seed * 131 + i * 7919 + i * i * 31) % VOCABULARY);
    }
}

static float *logits_of(size_t rows)
{
    float *logits = malloc(rows * VOCABULARY * sizeof *logits);
    assert_non_null(logits);
    return logits;
}

static void same_bits(const float *a, const float *b, size_t rows, const char *architecture,
                      uint32_t type, const char *how, uint32_t number)
{
    if (memcmp(a, b, rows * VOCABULARY * sizeof *a) != 0) {
        fail_msg("%s %s: other bits with %s %u", architecture, tn_type_info(type)->name, how,
                 number);
    }
}

// Each with float weights and with another type of blocks, so that all types come to pass.
static const struct {
    const char *architecture;
    uint32_t type;
} cases[] = {
    {"llama", TN_F32},    {"llama", TN_Q8_0},    {"llama", TN_Q4_K},  {"llama", TN_Q2_K},
    {"qwen2", TN_F16},    {"qwen2", TN_Q4_1},    {"qwen3", TN_BF16},  {"qwen3", TN_Q5_0},
    {"phi3", TN_F32},     {"phi3", TN_Q3_K},     {"gemma2", TN_F32},  {"gemma2", TN_Q6_K},
    {"gemma3", TN_F16},   {"gemma3", TN_Q5_1},   {"gpt2", TN_F32},    {"gpt2", TN_Q5_K},
    {"qwen3moe", TN_F32}, {"qwen3moe", TN_Q4_0}, {"gpt-oss", TN_F32}, {"gpt-oss", TN_MXFP4},
    {"llama", TN_IQ4_NL}, {"llama", TN_IQ4_XS}};
enum { CASES = sizeof cases / sizeof *cases };

// All logits of one sequence run in chunks, on given pages.
static void run(struct tn_executor *x, const int32_t *ids, uint32_t count, uint32_t chunk,
                const uint32_t *pages, float *logits)
{
    for (uint32_t at = 0; at < count; at += chunk) {
        uint32_t n = count - at < chunk ? count - at : chunk;
        struct tn_step_sequence s =
            part(ids + at, n, at, pages, 3, logits + (size_t)at * VOCABULARY);
        assert_int_equal(tn_step(x, &s, 1), 0);
    }
}

static void bits_do_not_depend_on_chunk_threads_or_pages(void **unused)
{
    (void)unused;
    static const uint32_t chunks[] = {1, 3, 5, 17, 33, 70}, in_order[] = {0, 1, 2},
                          other_pages[] = {23, 2, 17};
    float *whole = logits_of(TOKENS), *other = logits_of(TOKENS);
    float *scalar = logits_of(TOKENS), *vector = logits_of(TOKENS);
    int32_t ids[TOKENS];
    make_tokens(ids, TOKENS, 1);
    for (int t = 0; t < CASES; t++) {
        struct setup s;
        struct synthetic_options o = model_of(cases[t].architecture, cases[t].type);
        open_model(&s, &o);
        for (int isa = 0; isa <= (int)tn_isa_best(); isa++) {
            for (unsigned threads = 1; threads <= 2; threads++) {
                open_executor(&s, (enum tn_isa)isa, threads, t % 2 ? TN_F16 : TN_F32);
                for (int c = threads == 1 ? 0 : 1; c < 6; c += isa == (int)tn_isa_best() ? 1 : 2) {
                    bool first = threads == 1 && c == 0;
                    run(s.x, ids, TOKENS, chunks[c], c % 2 ? other_pages : in_order,
                        first ? whole : other);
                    if (!first) {
                        same_bits(whole, other, TOKENS, o.architecture, o.type, "chunk", chunks[c]);
                    }
                }
                close_executor(&s);
            }
            if (isa <= TN_ISA_AVX2) {
                memcpy(isa == 0 ? scalar : vector, whole,
                       (size_t)TOKENS * VOCABULARY * sizeof *scalar);
            } else {
                same_bits(vector, whole, TOKENS, o.architecture, o.type, "level", (uint32_t)isa);
            }
            double off = 0, size = 0;
            for (size_t i = 0; i < (size_t)TOKENS * VOCABULARY; i++) {
                off += pow((double)scalar[i] - (double)whole[i], 2);
                size += pow((double)scalar[i], 2);
            }
            // The scalar level rounds differently; that may turn a value of a quantised column, not
            // more.
            assert_true(sqrt(off / size) < (cases[t].type > TN_F16 ? 1e-2 : 1e-5));
        }
        close_model(&s);
    }
    free(whole);
    free(other);
    free(scalar);
    free(vector);
}

// Single tokens of as many sequences, at two positions one after the other.
static void run_width(struct tn_executor *x, const int32_t *ids, uint32_t width, float *logits)
{
    uint32_t pages[WIDEST];
    for (uint32_t from = 0; from < WIDEST; from += width) {
        struct tn_step_sequence q[WIDEST];
        uint32_t n = WIDEST - from < width ? WIDEST - from : width;
        for (uint32_t position = 0; position < 2; position++) {
            for (uint32_t i = 0; i < n; i++) {
                pages[i] = from + i;
                q[i] = part(&ids[(from + i + position * 7) % WIDEST], 1, position, &pages[i], 1,
                            logits + (size_t)(position * WIDEST + from + i) * VOCABULARY);
            }
            assert_int_equal(tn_step(x, q, n), 0);
        }
    }
}

static void bits_of_every_width_to_64_are_the_same(void **unused)
{
    (void)unused;
    float *alone = logits_of(2 * WIDEST), *together = logits_of(2 * WIDEST);
    int32_t ids[WIDEST];
    make_tokens(ids, WIDEST, 5);
    for (int t = 0; t < CASES; t++) {
        struct setup s;
        struct synthetic_options o = model_of(cases[t].architecture, cases[t].type);
        open_model(&s, &o);
        for (unsigned threads = 1; threads <= 2; threads++) {
            open_executor(&s, tn_isa_best(), threads, TN_F32);
            if (threads == 1) {
                run_width(s.x, ids, 1, alone);
            }
            // Every width somewhere: each case takes a part of them.
            for (uint32_t width = 2 + (uint32_t)t % 5 + threads; width <= WIDEST; width += 5) {
                run_width(s.x, ids, width, together);
                same_bits(alone, together, 2 * WIDEST, o.architecture, o.type, "width", width);
            }
            close_executor(&s);
        }
        close_model(&s);
    }
    free(alone);
    free(together);
}

// All at once, each at its own place: ragged, some decoding, some reading prompts.
static void bits_do_not_depend_on_company(void **unused)
{
    (void)unused;
    enum { MOST = 12, LENGTH = 40 };
    float *alone = logits_of(MOST * LENGTH), *together = logits_of(MOST * LENGTH);
    int32_t ids[MOST][LENGTH];
    uint32_t pages[MOST][2];
    for (uint32_t i = 0; i < MOST; i++) {
        make_tokens(ids[i], LENGTH, i);
        pages[i][0] = i;
        pages[i][1] = i + MOST;
    }
    for (int t = 0; t < CASES; t++) {
        struct setup s;
        struct synthetic_options o = model_of(cases[t].architecture, cases[t].type);
        open_model(&s, &o);
        open_executor(&s, tn_isa_best(), 2, TN_F32);
        size_t row = VOCABULARY, each = LENGTH * row;
        for (uint32_t i = 0; i < MOST; i++) {
            struct tn_step_sequence q = part(ids[i], LENGTH, 0, pages[i], 2, alone + i * each);
            assert_int_equal(tn_step(s.x, &q, 1), 0);
        }
        uint32_t at[MOST] = {0}, left = MOST * LENGTH;
        for (uint32_t step = 0; left > 0; step++) {
            struct tn_step_sequence q[MOST];
            uint32_t n = 0;
            for (uint32_t i = 0; i < MOST; i++) {
                uint32_t take = 1 + (step * 5 + i * 3) % (i % 3 ? 9 : 1);
                take = take < LENGTH - at[i] ? take : LENGTH - at[i];
                if (take && (step + i) % 4) {
                    q[n++] = part(&ids[i][at[i]], take, at[i], pages[i], 2,
                                  together + i * each + at[i] * row);
                    at[i] += take;
                    left -= take;
                }
            }
            assert_int_equal(n ? tn_step(s.x, q, n) : 0, 0);
        }
        same_bits(alone, together, MOST * LENGTH, o.architecture, o.type, "company of", MOST);
        close_executor(&s);
        close_model(&s);
    }
    free(alone);
    free(together);
}

// Sequences with KV stores of their own, of different sizes, and one in the caller's memory.
static void bits_do_not_depend_on_whose_store_it_is(void **unused)
{
    (void)unused;
    enum { MOST = 3, LENGTH = 40 };
    static const uint32_t pages[MOST][2] = {{1, 0}, {4, 2}, {0, 1}}, totals[MOST] = {2, 5, 3};
    float *own = logits_of(MOST * LENGTH), *brought = logits_of(MOST * LENGTH);
    int32_t ids[MOST][LENGTH];
    for (uint32_t i = 0; i < MOST; i++) {
        make_tokens(ids[i], LENGTH, i);
    }
    for (int t = 0; t < CASES; t++) {
        struct setup s;
        char error[256];
        struct synthetic_options o = model_of(cases[t].architecture, cases[t].type);
        open_model(&s, &o);
        open_executor(&s, tn_isa_best(), 2, TN_F16);
        size_t each = (size_t)LENGTH * VOCABULARY, page = tn_kv_page_bytes(s.model, TN_F16);
        struct tn_step_sequence q[MOST];
        for (uint32_t i = 0; i < MOST; i++) {
            q[i] = part(ids[i], LENGTH, 0, pages[i], 2, own + i * each);
            assert_int_equal(tn_step(s.x, &q[i], 1), 0);
        }
        close_executor(&s);
        struct tn_executor_options e = options(tn_isa_best(), &tn_pool_single, TN_F16);
        e.kv_page_total = 0;
        assert_int_equal(tn_executor_open(s.model, &e, &s.x, error, sizeof error), 0);
        assert_int_equal(tn_step(s.x, &q[0], 1), -EINVAL); // it has none
        for (uint32_t i = 0; i < MOST; i++) {
            q[i].kv = aligned_alloc(64, (page * totals[i] + 63) & ~(size_t)63);
            q[i].kv_page_total = totals[i];
            q[i].logits = brought + i * each;
        }
        assert_int_equal(tn_step(s.x, q, MOST), 0);
        same_bits(own, brought, MOST * LENGTH, o.architecture, o.type, "stores", MOST);
        q[1].kv_page_total = 4; // page 4 is beyond it
        assert_int_equal(tn_step(s.x, q, MOST), -EINVAL);
        tn_executor_close(s.x);
        e.kv_page_total = totals[1];
        e.kv_memory = q[1].kv;
        assert_int_equal(tn_executor_open(s.model, &e, &s.x, error, sizeof error), 0);
        struct tn_step_sequence last =
            part(ids[1] + LENGTH - 1, 1, LENGTH - 1, pages[1], 2, brought);
        assert_int_equal(tn_step(s.x, &last, 1), 0);
        same_bits(own + 2 * each - VOCABULARY, brought, 1, o.architecture, o.type, "memory", 1);
        tn_executor_close(s.x);
        for (uint32_t i = 0; i < MOST; i++) {
            free(q[i].kv);
        }
        close_model(&s);
    }
    free(own);
    free(brought);
}

static void bert_embeds_the_same_alone_and_together(void **unused)
{
    (void)unused;
    enum { MOST = 5, N = 64 };
    static const uint32_t pages[MOST][2] = {{4, 1}, {0, 7}, {2, 3}, {9, 5}, {6, 8}};
    static const uint32_t types[] = {TN_F32, TN_Q8_0};
    int32_t ids[TOKENS];
    make_tokens(ids, TOKENS, 9);
    for (int t = 0; t < 2; t++) {
        struct setup s;
        struct synthetic_options o = model_of("bert", types[t]);
        open_model(&s, &o);
        open_executor(&s, tn_isa_best(), 2, TN_F32);
        float alone[MOST][N], together[MOST][N];
        struct tn_step_sequence q[MOST];
        for (uint32_t i = 0; i < MOST; i++) {
            uint32_t count = 1 + i * 8;
            q[i] = part(ids + i, count, 0, pages[i], 2, NULL);
            q[i].logits_from = count;
            q[i].embedding = alone[i];
            assert_int_equal(tn_step(s.x, &q[i], 1), 0);
            q[i].embedding = together[i];
        }
        assert_int_equal(tn_step(s.x, q, MOST), 0);
        assert_memory_equal(alone, together, sizeof alone);
        close_executor(&s);
        close_model(&s);
    }
}

// ---- limits ------------------------------------------------------------------------------------

static void steps_beyond_the_limits_are_refused(void **unused)
{
    (void)unused;
    struct setup s;
    struct synthetic_options o = model_of("llama", TN_Q8_0);
    open_model(&s, &o);
    open_executor(&s, tn_isa_best(), 1, TN_F32);
    float logits[VOCABULARY];
    int32_t ids[200] = {1};
    uint32_t pages[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    struct tn_step_sequence good = part(ids, 1, 0, pages, 8, logits), bad;
    assert_int_equal(tn_step(s.x, &good, 1), 0);
    assert_int_equal(tn_step(s.x, &good, 0), -EINVAL);
    assert_int_equal(tn_step(s.x, &good, 65), -EINVAL);
    bad = good, bad.token_count = 0;
    assert_int_equal(tn_step(s.x, &bad, 1), -EINVAL);
    bad = good, bad.token_count = 129, bad.logits_from = 129;
    assert_int_equal(tn_step(s.x, &bad, 1), -EINVAL);
    bad = good, bad.position = 256;
    assert_int_equal(tn_step(s.x, &bad, 1), -EINVAL);
    bad = good, bad.position = UINT32_MAX;
    assert_int_equal(tn_step(s.x, &bad, 1), -EINVAL);
    bad = good, bad.kv_page_count = 0;
    assert_int_equal(tn_step(s.x, &bad, 1), -EINVAL);
    bad = good, bad.logits = NULL;
    assert_int_equal(tn_step(s.x, &bad, 1), -EINVAL);
    bad = good, bad.logits_from = 2;
    assert_int_equal(tn_step(s.x, &bad, 1), -EINVAL);
    bad = good, bad.embedding = logits; // it makes none
    assert_int_equal(tn_step(s.x, &bad, 1), -EINVAL);
    ids[0] = VOCABULARY;
    assert_int_equal(tn_step(s.x, &good, 1), -EINVAL);
    ids[0] = -1;
    assert_int_equal(tn_step(s.x, &good, 1), -EINVAL);
    ids[0] = 1;
    pages[0] = PAGES;
    assert_int_equal(tn_step(s.x, &good, 1), -EINVAL);
    close_executor(&s);
    close_model(&s);
}

static void impossible_executors_are_refused(void **unused)
{
    (void)unused;
    struct setup s;
    char error[256];
    struct synthetic_options o = model_of("llama", TN_Q8_0);
    open_model(&s, &o);
    struct tn_executor_options w = options(TN_ISA_SCALAR, &tn_pool_single, TN_Q4_1);
    assert_int_equal(tn_executor_open(s.model, &w, &s.x, error, sizeof error), -EINVAL);
    w = options(TN_ISA_SCALAR, &tn_pool_single, TN_Q8_0); // heads of 16 values, blocks of 32
    assert_int_equal(tn_executor_open(s.model, &w, &s.x, error, sizeof error), -EINVAL);
    assert_string_equal(error, "executor: heads of 16 values do not fit blocks of KV type Q8_0");
    w = options(TN_ISA_SCALAR, &tn_pool_single, TN_F32), w.max_tokens = 0;
    assert_int_equal(tn_executor_open(s.model, &w, &s.x, error, sizeof error), -EINVAL);
    w = options(TN_ISA_SCALAR, NULL, TN_F32);
    assert_int_equal(tn_executor_open(s.model, &w, &s.x, error, sizeof error), -EINVAL);
    // A smaller context than the model's is a limit of its own.
    w = options(TN_ISA_SCALAR, &tn_pool_single, TN_F32), w.context = 40;
    assert_int_equal(tn_executor_open(s.model, &w, &s.x, error, sizeof error), 0);
    int32_t ids[2] = {1, 2};
    uint32_t pages[2] = {0, 1};
    float logits[2][VOCABULARY];
    struct tn_step_sequence q = part(ids, 2, 38, pages, 2, logits[0]);
    assert_int_equal(tn_step(s.x, &q, 1), 0);
    q.position = 39;
    assert_int_equal(tn_step(s.x, &q, 1), -EINVAL);
    tn_executor_close(s.x);
    close_model(&s);
}

static void only_wanted_rows_are_written(void **unused)
{
    (void)unused;
    for (int t = 0; t < CASES; t += 3) {
        struct setup s;
        struct synthetic_options o = model_of(cases[t].architecture, cases[t].type);
        open_model(&s, &o);
        open_executor(&s, tn_isa_best(), 1, TN_F32);
        int32_t ids[6];
        make_tokens(ids, 6, 2);
        uint32_t page = 0;
        float all[6][VOCABULARY], last[2][VOCABULARY];
        struct tn_step_sequence q = part(ids, 6, 0, &page, 1, all[0]);
        assert_int_equal(tn_step(s.x, &q, 1), 0);
        q.logits_from = 4;
        q.logits = last[0];
        assert_int_equal(tn_step(s.x, &q, 1), 0);
        assert_memory_equal(last, all[4], sizeof last);
        q.logits_from = 6;
        q.logits = NULL;
        assert_int_equal(tn_step(s.x, &q, 1), 0);
        close_executor(&s);
        close_model(&s);
    }
}

static void scratch_is_bounded_by_what_was_announced(void **unused)
{
    (void)unused;
    struct setup s;
    struct synthetic_options o = model_of("llama", TN_Q4_0);
    open_model(&s, &o);
    // 2 layers, 2 KV heads, 16 dimensions, K and V of 32 positions in 4 bytes.
    assert_int_equal(tn_kv_page_bytes(s.model, TN_F32), 2 * 2 * 16 * 2 * 32 * 4);
    assert_int_equal(tn_kv_page_bytes(s.model, TN_F16), 2 * 2 * 16 * 2 * 32 * 2);
    size_t one = tn_scratch_bytes(s.model, 1, 1), many = tn_scratch_bytes(s.model, 128, 2);
    assert_true(one > 0 && one < many && many < (size_t)4 << 20);
    close_model(&s);
}

// ---- trace -------------------------------------------------------------------------------------

static uint64_t ticks(void)
{
    static uint64_t now;
    return now += 10;
}

static void a_trace_adds_up(void **unused)
{
    (void)unused;
    struct setup s;
    char error[256];
    struct synthetic_options o = model_of("llama", TN_Q8_0);
    open_model(&s, &o);
    struct tn_trace trace = {.now_ns = ticks};
    struct tn_executor_options e = options(tn_isa_best(), &tn_pool_single, TN_F32);
    e.trace = &trace;
    assert_int_equal(tn_executor_open(s.model, &e, &s.x, error, sizeof error), 0);
    int32_t ids[4] = {1, 2, 3, 4};
    uint32_t page = 0;
    float logits[4][VOCABULARY];
    struct tn_step_sequence q = part(ids, 4, 0, &page, 1, logits[0]);
    assert_int_equal(tn_step(s.x, &q, 1), 0);
    uint64_t attention = 0, product_rows = 0;
    double work = 0;
    for (uint32_t i = 0; i < trace.row_count; i++) {
        const struct tn_trace_row *r = &trace.rows[i];
        assert_true(r->ns > 0 && r->ns % 10 == 0);
        if (strcmp(r->type, "Q8_0") == 0) {
            work += r->work;
            product_rows += r->rows;
        }
        attention += strcmp(r->operation, "attention") == 0 ? r->count : 0;
    }
    assert_int_equal(attention, o.layers);
    // q, k, v, output, gate and up, down of two layers; the logits.
    uint64_t n = o.embedding, ff = o.feed_forward;
    uint64_t values = 2 * (n * 64 + n * 32 * 2 + 64 * n + 3 * n * ff) + n * VOCABULARY;
    assert_int_equal((uint64_t)work, 4 * values);
    assert_int_equal(product_rows, 4 * (2 * 6 + 1));
    tn_executor_close(s.x);
    close_model(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_do_not_depend_on_chunk_threads_or_pages),
        cmocka_unit_test(bits_of_every_width_to_64_are_the_same),
        cmocka_unit_test(bits_do_not_depend_on_company),
        cmocka_unit_test(bits_do_not_depend_on_whose_store_it_is),
        cmocka_unit_test(bert_embeds_the_same_alone_and_together),
        cmocka_unit_test(steps_beyond_the_limits_are_refused),
        cmocka_unit_test(impossible_executors_are_refused),
        cmocka_unit_test(only_wanted_rows_are_written),
        cmocka_unit_test(scratch_is_bounded_by_what_was_announced),
        cmocka_unit_test(a_trace_adds_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
