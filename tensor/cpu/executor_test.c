// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The executor as a whole: batch invariance bit for bit (DESIGN decision 11), its limits, and a
// model written again in plain double arithmetic.
//
// Links: @tensor tensor/core/pool_host.c
#include "tensor/cpu/kernels.h"
#include "tensor/exec.h"
#include "tensor/model/tiny_model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 70, VOCABULARY = 288, PAGES = 24 };

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
                                        .max_sequences = 64,
                                        .kv_page_total = PAGES,
                                        .kv_type = kv};
}

static void open_model(struct setup *s, const struct tiny_options *o)
{
    char error[256] = "";
    size_t bytes;
    s->file = tiny_gguf(o, &bytes);
    if (tn_model_open(s->file, bytes, &s->model, error, sizeof error) != 0) {
        fail_msg("%s", error);
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

// All logits of one sequence run in chunks, on given pages.
static void run(struct tn_executor *x, const int32_t *ids, uint32_t count, uint32_t chunk,
                const uint32_t *pages, float *logits)
{
    for (uint32_t at = 0; at < count; at += chunk) {
        uint32_t n = count - at < chunk ? count - at : chunk;
        struct tn_step_sequence s = {.tokens = ids + at,
                                     .token_count = n,
                                     .position = at,
                                     .kv_pages = pages,
                                     .kv_page_count = 8,
                                     .logits = logits + (size_t)at * VOCABULARY};
        assert_int_equal(tn_step(x, &s, 1), 0);
    }
}

static void bits_do_not_depend_on_chunk_threads_or_pages(void **unused)
{
    (void)unused;
    static const uint32_t types[] = {TN_F32, TN_F16, TN_BF16, TN_Q8_0, TN_Q4_0};
    static const uint32_t chunks[] = {1, 3, 4, 5, 16, 17, 33, 70};
    static const uint32_t other_pages[8] = {23, 2, 17, 5, 11, 0, 9, 13};
    static const uint32_t in_order[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    size_t bytes = (size_t)TOKENS * VOCABULARY * sizeof(float);
    float *whole = malloc(bytes), *other = malloc(bytes), *scalar = malloc(bytes);
    int32_t ids[TOKENS];
    make_tokens(ids, TOKENS, 1);
    for (int t = 0; t < 5; t++) {
        struct setup s;
        struct tiny_options o = tiny_default(types[t]);
        o.biases = true;
        o.untied = t % 2;
        open_model(&s, &o);
        for (int isa = 0; isa <= (int)tn_isa_best(); isa++) {
            for (unsigned threads = 1; threads <= 2; threads++) {
                open_executor(&s, (enum tn_isa)isa, threads, t % 2 ? TN_F16 : TN_F32);
                for (int c = 0; c < 8; c++) {
                    bool first = threads == 1 && c == 0;
                    run(s.x, ids, TOKENS, chunks[c], c % 2 ? other_pages : in_order,
                        first ? whole : other);
                    if (!first) {
                        assert_memory_equal(whole, other, bytes);
                    }
                }
                close_executor(&s);
            }
            if (isa == 0) {
                memcpy(scalar, whole, bytes);
            } else if (types[t] == TN_Q8_0 || types[t] == TN_Q4_0) {
                assert_memory_equal(scalar, whole, bytes); // integer models: on every level
            } else {
                for (size_t i = 0; i < bytes / sizeof(float); i++) {
                    assert_true(fabsf(scalar[i] - whole[i]) < 2e-4f);
                }
            }
        }
        close_model(&s);
    }
    free(whole);
    free(other);
    free(scalar);
}

static void bits_do_not_depend_on_batch_width(void **unused)
{
    (void)unused;
    enum { MOST = 12, LENGTH = 40 };
    static const uint32_t types[] = {TN_F32, TN_Q8_0, TN_Q4_0};
    float *alone = malloc((size_t)MOST * LENGTH * VOCABULARY * sizeof(float));
    float *together = malloc((size_t)MOST * LENGTH * VOCABULARY * sizeof(float));
    int32_t ids[MOST][LENGTH];
    uint32_t pages[MOST][2];
    for (uint32_t i = 0; i < MOST; i++) {
        make_tokens(ids[i], LENGTH, i);
        pages[i][0] = i;
        pages[i][1] = i + MOST;
    }
    for (int t = 0; t < 3; t++) {
        struct setup s;
        struct tiny_options o = tiny_default(types[t]);
        open_model(&s, &o);
        open_executor(&s, tn_isa_best(), 2, TN_F32);
        size_t row = VOCABULARY, each = LENGTH * row;
        for (uint32_t i = 0; i < MOST; i++) {
            for (uint32_t p = 0; p < LENGTH; p++) {
                struct tn_step_sequence q =
                    part(&ids[i][p], 1, p, pages[i], 2, alone + i * each + p * row);
                assert_int_equal(tn_step(s.x, &q, 1), 0);
            }
        }
        // All at once, each at its own place: ragged, some decoding, some reading prompts.
        uint32_t at[MOST] = {0};
        for (uint32_t step = 0;; step++) {
            struct tn_step_sequence q[MOST];
            uint32_t n = 0;
            for (uint32_t i = 0; i < MOST; i++) {
                uint32_t take = 1 + (step * 5 + i * 3) % (i % 3 ? 9 : 1);
                take = take < LENGTH - at[i] ? take : LENGTH - at[i];
                if (take && (step + i) % 4) {
                    q[n++] = part(&ids[i][at[i]], take, at[i], pages[i], 2,
                                  together + i * each + at[i] * row);
                    at[i] += take;
                }
            }
            if (n) {
                assert_int_equal(tn_step(s.x, q, n), 0);
            }
            uint32_t left = 0;
            for (uint32_t i = 0; i < MOST; i++) {
                left += LENGTH - at[i];
            }
            if (!left) {
                break;
            }
        }
        assert_memory_equal(alone, together, MOST * each * sizeof(float));
        close_executor(&s);
        close_model(&s);
    }
    free(alone);
    free(together);
}

// Widths 1 to 64 of single tokens, each at position 0 of its own sequence.
static void bits_of_every_width_to_64_are_the_same(void **unused)
{
    (void)unused;
    float *logits = malloc((size_t)64 * VOCABULARY * sizeof(float));
    float *alone = malloc((size_t)64 * VOCABULARY * sizeof(float));
    static const uint32_t types[] = {TN_F16, TN_Q8_0, TN_Q4_0};
    for (int t = 0; t < 3; t++) {
        struct setup s;
        struct tiny_options o = tiny_default(types[t]);
        open_model(&s, &o);
        open_executor(&s, tn_isa_best(), 2, TN_F32);
        int32_t ids[64];
        make_tokens(ids, 64, 5);
        for (uint32_t width = 1; width <= 64; width += width < 20 ? 1 : 11) {
            for (uint32_t from = 0; from < 64; from += width) {
                struct tn_step_sequence q[64];
                uint32_t pages[64], n = 64 - from < width ? 64 - from : width;
                for (uint32_t i = 0; i < n; i++) {
                    // Every sequence on its own page would want 64: pages are written, then read by
                    // their own sequence alone, so only one token each can share 24 of them in
                    // turns.
                    pages[i] = i % PAGES;
                    q[i] = part(&ids[from + i], 1, 0, &pages[i], 1,
                                logits + (size_t)(from + i) * VOCABULARY);
                }
                if (n <= PAGES) {
                    assert_int_equal(tn_step(s.x, q, n), 0);
                } else { // one sequence of n tokens: row 0 alone is comparable
                    struct tn_step_sequence one =
                        part(ids + from, n, 0, (const uint32_t[]){0, 1}, 2, logits);
                    assert_int_equal(tn_step(s.x, &one, 1), 0);
                    assert_memory_equal(logits, alone + (size_t)from * VOCABULARY,
                                        VOCABULARY * sizeof(float));
                }
            }
            if (width == 1) {
                memcpy(alone, logits, (size_t)64 * VOCABULARY * sizeof(float));
            } else if (width <= PAGES) {
                assert_memory_equal(alone, logits, (size_t)64 * VOCABULARY * sizeof(float));
            }
        }
        close_executor(&s);
        close_model(&s);
    }
    free(logits);
    free(alone);
}

static void steps_beyond_the_limits_are_refused(void **unused)
{
    (void)unused;
    struct setup s;
    struct tiny_options o = tiny_default(TN_Q8_0);
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
    ids[0] = VOCABULARY;
    assert_int_equal(tn_step(s.x, &good, 1), -EINVAL);
    ids[0] = -1;
    assert_int_equal(tn_step(s.x, &good, 1), -EINVAL);
    ids[0] = 1;
    pages[0] = PAGES;
    assert_int_equal(tn_step(s.x, &good, 1), -EINVAL);
    close_executor(&s);

    char error[256];
    struct tn_executor_options w = options(TN_ISA_SCALAR, &tn_pool_single, TN_Q4_1);
    assert_int_equal(tn_executor_open(s.model, &w, &s.x, error, sizeof error), -EINVAL);
    w = options(TN_ISA_SCALAR, &tn_pool_single, TN_F32), w.max_tokens = 0;
    assert_int_equal(tn_executor_open(s.model, &w, &s.x, error, sizeof error), -EINVAL);
    w = options(TN_ISA_SCALAR, NULL, TN_F32);
    assert_int_equal(tn_executor_open(s.model, &w, &s.x, error, sizeof error), -EINVAL);
    close_model(&s);
}

// ---- the model again, in doubles ---------------------------------------------------------------

static const struct gguf_tensor *tensor(struct setup *s, const char *name)
{
    const struct gguf_tensor *t = gguf_find(tn_model_gguf(s->model), name);
    assert_non_null(t);
    return t;
}

static void product(struct setup *s, const char *name, const double *x, double *y)
{
    const struct gguf_tensor *t = tensor(s, name);
    float row[512];
    for (uint64_t r = 0; r < t->shape[1]; r++) {
        tn_dequantise_row(t->type,
                          (const uint8_t *)t->data + r * tn_row_bytes(t->type, t->shape[0]),
                          t->shape[0], row);
        y[r] = 0;
        for (uint64_t i = 0; i < t->shape[0]; i++) {
            y[r] += (double)row[i] * x[i];
        }
    }
}

static void norm(struct setup *s, const char *name, const double *x, double *y)
{
    const struct gguf_tensor *t = tensor(s, name);
    const float *w = t->data;
    double sum = 0;
    for (uint64_t i = 0; i < t->shape[0]; i++) {
        sum += x[i] * x[i];
    }
    for (uint64_t i = 0; i < t->shape[0]; i++) {
        y[i] = x[i] / sqrt(sum / (double)t->shape[0] + 1e-5) * (double)w[i];
    }
}

static void turn(double *x, uint32_t heads, uint32_t dim, uint32_t position, const float *slower)
{
    for (uint32_t h = 0; h < heads; h++) {
        for (uint32_t i = 0; i < dim / 2; i++) {
            double angle = position * pow(10000, -2.0 * i / dim) / (double)(slower ? slower[i] : 1);
            double a = x[h * dim + 2 * i], b = x[h * dim + 2 * i + 1];
            x[h * dim + 2 * i] = a * cos(angle) - b * sin(angle);
            x[h * dim + 2 * i + 1] = a * sin(angle) + b * cos(angle);
        }
    }
}

static void the_graph_computes_the_llama_equations(void **unused)
{
    (void)unused;
    enum { N = 9, E = 64, FF = 96, DIM = 16 };
    struct setup s;
    struct tiny_options o = tiny_default(TN_F32);
    o.rope_freqs = true;
    open_model(&s, &o);
    open_executor(&s, tn_isa_best(), 1, TN_F32);
    int32_t ids[N];
    make_tokens(ids, N, 3);
    float *logits = malloc((size_t)N * VOCABULARY * sizeof(float));
    run(s.x, ids, N, N, (const uint32_t[8]){3}, logits);
    static double k[2][N][32], v[2][N][32];
    const float *slower = tensor(&s, "rope_freqs.weight")->data;
    for (uint32_t p = 0; p < N; p++) {
        double x[E], a[E], q[E], out[E], y[E], gate[FF], up[FF], right[VOCABULARY];
        const float *embedding = tensor(&s, "token_embd.weight")->data;
        for (int i = 0; i < E; i++) {
            x[i] = (double)embedding[ids[p] * E + i];
        }
        for (uint32_t l = 0; l < 2; l++) {
            char name[64];
#define NAME(what) (snprintf(name, sizeof name, "blk.%u." what ".weight", l), name)
            norm(&s, NAME("attn_norm"), x, a);
            product(&s, NAME("attn_q"), a, q);
            product(&s, NAME("attn_k"), a, k[l][p]);
            product(&s, NAME("attn_v"), a, v[l][p]);
            turn(q, 4, DIM, p, slower);
            turn(k[l][p], 2, DIM, p, slower);
            for (int h = 0; h < 4; h++) {
                double w[N], total = 0;
                for (uint32_t j = 0; j <= p; j++) {
                    w[j] = 0;
                    for (int d = 0; d < DIM; d++) {
                        w[j] += q[h * DIM + d] * k[l][j][h / 2 * DIM + d] / 4;
                    }
                    total += w[j] = exp(w[j]);
                }
                for (int d = 0; d < DIM; d++) {
                    out[h * DIM + d] = 0;
                    for (uint32_t j = 0; j <= p; j++) {
                        out[h * DIM + d] += w[j] / total * v[l][j][h / 2 * DIM + d];
                    }
                }
            }
            product(&s, NAME("attn_output"), out, y);
            for (int i = 0; i < E; i++) {
                x[i] += y[i];
            }
            norm(&s, NAME("ffn_norm"), x, a);
            product(&s, NAME("ffn_gate"), a, gate);
            product(&s, NAME("ffn_up"), a, up);
            for (int i = 0; i < FF; i++) {
                gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
            }
            product(&s, NAME("ffn_down"), gate, y);
            for (int i = 0; i < E; i++) {
                x[i] += y[i];
            }
        }
        norm(&s, "output_norm.weight", x, a);
        product(&s, "token_embd.weight", a, right);
        for (int i = 0; i < VOCABULARY; i++) {
            assert_true(fabs((double)logits[p * VOCABULARY + (uint32_t)i] - right[i]) < 1e-4);
        }
    }
    free(logits);
    close_executor(&s);
    close_model(&s);
}

static void only_wanted_rows_are_written(void **unused)
{
    (void)unused;
    struct setup s;
    struct tiny_options o = tiny_default(TN_Q8_0);
    open_model(&s, &o);
    open_executor(&s, tn_isa_best(), 1, TN_F32);
    int32_t ids[6];
    make_tokens(ids, 6, 2);
    uint32_t page = 0;
    float all[6][VOCABULARY], last[VOCABULARY];
    struct tn_step_sequence q = part(ids, 6, 0, &page, 1, all[0]);
    assert_int_equal(tn_step(s.x, &q, 1), 0);
    q.logits_from = 5;
    q.logits = last;
    assert_int_equal(tn_step(s.x, &q, 1), 0);
    assert_memory_equal(last, all[5], sizeof last);
    q.logits_from = 6;
    q.logits = NULL;
    assert_int_equal(tn_step(s.x, &q, 1), 0);
    close_executor(&s);
    close_model(&s);
}

static void scratch_is_bounded_by_what_was_announced(void **unused)
{
    (void)unused;
    struct setup s;
    struct tiny_options o = tiny_default(TN_Q4_0);
    open_model(&s, &o);
    // 2 layers, 2 KV heads, 16 dimensions, K and V of 32 positions in 4 bytes.
    assert_int_equal(tn_kv_page_bytes(s.model, TN_F32), 2 * 2 * 16 * 2 * 32 * 4);
    assert_int_equal(tn_kv_page_bytes(s.model, TN_F16), 2 * 2 * 16 * 2 * 32 * 2);
    size_t one = tn_scratch_bytes(s.model, 1, 1), many = tn_scratch_bytes(s.model, 128, 2);
    assert_true(one > 0 && one < many && many < (size_t)2 << 20);
    close_model(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_graph_computes_the_llama_equations),
        cmocka_unit_test(bits_do_not_depend_on_chunk_threads_or_pages),
        cmocka_unit_test(bits_do_not_depend_on_batch_width),
        cmocka_unit_test(bits_of_every_width_to_64_are_the_same),
        cmocka_unit_test(steps_beyond_the_limits_are_refused),
        cmocka_unit_test(only_wanted_rows_are_written),
        cmocka_unit_test(scratch_is_bounded_by_what_was_announced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
