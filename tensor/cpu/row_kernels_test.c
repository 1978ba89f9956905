// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Row kernels of every level against double arithmetic over odd lengths and misaligned buffers; the
// levels with fused multiply-add against each other, bit for bit; and that an element's result does
// not depend on where in a row it stands.
//
// Links: @tensor
#include "tensor/cpu/row_kernels.h"
#include "tensor/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LENGTHS = 9 };
static const size_t lengths[LENGTHS] = {1, 5, 15, 16, 17, 63, 64, 100, 333};

static uint64_t state = 4;

static float random_float(void)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (float)(int32_t)(state >> 32) * 0x1p-31f;
}

// `n` floats that begin four bytes past an aligned address; nothing after them can be read.
static float *floats(size_t n, float size)
{
    float *x = malloc((n + 1) * sizeof *x);
    for (size_t i = 0; i <= n; i++) {
        x[i] = size * random_float();
    }
    return x + 1;
}

static void release(float *x)
{
    free(x - 1);
}

// Runs the rest for each level with `k`, its table; after it `y` must be the same on AVX2 and
// AVX-512.
#define EACH_LEVEL(y, n, ...)                                                                      \
    do {                                                                                           \
        float *avx2 = malloc((n) * sizeof(float));                                                 \
        for (int isa = 0; isa <= (int)tn_isa_best(); isa++) {                                      \
            const struct tn_row_kernels *k = tn_row_kernels_of((enum tn_isa)isa);                  \
            __VA_ARGS__;                                                                           \
            if (isa == TN_ISA_AVX2) {                                                              \
                memcpy(avx2, y, (n) * sizeof(float));                                              \
            } else if (isa > TN_ISA_AVX2) {                                                        \
                assert_memory_equal(avx2, y, (n) * sizeof(float));                                 \
            }                                                                                      \
        }                                                                                          \
        free(avx2);                                                                                \
    } while (0)

static void near(float got, double right, double relative, double absolute)
{
    double error = fabs((double)got - right);
    if (!(error <= relative * fabs(right) + absolute)) {
        fail_msg("%.9g, not %.9g (%.2g of it)", (double)got, right, error / fabs(right));
    }
}

static void norms_match_doubles(void **unused)
{
    (void)unused;
    for (int l = 0; l < LENGTHS; l++) {
        size_t n = lengths[l];
        float *x = floats(n, 20), *w = floats(n, 1), *b = floats(n, 1), *y = floats(n, 1);
        double square = 0, mean = 0, variance = 0;
        for (size_t i = 0; i < n; i++) {
            x[i] += 3;
            square += (double)x[i] * (double)x[i] / (double)n;
            mean += (double)x[i] / (double)n;
        }
        for (size_t i = 0; i < n; i++) {
            variance += ((double)x[i] - mean) * ((double)x[i] - mean) / (double)n;
        }
        EACH_LEVEL(y, n, {
            k->rms_norm(y, x, w, n, 1e-5f);
            for (size_t i = 0; i < n; i++) {
                near(y[i], (double)x[i] / sqrt(square + 1e-5) * (double)w[i], 5e-7, 0);
            }
        });
        for (int with_bias = 0; with_bias < 2; with_bias++) {
            EACH_LEVEL(y, n, {
                memcpy(y, x, n * sizeof *y); // in place
                k->layer_norm(y, y, w, with_bias ? b : NULL, n, 1e-5f);
                for (size_t i = 0; n > 1 && i < n; i++) {
                    double right = ((double)x[i] - mean) / sqrt(variance + 1e-5) * (double)w[i];
                    near(y[i], right + (with_bias ? (double)b[i] : 0), 5e-7, 1e-6);
                }
            });
        }
        release(x);
        release(w);
        release(b);
        release(y);
    }
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

static double activated(enum ir_activation a, double x)
{
    switch (a) {
    case IR_SILU:
        return silu(x);
    case IR_GELU: // 0.5 x (1 + tanh u) without the cancellation of 1 + tanh
        return x / (1 + exp(-2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case IR_GELU_ERF:
        return 0.5 * x * erfc(-x / sqrt(2));
    default:
        return x;
    }
}

static double gated(enum ir_activation a, double g, double u)
{
    if (a == IR_SWIGLU_OAI) {
        g = fmin(g, 7);
        return g / (1 + exp(-1.702 * g)) * (fmax(fmin(u, 7), -7) + 1);
    }
    return activated(a, g) * u;
}

// Relative to the result, and to a hundredth of x where the result is next to nothing.
// The exponent's rounding is relative to the exponent.
static double bound(enum ir_activation a, double x)
{
    double exponent = a == IR_GELU && x < 0 ? 1.6 * (0.044715 * x * x * -x - x) : 0;
    return 3e-7 + 1e-7 * exponent;
}

static void activations_are_good_to_three_in_ten_million(void **unused)
{
    (void)unused;
    enum { N = 40001 };
    static float in[N], up[N], y[N];
    for (int i = 0; i < N; i++) {
        in[i] = i % 2 ? ((float)i - 20000) * 1e-3f : random_float() * powf(10, (float)(i % 9) - 6);
        up[i] = random_float() * 9;
    }
    for (enum ir_activation a = IR_NONE; a <= IR_SWIGLU_OAI; a++) {
        if (a != IR_SWIGLU_OAI) {
            EACH_LEVEL(y, N, {
                memcpy(y, in, sizeof y);
                k->activate(a, y, N);
                for (int i = 0; i < N; i++) {
                    double small = 3e-9 * fabs((double)in[i]) + 1e-35;
                    near(y[i], activated(a, (double)in[i]), bound(a, (double)in[i]), small);
                }
            });
        }
        EACH_LEVEL(y, N, {
            memcpy(y, in, sizeof y);
            k->gate(a, y, up, N);
            for (int i = 0; i < N; i++) {
                double small = 3e-9 * fabs((double)in[i] * (double)up[i]) + 1e-14;
                near(y[i], gated(a, (double)in[i], (double)up[i]), 1e-7 + bound(a, (double)in[i]),
                     small);
            }
        });
    }
}

static void extreme_values_stay_finite(void **unused)
{
    (void)unused;
    static const float extreme[] = {-3e38f, -1e10f, -200, -90, 90, 200, 1e10f, 3e38f};
    for (int isa = 0; isa <= (int)tn_isa_best(); isa++) {
        const struct tn_row_kernels *k = tn_row_kernels_of((enum tn_isa)isa);
        for (enum ir_activation a = IR_SILU; a <= IR_GELU_ERF; a++) {
            float y[8];
            memcpy(y, extreme, sizeof y);
            k->activate(a, y, 8);
            for (int i = 0; i < 8; i++) {
                double right = extreme[i] > 0 ? (double)extreme[i] : 0;
                assert_true(isfinite(y[i]));
                near(y[i], right, 1e-6, 1e-20);
            }
        }
        assert_true(k->exponential(-__builtin_inff()) == 0 && k->exponential(0) == 1);
        assert_true(k->exponential(-87.5f) == 0);
        near(k->exponential(-3.3f), exp((double)-3.3f), 2e-7, 0);
    }
}

static void softcap_matches_doubles(void **unused)
{
    (void)unused;
    enum { N = 3001 };
    static float in[N], y[N];
    for (int i = 0; i < N; i++) {
        in[i] = i % 2 ? ((float)i - 1500) * 0.2f : random_float() * 1e-3f;
    }
    EACH_LEVEL(y, N, {
        memcpy(y, in, sizeof y);
        k->softcap(y, N, 30);
        for (int i = 0; i < N; i++) {
            near(y[i], 30 * tanh((double)in[i] / 30), 3e-7, 0);
        }
    });
}

static void turns_match_doubles(void **unused)
{
    (void)unused;
    static const size_t pairs[] = {1, 4, 7, 16, 20, 32, 64};
    for (int t = 0; t < 7; t++) {
        size_t n = pairs[t];
        float *x = floats(2 * n, 3), *y = floats(2 * n, 1), *halves = floats(2 * n, 1);
        float *neighbours = floats(4 * n, 1);
        for (size_t p = 0; p < n; p++) {
            float c = cosf((float)p), s = sinf((float)p);
            halves[p] = neighbours[2 * p] = neighbours[2 * p + 1] = c;
            halves[n + p] = neighbours[2 * n + 2 * p + 1] = s;
            neighbours[2 * n + 2 * p] = -s;
        }
        for (int kind = 0; kind < 2; kind++) {
            EACH_LEVEL(y, 2 * n, {
                memcpy(y, x, 2 * n * sizeof *y);
                (kind ? k->turn_halves : k->turn_neighbours)(y, y, kind ? halves : neighbours, n);
                for (size_t p = 0; p < n; p++) {
                    size_t at = kind ? p : 2 * p, other = kind ? p + n : 2 * p + 1;
                    double c = (double)halves[p], s = (double)halves[n + p];
                    double a = (double)x[at], b = (double)x[other];
                    near(y[at], a * c - b * s, 0, 6e-7);
                    near(y[other], a * s + b * c, 0, 6e-7);
                }
            });
        }
        release(x);
        release(y);
        release(halves);
        release(neighbours);
    }
}

static void an_elements_place_changes_no_bit(void **unused)
{
    (void)unused;
    enum { N = 77 };
    for (int isa = 0; isa <= (int)tn_isa_best(); isa++) {
        const struct tn_row_kernels *k = tn_row_kernels_of((enum tn_isa)isa);
        float *x = floats(N, 4), *up = floats(N, 2), *y = floats(N, 1);
        for (enum ir_activation a = IR_SILU; a <= IR_SWIGLU_OAI; a++) {
            memcpy(y, x, N * sizeof *y);
            k->gate(a, y, up, N);
            for (size_t i = 0; i < N; i++) {
                float one = x[i];
                k->gate(a, &one, up + i, 1);
                assert_memory_equal(&one, y + i, sizeof one);
            }
        }
        memcpy(y, x, N * sizeof *y);
        k->softcap(y, N, 3);
        for (size_t i = 0; i < N; i++) {
            float one = x[i];
            k->softcap(&one, 1, 3);
            assert_memory_equal(&one, y + i, sizeof one);
        }
        release(x);
        release(up);
        release(y);
    }
}

static void sums_and_halves_are_exact(void **unused)
{
    (void)unused;
    for (int l = 0; l < LENGTHS; l++) {
        size_t n = lengths[l];
        float *a = floats(n, 1), *b = floats(n, 1), *y = floats(n, 1);
        uint16_t *h = malloc(n * sizeof *h);
        for (int isa = 0; isa <= (int)tn_isa_best(); isa++) {
            const struct tn_row_kernels *k = tn_row_kernels_of((enum tn_isa)isa);
            k->add(y, a, b, n);
            for (size_t i = 0; i < n; i++) {
                assert_true(y[i] == a[i] + b[i]);
            }
            k->scale(y, n, 3);
            k->to_f16(h, a, n);
            for (size_t i = 0; i < n; i++) {
                assert_true(y[i] == (a[i] + b[i]) * 3);
                assert_int_equal(h[i], tn_f32_to_f16(a[i]));
            }
        }
        release(a);
        release(b);
        release(y);
        free(h);
    }
}

// Every half, and floats all over and around where halves live.
static void halves_convert_as_the_hardware_does(void **unused)
{
    (void)unused;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = tn_f16_to_f32((uint16_t)h);
        if ((h & 0x7fff) <= 0x7c00) {
            assert_int_equal(tn_f32_to_f16(f), h);
        } else {
            assert_true(isnan(f));
        }
    }
    for (int round = 0; round < 20000; round++) {
        float x[16];
        uint16_t a[16], b[16];
        for (int i = 0; i < 16; i++) {
            uint32_t u = tn_float_bits(random_float()) ^ (uint32_t)(state >> 16);
            x[i] = tn_bits_float(round % 2 ? u : (u & 0x8fffffffu) | 0x30000000u);
            x[i] = isnan(x[i]) ? 1 : x[i];
        }
        tn_row_kernels_of(TN_ISA_SCALAR)->to_f16(a, x, 16);
        tn_row_kernels_of(tn_isa_best())->to_f16(b, x, 16);
        assert_memory_equal(a, b, sizeof a);
    }
}

// Rows, in whatever blocks they are worked on, have the bits of one row alone.
static void block_products_are_chains(void **unused)
{
    (void)unused;
    enum { ROWS = 23, DEPTH = 37, COLUMNS = 48 };
    float *a = floats(ROWS * DEPTH, 1), *b = floats(DEPTH * COLUMNS, 1);
    float *c = floats(ROWS * COLUMNS, 1), *was = floats(ROWS * COLUMNS, 1);
    for (size_t rows = 1; rows <= ROWS; rows++) {
        for (int add = 0; add < 2; add++) {
            size_t n = rows * COLUMNS;
            EACH_LEVEL(c, n, {
                memcpy(c, was, n * sizeof *c);
                struct tn_block_product p = {a,       b,    c,     DEPTH,   COLUMNS,
                                             COLUMNS, rows, DEPTH, COLUMNS, add};
                k->block_product(&p);
                for (size_t i = 0; i < n; i++) {
                    double sum = add ? (double)was[i] : 0, size = fabs(sum);
                    float chain = add ? was[i] : 0;
                    for (size_t d = 0; d < DEPTH; d++) {
                        float left = a[i / COLUMNS * DEPTH + d],
                              right = b[d * COLUMNS + i % COLUMNS];
                        chain = isa ? fmaf(left, right, chain) : left * right + chain;
                        sum += (double)left * (double)right;
                        size += fabs((double)left * (double)right);
                    }
                    assert_true(chain == c[i]);
                    near(c[i], sum, 0, 1e-6 * size);
                }
            });
        }
    }
    release(a);
    release(b);
    release(c);
    release(was);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_match_doubles),
        cmocka_unit_test(activations_are_good_to_three_in_ten_million),
        cmocka_unit_test(extreme_values_stay_finite),
        cmocka_unit_test(softcap_matches_doubles),
        cmocka_unit_test(turns_match_doubles),
        cmocka_unit_test(an_elements_place_changes_no_bit),
        cmocka_unit_test(sums_and_halves_are_exact),
        cmocka_unit_test(halves_convert_as_the_hardware_does),
        cmocka_unit_test(block_products_are_chains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
