// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Sixteen rows as the lanes of one AVX-512 register. Define GEMV_VNNI for vpdpbusd. Meanings of the
// names that both gemv_lanes_*.h define are said here.
#ifndef TENSOR_CPU_GEMV_LANES_512_H
#define TENSOR_CPU_GEMV_LANES_512_H

#include "tensor/cpu/gemv.h"

#include <immintrin.h>
#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum { LANES = 16 };
typedef __m512i vi;
typedef __m512 vf;

// Integers: lanes of 32 bits, or bytes where the name says so.
ALWAYS_INLINE vi i_load(const void *p)
{
    return _mm512_loadu_si512(p);
}
ALWAYS_INLINE void i_store(void *p, vi v)
{
    _mm512_storeu_si512(p, v);
}
ALWAYS_INLINE vi i_zero(void)
{
    return _mm512_setzero_si512();
}
ALWAYS_INLINE vi i_set(int32_t n)
{
    return _mm512_set1_epi32(n);
}
ALWAYS_INLINE vi i_set_bytes(int n)
{
    return _mm512_set1_epi8((char)n);
}
ALWAYS_INLINE vi i_and(vi a, vi b)
{
    return _mm512_and_si512(a, b);
}
ALWAYS_INLINE vi i_or(vi a, vi b)
{
    return _mm512_or_si512(a, b);
}
ALWAYS_INLINE vi i_xor(vi a, vi b)
{
    return _mm512_xor_si512(a, b);
}
ALWAYS_INLINE vi i_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}
ALWAYS_INLINE vi i_sub(vi a, vi b)
{
    return _mm512_sub_epi32(a, b);
}
ALWAYS_INLINE vi i_mul(vi a, vi b)
{
    return _mm512_mullo_epi32(a, b);
}
ALWAYS_INLINE vi i_shift_left(vi a, int n)
{
    return _mm512_sll_epi32(a, _mm_cvtsi32_si128(n));
}
ALWAYS_INLINE vi i_shift_right(vi a, int n) // zeros come in
{
    return _mm512_srl_epi32(a, _mm_cvtsi32_si128(n));
}
ALWAYS_INLINE vi i_shift_left_each(vi a, vi n)
{
    return _mm512_sllv_epi32(a, n);
}
ALWAYS_INLINE vi i_greater(vi a, vi b) // all ones or zeros
{
    return _mm512_movm_epi32(_mm512_cmpgt_epi32_mask(a, b));
}
// The sixteen bytes of `table` by the low four bits of each byte (the others are zero).
ALWAYS_INLINE vi i_lookup(__m128i table, vi index)
{
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), index);
}
// Byte b of each lane four times.
ALWAYS_INLINE vi i_spread_byte(vi a, int b)
{
    return _mm512_shuffle_epi8(
        a,
        _mm512_set_epi32(0x0c0c0c0c + b * 0x01010101, 0x08080808 + b * 0x01010101,
                         0x04040404 + b * 0x01010101, b * 0x01010101, 0x0c0c0c0c + b * 0x01010101,
                         0x08080808 + b * 0x01010101, 0x04040404 + b * 0x01010101, b * 0x01010101,
                         0x0c0c0c0c + b * 0x01010101, 0x08080808 + b * 0x01010101,
                         0x04040404 + b * 0x01010101, b * 0x01010101, 0x0c0c0c0c + b * 0x01010101,
                         0x08080808 + b * 0x01010101, 0x04040404 + b * 0x01010101, b * 0x01010101));
}
// `value` in each byte that has a bit of `bits`.
ALWAYS_INLINE vi i_where(vi a, vi bits, int value)
{
    return _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(a, bits), i_set_bytes(value));
}
// acc + the products of pairs of 16-bit integers.
ALWAYS_INLINE vi i_add_pairs(vi acc, vi a, vi b)
{
#ifdef GEMV_VNNI
    return _mm512_dpwssd_epi32(acc, a, b);
#else
    return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
#endif
}
ALWAYS_INLINE vf f_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
ALWAYS_INLINE void f_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}
ALWAYS_INLINE vf f_set(float x)
{
    return _mm512_set1_ps(x);
}
ALWAYS_INLINE vf f_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
ALWAYS_INLINE vf f_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
ALWAYS_INLINE vf f_minus_product(vf a, vf b, vf c) // c - a b
{
    return _mm512_fnmadd_ps(a, b, c);
}
ALWAYS_INLINE vf f_from(vi a)
{
    return _mm512_cvtepi32_ps(a);
}
ALWAYS_INLINE vf f_bits(vi a)
{
    return _mm512_castsi512_ps(a);
}
// LANES halves, or bytes as integers.
ALWAYS_INLINE vf f_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}
ALWAYS_INLINE vi i_load_u16(const void *p)
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
}
ALWAYS_INLINE vi i_load_u8(const void *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(p));
}
ALWAYS_INLINE void i_store_u16(void *p, vi v) // the low halves
{
    _mm256_storeu_si256(p, _mm512_cvtepi32_epi16(v));
}
ALWAYS_INLINE void i_store_u8(void *p, vi v)
{
    _mm_storeu_si128(p, _mm512_cvtepi32_epi8(v));
}

// ---- products of bytes -------------------------------------------------------------------------

// Zero of types that cover all signed bytes, as the kernels of this level count them; and are
// single columns multiplied while unpacking?
#ifdef GEMV_VNNI
#define WIDE_ZERO 128
#define SINGLE    1
#else
#define WIDE_ZERO 0
#define SINGLE    0
#endif

ALWAYS_INLINE vi four(const int8_t *x)
{
    int32_t n;
    memcpy(&n, x, sizeof n);
    return i_set(n);
}

// acc + four products of bytes a lane; w unsigned. Only with VNNI: elsewhere it takes more
// (add_products).
ALWAYS_INLINE vi add_four_products(vi acc, vi w, vi x)
{
#ifdef GEMV_VNNI
    return _mm512_dpbusd_epi32(acc, w, x);
#else
    (void)w;
    (void)x;
    return acc;
#endif
}

// sum[c] += `count` times four values of the rows (64 bytes apart) times those of column c (k
// apart). `most` is the greatest value; 255: signed bytes + 128.
ALWAYS_INLINE void add_products(const int C, const int count, const int most, const uint8_t *values,
                                const int8_t *x, size_t k, vi *sum)
{
#ifdef GEMV_VNNI
    (void)most;
#pragma GCC unroll 8
    for (int i = 0; i < count; i++) {
        vi w = i_load(values + 64 * i);
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
            sum[c] = _mm512_dpbusd_epi32(sum[c], w, four(x + (size_t)c * k + 4 * i));
        }
    }
#else
    const vi ones = _mm512_set1_epi16(1);
    vi part[8];
    // So many products of pairs can be added in sixteen bits.
    const int fit = most == 255 ? 1 : 32767 / (most * 254);
#pragma GCC unroll 8
    for (int i = 0; i < count; i++) {
        vi w = i_load(values + 64 * i);
        bool begins = i % fit == 0, ends = i % fit == fit - 1 || i == count - 1;
        __mmask64 negative = 0;
        if (most == 255) {
            w = i_xor(w, i_set_bytes(0x80));
            negative = _mm512_movepi8_mask(w);
            w = _mm512_abs_epi8(w);
        }
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
            vi v = four(x + (size_t)c * k + 4 * i);
            if (most == 255) {
                v = _mm512_mask_sub_epi8(v, negative, i_zero(), v);
            }
            vi p = _mm512_maddubs_epi16(w, v);
            part[c] = begins ? p : _mm512_add_epi16(part[c], p);
            if (ends) {
                sum[c] = _mm512_add_epi32(sum[c], _mm512_madd_epi16(part[c], ones));
            }
        }
    }
#endif
}

// ---- turning -----------------------------------------------------------------------------------

// Four registers of 4 x 4 lanes of 32 bits, turned within each 128-bit part.
ALWAYS_INLINE void turn_parts(const vi in[4], vi out[4])
{
    vi a = _mm512_unpacklo_epi32(in[0], in[1]), b = _mm512_unpackhi_epi32(in[0], in[1]);
    vi c = _mm512_unpacklo_epi32(in[2], in[3]), d = _mm512_unpackhi_epi32(in[2], in[3]);
    out[0] = _mm512_unpacklo_epi64(a, c);
    out[1] = _mm512_unpackhi_epi64(a, c);
    out[2] = _mm512_unpacklo_epi64(b, d);
    out[3] = _mm512_unpackhi_epi64(b, d);
}

// 32 bytes at base + offset[r] of each of sixteen rows become out[8][16 rows][4 bytes], each byte
// with `flip` xored in.
ALWAYS_INLINE void turn_32(const uint8_t *base, const int32_t *offset, int flip, uint8_t *out)
{
    vi z[8], a[4], b[4];
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) {
        __m256i low = _mm256_loadu_si256((const void *)(base + offset[r]));
        __m256i high = _mm256_loadu_si256((const void *)(base + offset[r + 8]));
        z[r] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
        if (flip) {
            z[r] = i_xor(z[r], i_set_bytes(flip));
        }
    }
    turn_parts(z, a);
    turn_parts(z + 4, b);
    // Parts of a: rows 0..3 first half, rows 0..3 second half, rows 8..11 both; b: four rows on.
    const vi first = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0);
    const vi second = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        i_store(out + 64 * i, _mm512_permutex2var_epi64(a[i], first, b[i]));
        i_store(out + 64 * (i + 4), _mm512_permutex2var_epi64(a[i], second, b[i]));
    }
}

// The same for 16 bytes: the first four go to `first`, the others to rest[3][16 rows][4 bytes].
ALWAYS_INLINE void turn_16(const uint8_t *base, const int32_t *offset, uint8_t *first,
                           uint8_t *rest)
{
    vi z[4], a[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++) {
        z[r] = _mm512_castsi128_si512(_mm_loadu_si128((const void *)(base + offset[r])));
        z[r] = _mm512_inserti32x4(z[r], _mm_loadu_si128((const void *)(base + offset[r + 4])), 1);
        z[r] = _mm512_inserti32x4(z[r], _mm_loadu_si128((const void *)(base + offset[r + 8])), 2);
        z[r] = _mm512_inserti32x4(z[r], _mm_loadu_si128((const void *)(base + offset[r + 12])), 3);
    }
    turn_parts(z, a);
    i_store(first, a[0]);
#pragma GCC unroll 4
    for (int i = 1; i < 4; i++) {
        i_store(rest + 64 * (i - 1), a[i]);
    }
}

// Four bytes of each of LANES rows.
ALWAYS_INLINE vi turn_4(const uint8_t *base, const int32_t *offset)
{
    return _mm512_i32gather_epi32(_mm512_loadu_si512(offset), (const void *)base, 1);
}

// Sixteen sums of sixteen bits' range to pairs.
ALWAYS_INLINE void pack_sums(const int32_t *sums, int32_t out[8])
{
    _mm256_storeu_si256((void *)out, _mm512_cvtepi32_epi16(_mm512_loadu_si512(sums)));
}

#endif
