// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Integer products of eight rows with one column, over 256-bit registers: include after defining
// DOT_Q8(w, x): eight partial sums of (w + Q8_ZERO) * x, and DOT_Q4 the same for nibbles 0..15.
#ifndef TENSOR_CPU_INT_KERNELS_H
#define TENSOR_CPU_INT_KERNELS_H

// Lane i of the result is the sum of row[i]'s lanes. Integers: the order does not matter.
ALWAYS_INLINE __m256i sum_each(const __m256i row[8])
{
    __m256i a = _mm256_hadd_epi32(row[0], row[1]), b = _mm256_hadd_epi32(row[2], row[3]);
    __m256i c = _mm256_hadd_epi32(row[4], row[5]), d = _mm256_hadd_epi32(row[6], row[7]);
    __m256i ab = _mm256_hadd_epi32(a, b), cd = _mm256_hadd_epi32(c, d);
    return _mm256_add_epi32(_mm256_permute2x128_si256(ab, cd, 0x20),
                            _mm256_permute2x128_si256(ab, cd, 0x31));
}

// The f16 scales that begin eight blocks.
ALWAYS_INLINE __m256 scales_of(const uint8_t *const block[8])
{
    uint16_t h[8];
    for (int i = 0; i < 8; i++) {
        memcpy(&h[i], block[i], 2);
    }
    __m128i v;
    memcpy(&v, h, sizeof v);
    return _mm256_cvtph_ps(v);
}

ALWAYS_INLINE __m256i q8_block(const uint8_t *block)
{
    return _mm256_loadu_si256((const __m256i *)(block + 2));
}

ALWAYS_INLINE __m256i q4_block(const uint8_t *block)
{
    __m128i packed = _mm_loadu_si128((const __m128i *)(block + 2));
    __m256i both = _mm256_set_m128i(_mm_srli_epi16(packed, 4), packed);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

#define DEFINE_DOT_ROWS(NAME, BLOCK_BYTES, UNPACK, DOT, ZERO)                                      \
    ALWAYS_INLINE __m256 eight_##NAME(const uint8_t *const rows[8], size_t blocks,                 \
                                      const struct tn_columns *x)                                  \
    {                                                                                              \
        const uint8_t *block[8];                                                                   \
        for (int i = 0; i < 8; i++) {                                                              \
            block[i] = rows[i];                                                                    \
        }                                                                                          \
        __m256 total = _mm256_setzero_ps();                                                        \
        for (size_t b = 0; b < blocks; b++) {                                                      \
            __m256i values = _mm256_loadu_si256((const __m256i *)(const void *)x->values + b);     \
            __m256i part[8];                                                                       \
            for (int i = 0; i < 8; i++) {                                                          \
                part[i] = DOT(UNPACK(block[i]), values);                                           \
            }                                                                                      \
            __m256i sum = sum_each(part);                                                          \
            sum = _mm256_sub_epi32(sum, _mm256_set1_epi32((ZERO)*x->sums[b]));                     \
            __m256 d = _mm256_mul_ps(scales_of(block), _mm256_set1_ps(x->scales[b]));              \
            total = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(sum), total);                            \
            for (int i = 0; i < 8; i++) {                                                          \
                block[i] += (BLOCK_BYTES);                                                         \
            }                                                                                      \
        }                                                                                          \
        return total;                                                                              \
    }                                                                                              \
    static void dot_##NAME(const uint8_t *w, size_t row_bytes, size_t rows,                        \
                           const struct tn_columns *x, size_t columns, float *out,                 \
                           size_t out_stride)                                                      \
    {                                                                                              \
        for (size_t r = 0; r < rows; r += 8) {                                                     \
            size_t count = rows - r < 8 ? rows - r : 8;                                            \
            const uint8_t *row[8];                                                                 \
            for (size_t i = 0; i < 8; i++) {                                                       \
                row[i] = w + (r + (i < count ? i : 0)) * row_bytes;                                \
            }                                                                                      \
            for (size_t c = 0; c < columns; c++) {                                                 \
                struct tn_columns column = tn_columns_skip(x, c);                                  \
                float result[8];                                                                   \
                _mm256_storeu_ps(result, eight_##NAME(row, x->k / TN_BLOCK, &column));             \
                memcpy(out + c * out_stride + r, result, count * sizeof *out);                     \
            }                                                                                      \
        }                                                                                          \
    }

DEFINE_DOT_ROWS(q8_0, 34, q8_block, DOT_Q8, Q8_ZERO)
DEFINE_DOT_ROWS(q4_0, 18, q4_block, DOT_Q4, 8)

#endif
