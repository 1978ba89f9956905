// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Holds the float products of every level, bit for bit, against the chain they promise, and that
// against doubles: over odd shapes, unaligned weights, all widths and tiles, packed rows.
//
// Links: tensor/cpu/float_product_scalar.c tensor/cpu/float_product_avx2.c
// Links: tensor/cpu/float_product_avx512.c
#include "tensor/cpu/float_product.h"
#include "tensor/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint32_t types[] = {TN_F32, TN_F16, TN_BF16};
static uint64_t state = 4711;

static uint32_t random_u32(void)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(state >> 32);
}

static float random_float(void)
{
    return (float)(int32_t)random_u32() * 0x1p-31f;
}

// The levels this machine has, scalar first.
static size_t levels(const struct tn_float_kernels *out[3])
{
    size_t count = 0;
    out[count++] = &tn_float_scalar;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        out[count++] = &tn_float_avx2;
    }
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
        out[count++] = &tn_float_avx512;
    }
    return count;
}

static size_t value_bytes(uint32_t type)
{
    return type == TN_F32 ? 4 : 2;
}

// A random weight, and what it is as a float.
static float put_weight(uint32_t type, uint8_t *at)
{
    float f = random_float();
    if (random_u32() % 8 == 0) {
        f *= 0x1p-18f; // among the smallest halves
    }
    uint16_t h = type == TN_F16 ? tn_f32_to_f16(f) : tn_f32_to_bf16(f);
    memcpy(at, type == TN_F32 ? (const void *)&f : &h, value_bytes(type));
    return type == TN_F32 ? f : type == TN_F16 ? tn_f16_to_f32(h) : tn_bf16_to_f32(h);
}

// One problem: weights as in a file and packed, columns, and the promised results.
struct problem {
    uint32_t type;
    size_t rows, columns, k, row_bytes;
    uint8_t *block, *w, *packed_block, *packed;
    float *x, *expected[2]; // [fused][column][row]
};

static void open_problem(struct problem *p, uint32_t type, size_t rows, size_t columns, size_t k)
{
    size_t bytes = value_bytes(type), shift = bytes * (random_u32() % 9);
    size_t sixteens = (rows + 15) / 16;
    *p = (struct problem){
        .type = type, .rows = rows, .columns = columns, .k = k, .row_bytes = k * bytes};
    // Nothing is readable after the last row, and after the last packed sixteen.
    p->block = malloc(shift + rows * p->row_bytes);
    p->packed_block = malloc(shift + sixteens * 16 * p->row_bytes);
    p->x = malloc(columns * k * sizeof(float));
    float *weights = malloc(rows * k * sizeof(float));
    assert_true(p->block && p->packed_block && p->x && weights);
    p->w = p->block + shift;
    p->packed = p->packed_block + shift;
    memset(p->packed, 0x5a, sixteens * 16 * p->row_bytes);
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < k; i++) {
            uint8_t *at = p->w + r * p->row_bytes + i * bytes;
            weights[r * k + i] = put_weight(type, at);
            memcpy(p->packed + r / 16 * 16 * p->row_bytes + (i * 16 + r % 16) * bytes, at, bytes);
        }
    }
    for (size_t i = 0; i < columns * k; i++) {
        p->x[i] = random_float();
    }
    for (int fused = 0; fused < 2; fused++) {
        p->expected[fused] = malloc(columns * rows * sizeof(float));
        assert_non_null(p->expected[fused]);
        for (size_t c = 0; c < columns; c++) {
            for (size_t r = 0; r < rows; r++) {
                const float *w = weights + r * k, *x = p->x + c * k;
                float sum = 0;
                double right = 0;
                for (size_t i = 0; i < k; i++) {
                    sum = fused ? fmaf(w[i], x[i], sum) : sum + w[i] * x[i];
                    right += (double)w[i] * (double)x[i];
                }
                assert_true(fabs((double)sum - right) < 1e-6 * (double)(k + 1));
                p->expected[fused][c * rows + r] = sum;
            }
        }
    }
    free(weights);
}

static void close_problem(struct problem *p)
{
    free(p->block);
    free(p->packed_block);
    free(p->x);
    free(p->expected[0]);
    free(p->expected[1]);
}

// Rows [row, row + rows) by columns [column, column + columns) have the expected bits.
static void check_part(const struct problem *p, const struct tn_float_kernels *f, bool packed,
                       bool arranged, size_t row, size_t rows, size_t column, size_t columns)
{
    const size_t stride = rows + 5;
    const float *expected = p->expected[f != &tn_float_scalar];
    float *out = malloc(columns * stride * sizeof(float));
    float *room = malloc(columns * p->k * sizeof(float));
    float *scratch = aligned_alloc(64, TN_FLOAT_SCRATCH * sizeof(float));
    struct tn_float_columns x = {p->x + column * p->k, arranged ? room : NULL, columns, p->k};
    assert_true(out && room && scratch);
    memset(out, 0x77, columns * stride * sizeof(float));
    for (size_t g = tn_float_groups(f, columns); arranged && g-- > 0;) {
        f->arrange(&x, g, room);
    }
    f->multiply(packed ? p->type | TN_PACKED : p->type,
                (packed ? p->packed : p->w) + row * p->row_bytes, p->row_bytes, rows, &x, out,
                stride, columns == 1 ? NULL : scratch);
    for (size_t c = 0; c < columns; c++) {
        assert_memory_equal(out + c * stride, expected + (column + c) * p->rows + row,
                            rows * sizeof(float));
        for (size_t r = rows; r < stride; r++) { // nothing is written between columns
            assert_int_equal(tn_float_bits(out[c * stride + r]), 0x77777777);
        }
    }
    free(out);
    free(room);
    free(scratch);
}

static void outputs_have_the_promised_bits(void **unused)
{
    (void)unused;
    static const size_t depths[] = {1, 7, 16, 31, 32, 33, 63, 64, 100, 256, 257, 300, 530};
    const struct tn_float_kernels *level[3];
    size_t count = levels(level);
    for (size_t round = 0; round < 60; round++) {
        struct problem p;
        open_problem(&p, types[round % 3], 1 + random_u32() % 70, 1 + random_u32() % 30,
                     depths[random_u32() % (sizeof depths / sizeof *depths)]);
        for (size_t i = 0; i < count; i++) {
            for (int packed = 0; packed < 2; packed++) {
                check_part(&p, level[i], packed, false, 0, p.rows, 0, p.columns);
                check_part(&p, level[i], packed, true, 0, p.rows, 0, p.columns);
                check_part(&p, level[i], packed, false, 0, p.rows, p.columns - 1, 1);
            }
        }
        close_problem(&p);
    }
}

static void every_width_and_tile_gives_the_same_bits(void **unused)
{
    (void)unused;
    const struct tn_float_kernels *level[3];
    size_t count = levels(level);
    for (size_t t = 0; t < 3; t++) {
        struct problem p;
        open_problem(&p, types[t], 53, 64, 291);
        for (size_t i = 0; i < count; i++) {
            for (size_t width = 1; width <= p.columns; width++) {
                size_t first = random_u32() % (p.columns - width + 1);
                size_t row = random_u32() % 4 * 16, rows = 1 + random_u32() % (p.rows - row);
                check_part(&p, level[i], false, width % 2, row, rows, first, width);
                check_part(&p, level[i], true, width % 3, row, rows, first, width);
                row = random_u32() % p.rows;
                check_part(&p, level[i], false, false, row, 1, first, width);
            }
        }
        close_problem(&p);
    }
}

static void halves_convert_exactly(void **unused)
{
    (void)unused;
    const struct tn_float_kernels *level[3];
    size_t count = levels(level);
    const float one = 1;
    const struct tn_float_columns x = {&one, NULL, 1, 1};
    for (size_t i = 0; i < count; i++) {
        for (uint32_t h = 0; h < 65536; h += 16) {
            uint16_t rows[16];
            float out[16];
            for (uint32_t r = 0; r < 16; r++) {
                rows[r] = (uint16_t)(h + r);
            }
            level[i]->multiply(TN_F16, (const uint8_t *)rows, 2, 16, &x, out, 16, NULL);
            for (uint32_t r = 0; r < 16; r++) {
                float right = tn_f16_to_f32(rows[r]);
                assert_true(isnan(right) ? isnan(out[r]) : out[r] == right);
            }
        }
    }
}

static void no_values_give_zero(void **unused)
{
    (void)unused;
    const struct tn_float_kernels *level[3];
    size_t count = levels(level);
    float nothing[1] = {0}, out[3 * 20];
    float *scratch = aligned_alloc(64, TN_FLOAT_SCRATCH * sizeof(float));
    for (size_t i = 0; i < count; i++) {
        for (size_t columns = 1; columns < 20; columns++) {
            const struct tn_float_columns x = {nothing, NULL, columns, 0};
            memset(out, 1, sizeof out);
            level[i]->multiply(TN_F16, (const uint8_t *)nothing, 0, 3, &x, out, 3, scratch);
            for (size_t j = 0; j < 3 * columns; j++) {
                assert_int_equal(tn_float_bits(out[j]), 0);
            }
        }
    }
    free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_have_the_promised_bits),
        cmocka_unit_test(every_width_and_tile_gives_the_same_bits),
        cmocka_unit_test(halves_convert_exactly),
        cmocka_unit_test(no_values_give_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
