// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Every kernel of every ISA level against plain double arithmetic, over random shapes, odd tails
// and misaligned buffers; and the levels against each other, bit for bit where that is promised.
//
// Links: tensor/cpu/scalar.c tensor/cpu/avx2.c tensor/cpu/avx512.c tensor/cpu/avx512vnni.c
// Links: tensor/cpu/weights.c tensor/cpu/isa.c tensor/cpu/measure.c tensor/quant/types.c
#include "tensor/cpu/kernels.h"
#include "tensor/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t state = 12345;

static uint32_t random_u32(void)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(state >> 32);
}

static float random_float(void)
{
    return (float)(int32_t)random_u32() * 0x1p-31f;
}

// `count` elements that begin `shift` bytes past an aligned address, with nothing readable after
// them.
struct buffer {
    uint8_t *block, *at;
};
static struct buffer make(size_t bytes, size_t shift)
{
    struct buffer b = {malloc(bytes + shift + 1), NULL};
    b.at = b.block + shift;
    return b;
}

static void fill_floats(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = random_float();
    }
}

// Rows of random weights of a type. Rows of a GGUF are aligned to their elements' size only.
static void fill_rows(uint32_t type, uint8_t *w, size_t rows, size_t k)
{
    size_t bytes = tn_row_bytes(type, k) * rows;
    if (type == TN_F32) {
        for (size_t i = 0; i < bytes; i += 4) {
            float f = random_float();
            memcpy(w + i, &f, 4);
        }
        return;
    }
    size_t block = tn_type_info(type)->block_bytes;
    for (size_t i = 0; i < bytes; i++) {
        w[i] = (uint8_t)random_u32();
    }
    for (size_t i = 0; i < bytes; i += block) {
        uint16_t h =
            type == TN_BF16 ? tn_f32_to_bf16(random_float()) : tn_f32_to_f16(random_float());
        memcpy(w + i, &h, 2);
    }
}

static enum tn_isa best_isa;

#define EACH_ISA(isa) for (int isa = 0; isa <= (int)best_isa; isa++)

static void float_rows_times_columns_match_doubles(void **unused)
{
    (void)unused;
    static const uint32_t types[] = {TN_F32, TN_F16, TN_BF16};
    for (int round = 0; round < 60; round++) {
        uint32_t type = types[round % 3];
        size_t k = 1 + random_u32() % 150, rows = 1 + random_u32() % 11;
        size_t columns = 1 + random_u32() % 9, row_bytes = tn_row_bytes(type, k);
        struct buffer w = make(rows * row_bytes, type == TN_F32 ? 4 : 2);
        struct buffer x = make(columns * k * 4, 4);
        float *xs = (float *)(void *)x.at, *row = malloc(k * sizeof *row);
        fill_rows(type, w.at, rows, k);
        fill_floats(xs, columns * k);
        EACH_ISA(isa)
        {
            const struct tn_kernels *kn = tn_kernels_of((enum tn_isa)isa);
            float out[9][16], narrow[16];
            memset(out, 0, sizeof out);
            (type == TN_F32   ? kn->dot_f32
             : type == TN_F16 ? kn->dot_f16
                              : kn->dot_bf16)(w.at, row_bytes, rows, xs, columns, k, out[0], 16);
            for (size_t c = 0; c < columns; c++) {
                (type == TN_F32 ? kn->dot_f32
                 : type == TN_F16
                     ? kn->dot_f16
                     : kn->dot_bf16)(w.at, row_bytes, rows, xs + c * k, 1, k, narrow, 16);
                assert_memory_equal(narrow, out[c], rows * sizeof(float)); // width changes no bit
                for (size_t r = 0; r < rows; r++) {
                    double sum = 0, size = 0;
                    tn_dequantise_row(type, w.at + r * row_bytes, k, row);
                    for (size_t i = 0; i < k; i++) {
                        sum += (double)row[i] * (double)xs[c * k + i];
                        size += fabs((double)row[i] * (double)xs[c * k + i]);
                    }
                    assert_true(fabs((double)out[c][r] - sum) <= 2e-6 * size);
                }
            }
        }
        free(w.block);
        free(x.block);
        free(row);
    }
}

// The quantised column as numbers: from the levels that keep plain bytes, or from the definition.
static void quantise_by_definition(const float *x, size_t k, int8_t *q, float *d)
{
    for (size_t b = 0; b < k / 32; b++) {
        float most = 0;
        for (int i = 0; i < 32; i++) {
            most = fmaxf(most, fabsf(x[b * 32 + (size_t)i]));
        }
        d[b] = most > 1e-30f ? most / 127.0f : 0;
        for (int i = 0; i < 32; i++) {
            size_t at = b * 32 + (size_t)i;
            q[at] = most > 1e-30f ? (int8_t)lrintf(x[at] * (127.0f / most)) : 0;
        }
    }
}

static void integer_rows_have_the_defined_bits_on_every_level(void **unused)
{
    (void)unused;
    static const uint32_t types[] = {TN_Q8_0, TN_Q4_0};
    for (int round = 0; round < 40; round++) {
        uint32_t type = types[round % 2];
        size_t k = 32 * (1 + random_u32() % 9), rows = 1 + random_u32() % 21, blocks = k / 32;
        size_t row_bytes = tn_row_bytes(type, k);
        struct buffer w = make(rows * row_bytes, 2);
        struct buffer x = make(k * 4, 4);
        float *xs = (float *)(void *)x.at;
        fill_rows(type, w.at, rows, k);
        fill_floats(xs, k);
        if (round == 3) {
            memset(xs, 0, 32 * sizeof *xs); // a block of nothing
        }
        int8_t q[320];
        float d[16], expected[32];
        quantise_by_definition(xs, k, q, d);
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *block = w.at + r * row_bytes;
            expected[r] = 0;
            for (size_t b = 0; b < blocks; b++, block += tn_type_info(type)->block_bytes) {
                int sum = 0;
                for (int i = 0; i < 32; i++) {
                    int v = type == TN_Q8_0 ? (int8_t)block[2 + i]
                            : i < 16        ? (block[2 + i] & 15) - 8
                                            : (block[2 + i - 16] >> 4) - 8;
                    sum += v * q[b * 32 + (size_t)i];
                }
                uint16_t h;
                memcpy(&h, block, 2);
                expected[r] += tn_f16_to_f32(h) * d[b] * (float)sum;
            }
        }
        EACH_ISA(isa)
        {
            const struct tn_kernels *kn = tn_kernels_of((enum tn_isa)isa);
            uint64_t values[96];
            float scales[16], out[32];
            int32_t sums[16];
            kn->quantise(xs, k, values, scales, sums);
            assert_memory_equal(scales, d, blocks * sizeof *d);
            struct tn_columns8 column = {values, scales, sums};
            (type == TN_Q8_0 ? kn->dot_q8_0 : kn->dot_q4_0)(w.at, row_bytes, rows, &column, 1, k,
                                                            out, 32);
            assert_memory_equal(out, expected, rows * sizeof *out);
        }
        free(w.block);
        free(x.block);
    }
}

static void batches_and_panels_have_the_bits_of_single_columns(void **unused)
{
    (void)unused;
    enum { MOST_K = 32 * 7, COLUMNS = 37, PANELS = 3 };
    for (int round = 0; round < 24; round++) {
        uint32_t type = round % 2 ? TN_Q4_0 : TN_Q8_0;
        size_t k = 32 * (1 + random_u32() % 7), rows = 1 + random_u32() % 4, blocks = k / 32;
        size_t row_bytes = tn_row_bytes(type, k);
        uint8_t *w = malloc(rows * row_bytes);
        float *x = malloc(COLUMNS * k * sizeof *x);
        fill_rows(type, w, rows, k);
        fill_floats(x, COLUMNS * k);
        EACH_ISA(isa)
        {
            const struct tn_kernels *kn = tn_kernels_of((enum tn_isa)isa);
            uint8_t *values = malloc(COLUMNS * k * kn->column_value_bytes);
            float *scales = malloc(COLUMNS * blocks * sizeof *scales);
            int32_t *sums = malloc(COLUMNS * blocks * sizeof *sums);
            struct tn_panel panels[PANELS];
            float single[COLUMNS][4], out[4][PANELS * 16];
            for (size_t c = 0; c < COLUMNS; c++) {
                uint8_t *v = values + c * k * kn->column_value_bytes;
                kn->quantise(x + c * k, k, v, scales + c * blocks, sums + c * blocks);
                struct tn_columns8 one = {v, scales + c * blocks, sums + c * blocks};
                (type == TN_Q8_0 ? kn->dot_q8_0 : kn->dot_q4_0)(w, row_bytes, rows, &one, 1, k,
                                                                single[c], 4);
            }
            struct tn_columns8 all = {values, scales, sums};
            float together[COLUMNS][4];
            (type == TN_Q8_0 ? kn->dot_q8_0 : kn->dot_q4_0)(w, row_bytes, rows, &all, COLUMNS, k,
                                                            together[0], 4);
            for (size_t c = 0; c < COLUMNS; c++) {
                assert_memory_equal(together[c], single[c], rows * sizeof(float));
            }
            if (!kn->panel_dot) {
                free(values);
                free(scales);
                free(sums);
                continue;
            }
            for (size_t p = 0; p < PANELS; p++) {
                size_t from = p * 16, count = COLUMNS - from < 16 ? COLUMNS - from : 16;
                void *pv = malloc(16 * k * kn->panel_value_bytes);
                float *ps = malloc(16 * blocks * sizeof *ps);
                int32_t *pt = malloc(16 * blocks * sizeof *pt);
                struct tn_columns8 group = {values + from * k * kn->column_value_bytes,
                                            scales + from * blocks, sums + from * blocks};
                kn->panel_pack(&group, k, count, pv, ps, pt);
                panels[p] = (struct tn_panel){pv, ps, pt};
            }
            uint8_t unpacked[4 * MOST_K];
            float row_scales[4 * MOST_K / 32];
            struct tn_panel_rows wr = {unpacked, row_scales, 0};
            kn->panel_unpack(type, w, row_bytes, rows, k, &wr);
            kn->panel_dot(&wr, panels, PANELS, k, out[0], PANELS * 16);
            for (size_t c = 0; c < COLUMNS; c++) {
                for (size_t r = 0; r < rows; r++) {
                    assert_memory_equal(&out[r][c], &single[c][r], sizeof(float));
                }
            }
            for (size_t p = 0; p < PANELS; p++) {
                free((void *)(uintptr_t)panels[p].values);
                free((void *)(uintptr_t)panels[p].scales);
                free((void *)(uintptr_t)panels[p].sums);
            }
            free(values);
            free(scales);
            free(sums);
        }
        free(w);
        free(x);
    }
}

static void extreme_weights_do_not_saturate(void **unused)
{
    (void)unused;
    uint8_t w[34];
    float x[32];
    uint16_t one = tn_f32_to_f16(1);
    memcpy(w, &one, 2);
    for (int sign = -1; sign <= 1; sign += 2) {
        memset(w + 2, 0x80, 32); // -128 everywhere
        for (int i = 0; i < 32; i++) {
            x[i] = (float)sign;
        }
        EACH_ISA(isa)
        {
            const struct tn_kernels *kn = tn_kernels_of((enum tn_isa)isa);
            uint64_t values[8];
            float scale, out;
            int32_t sum;
            kn->quantise(x, 32, values, &scale, &sum);
            struct tn_columns8 column = {values, &scale, &sum};
            kn->dot_q8_0(w, 34, 1, &column, 1, 32, &out, 1);
            assert_true(fabsf(out + (float)sign * 128 * 32) < 0.01f);
        }
    }
}

static void names_of_levels_parse(void **unused)
{
    (void)unused;
    enum tn_isa isa;
    for (int i = 0; i < TN_ISA_COUNT; i++) {
        assert_int_equal(tn_isa_parse(tn_isa_name((enum tn_isa)i), &isa), 0);
        assert_int_equal(isa, i);
        assert_string_equal(tn_kernels_of(isa)->name, tn_isa_name(isa));
    }
    assert_true(tn_isa_parse("sse9", &isa) < 0);
}

static void the_measured_level_can_run_and_does_not_waver(void **unused)
{
    (void)unused;
    enum tn_isa once = tn_isa_measured();
    assert_true(once <= best_isa);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(tn_isa_measured(), once);
    }
}

int main(void)
{
    best_isa = tn_isa_best();
    printf("levels up to %s\n", tn_isa_name(best_isa));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float_rows_times_columns_match_doubles),
        cmocka_unit_test(integer_rows_have_the_defined_bits_on_every_level),
        cmocka_unit_test(batches_and_panels_have_the_bits_of_single_columns),
        cmocka_unit_test(extreme_weights_do_not_saturate),
        cmocka_unit_test(names_of_levels_parse),
        cmocka_unit_test(the_measured_level_can_run_and_does_not_waver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
