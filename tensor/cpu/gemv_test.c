// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Row products and packed products of every type on every level: equal to the plain ones bit for
// bit over odd shapes, reading nothing past the last row; and packing taken back.
//
// Links: tensor/cpu/gemv_scalar.c tensor/cpu/gemv_avx2.c tensor/cpu/gemv_avx512.c
// Links: tensor/cpu/gemv_avx512vnni.c tensor/cpu/packed.c tensor/cpu/decode.c
// Links: tensor/cpu/reference_product.c tensor/cpu/reference_product_fma.c tensor/cpu/weights.c
// Links: tensor/cpu/row_product.c tensor/cpu/isa.c tensor/quant/types.c
// Links: tensor/cpu/panel_scalar.c tensor/cpu/panel_avx2.c tensor/cpu/panel_avx512.c
// Links: tensor/cpu/panel_avx512vnni.c tensor/cpu/panel_columns.c
#include "tensor/cpu/gemv.h"
#include "tensor/cpu/integer.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/packed.h"
#include "tensor/cpu/test_weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include <cmocka.h>

enum { MOST_ROWS = 50, MOST_COLUMNS = 11, MOST_K = 1280, PAGE = 4096 };

// Memory that ends where an unreadable page begins.
static uint8_t *guarded(size_t bytes)
{
    size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
    uint8_t *p =
        mmap(NULL, whole + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    assert_int_equal(mprotect(p + whole, PAGE, PROT_NONE), 0);
    return p + whole - bytes;
}

static void release_guarded(uint8_t *p, size_t bytes)
{
    size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
    munmap(p + bytes - whole, whole + PAGE);
}

static int8_t values[MOST_COLUMNS * MOST_K];
static float scales[MOST_COLUMNS * MOST_K / 32];
static int32_t sums[MOST_COLUMNS * MOST_K / 16];
static uint8_t arranged[MOST_COLUMNS * MOST_K * 2];

static struct tn_columns random_columns(enum tn_isa isa, uint32_t type, size_t k, size_t n)
{
    enum tn_columns_kind kind = tn_columns_kind_of(type);
    const struct tn_integer_kernels *kernels = tn_integer_kernels_of(isa);
    size_t block = kind == TN_COLUMNS_32 ? 32 : 256, run = kind == TN_COLUMNS_32 ? 32 : 16;
    struct tn_columns x = {.kind = kind,
                           .k = k,
                           .values = values,
                           .scales = scales,
                           .sums = sums,
                           .arranged = kernels->arrange ? arranged : NULL,
                           .arranged_bytes = kernels->arranged_bytes};
    for (size_t i = 0; i < n * k; i++) {
        values[i] = (int8_t)(random_u32() % 255 - 127);
        if (i / k % 3 == 1) { // whole columns at their extremes
            values[i] = i / k % 2 ? 127 : -127;
        }
    }
    for (size_t i = 0; i < n * k / block; i++) {
        scales[i] = random_float();
    }
    for (size_t i = 0; i < n * k / run; i++) {
        sums[i] = 0;
        for (size_t j = 0; j < run; j++) {
            sums[i] += values[i * run + j];
        }
    }
    for (size_t c = 0; kernels->arrange && c < n; c++) {
        kernels->arrange(values + c * k, k, arranged + c * k * kernels->arranged_bytes);
    }
    return x;
}

static void compare(enum tn_isa isa, uint32_t type, size_t rows, size_t columns, size_t k)
{
    static float want[MOST_COLUMNS][MOST_ROWS], out[MOST_COLUMNS][MOST_ROWS];
    size_t row_bytes = tn_row_bytes(type, k), bytes = rows * row_bytes;
    size_t strips = (rows + TN_STRIP_ROWS - 1) / TN_STRIP_ROWS;
    uint8_t *w = guarded(bytes), *packed = guarded(strips * TN_STRIP_ROWS * row_bytes);
    uint8_t *back = malloc(row_bytes);
    random_rows(type, w, rows, k);
    if (type == TN_MXFP4) { // the two smallest exponents are no normal numbers
        w[0] = 0;
        w[bytes - 17] = 1;
    }
    struct tn_columns x = random_columns(isa, type, k, columns);
    tn_row_product *const *plain =
        isa == TN_ISA_SCALAR ? tn_reference_products : tn_reference_products_fma;
    plain[type](w, row_bytes, rows, &x, columns, want[0], MOST_ROWS);
    for (int i = 0; i < 2; i++) {
        for (size_t s = 0; i == 1 && s < strips; s++) {
            size_t r = s * TN_STRIP_ROWS, n = rows - r < TN_STRIP_ROWS ? rows - r : TN_STRIP_ROWS;
            tn_pack_strip(type, w + r * row_bytes, row_bytes, n, k, packed + r * row_bytes);
            for (size_t j = 0; j < n; j++) {
                tn_unpack_row(type, packed + r * row_bytes, j, k, back);
                assert_memory_equal(back, w + (r + j) * row_bytes, row_bytes);
            }
        }
        memset(out, 0x55, sizeof out);
        tn_row_product *product = tn_row_product_of(isa, i ? type | TN_PACKED : type);
        assert_non_null(product);
        product(i ? packed : w, row_bytes, rows, &x, columns, out[0], MOST_ROWS);
        for (size_t c = 0; c < MOST_COLUMNS; c++) {
            for (size_t r = 0; r < MOST_ROWS; r++) {
                uint32_t bits = tn_float_bits(out[c][r]);
                uint32_t right = c < columns && r < rows ? tn_float_bits(want[c][r]) : 0x55555555u;
                if (bits != right) {
                    fail_msg("%s %s%s: %zu rows, %zu columns of %zu: row %zu, column %zu is %g "
                             "(%08x), expected %g (%08x)",
                             tn_isa_name(isa), tn_type_info(type)->name, i ? " packed" : "", rows,
                             columns, k, r, c, (double)out[c][r], bits,
                             (double)tn_bits_float(right), right);
                }
            }
        }
    }
    free(back);
    release_guarded(w, bytes);
    release_guarded(packed, strips * TN_STRIP_ROWS * row_bytes);
}

static void products_equal_the_plain_ones(void **unused)
{
    (void)unused;
    for (int isa = 0; isa <= (int)tn_isa_best(); isa++) {
        for (int t = 0; t < INTEGER_TYPES; t++) {
            size_t block = tn_type_info(integer_types[t])->block_values;
            for (int i = 0; i < 14; i++) {
                size_t rows = 1 + random_u32() % MOST_ROWS,
                       columns = 1 + random_u32() % MOST_COLUMNS;
                size_t k = block * (1 + random_u32() % (MOST_K / block));
                compare((enum tn_isa)isa, integer_types[t], rows, columns, k);
            }
        }
    }
}

static void floats_are_packed_and_taken_back(void **unused)
{
    (void)unused;
    static const uint32_t types[] = {TN_F32, TN_F16, TN_BF16};
    enum { K = 37, ROWS = 11 };
    for (int t = 0; t < 3; t++) {
        uint8_t w[ROWS * K * 4], strip[TN_STRIP_ROWS * K * 4], back[K * 4];
        size_t row_bytes = tn_row_bytes(types[t], K), one = row_bytes / K;
        for (size_t i = 0; i < sizeof w; i++) {
            w[i] = (uint8_t)random_u32();
        }
        tn_pack_strip(types[t], w, row_bytes, ROWS, K, strip);
        for (size_t r = 0; r < ROWS; r++) {
            tn_unpack_row(types[t], strip, r, K, back);
            assert_memory_equal(back, w + r * row_bytes, row_bytes);
            for (size_t i = 0; i < K; i++) { // [k][16 rows]
                assert_memory_equal(strip + (i * TN_STRIP_ROWS + r) * one,
                                    w + r * row_bytes + i * one, one);
            }
        }
    }
}

static void what_cannot_be_packed_is_known(void **unused)
{
    (void)unused;
    assert_true(tn_can_pack(TN_Q8_0));
    assert_true(tn_can_pack(TN_F16));
    assert_false(tn_can_pack(TN_I32));
    assert_false(tn_can_pack(TN_Q8_0 | TN_PACKED));
    assert_null(tn_packed_layout(9999));
    assert_null(tn_row_product_of(TN_ISA_SCALAR, TN_I32 | TN_PACKED));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_equal_the_plain_ones),
        cmocka_unit_test(floats_are_packed_and_taken_back),
        cmocka_unit_test(what_cannot_be_packed_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
