// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The normalisation that a unigram vocabulary carries with it (tokenizer.ggml.precompiled_charsmap,
// made by SentencePiece): u32 bytes of a double array, the array, then the replacements, each ended
// by a zero byte. The array is a trie in Darts' form, one u32 a unit:
//   bits 0-7 and 31  the byte that leads here (bit 31 set: a value, and no child)
//   bit 8            a text ends here: the unit at this one's offset is its value
//   bits 10-30       offset to the children, times 256 when bit 9 is set
// The child of unit u for byte b is at (u ^ offset(u)) ^ b.
#include "tensor/text/tokenizer_private.h"

#include <errno.h>
#include <string.h>

static uint32_t unit_at(const struct charsmap *m, uint32_t i)
{
    uint32_t unit;
    memcpy(&unit, m->array + 4 * (size_t)i, 4);
    return unit;
}

static uint32_t offset_of(uint32_t unit)
{
    return unit >> 10 << (unit >> 9 & 1 ? 8 : 0);
}

int charsmap_open(struct charsmap *m, const uint8_t *data, uint64_t bytes)
{
    uint32_t array_bytes;
    if (bytes < 4)
        return -EINVAL;
    memcpy(&array_bytes, data, 4);
    if (array_bytes >= bytes - 4 || array_bytes < 4 || array_bytes % 4)
        return -EINVAL;
    m->array = data + 4;
    m->units = array_bytes / 4;
    m->replacement = (const char *)data + 4 + array_bytes;
    m->replacement_bytes = (size_t)(bytes - 4 - array_bytes);
    // With a zero at the very end every replacement that begins inside also ends inside.
    return m->replacement[m->replacement_bytes - 1] == 0 ? 0 : -EINVAL;
}

int charsmap_find(const struct charsmap *m, const char *text, size_t bytes, size_t *used,
                  const char **replacement)
{
    uint32_t at = offset_of(unit_at(m, 0)), value = 0;
    *used = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)text[i];
        at ^= byte;
        if (!byte)
            break;
        if (at >= m->units)
            return -EINVAL;
        uint32_t unit = unit_at(m, at);
        if ((unit & 0x800000ffu) != byte)
            break;
        at ^= offset_of(unit);
        if (!(unit >> 8 & 1))
            continue;
        if (at >= m->units)
            return -EINVAL;
        value = unit_at(m, at) & 0x7fffffffu;
        *used = i + 1;
    }
    if (!*used)
        return 0;
    if (value >= m->replacement_bytes)
        return -EINVAL;
    *replacement = m->replacement + value;
    return 0;
}
