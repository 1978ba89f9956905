// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// AVX-512 with VNNI: the float kernels of AVX-512 and integer products by vpdpbusd, which
// multiplies unsigned by signed bytes and adds four neighbours into a 32-bit lane, exactly.
#include "tensor/cpu/simd_avx512.h"

#include "tensor/cpu/float_kernels.h"

// Signed weights become unsigned by flipping the top bit (+128); 128 times the column's sum goes
// off again.
ALWAYS_INLINE __m256i dot_bytes(__m256i w, __m256i x)
{
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), w, x);
}
#define DOT_Q8(w, x) dot_bytes(_mm256_xor_si256(w, _mm256_set1_epi8((char)0x80)), x)
#define Q8_ZERO      128
#define DOT_Q4(w, x) dot_bytes(w, x)
#include "tensor/cpu/int_kernels.h"

// Panel: [k / 4][16 columns][4 bytes], one 64-byte register for four values of sixteen columns.
static void panel_pack(const struct tn_columns8 *c, size_t k, size_t columns, void *values,
                       float *scales, int32_t *sums)
{
    uint32_t *out = values;
    size_t blocks = k / TN_BLOCK;
    for (size_t j = 0; j < TN_PANEL_COLUMNS; j++) {
        bool real = j < columns;
        for (size_t i = 0; i < k / 4; i++) {
            uint32_t four = 0;
            if (real) {
                memcpy(&four, (const uint8_t *)c->values + j * k + i * 4, 4);
            }
            out[i * TN_PANEL_COLUMNS + j] = four;
        }
        for (size_t b = 0; b < blocks; b++) {
            scales[b * TN_PANEL_COLUMNS + j] = real ? c->scales[j * blocks + b] : 0;
            sums[b * TN_PANEL_COLUMNS + j] = real ? c->sums[j * blocks + b] : 0;
        }
    }
}

// Four rows by P panels (1 or 2) of sixteen columns, one lane a column.
ALWAYS_INLINE void panel_block(const size_t P, const struct tn_panel_rows *w,
                               const struct tn_panel *x, size_t k, float *out, size_t out_stride)
{
    const size_t blocks = k / TN_BLOCK;
    const __m512i zero = _mm512_set1_epi32(-w->zero);
    __m512 total[TN_PANEL_ROWS][2];
    for (size_t r = 0; r < TN_PANEL_ROWS; r++) {
        for (size_t p = 0; p < P; p++) {
            total[r][p] = _mm512_setzero_ps();
        }
    }
    for (size_t b = 0; b < blocks; b++) {
        __m512i sum[TN_PANEL_ROWS][2];
        for (size_t p = 0; p < P; p++) {
            __m512i s = _mm512_loadu_si512(x[p].sums + b * TN_PANEL_COLUMNS);
            for (size_t r = 0; r < TN_PANEL_ROWS; r++) {
                sum[r][p] = _mm512_mullo_epi32(s, zero);
            }
        }
        for (size_t i = b * TN_BLOCK; i < (b + 1) * TN_BLOCK; i += 4) {
            __m512i v[2];
            for (size_t p = 0; p < P; p++) {
                v[p] = _mm512_loadu_si512((const uint8_t *)x[p].values + i * TN_PANEL_COLUMNS);
            }
            for (size_t r = 0; r < TN_PANEL_ROWS; r++) {
                int32_t four;
                memcpy(&four, w->values + r * k + i, 4);
                __m512i row = _mm512_set1_epi32(four);
                for (size_t p = 0; p < P; p++) {
                    sum[r][p] = _mm512_dpbusd_epi32(sum[r][p], row, v[p]);
                }
            }
        }
        for (size_t p = 0; p < P; p++) {
            __m512 d = _mm512_loadu_ps(x[p].scales + b * TN_PANEL_COLUMNS);
            for (size_t r = 0; r < TN_PANEL_ROWS; r++) {
                __m512 dw = _mm512_set1_ps(w->scales[r * blocks + b]);
                __m512 product = _mm512_mul_ps(_mm512_mul_ps(dw, d), _mm512_cvtepi32_ps(sum[r][p]));
                total[r][p] = _mm512_add_ps(total[r][p], product);
            }
        }
    }
    for (size_t r = 0; r < TN_PANEL_ROWS; r++) {
        for (size_t p = 0; p < P; p++) {
            _mm512_storeu_ps(out + r * out_stride + p * TN_PANEL_COLUMNS, total[r][p]);
        }
    }
}

static void panel_dot(const struct tn_panel_rows *w, const struct tn_panel *x, size_t panels,
                      size_t k, float *out, size_t out_stride)
{
    size_t p = 0;
    for (; panels - p >= 2; p += 2) {
        panel_block(2, w, x + p, k, out + p * TN_PANEL_COLUMNS, out_stride);
    }
    if (p < panels) {
        panel_block(1, w, x + p, k, out + p * TN_PANEL_COLUMNS, out_stride);
    }
}

const struct tn_kernels tn_kernels_avx512vnni = {
    .name = "avx512vnni",
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
    .panel_value_bytes = 1,
    .panel_pack = panel_pack,
    .panel_unpack = tn_panel_unpack,
    .panel_dot = panel_dot,
};
