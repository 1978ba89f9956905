// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Tokens and merges by text: an index over the GGUF's own strings, made on first use. The hash is
// seeded by an address, so that a crafted vocabulary cannot make all strings collide.
#include "tensor/text/tokenizer_private.h"

#include <stdlib.h>
#include <string.h>

struct gguf_string string_at(const struct string_table *t, uint32_t i)
{
    struct gguf_string s;
    memcpy(&s.bytes, t->data + t->offset[i], 8);
    s.data = (const char *)t->data + t->offset[i] + 8;
    return s;
}

uint64_t text_hash(uint64_t seed, const char *text, size_t bytes)
{
    const uint64_t odd = 0x9e3779b97f4a7c15u;
    uint64_t h = seed ^ bytes * odd, chunk;
    for (; bytes >= 8; bytes -= 8, text += 8) {
        memcpy(&chunk, text, 8);
        h = (h ^ chunk) * odd;
        h ^= h >> 29;
    }
    chunk = 0;
    for (size_t i = 0; i < bytes; i++)
        chunk |= (uint64_t)(uint8_t)text[i] << 8 * i;
    h = (h ^ chunk) * odd;
    return h ^ h >> 32;
}

// A merge is "left right": its hash is that of both halves, so that it can be looked up without
// putting the space between them.
static size_t space_in(struct gguf_string s)
{
    const char *space = s.bytes > 1 ? memchr(s.data + 1, ' ', s.bytes - 1) : NULL;
    return space ? (size_t)(space - s.data) : 0;
}

static uint64_t merge_hash(uint64_t seed, const char *left, size_t left_bytes, const char *right,
                           size_t right_bytes)
{
    return text_hash(text_hash(seed, left, left_bytes), right, right_bytes);
}

static bool same(struct gguf_string a, struct gguf_string b)
{
    return a.bytes == b.bytes && !memcmp(a.data, b.data, a.bytes);
}

static uint32_t *make_slots(const struct string_table *t, bool merges)
{
    uint32_t *slot = calloc((size_t)t->mask + 1, sizeof *slot);
    for (uint32_t i = 0; slot && i < t->count; i++) {
        struct gguf_string s = string_at(t, i);
        uint64_t hash;
        maybe_pause(i);
        if (merges) {
            size_t left = space_in(s);
            if (!left)
                continue;
            hash = merge_hash(t->seed, s.data, left, s.data + left + 1, s.bytes - left - 1);
        } else {
            hash = text_hash(t->seed, s.data, s.bytes);
        }
        uint32_t at = (uint32_t)hash & t->mask;
        while (slot[at] && !same(string_at(t, slot[at] - 1), s))
            at = (at + 1) & t->mask;
        if (!slot[at] || !merges) // of equal tokens the last counts, of equal merges the first
            slot[at] = i + 1;
    }
    return slot;
}

// Whoever comes first makes the index; if two come at once, one of them throws its own away.
static const uint32_t *slots(const struct string_table *t, bool merges)
{
    _Atomic(uint32_t *) *where = &((struct string_table *)(uintptr_t)t)->slot;
    uint32_t *have = atomic_load_explicit(where, memory_order_acquire);
    if (!have) {
        uint32_t *made = make_slots(t, merges);
        if (!made)
            return NULL;
        if (atomic_compare_exchange_strong_explicit(where, &have, made, memory_order_acq_rel,
                                                    memory_order_acquire))
            have = made;
        else
            free(made);
    }
    return have;
}

int64_t token_lookup(const struct tokenizer *t, const char *text, size_t bytes)
{
    if (bytes > t->longest)
        return -1;
    const uint32_t *slot = slots(&t->tokens, false);
    if (!slot)
        return -2;
    uint32_t at = (uint32_t)text_hash(t->tokens.seed, text, bytes) & t->tokens.mask;
    for (; slot[at]; at = (at + 1) & t->tokens.mask) {
        struct gguf_string s = string_at(&t->tokens, slot[at] - 1);
        if (s.bytes == bytes && !memcmp(s.data, text, bytes))
            return slot[at] - 1;
    }
    return -1;
}

int64_t merge_lookup(const struct tokenizer *t, const char *text, size_t left, size_t bytes)
{
    const uint32_t *slot = slots(&t->merges, true);
    if (!slot)
        return -2;
    uint64_t hash = merge_hash(t->merges.seed, text, left, text + left, bytes - left);
    for (uint32_t at = (uint32_t)hash & t->merges.mask; slot[at]; at = (at + 1) & t->merges.mask) {
        struct gguf_string s = string_at(&t->merges, slot[at] - 1);
        if (s.bytes == bytes + 1 && s.data[left] == ' ' && !memcmp(s.data, text, left) &&
            !memcmp(s.data + left + 1, text + left, bytes - left))
            return slot[at] - 1;
    }
    return -1;
}
