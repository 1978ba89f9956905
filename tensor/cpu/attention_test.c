// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Attention and the KV store: against plain double arithmetic on keys and values quantised by
// definition; and bit for bit between one token at a time, chunks, batches, pages in any order,
// thread counts, splits by themselves, and the levels with fused multiply-add.
//
// Links: @tensor tensor/core/pool_host.c
#include "tensor/cpu/executor.h"
#include "tensor/cpu/kv.h"
#include "tensor/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// VNNI adds nothing to attention.
#define EACH_LEVEL(isa) for (int isa = 0; isa <= (int)tn_isa_best() && isa <= TN_ISA_AVX512; isa++)

enum { MOST_ROWS = 256, PAGE = TN_KV_PAGE_TOKENS, PAGES = 48 };

static uint64_t state = 99;

static float random_float(void)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (float)(int32_t)(state >> 32) * 0x1p-31f;
}

// An executor with nothing but attention: value 1 holds queries, 2 keys, 3 values, 4 results.
struct world {
    struct tn_executor x;
    struct ir_graph graph;
    struct ir_shape shapes[5];
    struct ir_op store, attend;
    void *memory;
    // What a sequence wants: rows of queries, keys, values.
    uint32_t count, heads, kv_heads, dim;
    float *q, *k, *v;
};

struct shape {
    uint32_t kv_type, heads, kv_heads, dim, count;
    struct ir_attention attention;
};

static void place(struct world *w, struct tn_arena *a)
{
    struct tn_executor *x = &w->x;
    struct tn_attention_limits l = {x->options.isa, MOST_ROWS, PAGES * PAGE,          w->heads,
                                    w->kv_heads,    w->dim,    x->options.pool->width};
    tn_attention_carve(&x->attention, &l, a);
    x->values = tn_arena_take(a, (size_t)MOST_ROWS * w->graph.floats_per_row * sizeof(float));
    x->rows = tn_arena_take(a, MOST_ROWS * sizeof *x->rows);
    x->kv = tn_arena_take(a, x->kv_layer_bytes * 2);
}

static void open_world(struct world *w, const struct shape *s, enum tn_isa isa, unsigned width)
{
    memset(w, 0, sizeof *w);
    w->heads = s->heads, w->kv_heads = s->kv_heads, w->dim = s->dim, w->count = s->count;
    w->graph.heads = s->heads, w->graph.kv_heads = s->kv_heads, w->graph.head_dim = s->dim;
    w->graph.context = PAGES * PAGE;
    w->graph.values = w->shapes;
    uint32_t wide = s->heads * s->dim, narrow = s->kv_heads * s->dim, offset = 0;
    const uint32_t columns[5] = {0, wide, narrow, narrow, wide};
    for (int i = 1; i < 5; i++) {
        w->shapes[i] =
            (struct ir_shape){.rows = IR_TOKENS, .columns = columns[i], .offset = offset};
        offset += columns[i];
    }
    w->graph.floats_per_row = offset;
    w->store = (struct ir_op){.kind = IR_KV_STORE, .in = {2, 3}, .layer = 1};
    w->attend = (struct ir_op){
        .kind = IR_ATTENTION, .in = {1}, .out = 4, .layer = 1, .attention = s->attention};
    struct tn_executor *x = &w->x;
    x->graph = &w->graph;
    x->row_kernels = tn_row_kernels_of(isa);
    x->options.isa = isa;
    x->options.pool = width > 1 ? tn_pool_threads(width) : &tn_pool_single;
    x->options.max_tokens = MOST_ROWS;
    x->options.kv_type = s->kv_type;
    x->kv_head_bytes = 2 * tn_kv_part_bytes(s->kv_type, s->dim);
    x->kv_page_bytes = x->kv_head_bytes * s->kv_heads;
    x->kv_layer_bytes = x->kv_page_bytes * PAGES;
    struct tn_arena a = {0};
    place(w, &a);
    w->memory = aligned_alloc(TN_ALIGN, tn_align_up(a.used));
    memset(w->memory, 0xff, a.used); // what is never written are NaNs
    a = (struct tn_arena){.base = w->memory, .size = a.used};
    place(w, &a);
    w->q = malloc((size_t)s->count * wide * sizeof *w->q);
    w->k = malloc((size_t)s->count * narrow * sizeof *w->k);
    w->v = malloc((size_t)s->count * narrow * sizeof *w->v);
    state = 7 + s->dim;
    for (size_t i = 0; i < (size_t)s->count * wide; i++) {
        w->q[i] = random_float() * 3;
    }
    for (size_t i = 0; i < (size_t)s->count * narrow; i++) {
        w->k[i] = random_float() * 2;
        w->v[i] = random_float();
    }
}

static void close_world(struct world *w)
{
    tn_pool_free(w->x.options.pool);
    free(w->memory);
    free(w->q);
    free(w->k);
    free(w->v);
}

// Runs rows [at[s], at[s] + n[s]) of each sequence, all of which want the same, in one step.
static void step(struct world *w, size_t sequences, const uint32_t *at, const uint32_t *n,
                 const uint32_t *const *pages, float *const *out)
{
    struct tn_executor *x = &w->x;
    struct tn_step_sequence q[8];
    size_t wide = (size_t)w->heads * w->dim, narrow = (size_t)w->kv_heads * w->dim;
    uint32_t row = 0;
    for (uint32_t s = 0; s < sequences; s++) {
        q[s] =
            (struct tn_step_sequence){.token_count = n[s], .position = at[s], .kv_pages = pages[s]};
        memcpy(tn_value(x, 1) + row * wide, w->q + at[s] * wide, n[s] * wide * sizeof(float));
        memcpy(tn_value(x, 2) + row * narrow, w->k + at[s] * narrow, n[s] * narrow * sizeof(float));
        memcpy(tn_value(x, 3) + row * narrow, w->v + at[s] * narrow, n[s] * narrow * sizeof(float));
        for (uint32_t i = 0; i < n[s]; i++) {
            x->rows[row++] = (struct tn_row){s, at[s] + i, 0};
        }
    }
    x->sequences = q;
    x->row_count = row;
    tn_attention_bind(x);
    tn_run_kv_store(x, &w->store);
    tn_run_attention(x, &w->attend);
    row = 0;
    for (uint32_t s = 0; s < sequences; s++) {
        memcpy(out[s] + at[s] * wide, tn_value(x, 4) + row * wide, n[s] * wide * sizeof(float));
        row += n[s];
    }
}

static float *results(const struct world *w)
{
    return malloc((size_t)w->count * w->heads * w->dim * sizeof(float));
}

static void run_in_chunks(struct world *w, uint32_t chunk, const uint32_t *pages, float *out)
{
    for (uint32_t at = 0; at < w->count; at += chunk) {
        uint32_t n = w->count - at < chunk ? w->count - at : chunk;
        step(w, 1, &at, &n, (const uint32_t *[]){pages}, (float *[]){out});
    }
}

static uint32_t in_order[PAGES], shuffled[PAGES];

static int number_pages(void **unused)
{
    (void)unused;
    for (uint32_t i = 0; i < PAGES; i++) {
        in_order[i] = i;
        shuffled[i] = (i * 29 + 11) % PAGES;
    }
    return 0;
}

// ---- the definition ----------------------------------------------------------------------------

// 32 values through a block type and back.
static void through_block(uint32_t type, const float *x, double *out)
{
    float most = 0, value = 0;
    for (int i = 0; i < 32; i++) {
        if (fabsf(x[i]) > most) {
            most = fabsf(x[i]);
            value = x[i];
        }
    }
    float scale = type == TN_Q8_0 ? most / 127.0f : value / -8.0f;
    double kept = (double)tn_f16_to_f32(tn_f32_to_f16(scale));
    for (int i = 0; i < 32; i++) {
        if (type == TN_Q8_0) {
            out[i] = kept * (most > 0 ? (double)lrintf(x[i] * (127.0f / most)) : 0);
        } else {
            int q = most > 0 ? (int)(x[i] * (1.0f / scale) + 8.5f) : 8;
            out[i] = kept * ((q > 15 ? 15 : q) - 8);
        }
    }
}

static void through_type(uint32_t type, const float *x, size_t n, double *out)
{
    for (size_t i = 0; i < n; i += type == TN_Q8_0 || type == TN_Q4_0 ? 32 : 1) {
        if (type == TN_F32) {
            out[i] = (double)x[i];
        } else if (type == TN_F16) {
            out[i] = (double)tn_f16_to_f32(tn_f32_to_f16(x[i]));
        } else {
            through_block(type, x + i, out + i);
        }
    }
}

// One query head by the definition, in doubles. `end`: of the step it belongs to.
static void expected(const struct world *w, const double *k, const double *v, uint32_t position,
                     uint32_t head, uint32_t end, double *out)
{
    const struct ir_attention *a = &w->attend.attention;
    uint32_t dim = w->dim, kv = head / (w->heads / w->kv_heads), wide = w->kv_heads * dim;
    uint32_t last = a->everywhere ? end : position + 1;
    uint32_t first = a->window && position + 1 > a->window ? position + 1 - a->window : 0;
    double *s = malloc(last * sizeof *s), most = -1e300, total = 0;
    for (uint32_t p = first; p < last; p++) {
        s[p] = 0;
        for (uint32_t d = 0; d < dim; d++) {
            s[p] +=
                (double)w->q[(position * w->heads + head) * dim + d] * k[p * wide + kv * dim + d];
        }
        s[p] *= (double)a->scale;
        if (a->softcap > 0) {
            s[p] = (double)a->softcap * tanh(s[p] / (double)a->softcap);
        }
        most = s[p] > most ? s[p] : most;
    }
    total = a->sinks ? exp((double)a->sinks[head] - most) : 0;
    for (uint32_t p = first; p < last; p++) {
        total += s[p] = exp(s[p] - most);
    }
    for (uint32_t d = 0; d < dim; d++) {
        out[d] = 0;
        for (uint32_t p = first; p < last; p++) {
            out[d] += s[p] / total * v[p * wide + kv * dim + d];
        }
    }
    free(s);
}

static void check(const struct world *w, const float *out, uint32_t chunk)
{
    size_t n = (size_t)w->count * w->kv_heads * w->dim;
    double *k = malloc(n * sizeof *k), *v = malloc(n * sizeof *v), right[1024];
    through_type(w->x.options.kv_type, w->k, n, k);
    through_type(w->x.options.kv_type, w->v, n, v);
    for (uint32_t p = 0; p < w->count; p += p < 35 ? 1 : 31) {
        for (uint32_t h = 0; h < w->heads; h++) {
            uint32_t end = p / chunk * chunk + chunk;
            expected(w, k, v, p, h, end < w->count ? end : w->count, right);
            for (uint32_t d = 0; d < w->dim; d++) {
                double got = (double)out[(p * w->heads + h) * w->dim + d];
                if (!(fabs(got - right[d]) < 4e-6)) {
                    fail_msg("type %u, dim %u, position %u, head %u, dimension %u: %.9g not %.9g",
                             w->x.options.kv_type, w->dim, p, h, d, got, right[d]);
                }
            }
        }
    }
    free(k);
    free(v);
}

// ---- the tests ---------------------------------------------------------------------------------

static const float sinks[8] = {0.5f, -3, 9, 0, 1, 2, 30, -50};

static const struct shape shapes[] = {
    {TN_F32, 4, 2, 16, 100, {.scale = 0.25f}},
    {TN_F32, 4, 1, 64, 600, {.scale = 0.125f}},
    {TN_F32, 3, 3, 20, 70, {.scale = 0.2f, .softcap = 5}},
    {TN_F32, 2, 1, 65, 530, {.scale = 0.1f, .window = 40}},
    {TN_F32, 8, 2, 8, 90, {.scale = 0.4f, .sinks = sinks}},
    {TN_F32, 2, 2, 33, 80, {.scale = 0.2f, .everywhere = true}},
    {TN_F32, 71, 1, 8, 66, {.scale = 0.3f}},
    {TN_F32, 2, 1, 256, 64, {.scale = 0.0625f}},
    {TN_F16, 4, 2, 20, 70, {.scale = 0.25f}},
    {TN_F16, 4, 1, 80, 560, {.scale = 0.1f, .softcap = 20, .window = 520}},
    {TN_Q8_0, 4, 2, 64, 130, {.scale = 0.125f, .window = 33, .sinks = sinks}},
    {TN_Q8_0, 2, 1, 96, 600, {.scale = 0.1f}},
    {TN_Q4_0, 4, 2, 32, 100, {.scale = 0.2f, .softcap = 8, .sinks = sinks}},
    {TN_Q4_0, 3, 1, 128, 520, {.scale = 0.09f}},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void attention_is_what_doubles_say(void **unused)
{
    (void)unused;
    EACH_LEVEL(isa)
    {
        for (int i = 0; i < SHAPES; i++) {
            struct world w;
            open_world(&w, &shapes[i], (enum tn_isa)isa, 1);
            float *out = results(&w);
            run_in_chunks(&w, 100, shuffled, out);
            check(&w, out, 100);
            free(out);
            close_world(&w);
        }
    }
}

static void bits_do_not_depend_on_chunks_threads_or_pages(void **unused)
{
    (void)unused;
    static const uint32_t chunks[] = {200, 1, 7, 33, 64};
    EACH_LEVEL(isa)
    {
        for (int i = 0; i < SHAPES; i++) {
            for (unsigned width = 1; width <= 2; width++) {
                struct world w;
                open_world(&w, &shapes[i], (enum tn_isa)isa, width);
                float *first = results(&w), *other = results(&w);
                size_t bytes = (size_t)w.count * w.heads * w.dim * sizeof(float);
                bool everywhere = w.attend.attention.everywhere;
                for (int c = 0; c < (everywhere ? 1 : width > 1 ? 2 : 5); c++) {
                    if (isa == 0 && chunks[c] == 1 && w.count > 200) {
                        continue; // slow and no other path
                    }
                    run_in_chunks(&w, chunks[c], c % 2 ? in_order : shuffled, c ? other : first);
                    assert_true(c == 0 || memcmp(first, other, bytes) == 0);
                }
                free(first);
                free(other);
                close_world(&w);
            }
        }
    }
}

// Decoding beside prompts, three sequences with their own pages.
static void bits_do_not_depend_on_the_batch(void **unused)
{
    (void)unused;
    static const uint32_t own[3][6] = {{3, 1, 2, 40, 41, 30}, {8, 9, 33, 7, 6, 5}, {20, 21, 22}};
    for (int i = 0; i < SHAPES; i++) {
        struct shape s = shapes[i];
        if (s.attention.everywhere) {
            continue;
        }
        s.count = 90;
        struct world w;
        open_world(&w, &s, tn_isa_best(), 2);
        float *alone = results(&w), *out[3];
        size_t bytes = (size_t)w.count * w.heads * w.dim * sizeof(float);
        run_in_chunks(&w, 1, in_order, alone);
        for (int q = 0; q < 3; q++) {
            out[q] = results(&w);
        }
        uint32_t at[3] = {0};
        for (uint32_t round = 0; at[0] < 90 || at[1] < 90 || at[2] < 90; round++) {
            uint32_t n[3], from[3], live = 0;
            const uint32_t *pages[3];
            float *to[3];
            for (uint32_t q = 0; q < 3; q++) {
                uint32_t take = q == 0 ? 1 : (round * 7 + q * 5) % 12;
                take = take < 90 - at[q] ? take : 90 - at[q];
                if (take) {
                    from[live] = at[q], n[live] = take, pages[live] = own[q], to[live] = out[q];
                    at[q] += take;
                    live++;
                }
            }
            if (live) {
                step(&w, live, from, n, pages, to);
            }
        }
        for (int q = 0; q < 3; q++) {
            assert_memory_equal(alone, out[q], bytes);
            free(out[q]);
        }
        free(alone);
        close_world(&w);
    }
}

static void levels_with_fused_operations_agree(void **unused)
{
    (void)unused;
    if (tn_isa_best() < TN_ISA_AVX512) {
        return;
    }
    for (int i = 0; i < SHAPES; i++) {
        struct world w;
        float *out[2];
        size_t bytes = 0;
        for (int l = 0; l < 2; l++) {
            open_world(&w, &shapes[i], l ? TN_ISA_AVX512 : TN_ISA_AVX2, 1);
            bytes = (size_t)w.count * w.heads * w.dim * sizeof(float);
            out[l] = results(&w);
            run_in_chunks(&w, 50, in_order, out[l]);
            close_world(&w);
        }
        assert_memory_equal(out[0], out[1], bytes);
        free(out[0]);
        free(out[1]);
    }
}

// A single KV head and a long context: with two workers, splits are worked on one by one.
static void splits_by_themselves_have_the_same_bits(void **unused)
{
    (void)unused;
    static const struct shape long_one = {
        TN_F16, 4, 1, 64, 1100, {.scale = 0.125f, .window = 900, .sinks = sinks}};
    float *out[2];
    size_t from = 1060 * 4 * 64, bytes = 40 * 4 * 64 * sizeof(float);
    for (unsigned width = 1; width <= 2; width++) {
        struct world w;
        open_world(&w, &long_one, tn_isa_best(), width);
        assert_true((w.x.attention.part_count > 0) == (width > 1));
        float *o = out[width - 1] = results(&w);
        for (uint32_t at = 0; at < w.count;) {
            uint32_t n = at < 1060 ? 212 : 1;
            step(&w, 1, &at, &n, (const uint32_t *[]){in_order}, &o);
            at += n;
        }
        close_world(&w);
    }
    assert_memory_equal(out[0] + from, out[1] + from, bytes);
    free(out[0]);
    free(out[1]);
}

// Heads normed and turned on their way into attention have the bits of heads that were so before.
static void norms_and_turns_go_along(void **unused)
{
    (void)unused;
    enum { COUNT = 70, HEADS = 4, KV = 2, DIM = 40 };
    static const struct shape s = {TN_F32, HEADS, KV, DIM, COUNT, {.scale = 0.2f}};
    static float turns[MOST_ROWS * 2 * DIM], weight[DIM];
    for (int i = 0; i < DIM; i++) {
        weight[i] = random_float();
    }
    for (int kind = 0; kind < 2; kind++) {
        struct ir_rope rope = {.split_halves = kind, .rotated = 32};
        struct world w;
        open_world(&w, &s, tn_isa_best(), 1);
        const struct tn_row_kernels *k = w.x.row_kernels;
        w.graph.turn_floats = 2 * DIM;
        w.x.turn = turns;
        for (int i = 0; i < MOST_ROWS * 2 * DIM; i++) {
            turns[i] = random_float();
        }
        float *along = results(&w), *before = results(&w);
        w.store.rope = w.attend.rope = &rope;
        w.store.vector[0] = w.attend.vector[0] = weight;
        w.store.number = w.attend.number = 1e-6f;
        run_in_chunks(&w, COUNT, in_order, along);
        w.store.rope = w.attend.rope = NULL;
        w.store.vector[0] = w.attend.vector[0] = NULL;
        for (size_t i = 0; i < COUNT * (HEADS + KV); i++) {
            bool query = i < COUNT * HEADS;
            size_t at = query ? i : i - COUNT * HEADS, row = at / (query ? HEADS : KV);
            float *x = (query ? w.q : w.k) + at * DIM;
            k->rms_norm(x, x, weight, DIM, 1e-6f);
            (kind ? k->turn_halves : k->turn_neighbours)(x, x, turns + row * 2 * DIM, 16);
        }
        run_in_chunks(&w, COUNT, in_order, before);
        assert_memory_equal(along, before, COUNT * HEADS * DIM * sizeof(float));
        free(along);
        free(before);
        close_world(&w);
    }
}

static void kv_pages_have_the_documented_layout(void **unused)
{
    (void)unused;
    enum { DIM = 64 };
    float k[3][DIM], v[3][DIM];
    for (int i = 0; i < 3 * DIM; i++) {
        k[i / DIM][i % DIM] = random_float();
        v[i / DIM][i % DIM] = random_float();
    }
    k[0][7] = -2, k[0][8] = 2; // of two greatest ones the first decides the sign of Q4_0's scale
    k[1][40] = 2, k[1][41] = -2;
    memset(v[2], 0, DIM / 2 * sizeof(float)); // a block of nothing
    static const uint32_t types[] = {TN_F32, TN_F16, TN_Q8_0, TN_Q4_0};
    for (int t = 0; t < 4; t++) {
        size_t part = tn_kv_part_bytes(types[t], DIM), row = part / PAGE;
        uint8_t *head = calloc(2, part);
        struct tn_kv_rows rows = {k[0], v[0], DIM, DIM, DIM, 5, 3};
        tn_kv_store(tn_row_kernels_of(tn_isa_best()), types[t], head, &rows);
        for (size_t p = 0; p < 3; p++) {
            double key[DIM], value[DIM];
            through_type(types[t], k[p], DIM, key);
            through_type(types[t], v[p], DIM, value);
            for (size_t d = 0; d < DIM; d++) {
                const uint8_t *block = head + d / 32 * (part / 2),
                              *vb = head + part + (5 + p) * row;
                double got = 0, gotv = 0;
                uint16_t h;
                size_t i = d % 32;
                if (types[t] == TN_F32) {
                    got = (double)((const float *)(const void *)head)[d * PAGE + 5 + p];
                    gotv = (double)((const float *)(const void *)vb)[d];
                } else if (types[t] == TN_F16) {
                    memcpy(&h, head + (d * PAGE + 5 + p) * 2, 2);
                    got = (double)tn_f16_to_f32(h);
                    memcpy(&h, vb + d * 2, 2);
                    gotv = (double)tn_f16_to_f32(h);
                } else {
                    bool eight = types[t] == TN_Q8_0;
                    memcpy(&h, block + (5 + p) * 2, 2);
                    const uint8_t *q = block + 64 + (eight ? i : i % 16) * PAGE + 5 + p;
                    int n = eight ? (int8_t)*q : (i < 16 ? *q & 15 : *q >> 4) - 8;
                    got = (double)tn_f16_to_f32(h) * n;
                    vb += d / 32 * (row / 2);
                    memcpy(&h, vb, 2);
                    q = vb + 2 + (eight ? i : i % 16);
                    n = eight ? (int8_t)*q : (i < 16 ? *q & 15 : *q >> 4) - 8;
                    gotv = (double)tn_f16_to_f32(h) * n;
                }
                assert_true(fabs(got - key[d]) < 1e-12 && fabs(gotv - value[d]) < 1e-12);
            }
        }
        free(head);
    }
    assert_true(tn_kv_fits(TN_F16, 65) && tn_kv_fits(TN_Q8_0, 64));
    assert_false(tn_kv_fits(TN_Q8_0, 80) || tn_kv_fits(TN_Q4_0, 20) || tn_kv_fits(TN_Q4_K, 256));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kv_pages_have_the_documented_layout),
        cmocka_unit_test(attention_is_what_doubles_say),
        cmocka_unit_test(bits_do_not_depend_on_chunks_threads_or_pages),
        cmocka_unit_test(bits_do_not_depend_on_the_batch),
        cmocka_unit_test(levels_with_fused_operations_agree),
        cmocka_unit_test(norms_and_turns_go_along),
        cmocka_unit_test(splits_by_themselves_have_the_same_bits),
    };
    return cmocka_run_group_tests(tests, number_pages, NULL);
}
