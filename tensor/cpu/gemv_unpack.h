// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Blocks of sixteen rows, turned (packed.h says how), to a chunk: bytes, scales, minima. `at` in a
// comment counts the block's dwords. Source: the block formats of GGUF; decode.c is the plain form.
#ifndef TENSOR_CPU_GEMV_UNPACK_H
#define TENSOR_CPU_GEMV_UNPACK_H

#ifndef PREFETCH_HINT
#define PREFETCH_HINT _MM_HINT_T1
#endif

// The part of a chunk that LANES rows fill; rows of all arrays are 64 bytes apart.
struct lanes_chunk {
    uint8_t *values;
    float *scale, *minimum;
    int32_t *factor, *pairs;
    const uint8_t *ahead; // to prefetch with a single column, so many bytes
    int ahead_bytes;
    // With a single column the bytes are not stored, they are multiplied at once: by x, four bytes
    // of the row by four of the column, `per` such products to each of the sums.
    bool single;
    const int8_t *x;
    int per;
    vi sum[16];
};

// With a single column prefetching goes along, little by little: many requests at once would wait
// for room.
ALWAYS_INLINE vi dword(const struct lanes_chunk *c, const uint8_t *dwords, int i)
{
    if (c->single) {
        _mm_prefetch((const char *)(c->ahead + 64 * i), PREFETCH_HINT);
    }
    return i_load(dwords + 64 * i);
}
// Bytes 4 i to 4 i + 3 of a block.
ALWAYS_INLINE void put(struct lanes_chunk *c, int i, vi v)
{
    if (c->single) {
        c->sum[i / c->per] = add_four_products(c->sum[i / c->per], v, four(c->x + 4 * i));
    } else {
        i_store(c->values + 64 * i, v);
    }
}
ALWAYS_INLINE vi low_nibbles(vi a)
{
    return i_and(a, i_set_bytes(15));
}
ALWAYS_INLINE vi high_nibbles(vi a)
{
    return i_and(i_shift_right(a, 4), i_set_bytes(15));
}

// ---- blocks of 32: heads d (and m), block b of the chunk ---------------------------------------

ALWAYS_INLINE void unpack_head(const uint8_t *heads, size_t b, struct lanes_chunk *c)
{
    if (c->single) {
        _mm_prefetch((const char *)(c->ahead + c->ahead_bytes - 1), PREFETCH_HINT);
    }
    f_store(c->scale + 16 * b, f_load_f16(heads));
}
ALWAYS_INLINE void unpack_heads_with_minimum(const uint8_t *heads, size_t b, struct lanes_chunk *c)
{
    unpack_head(heads, b, c);
    f_store(c->minimum + 16 * b, f_load_f16(heads + 32));
}

// The dwords of Q8_0 are the values: there is nothing to store.
ALWAYS_INLINE void unpack_q8_0(const uint8_t *heads, const uint8_t *dwords, size_t b,
                               struct lanes_chunk *c)
{
    unpack_head(heads, b, c);
    if (c->single) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            put(c, i, dword(c, dwords, i));
        }
    }
}

ALWAYS_INLINE void unpack_nibbles(const uint8_t *dwords, struct lanes_chunk *c)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        vi v = dword(c, dwords, i);
        put(c, i, low_nibbles(v));
        put(c, i + 4, high_nibbles(v));
    }
}
ALWAYS_INLINE void unpack_q4_0(const uint8_t *heads, const uint8_t *dwords, size_t b,
                               struct lanes_chunk *c)
{
    unpack_head(heads, b, c);
    unpack_nibbles(dwords, c);
}
ALWAYS_INLINE void unpack_q4_1(const uint8_t *heads, const uint8_t *dwords, size_t b,
                               struct lanes_chunk *c)
{
    unpack_heads_with_minimum(heads, b, c);
    unpack_nibbles(dwords, c);
}

// at 0: the fifth bits, bit i of weight i.
ALWAYS_INLINE void unpack_five_bits(const uint8_t *dwords, struct lanes_chunk *c)
{
    const vi even = i_set(0x08040201), odd = i_set((int32_t)0x80402010);
    vi high = dword(c, dwords, 0), byte[4];
    byte[0] = i_spread_byte(high, 0);
    byte[1] = i_spread_byte(high, 1);
    byte[2] = i_spread_byte(high, 2);
    byte[3] = i_spread_byte(high, 3);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        vi v = dword(c, dwords, 1 + i);
        vi fifth = i_where(byte[i / 2], i % 2 ? odd : even, 16);
        vi sixteen_on = i_where(byte[2 + i / 2], i % 2 ? odd : even, 16);
        put(c, i, i_or(low_nibbles(v), fifth));
        put(c, i + 4, i_or(high_nibbles(v), sixteen_on));
    }
}
ALWAYS_INLINE void unpack_q5_0(const uint8_t *heads, const uint8_t *dwords, size_t b,
                               struct lanes_chunk *c)
{
    unpack_head(heads, b, c);
    unpack_five_bits(dwords, c);
}
ALWAYS_INLINE void unpack_q5_1(const uint8_t *heads, const uint8_t *dwords, size_t b,
                               struct lanes_chunk *c)
{
    unpack_heads_with_minimum(heads, b, c);
    unpack_five_bits(dwords, c);
}

// Codebooks, with the zero added.
ALWAYS_INLINE __m128i codebook_iq4(void)
{
    return _mm_xor_si128(_mm_loadu_si128((const void *)tn_codebook_iq4), _mm_set1_epi8((char)0x80));
}
ALWAYS_INLINE __m128i codebook_mxfp4(void)
{
    return _mm_add_epi8(_mm_loadu_si128((const void *)tn_codebook_mxfp4), _mm_set1_epi8(12));
}
ALWAYS_INLINE void unpack_by(__m128i codebook, const uint8_t *dwords, int at, int first,
                             struct lanes_chunk *c)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        vi v = dword(c, dwords, at + i);
        put(c, first + i, i_lookup(codebook, low_nibbles(v)));
        put(c, first + i + 4, i_lookup(codebook, high_nibbles(v)));
    }
}
ALWAYS_INLINE void unpack_iq4_nl(const uint8_t *heads, const uint8_t *dwords, size_t b,
                                 struct lanes_chunk *c)
{
    unpack_head(heads, b, c);
    unpack_by(codebook_iq4(), dwords, 0, 0, c);
}
// heads: the exponent e of 2^(e - 128), bytes.
ALWAYS_INLINE void unpack_mxfp4(const uint8_t *heads, const uint8_t *dwords, size_t b,
                                struct lanes_chunk *c)
{
    vi e = i_load_u8(heads);
    vi normal = i_greater(e, i_set(1));
    vi small = i_shift_left_each(i_set(0x00200000), e); // 2^-128 and 2^-127
    vi large = i_shift_left(i_sub(e, i_set(1)), 23);
    vi bits = i_or(i_and(normal, large), i_and(i_xor(normal, i_set(-1)), small));
    f_store(c->scale + 16 * b, f_bits(bits));
    unpack_by(codebook_mxfp4(), dwords, 0, 0, c);
}

// ---- blocks of 256 -----------------------------------------------------------------------------

ALWAYS_INLINE vi byte_of(vi a, int b)
{
    return i_and(i_shift_right(a, 8 * b), i_set(255));
}
ALWAYS_INLINE vi signed_byte_of(vi a, int b)
{
    return i_sub(i_xor(byte_of(a, b), i_set(128)), i_set(128));
}
// A byte as both halves of a pair.
ALWAYS_INLINE vi both(vi byte)
{
    return i_or(byte, i_shift_left(byte, 16));
}
// Integers of sixteen bits to a pair.
ALWAYS_INLINE vi pair(vi low, vi high)
{
    return i_or(i_and(low, i_set(0xffff)), i_shift_left(high, 16));
}

// Q4_K, Q5_K: eight scales and minima of six bits, at 0..2.
ALWAYS_INLINE void unpack_six_bit_scales(const uint8_t *dwords, struct lanes_chunk *c)
{
    const vi six = i_set_bytes(63), four_low = i_set_bytes(15), two_high = i_set_bytes(0x30);
    vi b0 = dword(c, dwords, 0), b1 = dword(c, dwords, 1), b2 = dword(c, dwords, 2);
    vi scale[2], minimum[2];
    scale[0] = i_and(b0, six);
    minimum[0] = i_and(b1, six);
    scale[1] = i_or(i_and(b2, four_low), i_and(i_shift_right(b0, 2), two_high));
    minimum[1] = i_or(i_and(i_shift_right(b2, 4), four_low), i_and(i_shift_right(b1, 2), two_high));
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        i_store(c->factor + 16 * j, byte_of(scale[j / 4], j % 4));
        i_store(c->pairs + 16 * j, both(byte_of(minimum[j / 4], j % 4)));
    }
}
ALWAYS_INLINE void unpack_q4_k(const uint8_t *heads, const uint8_t *dwords, size_t b,
                               struct lanes_chunk *c)
{
    unpack_heads_with_minimum(heads, b, c);
    unpack_six_bit_scales(dwords, c);
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            vi v = dword(c, dwords, 3 + 8 * g + i);
            put(c, 16 * g + i, low_nibbles(v));
            put(c, 16 * g + 8 + i, high_nibbles(v));
        }
    }
}
// at 3..10: fifth bits, bit j of byte l is that of weight 32 j + l.
ALWAYS_INLINE void unpack_q5_k(const uint8_t *heads, const uint8_t *dwords, size_t b,
                               struct lanes_chunk *c)
{
    const vi fifth = i_set_bytes(16);
    unpack_heads_with_minimum(heads, b, c);
    unpack_six_bit_scales(dwords, c);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        vi high = dword(c, dwords, 3 + i);
#pragma GCC unroll 4
        for (int g = 0; g < 4; g++) {
            vi v = dword(c, dwords, 11 + 8 * g + i);
            vi h0 = g < 2 ? i_shift_left(high, 4 - 2 * g) : i_shift_right(high, 2 * g - 4);
            vi h1 = g < 2 ? i_shift_left(high, 3 - 2 * g) : i_shift_right(high, 2 * g - 3);
            put(c, 16 * g + i, i_or(low_nibbles(v), i_and(h0, fifth)));
            put(c, 16 * g + 8 + i, i_or(high_nibbles(v), i_and(h1, fifth)));
        }
    }
}
// at 0: low nibbles; at 32: the upper two bits; at 48: signed scales.
ALWAYS_INLINE void unpack_q6_k(const uint8_t *heads, const uint8_t *dwords, size_t b,
                               struct lanes_chunk *c)
{
    const vi upper = i_set_bytes(0x30);
    unpack_head(heads, b, c);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        vi bytes = dword(c, dwords, 48 + j);
        vi s0 = signed_byte_of(bytes, 0), s1 = signed_byte_of(bytes, 1);
        vi s2 = signed_byte_of(bytes, 2), s3 = signed_byte_of(bytes, 3);
        i_store(c->factor + 16 * (4 * j), s0);
        i_store(c->factor + 16 * (4 * j + 1), s1);
        i_store(c->factor + 16 * (4 * j + 2), s2);
        i_store(c->factor + 16 * (4 * j + 3), s3);
        i_store(c->pairs + 16 * (2 * j), pair(s0, s1));
        i_store(c->pairs + 16 * (2 * j + 1), pair(s2, s3));
    }
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            vi low = dword(c, dwords, 16 * half + i), next = dword(c, dwords, 16 * half + 8 + i);
            vi high = dword(c, dwords, 32 + 8 * half + i);
            put(c, 32 * half + i, i_or(low_nibbles(low), i_and(i_shift_left(high, 4), upper)));
            put(c, 32 * half + 8 + i, i_or(low_nibbles(next), i_and(i_shift_left(high, 2), upper)));
            put(c, 32 * half + 16 + i, i_or(high_nibbles(low), i_and(high, upper)));
            put(c, 32 * half + 24 + i,
                i_or(high_nibbles(next), i_and(i_shift_right(high, 2), upper)));
        }
    }
}
// at 0: scales (low nibbles) and minima; at 4: two bits each.
ALWAYS_INLINE void unpack_q2_k(const uint8_t *heads, const uint8_t *dwords, size_t b,
                               struct lanes_chunk *c)
{
    unpack_heads_with_minimum(heads, b, c);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        vi bytes = dword(c, dwords, j), scale = low_nibbles(bytes), minimum = high_nibbles(bytes);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            i_store(c->factor + 16 * (4 * j + i), byte_of(scale, i));
        }
        i_store(c->pairs + 16 * (2 * j), pair(byte_of(minimum, 0), byte_of(minimum, 1)));
        i_store(c->pairs + 16 * (2 * j + 1), pair(byte_of(minimum, 2), byte_of(minimum, 3)));
    }
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            vi v = dword(c, dwords, 4 + 8 * half + i);
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                put(c, 32 * half + 8 * j + i, i_and(i_shift_right(v, 2 * j), i_set_bytes(3)));
            }
        }
    }
}
// at 0: third bits, bit j of byte l is that of weight 32 j + l; at 8: two bits each; at 24: scales.
ALWAYS_INLINE void unpack_q3_k(const uint8_t *heads, const uint8_t *dwords, size_t b,
                               struct lanes_chunk *c)
{
    const vi two_high = i_set_bytes(0x30), third = i_set_bytes(4);
    unpack_head(heads, b, c);
    vi b0 = dword(c, dwords, 24), b1 = dword(c, dwords, 25), b2 = dword(c, dwords, 26), scale[4];
    scale[0] = i_or(low_nibbles(b0), i_and(i_shift_left(b2, 4), two_high));
    scale[1] = i_or(low_nibbles(b1), i_and(i_shift_left(b2, 2), two_high));
    scale[2] = i_or(high_nibbles(b0), i_and(b2, two_high));
    scale[3] = i_or(high_nibbles(b1), i_and(i_shift_right(b2, 2), two_high));
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        vi s[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            s[i] = i_sub(byte_of(scale[j], i), i_set(32));
            i_store(c->factor + 16 * (4 * j + i), s[i]);
        }
        i_store(c->pairs + 16 * (2 * j), pair(s[0], s[1]));
        i_store(c->pairs + 16 * (2 * j + 1), pair(s[2], s[3]));
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        vi high = dword(c, dwords, i);
        vi low[2] = {dword(c, dwords, 8 + i), dword(c, dwords, 16 + i)};
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            vi v = i_shift_right(low[j / 4], 2 * (j % 4));
            vi h = j < 2 ? i_shift_left(high, 2 - j) : i_shift_right(high, j - 2);
            put(c, 8 * j + i, i_or(i_and(v, i_set_bytes(3)), i_and(h, third)));
        }
    }
}
// heads: d, then the scales' upper bits, two each; at 0: their lower four; at 1: nibbles.
ALWAYS_INLINE void unpack_iq4_xs(const uint8_t *heads, const uint8_t *dwords, size_t b,
                                 struct lanes_chunk *c)
{
    unpack_head(heads, b, c);
    vi high = i_load_u16(heads + 32), low = dword(c, dwords, 0);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        vi s = i_and(i_shift_right(low, 4 * j), i_set(15));
        vi h = j < 2 ? i_shift_left(high, 4 - 2 * j) : i_shift_right(high, 2 * j - 4);
        s = i_sub(i_or(s, i_and(h, i_set(0x30))), i_set(32));
        i_store(c->factor + 16 * j, s);
        i_store(c->pairs + 16 * j, pair(s, s));
    }
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        unpack_by(codebook_iq4(), dwords, 1 + 4 * j, 8 * j, c);
    }
}

#endif
