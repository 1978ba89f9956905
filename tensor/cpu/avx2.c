// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// AVX2 + FMA + F16C. Integer products: eight weight rows at a time, one lane each.
#include "tensor/cpu/simd_avx2.h"

#include "tensor/cpu/float_kernels.h"

// |w| times x with w's sign: exact for every 8-bit w, and pairs stay below 2^15.
ALWAYS_INLINE __m256i dot_signed(__m256i w, __m256i x)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
#define DOT_Q8(w, x) dot_signed(w, x)
#define Q8_ZERO      0
ALWAYS_INLINE __m256i dot_nibbles(__m256i w, __m256i x)
{
    return _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1));
}
#define DOT_Q4(w, x) dot_nibbles(w, x)
#include "tensor/cpu/int_kernels.h"

void tn_avx2_dot_q8_0(const uint8_t *w, size_t row_bytes, size_t rows, const struct tn_columns8 *x,
                      size_t columns, size_t k, float *out, size_t out_stride)
{
    dot_q8_0(w, row_bytes, rows, x, columns, k, out, out_stride);
}

void tn_avx2_dot_q4_0(const uint8_t *w, size_t row_bytes, size_t rows, const struct tn_columns8 *x,
                      size_t columns, size_t k, float *out, size_t out_stride)
{
    dot_q4_0(w, row_bytes, rows, x, columns, k, out, out_stride);
}

// Panel: pairs of 16-bit values, [k / 2][16 columns][2].
void tn_avx2_panel_pack(const struct tn_columns8 *c, size_t k, size_t columns, void *values,
                        float *scales, int32_t *sums)
{
    int16_t *out = values;
    size_t blocks = k / TN_BLOCK;
    for (size_t j = 0; j < TN_PANEL_COLUMNS; j++) {
        bool real = j < columns;
        const int8_t *v = (const int8_t *)c->values + j * k;
        for (size_t i = 0; i < k; i += 2) {
            int16_t *pair = out + i * TN_PANEL_COLUMNS + 2 * j;
            pair[0] = real ? v[i] : 0;
            pair[1] = real ? v[i + 1] : 0;
        }
        for (size_t b = 0; b < blocks; b++) {
            scales[b * TN_PANEL_COLUMNS + j] = real ? c->scales[j * blocks + b] : 0;
            sums[b * TN_PANEL_COLUMNS + j] = real ? c->sums[j * blocks + b] : 0;
        }
    }
}

// Two bytes of a row as 16-bit values in every lane.
ALWAYS_INLINE __m256i pair_of(const uint8_t *w)
{
    return _mm256_set1_epi32(w[0] | w[1] << 16);
}

// Two rows by sixteen columns.
ALWAYS_INLINE void panel_rows(const struct tn_panel_rows *w, size_t row, const struct tn_panel *x,
                              size_t k, float *out, size_t out_stride)
{
    const size_t blocks = k / TN_BLOCK;
    const __m256i *values = x->values;
    const uint8_t *w0 = w->values + row * k, *w1 = w0 + k;
    __m256i zero = _mm256_set1_epi32(w->zero);
    __m256 total[2][2];
    for (int i = 0; i < 4; i++) {
        total[i / 2][i % 2] = _mm256_setzero_ps();
    }
    for (size_t b = 0; b < blocks; b++) {
        const __m256i *s = (const __m256i *)(x->sums + b * TN_PANEL_COLUMNS);
        __m256i sum[2][2];
        for (int h = 0; h < 2; h++) {
            __m256i shift = _mm256_mullo_epi32(_mm256_loadu_si256(s + h), zero);
            sum[0][h] = sum[1][h] = _mm256_sub_epi32(_mm256_setzero_si256(), shift);
        }
        for (size_t i = b * TN_BLOCK; i < (b + 1) * TN_BLOCK; i += 2) {
            __m256i a = pair_of(w0 + i), c = pair_of(w1 + i);
            for (int h = 0; h < 2; h++) {
                __m256i v = _mm256_loadu_si256(values + i + (size_t)h);
                sum[0][h] = _mm256_add_epi32(sum[0][h], _mm256_madd_epi16(a, v));
                sum[1][h] = _mm256_add_epi32(sum[1][h], _mm256_madd_epi16(c, v));
            }
        }
        for (int h = 0; h < 2; h++) {
            __m256 d = _mm256_loadu_ps(x->scales + b * TN_PANEL_COLUMNS + 8 * h);
            for (int r = 0; r < 2; r++) {
                __m256 dw = _mm256_set1_ps(w->scales[(row + (size_t)r) * blocks + b]);
                __m256 product = _mm256_mul_ps(_mm256_mul_ps(dw, d), _mm256_cvtepi32_ps(sum[r][h]));
                total[r][h] = _mm256_add_ps(total[r][h], product);
            }
        }
    }
    for (size_t r = 0; r < 2; r++) {
        _mm256_storeu_ps(out + (row + r) * out_stride, total[r][0]);
        _mm256_storeu_ps(out + (row + r) * out_stride + 8, total[r][1]);
    }
}

void tn_avx2_panel_dot(const struct tn_panel_rows *w, const struct tn_panel *x, size_t panels,
                       size_t k, float *out, size_t out_stride)
{
    for (size_t p = 0; p < panels; p++) {
        panel_rows(w, 0, x + p, k, out + p * TN_PANEL_COLUMNS, out_stride);
        panel_rows(w, 2, x + p, k, out + p * TN_PANEL_COLUMNS, out_stride);
    }
}

const struct tn_kernels tn_kernels_avx2 = {
    .name = "avx2",
    .rms_norm = rms_norm,
    .silu_mul = silu_mul,
    .to_f16 = to_f16,
    .attention = attention,
    .dot_f32 = dot_f32,
    .dot_f16 = dot_f16,
    .dot_bf16 = dot_bf16,
    .column_value_bytes = 1,
    .quantise = quantise_to_bytes,
    .dot_q8_0 = dot_q8_0,
    .dot_q4_0 = dot_q4_0,
    .panel_from = 4,
    .panel_value_bytes = 2,
    .panel_pack = tn_avx2_panel_pack,
    .panel_unpack = tn_panel_unpack,
    .panel_dot = tn_avx2_panel_dot,
};
