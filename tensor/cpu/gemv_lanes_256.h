// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Eight rows as the lanes of an AVX2 register. Meanings: gemv_lanes_512.h.
#ifndef TENSOR_CPU_GEMV_LANES_256_H
#define TENSOR_CPU_GEMV_LANES_256_H

#include "tensor/cpu/gemv.h"

#include <immintrin.h>
#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum { LANES = 8 };
typedef __m256i vi;
typedef __m256 vf;

ALWAYS_INLINE vi i_load(const void *p)
{
    return _mm256_loadu_si256(p);
}
ALWAYS_INLINE void i_store(void *p, vi v)
{
    _mm256_storeu_si256(p, v);
}
ALWAYS_INLINE vi i_zero(void)
{
    return _mm256_setzero_si256();
}
ALWAYS_INLINE vi i_set(int32_t n)
{
    return _mm256_set1_epi32(n);
}
ALWAYS_INLINE vi i_set_bytes(int n)
{
    return _mm256_set1_epi8((char)n);
}
ALWAYS_INLINE vi i_and(vi a, vi b)
{
    return _mm256_and_si256(a, b);
}
ALWAYS_INLINE vi i_or(vi a, vi b)
{
    return _mm256_or_si256(a, b);
}
ALWAYS_INLINE vi i_xor(vi a, vi b)
{
    return _mm256_xor_si256(a, b);
}
ALWAYS_INLINE vi i_add(vi a, vi b)
{
    return _mm256_add_epi32(a, b);
}
ALWAYS_INLINE vi i_sub(vi a, vi b)
{
    return _mm256_sub_epi32(a, b);
}
ALWAYS_INLINE vi i_mul(vi a, vi b)
{
    return _mm256_mullo_epi32(a, b);
}
ALWAYS_INLINE vi i_shift_left(vi a, int n)
{
    return _mm256_sll_epi32(a, _mm_cvtsi32_si128(n));
}
ALWAYS_INLINE vi i_shift_right(vi a, int n)
{
    return _mm256_srl_epi32(a, _mm_cvtsi32_si128(n));
}
ALWAYS_INLINE vi i_shift_left_each(vi a, vi n)
{
    return _mm256_sllv_epi32(a, n);
}
ALWAYS_INLINE vi i_greater(vi a, vi b)
{
    return _mm256_cmpgt_epi32(a, b);
}
ALWAYS_INLINE vi i_lookup(__m128i table, vi index)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), index);
}
ALWAYS_INLINE vi i_spread_byte(vi a, int b)
{
    const __m128i first = _mm_set_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0);
    __m128i index = _mm_add_epi8(first, _mm_set1_epi8((char)b));
    return _mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(index));
}
ALWAYS_INLINE vi i_where(vi a, vi bits, int value)
{
    vi none = _mm256_cmpeq_epi8(_mm256_and_si256(a, bits), i_zero());
    return _mm256_andnot_si256(none, i_set_bytes(value));
}
ALWAYS_INLINE vi i_add_pairs(vi acc, vi a, vi b)
{
    return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
}
ALWAYS_INLINE vf f_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
ALWAYS_INLINE void f_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v);
}
ALWAYS_INLINE vf f_set(float x)
{
    return _mm256_set1_ps(x);
}
ALWAYS_INLINE vf f_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
ALWAYS_INLINE vf f_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
ALWAYS_INLINE vf f_minus_product(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}
ALWAYS_INLINE vf f_from(vi a)
{
    return _mm256_cvtepi32_ps(a);
}
ALWAYS_INLINE vf f_bits(vi a)
{
    return _mm256_castsi256_ps(a);
}
ALWAYS_INLINE vf f_load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}
ALWAYS_INLINE vi i_load_u16(const void *p)
{
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(p));
}
ALWAYS_INLINE vi i_load_u8(const void *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(p));
}
ALWAYS_INLINE void i_store_u16(void *p, vi v)
{
    v = _mm256_and_si256(v, _mm256_set1_epi32(0xffff));
    v = _mm256_permute4x64_epi64(_mm256_packus_epi32(v, v), 0xd8);
    _mm_storeu_si128(p, _mm256_castsi256_si128(v));
}
ALWAYS_INLINE void i_store_u8(void *p, vi v)
{
    v = _mm256_and_si256(v, _mm256_set1_epi32(0xff));
    v = _mm256_permute4x64_epi64(_mm256_packus_epi32(v, v), 0xd8);
    _mm_storel_epi64(p, _mm_packus_epi16(_mm256_castsi256_si128(v), _mm256_castsi256_si128(v)));
}

// ---- products of bytes -------------------------------------------------------------------------

#define WIDE_ZERO 0
#define SINGLE    0

ALWAYS_INLINE vi four(const int8_t *x)
{
    int32_t n;
    memcpy(&n, x, sizeof n);
    return i_set(n);
}

ALWAYS_INLINE vi add_four_products(vi acc, vi w, vi x)
{
    (void)w;
    (void)x;
    return acc; // SINGLE is 0
}

ALWAYS_INLINE void add_products(const int C, const int count, const int most, const uint8_t *values,
                                const int8_t *x, size_t k, vi *sum)
{
    const vi ones = _mm256_set1_epi16(1);
    vi part[8];
    // So many products of pairs can be added in sixteen bits.
    const int fit = most == 255 ? 1 : 32767 / (most * 254);
#pragma GCC unroll 8
    for (int i = 0; i < count; i++) {
        vi w = i_load(values + 64 * i), size = w;
        bool begins = i % fit == 0, ends = i % fit == fit - 1 || i == count - 1;
        if (most == 255) {
            w = i_xor(w, i_set_bytes(0x80));
            size = _mm256_abs_epi8(w);
        }
#pragma GCC unroll 8
        for (int c = 0; c < C; c++) {
            vi v = four(x + (size_t)c * k + 4 * i);
            vi p = _mm256_maddubs_epi16(size, most == 255 ? _mm256_sign_epi8(v, w) : v);
            part[c] = begins ? p : _mm256_add_epi16(part[c], p);
            if (ends) {
                sum[c] = _mm256_add_epi32(sum[c], _mm256_madd_epi16(part[c], ones));
            }
        }
    }
}

// ---- turning -----------------------------------------------------------------------------------

// Four registers of 4 x 4 lanes of 32 bits, turned within each 128-bit part.
ALWAYS_INLINE void turn_parts(const vi in[4], vi out[4])
{
    vi a = _mm256_unpacklo_epi32(in[0], in[1]), b = _mm256_unpackhi_epi32(in[0], in[1]);
    vi c = _mm256_unpacklo_epi32(in[2], in[3]), d = _mm256_unpackhi_epi32(in[2], in[3]);
    out[0] = _mm256_unpacklo_epi64(a, c);
    out[1] = _mm256_unpackhi_epi64(a, c);
    out[2] = _mm256_unpacklo_epi64(b, d);
    out[3] = _mm256_unpackhi_epi64(b, d);
}

ALWAYS_INLINE void turn_32(const uint8_t *base, const int32_t *offset, int flip, uint8_t *out)
{
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++, out += 32) {
        vi z[8], a[4], b[4];
#pragma GCC unroll 8
        for (int r = 0; r < 8; r++) {
            z[r] = i_load(base + offset[8 * half + r]);
            if (flip) {
                z[r] = i_xor(z[r], i_set_bytes(flip));
            }
        }
        turn_parts(z, a);
        turn_parts(z + 4, b);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            i_store(out + 64 * i, _mm256_permute2x128_si256(a[i], b[i], 0x20));
            i_store(out + 64 * (i + 4), _mm256_permute2x128_si256(a[i], b[i], 0x31));
        }
    }
}

ALWAYS_INLINE void turn_16(const uint8_t *base, const int32_t *offset, uint8_t *first,
                           uint8_t *rest)
{
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++, first += 32, rest += 32) {
        vi z[4], a[4];
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) {
            __m128i low = _mm_loadu_si128((const void *)(base + offset[8 * half + r]));
            __m128i high = _mm_loadu_si128((const void *)(base + offset[8 * half + r + 4]));
            z[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
        }
        turn_parts(z, a);
        i_store(first, a[0]);
#pragma GCC unroll 4
        for (int i = 1; i < 4; i++) {
            i_store(rest + 64 * (i - 1), a[i]);
        }
    }
}

ALWAYS_INLINE vi turn_4(const uint8_t *base, const int32_t *offset)
{
    int32_t n[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        memcpy(&n[i], base + offset[i], sizeof n[i]);
    }
    return _mm256_set_epi32(n[7], n[6], n[5], n[4], n[3], n[2], n[1], n[0]);
}

ALWAYS_INLINE void pack_sums(const int32_t *sums, int32_t out[8])
{
    vi words = _mm256_packs_epi32(i_load(sums), i_load(sums + 8));
    i_store(out, _mm256_permute4x64_epi64(words, 0xd8));
}

#endif
