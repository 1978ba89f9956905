// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Unpacking sixteen rows into a panel with AVX-512: 64 values of each row become a register of
// bytes q + 128, and sixteen such registers are turned so that lanes are rows. Source: the block
// formats of GGUF (decode.c has them in plain words).
#ifndef TENSOR_CPU_PANEL_UNPACK_AVX512_H
#define TENSOR_CPU_PANEL_UNPACK_AVX512_H

#include "tensor/cpu/decode.h"
#include "tensor/cpu/panel.h"
#include "tensor/half.h"

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

// ---- turning -----------------------------------------------------------------------------------

// to[i] lane r = row[r] lane i, for sixteen registers of sixteen 32-bit lanes; the first `count`.
static void turn_sixteen(const __m512i row[16], int count, uint8_t (*to)[TN_PANEL_ROWS][4])
{
    __m512i out[16];
    __m512i a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { // b[i + j]: in quarter q, lane 4q + j of rows i..i+3
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int j = 0; j < 4; j++) {
        __m512i even_low = _mm512_shuffle_i32x4(b[j], b[4 + j], 0x88);
        __m512i odd_low = _mm512_shuffle_i32x4(b[j], b[4 + j], 0xdd);
        __m512i even_high = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0x88);
        __m512i odd_high = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0xdd);
        out[j] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
        out[8 + j] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
        out[4 + j] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
        out[12 + j] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
    }
    for (int i = 0; i < count; i++) {
        _mm512_store_si512(to[i], out[i]);
    }
}

// ---- 64 values of one row as bytes q + 128 -----------------------------------------------------

ALWAYS_INLINE __m512i bytes_512(int b)
{
    return _mm512_set1_epi8((char)b);
}

// A table of sixteen bytes, each plus 128.
ALWAYS_INLINE __m512i table_plus_128(const int8_t table[16])
{
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return _mm512_broadcast_i32x4(_mm_xor_si128(t, _mm_set1_epi8((char)0x80)));
}

// The nibbles of two times sixteen bytes: a low, a high, b low, b high.
ALWAYS_INLINE __m512i nibbles_of_two(const uint8_t *a, const uint8_t *b)
{
    __m256i x = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)a));
    __m256i y = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)b));
    __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(x), y, 1);
    const __m512i shifts = _mm512_set_epi64(0x0004000400040004, 0x0004000400040004, 0, 0,
                                            0x0004000400040004, 0x0004000400040004, 0, 0);
    return _mm512_and_si512(_mm512_srlv_epi16(both, shifts), bytes_512(15));
}

// 32 bytes twice, the second time shifted; masked to `mask`.
ALWAYS_INLINE __m512i shifted_twice(const uint8_t *p, int first, int second, int mask)
{
    __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i lo = _mm256_srl_epi16(x, _mm_cvtsi32_si128(first));
    __m256i hi = _mm256_srl_epi16(x, _mm_cvtsi32_si128(second));
    return _mm512_and_si512(_mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1), bytes_512(mask));
}

ALWAYS_INLINE uint32_t load_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

// `a` and `b` are two blocks of 32.
ALWAYS_INLINE __m512i decode_two(uint32_t type, const uint8_t *a, const uint8_t *b, __m512i table)
{
    __m512i q;
    switch (type) {
    case TN_Q8_0:
        q = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)(a + 2)));
        q = _mm512_inserti64x4(q, _mm256_loadu_si256((const __m256i *)(const void *)(b + 2)), 1);
        return _mm512_xor_si512(q, bytes_512(0x80));
    case TN_Q5_0:
    case TN_Q5_1: {
        size_t at = type == TN_Q5_0 ? 2 : 4;
        __mmask64 fifth = (uint64_t)load_u32(b + at) << 32 | load_u32(a + at);
        q = nibbles_of_two(a + at + 4, b + at + 4);
        q = _mm512_mask_add_epi8(q, fifth, q, bytes_512(16));
        return _mm512_add_epi8(q, bytes_512(type == TN_Q5_0 ? 112 : 128));
    }
    default: {
        size_t at = type == TN_Q4_1 ? 4 : type == TN_MXFP4 ? 1 : 2;
        return _mm512_shuffle_epi8(table, nibbles_of_two(a + at, b + at));
    }
    }
}

// Values 64 part .. 64 part + 63 of a block of 256.
ALWAYS_INLINE __m512i decode_quarter(uint32_t type, const uint8_t *b, int part, __m512i table)
{
    int half = part / 2, odd = part % 2;
    switch (type) {
    case TN_Q2_K:
        return _mm512_add_epi8(shifted_twice(b + 16 + 32 * half, 4 * odd, 4 * odd + 2, 3),
                               bytes_512(128));
    case TN_Q3_K: {
        __m512i q = shifted_twice(b + 32 + 32 * half, 4 * odd, 4 * odd + 2, 3);
        __m512i high = shifted_twice(b, 2 * part, 2 * part + 1, 1);
        return _mm512_add_epi8(_mm512_add_epi8(q, _mm512_slli_epi16(high, 2)), bytes_512(124));
    }
    case TN_Q4_K: // less eight, which the kernel adds again: products of runs then have 16 bits
        return _mm512_add_epi8(shifted_twice(b + 16 + 32 * part, 0, 4, 15), bytes_512(120));
    case TN_Q5_K: {
        __m512i q = shifted_twice(b + 48 + 32 * part, 0, 4, 15);
        __m512i high = shifted_twice(b + 16, 2 * part, 2 * part + 1, 1);
        return _mm512_add_epi8(_mm512_add_epi8(q, _mm512_slli_epi16(high, 4)), bytes_512(128));
    }
    case TN_Q6_K: {
        __m512i q = _mm512_loadu_si512(b + 64 * half);
        q = _mm512_and_si512(odd ? _mm512_srli_epi16(q, 4) : q, bytes_512(15));
        __m512i high = shifted_twice(b + 128 + 32 * half, 4 * odd, 4 * odd + 2, 3);
        return _mm512_add_epi8(_mm512_add_epi8(q, _mm512_slli_epi16(high, 4)), bytes_512(96));
    }
    default: // IQ4_XS
        return _mm512_shuffle_epi8(table, nibbles_of_two(b + 8 + 32 * part, b + 24 + 32 * part));
    }
}

ALWAYS_INLINE __m512i table_of(uint32_t type)
{
    switch (type) {
    case TN_Q4_0:
        return _mm512_add_epi8(table_plus_128((const int8_t[16]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
                                                                 11, 12, 13, 14, 15}),
                               bytes_512(-8));
    case TN_Q4_1:
        return table_plus_128(
            (const int8_t[16]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
    case TN_MXFP4:
        return table_plus_128(tn_codebook_mxfp4);
    default:
        return table_plus_128(tn_codebook_iq4);
    }
}

// ---- scales ------------------------------------------------------------------------------------

ALWAYS_INLINE __m512 halves_at(const uint8_t *const row[16], size_t at)
{
    uint16_t h[16];
    for (int r = 0; r < 16; r++) {
        memcpy(&h[r], row[r] + at, 2);
    }
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)h));
}

ALWAYS_INLINE void scales_of_32(uint32_t type, const uint8_t *const row[16], size_t at,
                                struct tn_panel *out, size_t block)
{
    if (type == TN_MXFP4) {
        for (int r = 0; r < 16; r++) {
            out->scales[block][r] = tn_mxfp4_scale(row[r][at]);
        }
        return;
    }
    _mm512_store_ps(out->scales[block], halves_at(row, at));
    if (type == TN_Q4_1 || type == TN_Q5_1) {
        _mm512_store_ps(out->minima[block], halves_at(row, at + 2));
    }
}

// Sixteen rows of bytes to pairs of 16 bits, `count` (a multiple of 4) a row.
ALWAYS_INLINE void pairs_of(const uint8_t (*bytes)[16], int count, int32_t (*out)[TN_PANEL_ROWS])
{
    const __m512i places =
        _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                           _mm512_set1_epi32(16));
    const __m512i first = _mm512_broadcast_i32x4(
        _mm_set_epi8(13, -1, 12, -1, 9, -1, 8, -1, 5, -1, 4, -1, 1, -1, 0, -1));
    const __m512i second = _mm512_broadcast_i32x4(
        _mm_set_epi8(15, -1, 14, -1, 11, -1, 10, -1, 7, -1, 6, -1, 3, -1, 2, -1));
    for (int i = 0; i < count; i += 4) {
        __m512i four = _mm512_i32gather_epi32(places, (const char *)bytes + i, 1);
        _mm512_store_si512(out[i / 2], _mm512_srai_epi16(_mm512_shuffle_epi8(four, first), 8));
        _mm512_store_si512(out[i / 2 + 1], _mm512_srai_epi16(_mm512_shuffle_epi8(four, second), 8));
    }
}

// The scales and minima of one row's block as bytes: 16 runs, or 8 where runs have 32 values.
ALWAYS_INLINE void run_bytes(uint32_t type, const uint8_t *b, uint8_t *scale, uint8_t *minimum)
{
    switch (type) {
    case TN_Q2_K: {
        __m128i both = _mm_loadu_si128((const __m128i *)(const void *)b);
        const __m128i low = _mm_set1_epi8(15);
        _mm_storeu_si128((__m128i *)(void *)scale, _mm_and_si128(both, low));
        _mm_storeu_si128((__m128i *)(void *)minimum, _mm_and_si128(_mm_srli_epi16(both, 4), low));
        break;
    }
    case TN_Q3_K: {
        uint32_t high = load_u32(b + 104);
        for (int j = 0; j < 16; j += 4) {
            uint32_t low = load_u32(b + 96 + j % 8) >> (j < 8 ? 0 : 4) & 0x0f0f0f0fu;
            // Less 32 in each byte; the bit above keeps borrows from the next one.
            uint32_t six = low | (high >> j / 2 & 0x03030303u) << 4;
            uint32_t four = ((six | 0x80808080u) - 0x20202020u) ^ 0x80808080u;
            memcpy(scale + j, &four, 4);
        }
        break;
    }
    case TN_Q6_K:
        memcpy(scale, b + 192, 16);
        break;
    case TN_IQ4_XS: {
        uint32_t high = (uint32_t)(b[2] | b[3] << 8);
        for (int j = 0; j < 8; j++) {
            int low = b[4 + j / 2] >> j % 2 * 4 & 15;
            scale[j] = (uint8_t)((low | (int)(high >> 2 * j & 3) << 4) - 32);
        }
        break;
    }
    default: { // Q4_K, Q5_K
        uint32_t x = load_u32(b + 4), y = load_u32(b + 8), z = load_u32(b + 12);
        uint32_t four = x & 0x3f3f3f3fu;
        memcpy(scale, &four, 4);
        four = (z & 0x0f0f0f0fu) | (x >> 6 & 0x03030303u) << 4;
        memcpy(scale + 4, &four, 4);
        four = y & 0x3f3f3f3fu;
        memcpy(minimum, &four, 4);
        four = (z >> 4 & 0x0f0f0f0fu) | (y >> 6 & 0x03030303u) << 4;
        memcpy(minimum + 4, &four, 4);
    }
    }
}

ALWAYS_INLINE void scales_of_256(uint32_t type, const uint8_t *const row[16], size_t at,
                                 struct tn_panel *out, size_t block)
{
    const bool wide = type == TN_Q4_K || type == TN_Q5_K || type == TN_IQ4_XS; // runs of 32
    const int runs = wide ? 8 : 16;
    size_t d = type == TN_Q2_K ? 80 : type == TN_Q3_K ? 108 : type == TN_Q6_K ? 208 : 0;
    uint8_t scale[16][16], minimum[16][16];
#pragma GCC unroll 1
    for (int r = 0; r < 16; r++) {
        run_bytes(type, row[r] + at, scale[r], minimum[r]);
    }
    _mm512_store_ps(out->scales[block], halves_at(row, at + d));
    pairs_of((const uint8_t(*)[16])scale, runs, out->run_scales + block * (size_t)runs / 2);
    if (tn_type_has_minima(type)) {
        _mm512_store_ps(out->minima[block], halves_at(row, at + d + 2));
        pairs_of((const uint8_t(*)[16])minimum, runs, out->run_minima + block * (size_t)runs / 2);
    }
}

// ---- a slice of sixteen rows -------------------------------------------------------------------

ALWAYS_INLINE void unpack_slice_32(uint32_t type, const uint8_t *const start[16], size_t blocks,
                                   struct tn_panel *out)
{
    const size_t bytes = tn_type_info(type)->block_bytes;
    const __m512i table = table_of(type);
    for (size_t b = 0; b < blocks; b += 2) {
        bool both = b + 1 < blocks;
        __m512i row[16];
#pragma GCC unroll 1
        for (int r = 0; r < 16; r++) {
            const uint8_t *block = start[r] + b * bytes;
            row[r] = decode_two(type, block, both ? block + bytes : block, table);
        }
        if (both) {
            turn_sixteen(row, 16, out->values + b * 8);
            scales_of_32(type, start, (b + 1) * bytes, out, b + 1);
        } else {
            turn_sixteen(row, 8, out->values + b * 8);
        }
        scales_of_32(type, start, b * bytes, out, b);
    }
}

ALWAYS_INLINE void unpack_slice_256(uint32_t type, const uint8_t *const start[16], size_t blocks,
                                    struct tn_panel *out)
{
    const size_t bytes = tn_type_info(type)->block_bytes;
    const __m512i table = table_of(type);
    for (size_t b = 0; b < blocks; b++) {
#pragma GCC unroll 4
        for (int part = 0; part < 4; part++) {
            __m512i row[16];
#pragma GCC unroll 1
            for (int r = 0; r < 16; r++) {
                row[r] = decode_quarter(type, start[r] + b * bytes, part, table);
            }
            turn_sixteen(row, 16, out->values + b * 64 + part * 16);
        }
        scales_of_256(type, start, b * bytes, out, b);
    }
}

// `rows` (1 to 16; missing ones become copies of the first), values [from, from + count).
static void unpack_panel(uint32_t type, const uint8_t *w, size_t row_bytes, size_t rows,
                         size_t from, size_t count, struct tn_panel *out)
{
    const struct tn_type_info *t = tn_type_info(type);
    size_t first = from / t->block_values * t->block_bytes, blocks = count / t->block_values;
    const uint8_t *start[16];
    for (size_t r = 0; r < 16; r++) {
        start[r] = w + (r < rows ? r : 0) * row_bytes + first;
    }
    switch (type) {
#define CASE(TYPE, BLOCK)                                                                          \
    case TYPE:                                                                                     \
        unpack_slice_##BLOCK(TYPE, start, blocks, out);                                            \
        break;
        CASE(TN_Q8_0, 32)
        CASE(TN_Q4_0, 32)
        CASE(TN_Q4_1, 32)
        CASE(TN_Q5_0, 32)
        CASE(TN_Q5_1, 32)
        CASE(TN_IQ4_NL, 32)
        CASE(TN_MXFP4, 32)
        CASE(TN_Q2_K, 256)
        CASE(TN_Q3_K, 256)
        CASE(TN_Q4_K, 256)
        CASE(TN_Q5_K, 256)
        CASE(TN_Q6_K, 256)
        CASE(TN_IQ4_XS, 256)
#undef CASE
    }
}

#endif
