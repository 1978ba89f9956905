/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Holds the gradient of a tiny network against finite differences, and one batch against its parts.
 */
// Links: tensor/train/net.c tensor/train/ops.c
// Links: tensor/train/gemm.c tensor/cpu/gemm.c tensor/cpu/gemm_scalar.c tensor/cpu/gemm_avx2.c
// Links: tensor/cpu/gemm_avx512.c tensor/cpu/gemm8_scalar.c tensor/cpu/gemm8_avx2.c
// Links: tensor/cpu/gemm8_avx512vnni.c tensor/core/pool.c
#include "tensor/train/net.h"

#include "tensor/train/random.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 80 };

struct fixture {
    struct train_net net;
    float *parameters, *gradient;
    struct train_workspace *workspace;
    uint32_t token[TOKENS], position[TOKENS], starts[4];
    int32_t target[TOKENS];
    struct train_batch batch;
};

static void prepare(struct fixture *f, uint32_t tied)
{
    const struct train_shape shape = {.vocab = 13,
                                      .width = 16,
                                      .layers = 2,
                                      .heads = 4,
                                      .kv_heads = 2,
                                      .ff = 24,
                                      .context = 70,
                                      .tied = tied,
                                      .rope_base = 10000.0f,
                                      .epsilon = 1e-5f};
    static const uint32_t starts[4] = {0, 7, 11, TOKENS};
    uint64_t state = 5;

    assert_int_equal(train_net_open(&f->net, &shape), 0);
    f->parameters = calloc(f->net.parameters, sizeof(float));
    f->gradient = calloc(f->net.parameters, sizeof(float));
    f->workspace = train_workspace_new(&f->net, TOKENS);
    assert_non_null(f->parameters);
    assert_non_null(f->gradient);
    assert_non_null(f->workspace);
    train_net_initialise(&f->net, 3, f->parameters);
    for (size_t i = 0; i < f->net.parameters; i++) /* gains that are not all 1 show more */
        f->parameters[i] += 0.2f * (float)train_random_normal(&state);
    memcpy(f->starts, starts, sizeof starts);
    for (uint32_t s = 0; s < 3; s++) {
        for (uint32_t i = starts[s]; i < starts[s + 1]; i++) {
            f->position[i] = i - starts[s];
            f->token[i] = train_random_below(&state, shape.vocab);
            f->target[i] = i % 3 == 1 ? -1 : (int32_t)train_random_below(&state, shape.vocab);
        }
    }
    f->batch = (struct train_batch){TOKENS, 3, f->token, f->target, f->position, f->starts};
}

static void dispose(struct fixture *f)
{
    train_workspace_free(f->workspace);
    free(f->parameters);
    free(f->gradient);
    train_net_close(&f->net);
}

static double loss(struct fixture *f)
{
    return train_net_run(&f->net, f->parameters, &f->batch, 1, NULL, NULL, f->workspace).loss;
}

/* The steepest change that the gradient foretells must be the one that the loss shows. */
static void check_gradient(uint32_t tied)
{
    struct fixture f;

    prepare(&f, tied);
    train_net_run(&f.net, f.parameters, &f.batch, 1, f.gradient, NULL, f.workspace);
    for (size_t t = 0; t < f.net.tensor_count; t++) {
        const struct train_tensor *tensor = &f.net.tensors[t];
        const size_t count = tensor->rows * tensor->columns;
        uint64_t state = t;

        for (int i = 0; i < 12; i++) {
            const size_t at = tensor->offset + train_random_below(&state, (uint32_t)count);
            const float saved = f.parameters[at], step = 4e-3f;
            double above, below, slope;

            f.parameters[at] = saved + step;
            above = loss(&f);
            f.parameters[at] = saved - step;
            below = loss(&f);
            f.parameters[at] = saved;
            slope = (above - below) / (2.0 * (double)step);
            if (fabs(slope - (double)f.gradient[at]) > 0.01 + 0.01 * fabs(slope))
                fail_msg("%s[%zu]: gradient %g, measured %g", tensor->name, at - tensor->offset,
                         (double)f.gradient[at], slope);
        }
    }
    dispose(&f);
}

static void gradient_equals_finite_differences(void **state)
{
    (void)state;
    check_gradient(0);
}

static void gradient_equals_finite_differences_when_tied(void **state)
{
    (void)state;
    check_gradient(1);
}

static void sequences_of_a_batch_do_not_see_each_other(void **state)
{
    struct fixture f;
    double together, apart = 0;

    (void)state;
    prepare(&f, 1);
    together = loss(&f);
    for (uint32_t s = 0; s < 3; s++) {
        uint32_t starts[2] = {0, f.starts[s + 1] - f.starts[s]};
        const struct train_batch one = {
            starts[1], 1, f.token + f.starts[s], f.target + f.starts[s], f.position + f.starts[s],
            starts};

        apart += train_net_run(&f.net, f.parameters, &one, 1, NULL, NULL, f.workspace).loss;
    }
    assert_true(fabs(together - apart) < 1e-4);
    dispose(&f);
}

static void later_tokens_do_not_change_earlier_rows(void **state)
{
    struct fixture f;
    double before, after;

    (void)state;
    prepare(&f, 1);
    f.target[6] = -1;
    before = loss(&f);
    f.token[6] = (f.token[6] + 1) % 13; /* the last token of the first sequence */
    after = loss(&f);
    assert_true(before == after);
    dispose(&f);
}

static void impossible_shapes_are_refused(void **state)
{
    const struct train_shape shape = {
        .vocab = 8, .width = 30, .layers = 1, .heads = 4, .kv_heads = 2, .ff = 8, .context = 4};
    struct train_net net;

    (void)state;
    assert_int_equal(train_net_open(&net, &shape), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_equals_finite_differences),
        cmocka_unit_test(gradient_equals_finite_differences_when_tied),
        cmocka_unit_test(sequences_of_a_batch_do_not_see_each_other),
        cmocka_unit_test(later_tokens_do_not_change_earlier_rows),
        cmocka_unit_test(impossible_shapes_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
