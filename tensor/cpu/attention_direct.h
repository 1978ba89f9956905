// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Few queries against a page of keys or values that is not in floats: brought into registers as it
// stands, once for all of them, instead of into memory first. The same chains as block_product, so
// the same bits. Include after attention_kernels.h.
#ifndef TENSOR_CPU_ATTENTION_DIRECT_H
#define TENSOR_CPU_ATTENTION_DIRECT_H

// One more row of B (two sixteens) for R rows of A.
ROW_INLINE void add_row_of(const int R, v16 sum[DIRECT_ROWS][2], const float *a, size_t a_stride,
                           v16 low, v16 high)
{
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
        v16 factor = v_set1(a[(size_t)r * a_stride]);
        sum[r][0] = v_fma(factor, low, sum[r][0]);
        sum[r][1] = v_fma(factor, high, sum[r][1]);
    }
}

// ---- keys --------------------------------------------------------------------------------------

ROW_INLINE void score_halves(const int R, v16 sum[DIRECT_ROWS][2], const struct tn_page_product *p,
                             const float *a)
{
    const uint8_t *keys = p->page;
    for (size_t d = 0; d < p->dim; d++, keys += PAGE * 2) {
        add_row_of(R, sum, a + d, p->a_stride, v_load_f16(keys), v_load_f16(keys + 32));
    }
}

ROW_INLINE void score_q8_0(const int R, v16 sum[DIRECT_ROWS][2], const struct tn_page_product *p,
                           const float *a)
{
    const uint8_t *keys = p->page;
    for (size_t d = 0; d < p->dim; d += 32) {
        v16 low = v_load_f16(keys), high = v_load_f16(keys + 32);
        keys += PAGE * 2;
        for (size_t i = 0; i < 32; i++, keys += PAGE) {
            add_row_of(R, sum, a + d + i, p->a_stride, v_mul(v_load_i8(keys), low),
                       v_mul(v_load_i8(keys + 16), high));
        }
    }
}

ROW_INLINE void score_q4_0(const int R, v16 sum[DIRECT_ROWS][2], const struct tn_page_product *p,
                           const float *a)
{
    const uint8_t *keys = p->page;
    for (size_t d = 0; d < p->dim; d += 32) {
        v16 low = v_load_f16(keys), high = v_load_f16(keys + 32);
        keys += PAGE * 2;
        for (size_t i = 0; i < 16; i++) {
            const uint8_t *row = keys + i * PAGE;
            add_row_of(R, sum, a + d + i, p->a_stride, v_mul(v_load_low_nibbles(row), low),
                       v_mul(v_load_low_nibbles(row + 16), high));
        }
        for (size_t i = 0; i < 16; i++, keys += PAGE) {
            add_row_of(R, sum, a + d + 16 + i, p->a_stride, v_mul(v_load_high_nibbles(keys), low),
                       v_mul(v_load_high_nibbles(keys + 16), high));
        }
    }
}

ROW_INLINE void score_rows(const int R, const struct tn_page_product *p, size_t row)
{
    v16 sum[DIRECT_ROWS][2];
    const float *a = p->a + row * p->a_stride;
    for (int r = 0; r < R; r++) {
        sum[r][0] = sum[r][1] = v_set1(0);
    }
    if (p->kv_type == TN_F16) {
        score_halves(R, sum, p, a);
    } else if (p->kv_type == TN_Q8_0) {
        score_q8_0(R, sum, p, a);
    } else {
        score_q4_0(R, sum, p, a);
    }
    for (int r = 0; r < R; r++) {
        float *c = p->c + (row + (size_t)r) * p->c_stride;
        v_store(c, sum[r][0]);
        v_store(c + 16, sum[r][1]);
    }
}

// ---- values ------------------------------------------------------------------------------------

// 32 dimensions from `values` on, or fewer at the end of halves: what is missing is 0.
ROW_INLINE void mix_part(const int R, const uint32_t kv_type, const struct tn_page_product *p,
                         const float *a, const uint8_t *values, size_t row_bytes, size_t some,
                         float *c)
{
    v16 sum[DIRECT_ROWS][2];
    bool two = some > 16; // results are padded to sixteens, no more
    for (int r = 0; r < R; r++) {
        sum[r][0] = v_load(c + (size_t)r * p->c_stride);
        sum[r][1] = two ? v_load(c + (size_t)r * p->c_stride + 16) : v_set1(0);
    }
    for (size_t i = 0; i < p->count; i++, values += row_bytes) {
        v16 low, high;
        if (kv_type == TN_F16) {
            if (some == 32) {
                low = v_load_f16(values), high = v_load_f16(values + 32);
            } else {
                low = v_load_f16_some(values, two ? 16 : some);
                high = v_load_f16_some(values + 32, two ? some - 16 : 0);
            }
        } else {
            uint16_t half;
            memcpy(&half, values, sizeof half);
            v16 scale = v_set1(tn_f16_to_f32(half));
            bool eight = kv_type == TN_Q8_0;
            low = v_mul(eight ? v_load_i8(values + 2) : v_load_low_nibbles(values + 2), scale);
            high = v_mul(eight ? v_load_i8(values + 18) : v_load_high_nibbles(values + 2), scale);
        }
        add_row_of(R, sum, a + i, p->a_stride, low, high);
    }
    for (int r = 0; r < R; r++) {
        v_store(c + (size_t)r * p->c_stride, sum[r][0]);
        if (two) {
            v_store(c + (size_t)r * p->c_stride + 16, sum[r][1]);
        }
    }
}

ROW_INLINE void mix_rows(const int R, const struct tn_page_product *p, size_t row)
{
    const float *a = p->a + row * p->a_stride;
    float *c = p->c + row * p->c_stride;
    size_t block = p->kv_type == TN_F16 ? 64 : p->kv_type == TN_Q8_0 ? 34 : 18;
    size_t row_bytes = p->kv_type == TN_F16 ? p->dim * 2 : p->dim / 32 * block;
    const uint8_t *values = p->page + p->first * row_bytes;
    for (size_t d = 0; d < p->dim; d += 32, values += block) {
        size_t some = p->dim - d < 32 ? p->dim - d : 32;
        if (p->kv_type == TN_Q8_0) {
            mix_part(R, TN_Q8_0, p, a, values, row_bytes, 32, c + d);
        } else if (p->kv_type == TN_Q4_0) {
            mix_part(R, TN_Q4_0, p, a, values, row_bytes, 32, c + d);
        } else if (some == 32) {
            mix_part(R, TN_F16, p, a, values, row_bytes, 32, c + d);
        } else {
            mix_part(R, TN_F16, p, a, values, row_bytes, some, c + d);
        }
    }
}

// ---- any number of rows ------------------------------------------------------------------------

#define EACH_DIRECT(ROWS, p)                                                                       \
    do {                                                                                           \
        size_t row = 0;                                                                            \
        for (; DIRECT_ROWS >= 8 && row + 8 <= (p)->rows; row += 8) {                               \
            ROWS(DIRECT_ROWS >= 8 ? 8 : 1, p, row);                                                \
        }                                                                                          \
        for (; DIRECT_ROWS >= 4 && row + 4 <= (p)->rows; row += 4) {                               \
            ROWS(DIRECT_ROWS >= 4 ? 4 : 1, p, row);                                                \
        }                                                                                          \
        for (; DIRECT_ROWS >= 2 && row + 2 <= (p)->rows; row += 2) {                               \
            ROWS(DIRECT_ROWS >= 2 ? 2 : 1, p, row);                                                \
        }                                                                                          \
        for (; row < (p)->rows; row++) {                                                           \
            ROWS(1, p, row);                                                                       \
        }                                                                                          \
    } while (0)

static void score_direct(const struct tn_page_product *p)
{
    EACH_DIRECT(score_rows, p);
}

static void mix_direct(const struct tn_page_product *p)
{
    EACH_DIRECT(mix_rows, p);
}

#endif
