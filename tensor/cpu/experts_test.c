// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Mixtures of experts against a plain loop in doubles, for every way to choose and weigh; and bit
// for bit whatever the number of tokens, threads and the order of experts in the batch.
//
// Links: @tensor tensor/core/pool_host.c
#include "tensor/core/math.h"
#include "tensor/cpu/product.h"
#include "tensor/cpu/test_weights.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { EMBEDDING = 256, HIDDEN = 512, EXPERTS = 9, USED = 3, TOKENS = 40 };

struct setup {
    struct ir_experts experts;
    float *gate, *up, *down; // dequantised
    uint8_t *file[3];
    struct ir_graph graph;
    struct ir_shape values[4];
    struct ir_op op;
    float in[TOKENS * EMBEDDING], router[TOKENS * EXPERTS], gate_bias[EXPERTS * HIDDEN],
        up_bias[EXPERTS * HIDDEN], down_bias[EXPERTS * EMBEDDING], choice_bias[EXPERTS];
};

static struct ir_matrix random_matrix(uint32_t type, uint32_t columns, uint32_t rows,
                                      uint8_t **file, float **values)
{
    size_t bytes = tn_row_bytes(type, columns), all = (size_t)rows * EXPERTS;
    *file = malloc(bytes * all);
    *values = malloc(all * columns * sizeof(float));
    if (type == TN_F32) {
        for (size_t i = 0; i < all * columns; i++) {
            float f = random_float() * 0.1f;
            memcpy(*file + 4 * i, &f, 4);
        }
    } else {
        random_rows(type, *file, all, columns);
    }
    for (size_t r = 0; r < all; r++) {
        tn_dequantise_row(type, *file + r * bytes, columns, *values + r * columns);
    }
    return (struct ir_matrix){
        .data = *file, .type = type, .rows = rows, .columns = columns, .row_bytes = bytes};
}

static void fill(float *x, size_t n, float size)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = random_float() * size;
    }
}

static struct setup *make(uint32_t gate_type, uint32_t up_type, uint32_t down_type)
{
    struct setup *s = calloc(1, sizeof *s);
    s->experts = (struct ir_experts){
        .count = EXPERTS, .used = USED, .weight_scale = 1, .activation = IR_SILU};
    s->experts.gate = random_matrix(gate_type, EMBEDDING, HIDDEN, &s->file[0], &s->gate);
    s->experts.up = random_matrix(up_type, EMBEDDING, HIDDEN, &s->file[1], &s->up);
    s->experts.down = random_matrix(down_type, HIDDEN, EMBEDDING, &s->file[2], &s->down);
    fill(s->in, TOKENS * EMBEDDING, 1);
    fill(s->router, TOKENS * EXPERTS, 3);
    fill(s->gate_bias, EXPERTS * HIDDEN, 1);
    fill(s->up_bias, EXPERTS * HIDDEN, 1);
    fill(s->down_bias, EXPERTS * EMBEDDING, 1);
    fill(s->choice_bias, EXPERTS, 0.5f);
    s->values[1] = (struct ir_shape){.columns = EMBEDDING, .offset = 0};
    s->values[2] = (struct ir_shape){.columns = EXPERTS, .offset = EMBEDDING};
    s->values[3] = (struct ir_shape){.columns = EMBEDDING, .offset = EMBEDDING + 16};
    s->op = (struct ir_op){.kind = IR_EXPERTS, .in = {1, 2}, .out = 3, .experts = &s->experts};
    s->graph =
        (struct ir_graph){.ops = &s->op, .values = s->values, .op_count = 1, .value_count = 4};
    return s;
}

static void release(struct setup *s)
{
    for (int i = 0; i < 3; i++) {
        free(s->file[i]);
    }
    free(s->gate);
    free(s->up);
    free(s->down);
    free(s);
}

// Tokens [first, first + count) in one step.
static void run(struct setup *s, enum tn_isa isa, unsigned threads, size_t first, size_t count,
                float *out)
{
    struct tn_pool *pool = threads > 1 ? tn_pool_threads(threads) : &tn_pool_single;
    struct tn_executor x = {.graph = &s->graph,
                            .integers = tn_integer_kernels_of(isa),
                            .floats = tn_float_kernels_of(isa),
                            .row_kernels = tn_row_kernels_of(isa),
                            .options = {.isa = isa, .pool = pool, .max_tokens = TOKENS}};
    struct tn_worker workers[2] = {0};
    struct tn_arena measure = {0};
    tn_products_carve(&x, &measure);
    tn_worker_carve(&workers[0], &measure);
    tn_worker_carve(&workers[1], &measure);
    struct tn_arena arena = {.base = aligned_alloc(64, tn_align_up(measure.used)),
                             .size = tn_align_up(measure.used)};
    tn_products_carve(&x, &arena);
    tn_worker_carve(&workers[0], &arena);
    tn_worker_carve(&workers[1], &arena);
    x.workers = workers;
    x.row_count = (uint32_t)count;
    x.values = aligned_alloc(64, (size_t)(2 * EMBEDDING + 32) * TOKENS * sizeof(float));
    memcpy(tn_value(&x, 1), s->in + first * EMBEDDING, count * EMBEDDING * sizeof(float));
    memcpy(tn_value(&x, 2), s->router + first * EXPERTS, count * EXPERTS * sizeof(float));
    assert_int_equal(tn_run_products(&x, &s->op, 1), 1);
    memcpy(out, tn_value(&x, 3), count * EMBEDDING * sizeof(float));
    free(x.values);
    free(arena.base);
    tn_pool_free(pool);
}

// ---- the plain loop ----------------------------------------------------------------------------

static double activation(enum ir_activation a, double gate, double up)
{
    if (a == IR_SWIGLU_OAI) {
        gate = gate < 7 ? gate : 7;
        up = up > 7 ? 7 : up < -7 ? -7 : up;
        return gate / (1 + exp(-1.702 * gate)) * (up + 1);
    }
    return gate / (1 + exp(-gate)) * up;
}

static void plain_token(const struct setup *s, size_t t, double *out)
{
    const struct ir_experts *e = &s->experts;
    const float *router = s->router + t * EXPERTS, *x = s->in + t * EMBEDDING;
    double score[EXPERTS], total = 0, weight[USED], sum = 0;
    int chosen[USED];
    for (int i = 0; i < EXPERTS; i++) {
        total += exp((double)router[i]);
    }
    for (int i = 0; i < EXPERTS; i++) {
        score[i] = e->sigmoid          ? 1 / (1 + exp(-(double)router[i]))
                   : e->softmax_chosen ? (double)router[i]
                                       : exp((double)router[i]) / total;
    }
    for (int u = 0; u < USED; u++) {
        chosen[u] = -1;
        for (int i = 0; i < EXPERTS; i++) {
            bool taken = false;
            for (int j = 0; j < u; j++) {
                taken = taken || chosen[j] == i;
            }
            double bias = e->choice_bias ? (double)e->choice_bias[i] : 0;
            double best =
                chosen[u] < 0
                    ? -1e300
                    : score[chosen[u]] + (e->choice_bias ? (double)e->choice_bias[chosen[u]] : 0);
            if (!taken && score[i] + bias > best) {
                chosen[u] = i;
            }
        }
        weight[u] = e->softmax_chosen ? exp(score[chosen[u]]) : score[chosen[u]];
        sum += weight[u];
    }
    for (int i = 0; i < EMBEDDING; i++) {
        out[i] = 0;
    }
    for (int u = 0; u < USED; u++) {
        double w = e->normalised || e->softmax_chosen ? weight[u] / sum : weight[u];
        w *= (double)e->weight_scale;
        size_t at = (size_t)chosen[u] * HIDDEN;
        double hidden[HIDDEN];
        for (size_t h = 0; h < HIDDEN; h++) {
            double gate = e->gate_bias ? (double)e->gate_bias[at + h] : 0;
            double up = e->up_bias ? (double)e->up_bias[at + h] : 0;
            for (size_t i = 0; i < EMBEDDING; i++) {
                gate += (double)s->gate[(at + h) * EMBEDDING + i] * (double)x[i];
                up += (double)s->up[(at + h) * EMBEDDING + i] * (double)x[i];
            }
            hidden[h] = activation(e->activation, gate, up);
        }
        for (size_t r = 0; r < EMBEDDING; r++) {
            size_t row = (size_t)chosen[u] * EMBEDDING + r;
            double y = e->down_bias ? (double)e->down_bias[row] : 0;
            for (size_t h = 0; h < HIDDEN; h++) {
                y += (double)s->down[row * HIDDEN + h] * hidden[h];
            }
            out[r] += w * y;
        }
    }
}

// Relative error of tokens 0 .. count - 1 in the root mean square.
static double error_of(const struct setup *s, const float *out, size_t count)
{
    double error = 0, size = 0, right[EMBEDDING];
    for (size_t t = 0; t < count; t++) {
        plain_token(s, t, right);
        for (size_t i = 0; i < EMBEDDING; i++) {
            double d = (double)out[t * EMBEDDING + i] - right[i];
            error += d * d;
            size += right[i] * right[i];
        }
    }
    return sqrt(error / size);
}

static void every_way_to_choose_matches_doubles(void **unused)
{
    (void)unused;
    float out[TOKENS * EMBEDDING];
    struct setup *s = make(TN_F32, TN_F32, TN_F32);
    struct ir_experts *e = &s->experts;
    for (int way = 0; way < 6; way++) {
        e->sigmoid = way == 1 || way == 2;
        e->choice_bias = way == 2 ? s->choice_bias : NULL;
        e->softmax_chosen = way == 3;
        e->normalised = way == 2 || way == 4;
        e->weight_scale = way == 2 ? 2.5f : 1;
        e->activation = way == 3 ? IR_SWIGLU_OAI : IR_SILU;
        bool biases = way == 3 || way == 5;
        e->gate_bias = biases ? s->gate_bias : NULL;
        e->up_bias = biases ? s->up_bias : NULL;
        e->down_bias = biases ? s->down_bias : NULL;
        run(s, tn_isa_best(), 1, 0, 12, out);
        double error = error_of(s, out, 12);
        if (error > 1e-5) {
            fail_msg("way %d: relative error %g", way, error);
        }
    }
    release(s);
}

static void bits_do_not_depend_on_the_batch(void **unused)
{
    (void)unused;
    static const uint32_t types[][3] = {{TN_F32, TN_F32, TN_F32},
                                        {TN_Q8_0, TN_Q8_0, TN_Q8_0},
                                        {TN_Q4_K, TN_Q4_K, TN_Q6_K},
                                        {TN_MXFP4, TN_MXFP4, TN_MXFP4},
                                        {TN_Q5_0, TN_Q6_K, TN_F32}};
    static float all[TOKENS * EMBEDDING], other[TOKENS * EMBEDDING];
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        struct setup *s = make(types[k][0], types[k][1], types[k][2]);
        s->experts.normalised = true;
        for (int isa = 0; isa <= (int)tn_isa_best(); isa++) {
            run(s, (enum tn_isa)isa, 1, 0, TOKENS, all);
            double error = error_of(s, all, isa ? 2 : 1);
            assert_true(error < (types[k][2] == TN_F32 && k == 0 ? 1e-5 : 0.02));
            for (size_t together = 1; together <= 27; together += 13) {
                for (size_t t = 0; t < TOKENS; t += together) {
                    size_t count = TOKENS - t < together ? TOKENS - t : together;
                    run(s, (enum tn_isa)isa, together == 14 ? 2 : 1, t, count,
                        other + t * EMBEDDING);
                }
                assert_memory_equal(all, other, sizeof all);
            }
        }
        release(s);
    }
}

static void of_equal_experts_the_first_are_taken(void **unused)
{
    (void)unused;
    float out[EMBEDDING];
    struct setup *s = make(TN_F32, TN_F32, TN_F32);
    for (size_t i = 0; i < EXPERTS; i++) {
        s->router[i] = i == 4 ? 1.0f : 0.5f; // 4, then 0 and 1 of the many equals
    }
    run(s, tn_isa_best(), 1, 0, 1, out);
    assert_true(error_of(s, out, 1) < 1e-5);
    release(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_to_choose_matches_doubles),
        cmocka_unit_test(bits_do_not_depend_on_the_batch),
        cmocka_unit_test(of_equal_experts_the_first_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
