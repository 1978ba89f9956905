// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Every kind of node but products and attention against doubles, or exactly where values are only
// moved, on every level; and bit for bit whatever the number of workers.
//
// Links: @tensor tensor/core/pool_host.c
#include "tensor/ops/test_ops.h"

static double act(uint32_t activation, double x)
{
    switch (activation) {
    case TN_OPS_ACT_SILU:
        return x / (1 + exp(-x));
    case TN_OPS_ACT_GELU:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case TN_OPS_ACT_GELU_ERF:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case TN_OPS_ACT_RELU:
        return x > 0 ? x : 0;
    case TN_OPS_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case TN_OPS_ACT_TANH:
        return tanh(x);
    default:
        return x;
    }
}

// On one worker and on three: the same bits.
static void run_twice(struct test_graph *g, enum tn_isa isa, uint32_t out)
{
    static struct tn_pool *three;
    three = three ? three : tn_pool_threads(3);
    size_t bytes = g->values[out] * 4;
    run_graph_on(g, three, isa);
    void *copy = malloc(bytes);
    memcpy(copy, g->memory[out], bytes);
    memset(g->memory[out], 0x55, bytes);
    run_graph(g, isa);
    assert_memory_equal(copy, g->memory[out], bytes);
    free(copy);
    if (isa == tn_isa_best()) {
        tn_pool_free(three);
        three = NULL;
    }
}

static void activations_are_right(void **unused)
{
    (void)unused;
    for (uint32_t kind = TN_OPS_SILU; kind <= TN_OPS_TANH; kind++) {
        uint32_t activation = kind - TN_OPS_SILU + TN_OPS_ACT_SILU;
        struct test_graph *g = new_graph();
        uint32_t x = floats_of(g, TN_OPS_INPUT, 1001, 43, 0);
        uint32_t out = floats_of(g, TN_OPS_OUTPUT, 1001, 43, 0);
        for (uint64_t i = 0; i < g->values[x]; i++) {
            floats(g, x)[i] *= i % 7 ? 3 : 60;
        }
        add_node(g, kind, out, x, NONE, NONE);
        EACH_LEVEL
        {
            run_twice(g, isa, out);
            for (uint64_t i = 0; i < g->values[x]; i++) {
                double right = act(activation, (double)floats(g, x)[i]);
                assert_near((double)floats(g, out)[i], right, 1e-6 * fabs(right) + 1e-9);
            }
        }
        free_graph(g);
    }
}

static void gates_are_right(void **unused)
{
    (void)unused;
    for (uint32_t a = 0; a < TN_OPS_ACT_LIMIT; a++) {
        struct test_graph *g = new_graph();
        uint32_t x = floats_of(g, TN_OPS_INPUT, 333, 2, 5);
        uint32_t y = floats_of(g, TN_OPS_INPUT, 333, 2, 5);
        uint32_t out = floats_of(g, TN_OPS_OUTPUT, 333, 2, 5);
        add_node(g, TN_OPS_GATE, out, x, y, NONE)->integer[0] = a;
        for (uint64_t i = 0; i < g->values[x]; i++) {
            floats(g, x)[i] *= 5;
            floats(g, y)[i] *= 5;
        }
        EACH_LEVEL
        {
            run_twice(g, isa, out);
            for (uint64_t i = 0; i < g->values[x]; i++) {
                double p = (double)floats(g, x)[i], q = (double)floats(g, y)[i];
                double right = act(a, p) * q;
                if (a == TN_OPS_ACT_SWIGLU_OAI) {
                    p = fmin(p, 7), q = fmax(fmin(q, 7), -7);
                    right = p / (1 + exp(-1.702 * p)) * (q + 1);
                }
                assert_near((double)floats(g, out)[i], right, 2e-6 * fabs(right) + 1e-6);
            }
        }
        free_graph(g);
    }
}

// in[1] repeated along every choice of dimensions.
static void sides_are_repeated(void **unused)
{
    (void)unused;
    static const uint64_t a[4] = {37, 3, 4, 2};
    for (uint32_t kind = TN_OPS_ADD; kind <= TN_OPS_DIV; kind++) {
        for (unsigned kept = 0; kept < 16; kept++) {
            struct test_graph *g = new_graph();
            uint64_t b[4];
            for (int i = 0; i < 4; i++) {
                b[i] = kept >> i & 1 ? a[i] : 1;
            }
            uint32_t x = tensor_of(g, TN_OPS_INPUT, TN_F32, a[0], a[1], a[2], a[3]);
            uint32_t y = tensor_of(g, TN_OPS_INPUT, TN_F32, b[0], b[1], b[2], b[3]);
            uint32_t out = tensor_of(g, TN_OPS_OUTPUT, TN_F32, a[0], a[1], a[2], a[3]);
            add_node(g, kind, out, x, y, NONE);
            EACH_LEVEL
            {
                run_twice(g, isa, out);
                for (uint64_t i = 0; i < g->values[x]; i++) {
                    uint64_t at[4] = {i % a[0], i / a[0] % a[1], i / a[0] / a[1] % a[2],
                                      i / a[0] / a[1] / a[2]};
                    uint64_t j = 0;
                    for (int d = 3; d >= 0; d--) {
                        j = j * b[d] + (b[d] == 1 ? 0 : at[d]);
                    }
                    float p = floats(g, x)[i], q = floats(g, y)[j];
                    float right = kind == TN_OPS_ADD   ? p + q
                                  : kind == TN_OPS_SUB ? p - q
                                  : kind == TN_OPS_MUL ? p * q
                                                       : p / q;
                    assert_true(floats(g, out)[i] == right);
                }
            }
            free_graph(g);
        }
    }
}

static void scale_scales_and_adds(void **unused)
{
    (void)unused;
    struct test_graph *g = new_graph();
    uint32_t x = floats_of(g, TN_OPS_INPUT, 40007, 0, 0);
    uint32_t out = floats_of(g, TN_OPS_OUTPUT, 40007, 0, 0);
    struct tn_ops_node *n = add_node(g, TN_OPS_SCALE, out, x, NONE, NONE);
    n->number[0] = -2.5f, n->number[1] = 7;
    EACH_LEVEL
    {
        run_twice(g, isa, out);
        for (int i = 0; i < 40007; i++) {
            assert_true(floats(g, out)[i] == floats(g, x)[i] * -2.5f + 7);
        }
    }
    free_graph(g);
}

static void softmax_weighs(void **unused)
{
    (void)unused;
    for (uint64_t n = 1; n < 20000; n = n * 3 + 2) {
        struct test_graph *g = new_graph();
        uint32_t x = floats_of(g, TN_OPS_INPUT, n, 5, 0);
        uint32_t out = floats_of(g, TN_OPS_OUTPUT, n, 5, 0);
        add_node(g, TN_OPS_SOFTMAX, out, x, NONE, NONE)->number[0] = 1.5f;
        for (uint64_t i = 0; i < 5 * n; i++) {
            floats(g, x)[i] *= 20;
        }
        floats(g, x)[n - 1] = n > 1 ? -INFINITY : 0; // a mask's
        EACH_LEVEL
        {
            run_twice(g, isa, out);
            for (int r = 0; r < 5; r++) {
                const float *row = floats(g, x) + (uint64_t)r * n;
                double most = -INFINITY, sum = 0;
                for (uint64_t i = 0; i < n; i++) {
                    most = fmax(most, 1.5 * (double)row[i]);
                }
                for (uint64_t i = 0; i < n; i++) {
                    sum += exp(1.5 * (double)row[i] - most);
                }
                for (uint64_t i = 0; i < n; i++) {
                    double right = exp(1.5 * (double)row[i] - most) / sum;
                    assert_near((double)floats(g, out)[(uint64_t)r * n + i], right,
                                2e-5 * right + 1e-30);
                }
            }
        }
        free_graph(g);
    }
}

static void norms_norm(void **unused)
{
    (void)unused;
    for (int variant = 0; variant < 6; variant++) {
        enum { N = 203, ROWS = 90 };
        bool layer = variant % 2, weighted = variant >= 2, biased = layer && variant >= 4;
        struct test_graph *g = new_graph();
        uint32_t x = floats_of(g, TN_OPS_INPUT, N, ROWS, 0);
        uint32_t weight = weighted ? floats_of(g, TN_OPS_CONSTANT, N, 0, 0) : NONE;
        uint32_t bias = biased ? floats_of(g, TN_OPS_CONSTANT, N, 0, 0) : NONE;
        uint32_t out = floats_of(g, TN_OPS_OUTPUT, N, ROWS, 0);
        add_node(g, layer ? TN_OPS_LAYER_NORM : TN_OPS_RMS_NORM, out, x, weight, bias)->number[0] =
            0.01f;
        EACH_LEVEL
        {
            run_twice(g, isa, out);
            for (int r = 0; r < ROWS; r++) {
                const float *row = floats(g, x) + r * N;
                double mean = 0, square = 0;
                for (int i = 0; i < N; i++) {
                    mean += layer ? (double)row[i] / N : 0;
                }
                for (int i = 0; i < N; i++) {
                    square += ((double)row[i] - mean) * ((double)row[i] - mean) / N;
                }
                for (int i = 0; i < N; i++) {
                    double right = ((double)row[i] - mean) / sqrt(square + (double)0.01f);
                    right *= weighted ? (double)floats(g, weight)[i] : 1;
                    right += biased ? (double)floats(g, bias)[i] : 0;
                    assert_near((double)floats(g, out)[r * N + i], right, 1e-5);
                }
            }
        }
        free_graph(g);
    }
}

static void rows_are_reduced(void **unused)
{
    (void)unused;
    for (uint32_t kind = TN_OPS_REDUCE_SUM; kind <= TN_OPS_REDUCE_MAX; kind++) {
        for (uint64_t n = 1; n < 3000; n = n * 2 + 3) {
            struct test_graph *g = new_graph();
            uint32_t x = floats_of(g, TN_OPS_INPUT, n, 7, 3);
            uint32_t out = floats_of(g, TN_OPS_OUTPUT, 1, 7, 3);
            add_node(g, kind, out, x, NONE, NONE);
            EACH_LEVEL
            {
                run_twice(g, isa, out);
                for (uint64_t r = 0; r < 21; r++) {
                    double sum = 0, most = -INFINITY;
                    for (uint64_t i = 0; i < n; i++) {
                        sum += (double)floats(g, x)[r * n + i];
                        most = fmax(most, (double)floats(g, x)[r * n + i]);
                    }
                    double right = kind == TN_OPS_REDUCE_SUM    ? sum
                                   : kind == TN_OPS_REDUCE_MEAN ? sum / (double)n
                                                                : most;
                    assert_near((double)floats(g, out)[r], right, 1e-6 * (double)n);
                }
            }
            free_graph(g);
        }
    }
}

static void positions_turn_heads(void **unused)
{
    (void)unused;
    for (uint32_t variant = 0; variant < 16; variant++) {
        enum { DIM = 40, ROWS = 6, HEADS = 3 };
        bool outer = variant & 1, halves = variant & 2, slowed = variant & 8;
        uint32_t rotated = variant & 4 ? 28 : DIM;
        struct test_graph *g = new_graph();
        uint64_t d1 = outer ? HEADS : ROWS, d2 = outer ? ROWS : HEADS;
        uint32_t x = floats_of(g, TN_OPS_INPUT, DIM, d1, d2);
        uint32_t positions = tensor_of(g, TN_OPS_INPUT, TN_I32, ROWS, 0, 0, 0);
        uint32_t slower = slowed ? floats_of(g, TN_OPS_CONSTANT, rotated / 2, 0, 0) : NONE;
        uint32_t out = floats_of(g, TN_OPS_OUTPUT, DIM, d1, d2);
        struct tn_ops_node *n = add_node(g, TN_OPS_ROPE, out, x, positions, slower);
        n->number[0] = 10000, n->number[1] = 4, n->number[2] = 1.25f;
        n->integer[0] = (outer ? TN_OPS_ROWS_OUTER : 0) | (halves ? TN_OPS_HALVES : 0);
        n->integer[1] = rotated == DIM ? 0 : rotated;
        for (int i = 0; i < ROWS; i++) {
            ((int32_t *)g->memory[positions])[i] = i * i * 991;
        }
        for (uint32_t i = 0; slowed && i < rotated / 2; i++) {
            floats(g, slower)[i] = 1 + (float)i;
        }
        EACH_LEVEL
        {
            run_twice(g, isa, out);
            for (uint64_t i = 0; i < DIM * ROWS * HEADS; i++) {
                uint64_t d = i % DIM, row = outer ? i / DIM / HEADS : i / DIM % ROWS;
                double right = (double)floats(g, x)[i];
                if (d < rotated) {
                    uint64_t pair = halves ? d % (rotated / 2) : d / 2;
                    bool second = halves ? d >= rotated / 2 : d % 2;
                    int64_t step = halves ? rotated / 2 : 1;
                    double angle = (double)(row * row * 991) / 4 *
                                   pow(10000, -2.0 * (double)pair / rotated) /
                                   (slowed ? 1 + (double)pair : 1);
                    double other = (double)floats(g, x)[(int64_t)i + (second ? -step : step)];
                    right = 1.25 * (right * cos(angle) + (second ? other : -other) * sin(angle));
                }
                assert_near((double)floats(g, out)[i], right, 1e-6);
            }
        }
        free_graph(g);
    }
}

static void rows_are_looked_up_and_cast(void **unused)
{
    (void)unused;
    static const uint32_t types[] = {TN_F32,  TN_F16,  TN_BF16,  TN_Q8_0,
                                     TN_Q4_K, TN_Q6_K, TN_MXFP4, TN_IQ4_XS};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        enum { N = 512, ROWS = 9 };
        struct test_graph *g = new_graph();
        uint32_t table = tensor_of(g, TN_OPS_CONSTANT, types[t], N, ROWS, 0, 0);
        uint32_t ids = tensor_of(g, TN_OPS_INPUT, TN_I32, 3, 2, 0, 0);
        uint32_t out = floats_of(g, TN_OPS_OUTPUT, N, 3, 2);
        uint32_t wide = floats_of(g, TN_OPS_OUTPUT, N, ROWS, 0);
        uint32_t f16 = tensor_of(g, TN_OPS_OUTPUT, TN_F16, N, ROWS, 0, 0);
        uint32_t bf16 = tensor_of(g, TN_OPS_OUTPUT, TN_BF16, N, ROWS, 0, 0);
        add_node(g, TN_OPS_EMBED, out, table, ids, NONE);
        add_node(g, TN_OPS_CAST, wide, table, NONE, NONE);
        add_node(g, TN_OPS_CAST, f16, table, NONE, NONE);
        add_node(g, TN_OPS_CAST, bf16, table, NONE, NONE);
        const int32_t chosen[6] = {8, 0, 3, 3, 7, 1};
        memcpy(g->memory[ids], chosen, sizeof chosen);
        run_twice(g, tn_isa_best(), out);
        float row[N];
        for (int r = 0; r < ROWS; r++) {
            tn_dequantise_row(types[t],
                              (uint8_t *)g->memory[table] + (size_t)r * tn_row_bytes(types[t], N),
                              N, row);
            assert_memory_equal(floats(g, wide) + r * N, row, sizeof row);
            for (int i = 0; i < N; i++) {
                assert_int_equal(((uint16_t *)g->memory[f16])[r * N + i], tn_f32_to_f16(row[i]));
                assert_int_equal(((uint16_t *)g->memory[bf16])[r * N + i], tn_f32_to_bf16(row[i]));
            }
        }
        for (int i = 0; i < 6; i++) {
            assert_memory_equal(floats(g, out) + i * N, floats(g, wide) + chosen[i] * N,
                                sizeof row);
        }
        free_graph(g);
    }
}

// Random boxes, transposed, cut apart along a dimension, put together again and reshaped, are what
// they were.
static void what_is_moved_there_and_back_is_the_same(void **unused)
{
    (void)unused;
    static const uint32_t types[] = {TN_F32, TN_F16, TN_BF16, TN_I32};
    for (uint32_t round = 0; round < 60; round++) {
        struct test_graph *g = new_graph();
        uint32_t type = types[round % 4], axis = random_u32() % 4;
        uint64_t s[4], p[4];
        uint32_t order[4] = {0, 1, 2, 3};
        for (uint32_t i = 0; i < 4; i++) {
            s[i] = 1 + random_u32() % 9;
            uint32_t j = random_u32() % (i + 1), swapped = order[i];
            order[i] = order[j], order[j] = swapped;
        }
        s[round % 4] += round % 5 == 0 ? 20000 : 1;
        for (int i = 0; i < 4; i++) {
            p[i] = s[order[i]];
        }
        p[axis] = s[order[axis]] > 1 ? s[order[axis]] : 2;
        s[order[axis]] = p[axis];
        uint32_t x = tensor_of(g, TN_OPS_INPUT, type, s[0], s[1], s[2], s[3]);
        uint32_t turned = tensor_of(g, TN_OPS_TEMPORARY, type, p[0], p[1], p[2], p[3]);
        uint64_t first[4], rest[4];
        memcpy(first, p, sizeof p);
        memcpy(rest, p, sizeof p);
        first[axis] = 1 + random_u32() % (p[axis] - 1);
        rest[axis] = p[axis] - first[axis];
        uint32_t a = tensor_of(g, TN_OPS_TEMPORARY, type, first[0], first[1], first[2], first[3]);
        uint32_t b = tensor_of(g, TN_OPS_TEMPORARY, type, rest[0], rest[1], rest[2], rest[3]);
        uint32_t joined = tensor_of(g, TN_OPS_TEMPORARY, type, p[0], p[1], p[2], p[3]);
        uint32_t back = tensor_of(g, TN_OPS_TEMPORARY, type, s[0], s[1], s[2], s[3]);
        uint32_t out = tensor_of(g, TN_OPS_OUTPUT, type, g->values[x], 0, 0, 0);
        struct tn_ops_node *turn = add_node(g, TN_OPS_TRANSPOSE, turned, x, NONE, NONE);
        struct tn_ops_node *n = add_node(g, TN_OPS_SLICE, a, turned, NONE, NONE);
        n->integer[0] = axis;
        n = add_node(g, TN_OPS_SLICE, b, turned, NONE, NONE);
        n->integer[0] = axis, n->integer[1] = (uint32_t)first[axis];
        add_node(g, TN_OPS_CONCAT, joined, a, b, NONE)->integer[0] = axis;
        n = add_node(g, TN_OPS_TRANSPOSE, back, joined, NONE, NONE);
        for (uint32_t i = 0; i < 4; i++) {
            turn->integer[i] = order[i];
            n->integer[order[i]] = i;
        }
        add_node(g, TN_OPS_RESHAPE, out, back, NONE, NONE);
        size_t bytes = g->values[x] * tn_type_info(type)->block_bytes;
        for (size_t i = 0; i < bytes; i++) {
            ((uint8_t *)g->memory[x])[i] = (uint8_t)random_u32();
        }
        run_graph(g, TN_ISA_SCALAR);
        assert_memory_equal(g->memory[x], g->memory[out], bytes);
        free_graph(g);
    }
}

static void values_land_where_they_belong(void **unused)
{
    (void)unused;
    struct test_graph *g = new_graph();
    uint32_t x = floats_of(g, TN_OPS_INPUT, 5, 3, 2), y = floats_of(g, TN_OPS_INPUT, 5, 3, 4);
    uint32_t turned = floats_of(g, TN_OPS_OUTPUT, 3, 2, 5);
    uint32_t cut = floats_of(g, TN_OPS_OUTPUT, 2, 3, 2);
    uint32_t joined = floats_of(g, TN_OPS_OUTPUT, 5, 3, 8);
    struct tn_ops_node *n = add_node(g, TN_OPS_TRANSPOSE, turned, x, NONE, NONE);
    n->integer[0] = 1, n->integer[1] = 2, n->integer[2] = 0, n->integer[3] = 3;
    n = add_node(g, TN_OPS_SLICE, cut, x, NONE, NONE);
    n->integer[1] = 3;
    n = add_node(g, TN_OPS_CONCAT, joined, y, x, x);
    n->integer[0] = 2;
    run_graph(g, TN_ISA_SCALAR);
    for (int i = 0; i < 30; i++) {
        int a = i % 5, b = i / 5 % 3, c = i / 15;
        assert_true(floats(g, turned)[b + 3 * (c + 2 * a)] == floats(g, x)[i]);
        assert_true(a < 3 || floats(g, cut)[a - 3 + 2 * (b + 3 * c)] == floats(g, x)[i]);
        assert_true(floats(g, joined)[60 + i] == floats(g, x)[i]);
        assert_true(floats(g, joined)[90 + i] == floats(g, x)[i]);
    }
    assert_memory_equal(floats(g, joined), floats(g, y), 60 * sizeof(float));
    free_graph(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_are_right),
        cmocka_unit_test(gates_are_right),
        cmocka_unit_test(sides_are_repeated),
        cmocka_unit_test(scale_scales_and_adds),
        cmocka_unit_test(softmax_weighs),
        cmocka_unit_test(norms_norm),
        cmocka_unit_test(rows_are_reduced),
        cmocka_unit_test(positions_turn_heads),
        cmocka_unit_test(rows_are_looked_up_and_cast),
        cmocka_unit_test(what_is_moved_there_and_back_is_the_same),
        cmocka_unit_test(values_land_where_they_belong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
