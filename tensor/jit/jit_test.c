// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The JIT's kernels against double arithmetic and, bit for bit, against the executor's row kernels.
//
// Links: @tensor tensor/jit/jit_host.c
#include "tensor/cpu/row_kernels.h"
#include "tensor/jit/jit_private.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MOST = 9000, GUARD = 64 };

static enum tn_isa isa; // of the test that runs
static struct jit *j;
static float a[MOST], b[MOST], c[MOST], got_room[MOST + 2 * GUARD], want[MOST];
static float *const got = got_room + GUARD;

static float random_float(void)
{
    static uint64_t s = 12345;
    s = s * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(s >> 40) / (1 << 24) * 8 - 4);
}

static void fresh(void)
{
    for (int i = 0; i < MOST; i++) {
        a[i] = random_float();
        b[i] = random_float();
        c[i] = random_float();
    }
    for (int i = 0; i < MOST + 2 * GUARD; i++) {
        got_room[i] = 77;
    }
}

static void only_these_changed(size_t n)
{
    for (size_t i = 0; i < GUARD; i++) {
        if (got[-1 - (long)i] != 77 || got[n + i] != 77) {
            fail_msg("length %zu: written outside", n);
        }
    }
}

static void same_bits(const char *what, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&got[i], &want[i], 4) != 0) {
            fail_msg("%s, %s, length %zu: element %zu is %.9g, wanted %.9g", what, tn_isa_name(isa),
                     n, i, (double)got[i], (double)want[i]);
        }
    }
    only_these_changed(n);
}

static void open_jit(void)
{
    char error[200];
    if (jit_open(jit_host_memory(), isa, &j, error, sizeof error)) {
        fail_msg("%s", error);
    }
}

static const struct jit_code *get(const struct jit_shape *s)
{
    const struct jit_code *code;
    int rc = jit_get(j, s, &code);
    if (rc) {
        fail_msg("kind %d, length %u: %d", (int)s->kind, s->length, rc);
    }
    return code;
}

// Lengths around every border of vectors, copies and turns.
static const uint32_t lengths[] = {1,   2,   3,   7,   8,   9,   15,  16,  17,   31,   32,   33,
                                   47,  48,  63,  64,  65,  100, 127, 128, 129,  191,  255,  256,
                                   257, 300, 511, 512, 513, 640, 777, 960, 1024, 1025, 2048, 4097};
#define EACH_LENGTH(n)                                                                             \
    for (size_t which = 0; which < sizeof lengths / sizeof *lengths; which++)                      \
        for (uint32_t n = lengths[which]; n; n = 0)

// ---- kernels -----------------------------------------------------------------------------------

static void add_and_axpy(void)
{
    EACH_LENGTH(n)
    {
        fresh();
        const struct jit_code *add = get(&(struct jit_shape){.kind = JIT_ADD, .length = n});
        add->run.add(got, a, b);
        for (size_t i = 0; i < n; i++) {
            want[i] = a[i] + b[i];
        }
        same_bits("add", n);
        add->run.add(got, got, b); // in place
        for (size_t i = 0; i < n; i++) {
            want[i] += b[i];
        }
        same_bits("add in place", n);
        jit_put(j, add);
        const struct jit_code *axpy = get(&(struct jit_shape){.kind = JIT_AXPY, .length = n});
        memcpy(got, c, n * 4);
        axpy->run.axpy(got, a, 0.3f);
        for (size_t i = 0; i < n; i++) {
            want[i] = fmaf(0.3f, a[i], c[i]);
        }
        same_bits("axpy", n);
        jit_put(j, axpy);
    }
}

static float lanes_folded(float s[64])
{
    for (int half = 32; half; half /= 2) {
        // The first fold pairs sixteens 0 with 2 and 1 with 3, then the two; within a sixteen,
        // halves.
        for (int i = 0; i < half; i++) {
            s[i] += s[i + half];
        }
    }
    return s[0];
}

static void dot(void)
{
    EACH_LENGTH(n)
    {
        float s[64] = {0};
        fresh();
        const struct jit_code *code = get(&(struct jit_shape){.kind = JIT_DOT, .length = n});
        for (size_t i = 0; i < n; i++) {
            s[i % 64] = fmaf(a[i], b[i], s[i % 64]);
        }
        want[0] = lanes_folded(s);
        got[0] = code->run.dot(a, b);
        if (memcmp(got, want, 4) != 0) {
            fail_msg("dot, length %u: %.9g, wanted %.9g", n, (double)got[0], (double)want[0]);
        }
        jit_put(j, code);
    }
}

static void against_row_kernels(void)
{
    const struct tn_row_kernels *k = tn_row_kernels_of(isa);
    EACH_LENGTH(n)
    {
        fresh();
        const struct jit_code *code = get(&(struct jit_shape){.kind = JIT_SILU_MUL, .length = n});
        a[0] = -200;
        a[n / 2] = n > 2 ? 95 : a[n / 2];
        memcpy(got, a, n * 4);
        memcpy(want, a, n * 4);
        code->run.silu_mul(got, b);
        k->gate(IR_SILU, want, b, n);
        same_bits("silu mul", n);
        jit_put(j, code);
        code = get(&(struct jit_shape){.kind = JIT_RMS_NORM, .length = n, .epsilon = 1e-5f});
        code->run.rms_norm(got, a, b);
        k->rms_norm(want, a, b, n, 1e-5f);
        same_bits("rms norm", n);
        jit_put(j, code);
        if (n > MOST / 4) {
            continue;
        }
        fresh();
        code = get(&(struct jit_shape){.kind = JIT_ROPE_HALVES, .length = n});
        code->run.rope(got, a, b);
        k->turn_halves(want, a, b, n);
        same_bits("rope by halves", 2 * (size_t)n);
        jit_put(j, code);
        fresh();
        code = get(&(struct jit_shape){.kind = JIT_ROPE_NEIGHBOURS, .length = n});
        code->run.rope(got, a, b);
        k->turn_neighbours(want, a, b, n);
        same_bits("rope by neighbours", 2 * (size_t)n);
        memcpy(got, a, 2 * n * sizeof *got);
        code->run.rope(got, got, b);
        same_bits("rope in place", 2 * (size_t)n);
        jit_put(j, code);
    }
}

// ---- chains ------------------------------------------------------------------------------------

// out = gelu((a + b) 0.5) c + silu(a)
static const struct jit_shape mixed = {.kind = JIT_CHAIN,
                                       .inputs = 3,
                                       .steps = 5,
                                       .step = {{JIT_STEP_ADD, 0, 1, 0, 0},
                                                {JIT_STEP_SCALE, 3, 0, 0, 0.5f},
                                                {JIT_STEP_GELU, 4, 0, 0, 0},
                                                {JIT_STEP_SILU, 0, 0, 0, 0},
                                                {JIT_STEP_FMA, 5, 2, 6, 0}}};

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static void mixed_chain(void)
{
    const struct tn_row_kernels *k = tn_row_kernels_of(isa);
    EACH_LENGTH(n)
    {
        static float gelu[MOST], silu[MOST];
        struct jit_shape s = mixed;
        s.length = n;
        fresh();
        const struct jit_code *code = get(&s);
        code->run.chain(got, (const float *const[]){a, b, c});
        for (size_t i = 0; i < n; i++) {
            gelu[i] = (a[i] + b[i]) * 0.5f;
            silu[i] = a[i];
        }
        k->activate(IR_GELU, gelu, n);
        k->activate(IR_SILU, silu, n);
        for (size_t i = 0; i < n; i++) {
            double x = ((double)a[i] + (double)b[i]) * 0.5;
            double exact = x * sigmoid(1.5957691216 * (x + 0.044715 * x * x * x)) * (double)c[i] +
                           (double)a[i] * sigmoid((double)a[i]);
            want[i] = fmaf(gelu[i], c[i], silu[i]);
            assert_true(fabs((double)got[i] - exact) < 1e-5);
        }
        same_bits("mixed chain", n);
        jit_put(j, code);
    }
}

static float plain_step(const struct jit_step *s, const float *v)
{
    float x = v[s->a], y = v[s->b], t = v[s->c];
    switch (s->kind) {
    case JIT_STEP_ADD:
        return x + y;
    case JIT_STEP_SUB:
        return x - y;
    case JIT_STEP_MUL:
        return x * y;
    case JIT_STEP_DIV:
        return x / y;
    case JIT_STEP_MIN:
        return x < y ? x : y;
    case JIT_STEP_MAX:
        return x > y ? x : y;
    case JIT_STEP_FMA:
        return fmaf(x, y, t);
    case JIT_STEP_SCALE:
        return x * s->number;
    default:
        return x + s->number;
    }
}

// Runs a chain of plain steps over the six arrays below and compares with the steps one by one.
static void run_and_compare(const struct jit_shape *s)
{
    const float *const inputs[] = {a, b, c, a + 1000, b + 1000, c + 1000};
    const struct jit_code *code = get(s);
    code->run.chain(got, inputs);
    for (size_t i = 0; i < s->length; i++) {
        float v[JIT_MAX_INPUTS + JIT_MAX_STEPS];
        for (uint32_t k = 0; k < s->inputs; k++) {
            v[k] = inputs[k][i];
        }
        for (uint32_t k = 0; k < s->steps; k++) {
            v[s->inputs + k] = plain_step(&s->step[k], v);
        }
        want[i] = v[s->inputs + s->steps - 1];
        if (memcmp(&want[i], &got[i], 4) != 0 && !(isnan(want[i]) && isnan(got[i]))) {
            fail_msg("%u steps, length %u: element %zu is %g, wanted %g", s->steps, s->length, i,
                     (double)got[i], (double)want[i]);
        }
    }
    only_these_changed(s->length);
    jit_put(j, code);
}

// Random programs of plain steps: every way an operand can live, die or be used twice.
static void random_chains(void)
{
    uint32_t r = 7;
    for (int round = 0; round < 300; round++) {
        struct jit_shape s = {.kind = JIT_CHAIN, .length = 1 + (uint32_t)round % 70};
        r = r * 1664525 + 1013904223;
        s.inputs = 1 + (r >> 16) % 6;
        s.steps = 1 + (r >> 8) % JIT_MAX_STEPS;
        for (uint32_t i = 0; i < s.steps; i++) {
            r = r * 1664525 + 1013904223;
            uint32_t have = s.inputs + i;
            // Rather the newest values, so that most are used.
            s.step[i] = (struct jit_step){(uint8_t)((r >> 16) % (JIT_STEP_SHIFT + 1)),
                                          (uint8_t)(have - 1 - (r >> 8) % (have < 3 ? have : 3)),
                                          (uint8_t)((r >> 12) % have), (uint8_t)((r >> 20) % have),
                                          (float)(r >> 26) * 0.25f};
        }
        fresh();
        run_and_compare(&s);
    }
}

static void long_chain(void)
{
    const struct tn_row_kernels *k = tn_row_kernels_of(isa);
    struct jit_shape s = {.kind = JIT_CHAIN, .length = 333, .inputs = 1, .steps = JIT_MAX_STEPS};
    for (uint8_t i = 0; i < JIT_MAX_STEPS; i++) {
        s.step[i] = (struct jit_step){i % 2 ? JIT_STEP_SHIFT : JIT_STEP_GELU, i, 0, 0, 0.125f};
    }
    fresh();
    const struct jit_code *code = get(&s);
    code->run.chain(got, (const float *const[]){a});
    memcpy(want, a, s.length * sizeof *want);
    for (int i = 0; i < JIT_MAX_STEPS; i++) {
        if (i % 2) {
            for (size_t n = 0; n < s.length; n++) {
                want[n] += 0.125f;
            }
        } else {
            k->activate(IR_GELU, want, s.length);
        }
    }
    same_bits("long chain", s.length);
    jit_put(j, code);
}

static void on_every_level(void (*test)(void))
{
    for (isa = TN_ISA_AVX2; isa <= tn_isa_best() && isa <= TN_ISA_AVX512; isa++) {
        open_jit();
        test();
        jit_close(j);
    }
}
#define LEVELS(name, test)                                                                         \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        on_every_level(test);                                                                      \
    }
LEVELS(add_and_axpy_are_exact, add_and_axpy)
LEVELS(dot_sums_in_64_lanes, dot)
LEVELS(bits_are_those_of_the_row_kernels, against_row_kernels)
LEVELS(a_chain_is_the_steps_one_after_the_other, mixed_chain)
LEVELS(random_chains_equal_plain_arithmetic, random_chains)
LEVELS(a_chain_may_have_sixteen_steps, long_chain)

// Nine products and their six inputs are alive at once, and one register is always kept free: all
// that AVX2 has, and one too many when the length needs a mask for its tail.
static void too_many_live_values_are_refused(void **state)
{
    (void)state;
    struct jit_shape s = {.kind = JIT_CHAIN, .inputs = 6, .steps = 16};
    for (uint8_t i = 0; i < 9; i++) {
        s.step[i] = (struct jit_step){JIT_STEP_MUL, i % 6, (uint8_t)(i + 1 + i / 6) % 6, 0, 0};
    }
    const uint8_t last[7][3] = {{6, 7, 8},  {9, 10, 15}, {11, 12, 16}, {13, 14, 17},
                                {0, 1, 18}, {2, 3, 19},  {4, 5, 20}};
    for (uint8_t i = 0; i < 7; i++) {
        s.step[9 + i] = (struct jit_step){JIT_STEP_FMA, last[i][0], last[i][1], last[i][2], 0};
    }
    for (isa = TN_ISA_AVX2; isa <= tn_isa_best() && isa <= TN_ISA_AVX512; isa++) {
        const struct jit_code *code;
        open_jit();
        fresh();
        s.length = 96;
        run_and_compare(&s);
        s.length = 100;
        if (isa == TN_ISA_AVX2) {
            assert_int_equal(jit_get(j, &s, &code), -E2BIG);
            assert_null(code);
        } else {
            fresh();
            run_and_compare(&s);
        }
        jit_close(j);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add_and_axpy_are_exact),
        cmocka_unit_test(dot_sums_in_64_lanes),
        cmocka_unit_test(bits_are_those_of_the_row_kernels),
        cmocka_unit_test(a_chain_is_the_steps_one_after_the_other),
        cmocka_unit_test(random_chains_equal_plain_arithmetic),
        cmocka_unit_test(a_chain_may_have_sixteen_steps),
        cmocka_unit_test(too_many_live_values_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
