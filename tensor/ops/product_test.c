// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// MATMUL: every weight type on every level against doubles; bit for bit the model executor's own
// product; and bit for bit whatever the number of rows and workers, fused or not.
//
// Links: @tensor tensor/core/pool_host.c
#include "tensor/cpu/packed.h"
#include "tensor/cpu/product.h"
#include "tensor/ops/test_ops.h"

static const uint32_t types[] = {TN_F32,    TN_F16,   TN_BF16, TN_Q8_0,  TN_Q4_0, TN_Q4_1,
                                 TN_Q5_0,   TN_Q5_1,  TN_Q2_K, TN_Q3_K,  TN_Q4_K, TN_Q5_K,
                                 TN_IQ4_NL, TN_MXFP4, TN_Q6_K, TN_IQ4_XS};
enum { TYPES = sizeof types / sizeof *types, K = 512, M = 37 };

// x [K, rows] times w [K, M], with a bias unless it is none.
struct product {
    struct test_graph *g;
    uint32_t x, w, bias, out;
};

static struct product make_product(uint32_t type, uint64_t rows, bool biased)
{
    struct product p = {.g = new_graph(), .bias = NONE};
    p.x = floats_of(p.g, TN_OPS_INPUT, K, rows, 0);
    p.w = tensor_of(p.g, TN_OPS_CONSTANT, type, K, M, 0, 0);
    if (biased) {
        p.bias = floats_of(p.g, TN_OPS_CONSTANT, M, 0, 0);
    }
    p.out = floats_of(p.g, TN_OPS_OUTPUT, M, rows, 0);
    add_node(p.g, TN_OPS_MATMUL, p.out, p.x, p.w, p.bias);
    return p;
}

static void check_against_doubles(const struct product *p, uint32_t type, uint64_t rows)
{
    float weights[K];
    size_t bytes = tn_row_bytes(type, K);
    for (uint64_t m = 0; m < M; m++) {
        tn_dequantise_row(type, (uint8_t *)p->g->memory[p->w] + m * bytes, K, weights);
        for (uint64_t r = 0; r < rows; r++) {
            const float *x = floats(p->g, p->x) + r * K;
            double right = p->bias == NONE ? 0 : (double)floats(p->g, p->bias)[m];
            double size = fabs(right), most = 0, weight = 0;
            for (int i = 0; i < K; i++) {
                right += (double)x[i] * (double)weights[i];
                size += fabs((double)x[i] * (double)weights[i]);
                most = fmax(most, fabs((double)x[i]));
                weight += fabs((double)weights[i]);
            }
            // Rows for blocks are rounded to 127 steps: half a step for each value.
            bool rounded = tn_columns_kind_of(type) != TN_COLUMNS_FLOAT;
            assert_near((double)floats(p->g, p->out)[r * M + m], right,
                        1e-5 * size + (rounded ? most / 254 * weight : 0));
        }
    }
}

static void every_weight_type_multiplies(void **unused)
{
    (void)unused;
    EACH_LEVEL
    {
        for (size_t t = 0; t < TYPES; t++) {
            static const uint64_t rows[] = {1, 5, 20};
            for (size_t i = 0; i < 3; i++) {
                struct product p = make_product(types[t], rows[i], i > 0);
                run_graph(p.g, isa);
                check_against_doubles(&p, types[t], rows[i]);
                free_graph(p.g);
            }
        }
    }
}

// The same product by the executor's own path.
static void run_executor(const struct product *p, uint32_t type, uint64_t rows, enum tn_isa isa,
                         float *out)
{
    struct ir_shape values[3] = {{0}, {.columns = K}, {.columns = M, .offset = K}};
    struct ir_op op = {.kind = IR_MATMUL,
                       .in = {1},
                       .out = 2,
                       .matrix = {{.data = p->g->memory[p->w],
                                   .type = type,
                                   .rows = M,
                                   .columns = K,
                                   .row_bytes = tn_row_bytes(type, K)}},
                       .vector = {p->bias == NONE ? NULL : floats(p->g, p->bias)},
                       .activation = IR_GELU};
    struct ir_graph graph = {.ops = &op, .values = values, .op_count = 1, .value_count = 3};
    struct tn_worker worker = {0};
    struct tn_executor x = {
        .graph = &graph,
        .integers = tn_integer_kernels_of(isa),
        .floats = tn_float_kernels_of(isa),
        .row_kernels = tn_row_kernels_of(isa),
        .options = {.isa = isa, .pool = &tn_pool_single, .max_tokens = (uint32_t)rows},
        .workers = &worker,
        .row_count = (uint32_t)rows};
    struct tn_arena a = {0};
    for (int pass = 0; pass < 2; pass++) {
        tn_products_carve(&x, &a);
        tn_worker_carve(&worker, &a);
        if (pass == 0) {
            a = (struct tn_arena){.base = aligned_alloc(64, a.used), .size = a.used};
            assert_non_null(a.base);
        }
    }
    x.values = calloc(rows * (K + M), sizeof(float));
    memcpy(tn_value(&x, 1), floats(p->g, p->x), rows * K * sizeof(float));
    assert_int_equal(tn_run_products(&x, &op, 1), 1);
    memcpy(out, tn_value(&x, 2), rows * M * sizeof(float));
    free(x.values);
    free(a.base);
}

static void products_have_the_executors_bits(void **unused)
{
    (void)unused;
    EACH_LEVEL
    {
        for (size_t t = 0; t < TYPES; t++) {
            for (uint64_t rows = 1; rows < 40; rows += 19) {
                struct product p = make_product(types[t], rows, true);
                p.g->nodes[0].integer[0] = TN_OPS_ACT_GELU;
                float *out = malloc(rows * M * sizeof *out);
                run_executor(&p, types[t], rows, isa, out);
                run_graph(p.g, isa);
                assert_memory_equal(out, floats(p.g, p.out), rows * M * sizeof *out);
                free(out);
                free_graph(p.g);
            }
        }
    }
}

static void rows_do_not_depend_on_their_company(void **unused)
{
    (void)unused;
    struct tn_pool *three = tn_pool_threads(3);
    EACH_LEVEL
    {
        for (size_t t = 0; t < TYPES; t++) {
            struct product all = make_product(types[t], 70, true);
            run_graph(all.g, isa);
            float *out = malloc(70 * M * sizeof *out);
            memcpy(out, floats(all.g, all.out), 70 * M * sizeof *out);
            run_graph_on(all.g, three, isa);
            assert_memory_equal(out, floats(all.g, all.out), 70 * M * sizeof *out);
            for (uint64_t first = 0, rows = 1; first + rows <= 70; first += rows, rows += 3) {
                struct product some = make_product(types[t], rows, true);
                memcpy(floats(some.g, some.x), floats(all.g, all.x) + first * K, rows * K * 4);
                memcpy(some.g->memory[some.w], all.g->memory[all.w], M * tn_row_bytes(types[t], K));
                memcpy(floats(some.g, some.bias), floats(all.g, all.bias), M * 4);
                run_graph(some.g, isa);
                assert_memory_equal(out + first * M, floats(some.g, some.out), rows * M * 4);
                free_graph(some.g);
            }
            free(out);
            free_graph(all.g);
        }
    }
    tn_pool_free(three);
}

// Rows beyond one pass (product.c) are the same rows.
static void many_rows_take_several_passes(void **unused)
{
    (void)unused;
    enum { ROWS = 2500 };
    struct product p = make_product(TN_Q8_0, ROWS, false), last = make_product(TN_Q8_0, 7, false);
    run_graph(p.g, tn_isa_best());
    memcpy(last.g->memory[last.w], p.g->memory[p.w], M * tn_row_bytes(TN_Q8_0, K));
    memcpy(floats(last.g, last.x), floats(p.g, p.x) + (ROWS - 7) * K, 7 * K * 4);
    run_graph(last.g, tn_isa_best());
    assert_memory_equal(floats(p.g, p.out) + (ROWS - 7) * M, floats(last.g, last.out), 7 * M * 4);
    check_against_doubles(&last, TN_Q8_0, 7);
    free_graph(p.g);
    free_graph(last.g);
}

static void packed_weights_have_the_bits_of_plain_ones(void **unused)
{
    (void)unused;
    for (size_t t = 0; t < TYPES; t++) {
        enum { ROWS = 16 };
        uint32_t type = types[t], other = type | TN_PACKED;
        size_t bytes = ROWS * tn_row_bytes(type, K);
        struct test_graph *g = new_graph();
        uint32_t x = floats_of(g, TN_OPS_INPUT, K, 9, 0);
        uint32_t w = tensor_of(g, TN_OPS_CONSTANT, type, K, ROWS, 0, 0);
        uint32_t packed = tensor_of(g, TN_OPS_CONSTANT, other, K, ROWS, 0, 0);
        uint32_t a = floats_of(g, TN_OPS_OUTPUT, ROWS, 9, 0);
        uint32_t b = floats_of(g, TN_OPS_OUTPUT, ROWS, 9, 0);
        tn_pack_strip(type, g->memory[w], bytes / ROWS, ROWS, K, g->memory[packed]);
        add_node(g, TN_OPS_MATMUL, a, x, w, NONE);
        add_node(g, TN_OPS_MATMUL, b, x, packed, NONE);
        uint32_t ids = tensor_of(g, TN_OPS_INPUT, TN_I32, 3, 0, 0, 0);
        uint32_t c = floats_of(g, TN_OPS_OUTPUT, K, 3, 0), d = floats_of(g, TN_OPS_OUTPUT, K, 3, 0);
        add_node(g, TN_OPS_EMBED, c, w, ids, NONE);
        add_node(g, TN_OPS_EMBED, d, packed, ids, NONE);
        ((int32_t *)g->memory[ids])[0] = 15;
        ((int32_t *)g->memory[ids])[2] = 6;
        EACH_LEVEL
        {
            run_graph(g, isa);
            assert_memory_equal(floats(g, a), floats(g, b), 9 * ROWS * 4);
            assert_memory_equal(floats(g, c), floats(g, d), 3 * K * 4);
        }
        free_graph(g);
    }
}

// act(x w + bias) + residual, with steps in between that are outputs, so that nothing is fused, or
// temporaries.
static float *run_chain(enum tn_ops_role role, uint32_t act, bool swapped, enum tn_isa isa,
                        size_t *memory)
{
    random_state = 4711;
    struct product p = make_product(TN_Q4_K, 15, false);
    uint32_t bias = floats_of(p.g, TN_OPS_CONSTANT, M, 0, 0);
    uint32_t residual = floats_of(p.g, TN_OPS_INPUT, M, 15, 0);
    uint32_t end = floats_of(p.g, TN_OPS_OUTPUT, M, 15, 0);
    uint64_t state = random_state; // outputs are filled at random, too
    uint32_t biased = floats_of(p.g, role, M, 15, 0), active = floats_of(p.g, role, M, 15, 0);
    random_state = state;
    p.g->tensors[p.out].role = role;
    add_node(p.g, TN_OPS_ADD, biased, p.out, bias, NONE);
    add_node(p.g, act, active, biased, NONE, NONE);
    add_node(p.g, TN_OPS_ADD, end, swapped ? residual : active, swapped ? active : residual, NONE);
    struct tn_ops *o;
    assert_int_equal(try_open(p.g, &tn_pool_single, isa, &o), 0);
    *memory = tn_ops_memory(o);
    assert_int_equal(tn_ops_run(o, p.g->memory), 0);
    tn_ops_close(o);
    float *out = malloc(15 * M * sizeof *out);
    memcpy(out, floats(p.g, end), 15 * M * sizeof *out);
    free_graph(p.g);
    return out;
}

static void fusion_changes_no_bit(void **unused)
{
    (void)unused;
    EACH_LEVEL
    {
        for (uint32_t act = TN_OPS_SILU; act <= TN_OPS_TANH; act++) {
            for (int swapped = 0; swapped < 2; swapped++) {
                size_t fused_memory, memory;
                float *fused = run_chain(TN_OPS_TEMPORARY, act, swapped, isa, &fused_memory);
                float *apart = run_chain(TN_OPS_OUTPUT, act, swapped, isa, &memory);
                assert_memory_equal(fused, apart, 15 * M * sizeof *fused);
                assert_int_equal(fused_memory, memory); // no temporary is left
                free(fused);
                free(apart);
            }
        }
    }
}

// What the second of two readers wants must not be taken from it.
static void a_shared_product_is_not_fused(void **unused)
{
    (void)unused;
    struct product p = make_product(TN_F32, 3, false);
    uint32_t made = floats_of(p.g, TN_OPS_TEMPORARY, M, 3, 0);
    uint32_t active = floats_of(p.g, TN_OPS_OUTPUT, M, 3, 0);
    uint32_t twice = floats_of(p.g, TN_OPS_OUTPUT, M, 3, 0);
    p.g->nodes[0].out = made;
    add_node(p.g, TN_OPS_RELU, active, made, NONE, NONE);
    add_node(p.g, TN_OPS_ADD, twice, made, made, NONE);
    p.g->tensors[p.out].role = TN_OPS_INPUT;
    run_graph(p.g, tn_isa_best());
    bool negative = false;
    for (int i = 0; i < 3 * M; i++) {
        float half = floats(p.g, twice)[i] / 2;
        negative |= half < 0;
        assert_true(floats(p.g, active)[i] == (half > 0 ? half : 0));
    }
    assert_true(negative);
    free_graph(p.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_weight_type_multiplies),
        cmocka_unit_test(products_have_the_executors_bits),
        cmocka_unit_test(rows_do_not_depend_on_their_company),
        cmocka_unit_test(many_rows_take_several_passes),
        cmocka_unit_test(packed_weights_have_the_bits_of_plain_ones),
        cmocka_unit_test(fusion_changes_no_bit),
        cmocka_unit_test(a_shared_product_is_not_fused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
