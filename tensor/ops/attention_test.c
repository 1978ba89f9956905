// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// ATTENTION against doubles, for heads that share keys, windows, caps and both layouts; bit for bit
// the model executor's over KV pages of F32; and bit for bit whatever the rows beside and workers.
//
// Links: @tensor tensor/core/pool_host.c
#include "tensor/cpu/executor.h"
#include "tensor/cpu/kv.h"
#include "tensor/ops/test_ops.h"

struct shape {
    uint64_t dim, value_dim, rows, keys, heads, kv_heads;
    float scale, cap;
    uint32_t flags, window;
};

struct attention {
    struct shape s;
    struct test_graph *g;
    uint32_t q, k, v, out;
};

static uint32_t tensor(struct test_graph *g, const struct shape *s, enum tn_ops_role role,
                       uint64_t dim, uint64_t rows, uint64_t heads)
{
    bool outer = s->flags & TN_OPS_ROWS_OUTER;
    return floats_of(g, role, dim, outer ? heads : rows, outer ? rows : heads);
}

static struct attention make(struct shape s)
{
    struct attention a = {.s = s, .g = new_graph()};
    a.q = tensor(a.g, &s, TN_OPS_INPUT, s.dim, s.rows, s.heads);
    a.k = tensor(a.g, &s, TN_OPS_INPUT, s.dim, s.keys, s.kv_heads);
    a.v = tensor(a.g, &s, TN_OPS_INPUT, s.value_dim, s.keys, s.kv_heads);
    a.out = tensor(a.g, &s, TN_OPS_OUTPUT, s.value_dim, s.rows, s.heads);
    struct tn_ops_node *n = add_node(a.g, TN_OPS_ATTENTION, a.out, a.q, a.k, a.v);
    n->number[0] = s.scale, n->number[1] = s.cap;
    n->integer[0] = s.flags, n->integer[1] = s.window;
    return a;
}

// Where a row of a head begins.
static float *row_of(const struct attention *a, uint32_t tensor, uint64_t row, uint64_t head)
{
    const uint64_t *s = a->g->tensors[tensor].shape;
    bool outer = a->s.flags & TN_OPS_ROWS_OUTER;
    return floats(a->g, tensor) + s[0] * (outer ? row * s[1] + head : head * s[1] + row);
}

static void check_row(const struct attention *a, uint64_t row, uint64_t head)
{
    const struct shape *s = &a->s;
    uint64_t kv_head = head / (s->heads / s->kv_heads), position = s->keys - s->rows + row;
    double *weight = calloc(s->keys, sizeof *weight), most = -INFINITY, total = 0;
    for (uint64_t j = 0; j < s->keys; j++) {
        weight[j] = -INFINITY;
        if ((s->flags & TN_OPS_CAUSAL && j > position) ||
            (s->window && j + s->window <= position)) {
            continue;
        }
        double score = 0;
        for (uint64_t d = 0; d < s->dim; d++) {
            score += (double)row_of(a, a->q, row, head)[d] * (double)row_of(a, a->k, j, kv_head)[d];
        }
        score *= (double)s->scale;
        score = s->cap > 0 ? (double)s->cap * tanh(score / (double)s->cap) : score;
        weight[j] = score;
        most = fmax(most, score);
    }
    for (uint64_t j = 0; j < s->keys; j++) {
        weight[j] = exp(weight[j] - most);
        total += weight[j];
    }
    for (uint64_t d = 0; d < s->value_dim; d++) {
        double right = 0;
        for (uint64_t j = 0; j < s->keys; j++) {
            right += weight[j] / total * (double)row_of(a, a->v, j, kv_head)[d];
        }
        assert_near((double)row_of(a, a->out, row, head)[d], right, 2e-5);
    }
    free(weight);
}

static const struct shape shapes[] = {
    {8, 8, 1, 1, 1, 1, 1, 0, 0, 0},
    {64, 64, 1, 700, 4, 2, 0.125f, 0, TN_OPS_CAUSAL, 0},
    {64, 64, 33, 1100, 6, 2, 0.125f, 0, TN_OPS_CAUSAL, 0},
    {48, 20, 70, 70, 4, 4, 0.2f, 0, TN_OPS_CAUSAL, 0},
    {17, 33, 90, 61, 3, 1, 0.3f, 0, 0, 0},
    {32, 32, 40, 600, 4, 1, 0.3f, 5, TN_OPS_CAUSAL | TN_OPS_ROWS_OUTER, 37},
    {32, 16, 9, 530, 2, 2, 0.3f, 0, TN_OPS_ROWS_OUTER, 520},
    {128, 128, 100, 100, 8, 8, 0.09f, 30, TN_OPS_CAUSAL | TN_OPS_ROWS_OUTER, 0},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void attention_is_right(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < SHAPES; i++) {
        struct attention a = make(shapes[i]);
        EACH_LEVEL
        {
            memset(floats(a.g, a.out), 0x7f, a.g->values[a.out] * 4);
            run_graph(a.g, isa);
            for (uint64_t row = 0; row < a.s.rows; row += 1 + a.s.rows / 5) {
                for (uint64_t head = 0; head < a.s.heads; head++) {
                    check_row(&a, row, head);
                }
            }
            check_row(&a, a.s.rows - 1, 0);
        }
        free_graph(a.g);
    }
}

// Row by row, over the keys up to each, and on three workers.
static void rows_do_not_depend_on_their_company(void **unused)
{
    (void)unused;
    struct tn_pool *three = tn_pool_threads(3);
    for (size_t i = 0; i < SHAPES; i++) {
        struct attention a = make(shapes[i]);
        if (!(a.s.flags & TN_OPS_CAUSAL)) {
            free_graph(a.g);
            continue;
        }
        EACH_LEVEL
        {
            run_graph(a.g, isa);
            size_t bytes = a.g->values[a.out] * 4;
            float *copy = malloc(bytes);
            memcpy(copy, floats(a.g, a.out), bytes);
            run_graph_on(a.g, three, isa);
            assert_memory_equal(copy, floats(a.g, a.out), bytes);
            free(copy);
            for (uint64_t row = 0; row < a.s.rows; row += 7) {
                struct shape s = a.s;
                s.rows = 1, s.keys = a.s.keys - a.s.rows + row + 1;
                struct attention one = make(s);
                for (uint64_t h = 0; h < s.heads; h++) {
                    memcpy(row_of(&one, one.q, 0, h), row_of(&a, a.q, row, h), s.dim * 4);
                }
                for (uint64_t h = 0; h < s.kv_heads; h++) {
                    for (uint64_t j = 0; j < s.keys; j++) {
                        memcpy(row_of(&one, one.k, j, h), row_of(&a, a.k, j, h), s.dim * 4);
                        memcpy(row_of(&one, one.v, j, h), row_of(&a, a.v, j, h), s.value_dim * 4);
                    }
                }
                run_graph(one.g, isa);
                for (uint64_t h = 0; h < s.heads; h++) {
                    assert_memory_equal(row_of(&one, one.out, 0, h), row_of(&a, a.out, row, h),
                                        s.value_dim * 4);
                }
                free_graph(one.g);
            }
        }
        free_graph(a.g);
    }
    tn_pool_free(three);
}

// The same by the executor: one step of all rows after the keys before them.
static void run_executor(const struct attention *a, enum tn_isa isa, float *out)
{
    const struct shape *s = &a->s;
    const uint32_t wide = (uint32_t)(s->heads * s->dim), narrow = (uint32_t)(s->kv_heads * s->dim);
    const uint32_t keys = (uint32_t)s->keys, pages = (keys + 31) / 32;
    struct ir_shape values[5] = {{0},
                                 {.columns = wide},
                                 {.columns = narrow, .offset = wide},
                                 {.columns = narrow, .offset = wide + narrow},
                                 {.columns = wide, .offset = wide + 2 * narrow}};
    struct ir_graph graph = {.values = values,
                             .heads = (uint32_t)s->heads,
                             .kv_heads = (uint32_t)s->kv_heads,
                             .head_dim = (uint32_t)s->dim,
                             .context = keys};
    struct ir_op op = {.in = {1, 0},
                       .out = 4,
                       .attention = {.scale = s->scale, .softcap = s->cap, .window = s->window}};
    struct ir_op store = {.in = {2, 3}};
    struct tn_executor x = {
        .graph = &graph,
        .row_kernels = tn_row_kernels_of(isa),
        .options = {.isa = isa, .pool = &tn_pool_single, .max_tokens = keys, .kv_type = TN_F32}};
    struct tn_attention_limits limits = {
        isa, keys, keys, graph.heads, graph.kv_heads, graph.head_dim, 1};
    x.kv_head_bytes = 2 * tn_kv_part_bytes(TN_F32, s->dim);
    x.kv_page_bytes = x.kv_head_bytes * s->kv_heads;
    x.kv_layer_bytes = x.kv_page_bytes * pages;
    struct tn_arena arena = {0};
    for (int pass = 0; pass < 2; pass++) {
        tn_attention_carve(&x.attention, &limits, &arena);
        x.values = tn_arena_take(&arena, (size_t)keys * 2 * (wide + narrow) * sizeof(float));
        x.rows = tn_arena_take(&arena, keys * sizeof *x.rows);
        x.kv = tn_arena_take(&arena, x.kv_layer_bytes);
        if (pass == 0) {
            arena = (struct tn_arena){.base = aligned_alloc(64, arena.used), .size = arena.used};
            assert_non_null(arena.base);
        }
    }
    uint32_t *order = calloc(pages, sizeof *order);
    for (uint32_t i = 0; i < pages; i++) {
        order[i] = pages - 1 - i;
    }
    struct tn_step_sequence all = {.token_count = keys, .kv_pages = order};
    x.sequences = &all;
    x.row_count = keys;
    for (uint32_t i = 0; i < keys; i++) {
        x.rows[i] = (struct tn_row){0, i, 0};
    }
    memcpy(tn_value(&x, 2), floats(a->g, a->k), a->g->values[a->k] * 4);
    memcpy(tn_value(&x, 3), floats(a->g, a->v), a->g->values[a->v] * 4);
    tn_attention_bind(&x);
    tn_run_kv_store(&x, &store);
    struct tn_step_sequence last = {
        .token_count = (uint32_t)s->rows, .position = keys - (uint32_t)s->rows, .kv_pages = order};
    x.sequences = &last;
    x.row_count = last.token_count;
    memcpy(tn_value(&x, 1), floats(a->g, a->q), a->g->values[a->q] * 4);
    tn_attention_bind(&x);
    tn_run_attention(&x, &op);
    memcpy(out, tn_value(&x, 4), a->g->values[a->out] * 4);
    free(order);
    free(arena.base);
}

static void attention_has_the_executors_bits(void **unused)
{
    (void)unused;
    static const uint32_t windows[] = {0, 33, 0, 600};
    for (size_t i = 0; i < 4; i++) {
        struct attention a =
            make((struct shape){i == 2 ? 40 : 64, i == 2 ? 40 : 64, i * 30 + 1, 1000, 6, 2, 0.125f,
                                i == 3 ? 20 : 0, TN_OPS_CAUSAL | TN_OPS_ROWS_OUTER, windows[i]});
        size_t bytes = a.g->values[a.out] * 4;
        float *out = malloc(bytes);
        EACH_LEVEL
        {
            run_executor(&a, isa, out);
            run_graph(a.g, isa);
            assert_memory_equal(out, floats(a.g, a.out), bytes);
        }
        free(out);
        free_graph(a.g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_is_right),
        cmocka_unit_test(rows_do_not_depend_on_their_company),
        cmocka_unit_test(attention_has_the_executors_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
