// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// One block of each of sixteen rows as they stand in a GGUF, to what packed.h defines: heads
// [field][16 rows] and dwords [dword][16 rows][4 bytes]. Reads nothing past a block.
#ifndef TENSOR_CPU_GEMV_TURN_H
#define TENSOR_CPU_GEMV_TURN_H

// The 16 bits at `block`.
ALWAYS_INLINE void turn_head(const uint8_t *block, const int32_t *offset, uint8_t *heads)
{
    for (int l = 0; l < 16; l += LANES) {
        i_store_u16(heads + 2 * l, turn_4(block, offset + l));
    }
}
// The 32 bits at `block` as two heads.
ALWAYS_INLINE void turn_two_heads(const uint8_t *block, const int32_t *offset, uint8_t *heads)
{
    for (int l = 0; l < 16; l += LANES) {
        vi v = turn_4(block, offset + l);
        i_store_u16(heads + 2 * l, v);
        i_store_u16(heads + 32 + 2 * l, i_shift_right(v, 16));
    }
}
ALWAYS_INLINE void turn_dword(const uint8_t *block, const int32_t *offset, uint8_t *dwords)
{
    for (int l = 0; l < 16; l += LANES) {
        i_store(dwords + 4 * l, turn_4(block, offset + l));
    }
}
ALWAYS_INLINE void turn_whole_16(const uint8_t *block, const int32_t *offset, uint8_t *dwords)
{
    turn_16(block, offset, dwords, dwords + 64);
}

ALWAYS_INLINE void turn_q8_0(const uint8_t *block, const int32_t *offset, uint8_t *heads,
                             uint8_t *dwords)
{
    turn_head(block, offset, heads);
    turn_32(block + 2, offset, 0x80, dwords);
}
ALWAYS_INLINE void turn_q4_0(const uint8_t *block, const int32_t *offset, uint8_t *heads,
                             uint8_t *dwords)
{
    turn_head(block, offset, heads);
    turn_whole_16(block + 2, offset, dwords);
}
#define turn_iq4_nl turn_q4_0
ALWAYS_INLINE void turn_q4_1(const uint8_t *block, const int32_t *offset, uint8_t *heads,
                             uint8_t *dwords)
{
    turn_two_heads(block, offset, heads);
    turn_whole_16(block + 4, offset, dwords);
}
ALWAYS_INLINE void turn_q5_0(const uint8_t *block, const int32_t *offset, uint8_t *heads,
                             uint8_t *dwords)
{
    turn_head(block, offset, heads);
    turn_dword(block + 2, offset, dwords);
    turn_whole_16(block + 6, offset, dwords + 64);
}
ALWAYS_INLINE void turn_q5_1(const uint8_t *block, const int32_t *offset, uint8_t *heads,
                             uint8_t *dwords)
{
    turn_two_heads(block, offset, heads);
    turn_dword(block + 4, offset, dwords);
    turn_whole_16(block + 8, offset, dwords + 64);
}
ALWAYS_INLINE void turn_mxfp4(const uint8_t *block, const int32_t *offset, uint8_t *heads,
                              uint8_t *dwords)
{
    for (int l = 0; l < 16; l += LANES) {
        i_store_u8(heads + l, turn_4(block, offset + l));
    }
    turn_whole_16(block + 1, offset, dwords);
}

// Sixteen bytes that begin with two heads, then 32-byte parts.
ALWAYS_INLINE void turn_super(const uint8_t *block, const int32_t *offset, int parts,
                              uint8_t *heads, uint8_t *dwords)
{
    uint8_t first[64];
    turn_16(block, offset, first, dwords);
    for (int l = 0; l < 16; l += LANES) {
        vi v = i_load(first + 4 * l);
        i_store_u16(heads + 2 * l, v);
        i_store_u16(heads + 32 + 2 * l, i_shift_right(v, 16));
    }
    for (int i = 0; i < parts; i++) {
        turn_32(block + 16 + 32 * i, offset, 0, dwords + 64 * (3 + 8 * i));
    }
}
ALWAYS_INLINE void turn_q4_k(const uint8_t *block, const int32_t *offset, uint8_t *heads,
                             uint8_t *dwords)
{
    turn_super(block, offset, 4, heads, dwords);
}
ALWAYS_INLINE void turn_q5_k(const uint8_t *block, const int32_t *offset, uint8_t *heads,
                             uint8_t *dwords)
{
    turn_super(block, offset, 5, heads, dwords);
}
// The head is the last thing in the block: it comes with the two bytes before.
ALWAYS_INLINE void turn_last_head(const uint8_t *end, const int32_t *offset, uint8_t *heads)
{
    for (int l = 0; l < 16; l += LANES) {
        i_store_u16(heads + 2 * l, i_shift_right(turn_4(end - 4, offset + l), 16));
    }
}
ALWAYS_INLINE void turn_q6_k(const uint8_t *block, const int32_t *offset, uint8_t *heads,
                             uint8_t *dwords)
{
    turn_last_head(block + 210, offset, heads);
    for (int i = 0; i < 6; i++) {
        turn_32(block + 32 * i, offset, 0, dwords + 512 * i);
    }
    turn_whole_16(block + 192, offset, dwords + 64 * 48);
}
ALWAYS_INLINE void turn_q2_k(const uint8_t *block, const int32_t *offset, uint8_t *heads,
                             uint8_t *dwords)
{
    turn_two_heads(block + 80, offset, heads);
    turn_whole_16(block, offset, dwords);
    turn_32(block + 16, offset, 0, dwords + 64 * 4);
    turn_32(block + 48, offset, 0, dwords + 64 * 12);
}
ALWAYS_INLINE void turn_q3_k(const uint8_t *block, const int32_t *offset, uint8_t *heads,
                             uint8_t *dwords)
{
    turn_last_head(block + 110, offset, heads);
    for (int i = 0; i < 3; i++) {
        turn_32(block + 32 * i, offset, 0, dwords + 512 * i);
    }
    for (int i = 0; i < 3; i++) {
        turn_dword(block + 96 + 4 * i, offset, dwords + 64 * (24 + i));
    }
}
ALWAYS_INLINE void turn_iq4_xs(const uint8_t *block, const int32_t *offset, uint8_t *heads,
                               uint8_t *dwords)
{
    turn_two_heads(block, offset, heads);
    turn_dword(block + 4, offset, dwords);
    for (int i = 0; i < 4; i++) {
        turn_32(block + 8 + 32 * i, offset, 0, dwords + 64 * (1 + 8 * i));
    }
}

#endif
