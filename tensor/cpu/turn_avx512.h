// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Turns sixteen rows by 64 bytes so that the values of one k lie side by side, with AVX-512.
#ifndef TENSOR_CPU_TURN_AVX512_H
#define TENSOR_CPU_TURN_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TURN_INLINED static inline __attribute__((always_inline))
#define TURN_UNROLL  _Pragma("GCC unroll 16")

// Where turn_halves puts k = q, in halves: k and k + 8 (of 0..15 and 16..31) share a register.
#define TURNED_HALVES_AT(q) (((q)&7) * 64 + ((q) >> 3) * 16)

// Eight rows by 32 halves; lane l of out[m] holds the eight rows' k = 8 l + m.
TURN_INLINED void turn_eight(const uint8_t *w, size_t row_bytes, __m512i out[8])
{
    __m512i a[8], b[8];
    TURN_UNROLL
    for (size_t i = 0; i < 8; i++) {
        a[i] = _mm512_loadu_si512(w + i * row_bytes);
    }
    TURN_UNROLL
    for (size_t i = 0; i < 4; i++) {
        b[2 * i] = _mm512_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm512_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
    }
    TURN_UNROLL
    for (size_t i = 0; i < 2; i++) {
        a[4 * i] = _mm512_unpacklo_epi32(b[4 * i], b[4 * i + 2]);
        a[4 * i + 1] = _mm512_unpackhi_epi32(b[4 * i], b[4 * i + 2]);
        a[4 * i + 2] = _mm512_unpacklo_epi32(b[4 * i + 1], b[4 * i + 3]);
        a[4 * i + 3] = _mm512_unpackhi_epi32(b[4 * i + 1], b[4 * i + 3]);
    }
    TURN_UNROLL
    for (size_t i = 0; i < 4; i++) {
        out[2 * i] = _mm512_unpacklo_epi64(a[i], a[4 + i]);
        out[2 * i + 1] = _mm512_unpackhi_epi64(a[i], a[4 + i]);
    }
}

// Sixteen rows by 32 halves.
TURN_INLINED void turn_halves(const uint8_t *w, size_t row_bytes, void *out)
{
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    __m512i a[8], b[8], *to = out;
    turn_eight(w, row_bytes, a);
    turn_eight(w + 8 * row_bytes, row_bytes, b);
    TURN_UNROLL
    for (size_t m = 0; m < 8; m++) {
        _mm512_store_si512(to + 2 * m, _mm512_permutex2var_epi64(a[m], low, b[m]));
        _mm512_store_si512(to + 2 * m + 1, _mm512_permutex2var_epi64(a[m], high, b[m]));
    }
}

// Sixteen rows by 16 floats (or other words), k ascending; results are out_bytes apart.
TURN_INLINED void turn_words(const uint8_t *w, size_t row_bytes, void *out, size_t out_bytes)
{
    __m512i a[16], b[16];
    uint8_t *to = out;
    TURN_UNROLL
    for (size_t i = 0; i < 8; i++) {
        __m512i x = _mm512_loadu_si512(w + 2 * i * row_bytes);
        __m512i y = _mm512_loadu_si512(w + (2 * i + 1) * row_bytes);
        a[2 * i] = _mm512_unpacklo_epi32(x, y);
        a[2 * i + 1] = _mm512_unpackhi_epi32(x, y);
    }
    // b[4 i + j]: lane l holds rows 4 i .. 4 i + 3 of k = 4 l + j.
    TURN_UNROLL
    for (size_t i = 0; i < 4; i++) {
        b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    TURN_UNROLL
    for (size_t j = 0; j < 4; j++) {
        __m512i low = _mm512_shuffle_i32x4(b[j], b[4 + j], 0x44); // l 0 1 of rows 0.., 4..
        __m512i high = _mm512_shuffle_i32x4(b[j], b[4 + j], 0xee);
        __m512i low2 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0x44);
        __m512i high2 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0xee);
        _mm512_storeu_si512(to + j * out_bytes, _mm512_shuffle_i32x4(low, low2, 0x88));
        _mm512_storeu_si512(to + (4 + j) * out_bytes, _mm512_shuffle_i32x4(low, low2, 0xdd));
        _mm512_storeu_si512(to + (8 + j) * out_bytes, _mm512_shuffle_i32x4(high, high2, 0x88));
        _mm512_storeu_si512(to + (12 + j) * out_bytes, _mm512_shuffle_i32x4(high, high2, 0xdd));
    }
}

// `count` columns (constant after inlining) of 16 words to [16][count].
TURN_INLINED void turn_sixteen_words(const uint8_t *from, size_t column_bytes, const size_t count,
                                     uint8_t *to)
{
    const __mmask16 some = (__mmask16)((1u << count) - 1u);
    __m512i edge[16], turned[16];
    TURN_UNROLL
    for (size_t c = 0; c < 16; c++) {
        edge[c] = _mm512_setzero_si512();
        if (c < count) {
            edge[c] = _mm512_loadu_si512(from + c * column_bytes);
        }
    }
    turn_words((const uint8_t *)edge, 64, turned, 64);
    TURN_UNROLL
    for (size_t q = 0; q < 16; q++) {
        _mm512_mask_storeu_epi32(to + q * count * 4, some, turned[q]);
    }
}

// `count` (1..16) columns of `depth` words, column_bytes apart, to [depth][count].
static inline void turn_columns(const void *columns, size_t column_bytes, size_t depth,
                                size_t count, void *out)
{
    const uint8_t *from = columns;
    uint8_t *to = out;
    size_t i = 0;
    for (; count == 12 && i + 16 <= depth; i += 16, to += 16 * 12 * 4) {
        turn_sixteen_words(from + i * 4, column_bytes, 12, to);
    }
    for (; i + 16 <= depth; i += 16, to += 16 * count * 4) {
        turn_sixteen_words(from + i * 4, column_bytes, count, to);
    }
    for (; i < depth; i++) {
        for (size_t c = 0; c < count; c++, to += 4) {
            memcpy(to, from + c * column_bytes + i * 4, 4);
        }
    }
}

#endif
