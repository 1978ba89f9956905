// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Turns sixteen rows by 64 bytes so that the values of one k lie side by side, with what every
// x86-64 has.
#ifndef TENSOR_CPU_TURN_SSE2_H
#define TENSOR_CPU_TURN_SSE2_H

#include <emmintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TURN_INLINED static inline __attribute__((always_inline))
#define TURN_UNROLL  _Pragma("GCC unroll 8")

// Where turn_halves puts k = q, in halves.
#define TURNED_HALVES_AT(q) ((q)*16)

// Eight rows by eight halves; results are 32 bytes apart.
TURN_INLINED void turn_eight(const uint8_t *w, size_t row_bytes, uint8_t *out)
{
    __m128i a[8], b[8];
    TURN_UNROLL
    for (size_t i = 0; i < 4; i++) {
        __m128i x = _mm_loadu_si128((const void *)(w + 2 * i * row_bytes));
        __m128i y = _mm_loadu_si128((const void *)(w + (2 * i + 1) * row_bytes));
        a[2 * i] = _mm_unpacklo_epi16(x, y);
        a[2 * i + 1] = _mm_unpackhi_epi16(x, y);
    }
    TURN_UNROLL
    for (size_t i = 0; i < 2; i++) {
        b[4 * i] = _mm_unpacklo_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm_unpackhi_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm_unpacklo_epi32(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm_unpackhi_epi32(a[4 * i + 1], a[4 * i + 3]);
    }
    TURN_UNROLL
    for (size_t i = 0; i < 4; i++) {
        _mm_store_si128((void *)(out + 64 * i), _mm_unpacklo_epi64(b[i], b[4 + i]));
        _mm_store_si128((void *)(out + 64 * i + 32), _mm_unpackhi_epi64(b[i], b[4 + i]));
    }
}

// Sixteen rows by 32 halves.
TURN_INLINED void turn_halves(const uint8_t *w, size_t row_bytes, void *out)
{
    for (size_t k = 0; k < 4; k++) {
        TURN_UNROLL
        for (size_t r = 0; r < 2; r++) {
            turn_eight(w + r * 8 * row_bytes + k * 16, row_bytes,
                       (uint8_t *)out + k * 256 + r * 16);
        }
    }
}

// Four rows by four words; results are out_bytes apart.
TURN_INLINED void turn_four(const uint8_t *w, size_t row_bytes, uint8_t *out, size_t out_bytes)
{
    __m128i a = _mm_loadu_si128((const void *)w),
            b = _mm_loadu_si128((const void *)(w + row_bytes));
    __m128i c = _mm_loadu_si128((const void *)(w + 2 * row_bytes));
    __m128i d = _mm_loadu_si128((const void *)(w + 3 * row_bytes));
    __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
    __m128i ab2 = _mm_unpackhi_epi32(a, b), cd2 = _mm_unpackhi_epi32(c, d);
    _mm_storeu_si128((void *)out, _mm_unpacklo_epi64(ab, cd));
    _mm_storeu_si128((void *)(out + out_bytes), _mm_unpackhi_epi64(ab, cd));
    _mm_storeu_si128((void *)(out + 2 * out_bytes), _mm_unpacklo_epi64(ab2, cd2));
    _mm_storeu_si128((void *)(out + 3 * out_bytes), _mm_unpackhi_epi64(ab2, cd2));
}

// Sixteen rows by 16 floats (or other words), k ascending; results are out_bytes apart.
TURN_INLINED void turn_words(const uint8_t *w, size_t row_bytes, void *out, size_t out_bytes)
{
    for (size_t k = 0; k < 4; k++) {
        TURN_UNROLL
        for (size_t r = 0; r < 4; r++) {
            turn_four(w + r * 4 * row_bytes + k * 16, row_bytes,
                      (uint8_t *)out + k * 4 * out_bytes + r * 16, out_bytes);
        }
    }
}

// `count` columns of `depth` words, column_bytes apart, to [depth][count].
static inline void turn_columns(const void *columns, size_t column_bytes, size_t depth,
                                size_t count, void *out)
{
    const uint8_t *from = columns;
    uint8_t *to = out;
    for (size_t i = 0; i < depth; i++) {
        for (size_t c = 0; c < count; c++, to += 4) {
            memcpy(to, from + c * column_bytes + i * 4, 4);
        }
    }
}

#endif
