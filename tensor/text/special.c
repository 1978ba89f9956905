// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Finds control and user-defined tokens in a text: the longest tokens claim their places first,
// from left to right. Control tokens count only where the caller vouches for the text.
#include "tensor/text/tokenizer_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct search {
    const struct tokenizer *t;
    const char *text;
    size_t bytes;
    const struct chat_part *parts;
    size_t part_count;
    bool control;
    struct special_hit *hit; // sorted by start only at the end
    size_t count, max;
    uint64_t *claimed; // a bit a byte of text
};

static bool is_claimed(const struct search *s, size_t from, size_t bytes)
{
    for (size_t i = from; i < from + bytes; i++)
        if (s->claimed[i / 64] >> (i % 64) & 1)
            return true;
    return false;
}

// A control token must lie wholly in text that does not come from the user.
static bool vouched(const struct search *s, size_t from, size_t bytes)
{
    if (!s->control)
        return false;
    if (!s->parts)
        return true;
    size_t low = 0, high = s->part_count;
    while (low < high) { // first part that ends after `from`
        size_t middle = (low + high) / 2;
        if (s->parts[middle].offset + s->parts[middle].bytes <= from)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < s->part_count && s->parts[low].offset < from + bytes; low++)
        if (s->parts[low].literal)
            return false;
    return true;
}

// Files mark the chat format's own tokens as user-defined, too. Those found anywhere would let a
// message's content end its turn and begin another's.
static bool is_mark(struct gguf_string s)
{
    static const char *const marks[] = {"<s>",     "<start_of_turn>", "[INST]",
                                        "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"};
    if (s.bytes > 4 && !memcmp(s.data, "<|", 2) && !memcmp(s.data + s.bytes - 2, "|>", 2))
        return true;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (s.bytes == strlen(marks[i]) && !memcmp(s.data, marks[i], s.bytes))
            return true;
    return false;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool takes_blanks_after(const struct tokenizer *t, int32_t id)
{
    for (size_t i = 0; i < 3; i++)
        if (t->keep_right[i] == id)
            return false;
    return t->strip_right;
}

static int claim(struct search *s, size_t from, size_t bytes, int32_t id)
{
    if (takes_blanks_after(s->t, id))
        while (from + bytes < s->bytes && is_blank(s->text[from + bytes]) &&
               !is_claimed(s, from + bytes, 1))
            bytes++;
    if (s->t->strip_left == id)
        while (from && is_blank(s->text[from - 1]) && !is_claimed(s, from - 1, 1)) {
            from--;
            bytes++;
        }
    if (s->count == s->max) {
        size_t max = s->max ? s->max * 2 : 16;
        struct special_hit *hit = realloc(s->hit, max * sizeof *hit);
        if (!hit)
            return -ENOMEM;
        s->hit = hit;
        s->max = max;
    }
    s->hit[s->count++] = (struct special_hit){from, (uint32_t)bytes, id};
    for (size_t i = from; i < from + bytes; i++)
        s->claimed[i / 64] |= (uint64_t)1 << (i % 64);
    return 0;
}

static int by_start(const void *a, const void *b)
{
    const struct special_hit *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

// All tokens of one length: special[first, last), sorted by text. Walks the places where any
// special token could begin.
static int find_length(struct search *s, uint32_t first, uint32_t last, const uint32_t *place,
                       size_t places)
{
    const struct string_table *tokens = &s->t->tokens;
    size_t length = string_at(tokens, (uint32_t)s->t->special[first]).bytes;
    for (size_t p = 0; p < places; p++) {
        size_t at = place[p];
        maybe_pause(p);
        if (length > s->bytes - at)
            break;
        uint32_t low = first, high = last;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            int32_t id = s->t->special[middle];
            int order = memcmp(s->text + at, string_at(tokens, (uint32_t)id).data, length);
            if (!order) {
                bool anywhere = s->t->token_kind[id] == TOKEN_USER_DEFINED &&
                                !(s->parts && is_mark(string_at(tokens, (uint32_t)id)));
                if ((anywhere || vouched(s, at, length)) && !is_claimed(s, at, length)) {
                    int rc = claim(s, at, length, id);
                    if (rc)
                        return rc;
                }
                break;
            }
            if (order < 0)
                high = middle;
            else
                low = middle + 1;
        }
    }
    return 0;
}

int special_find(const struct tokenizer *t, const char *text, size_t bytes, bool control,
                 const struct chat_part *parts, size_t part_count, struct special_hit **out,
                 size_t *count)
{
    struct search s = {.t = t,
                       .text = text,
                       .bytes = bytes,
                       .parts = parts,
                       .part_count = part_count,
                       .control = control};
    size_t places = 0;
    *out = NULL;
    *count = 0;
    if (bytes > INT32_MAX / 2)
        return -E2BIG;
    for (size_t i = 0; i < bytes; i++)
        places += t->special_first[(uint8_t)text[i]];
    if (!places || !t->special_count)
        return 0;
    uint32_t *place = malloc(places * sizeof *place);
    s.claimed = calloc(bytes / 64 + 1, sizeof *s.claimed);
    int rc = place && s.claimed ? 0 : -ENOMEM;
    size_t n = 0;
    for (size_t i = 0; !rc && i < bytes; i++)
        if (t->special_first[(uint8_t)text[i]])
            place[n++] = (uint32_t)i;
    for (uint32_t first = 0, last; !rc && first < t->special_count; first = last) {
        uint64_t length = string_at(&t->tokens, (uint32_t)t->special[first]).bytes;
        for (last = first + 1; last < t->special_count; last++)
            if (string_at(&t->tokens, (uint32_t)t->special[last]).bytes != length)
                break;
        rc = find_length(&s, first, last, place, places);
    }
    free(place);
    free(s.claimed);
    if (rc) {
        free(s.hit);
        return rc;
    }
    if (s.count)
        qsort(s.hit, s.count, sizeof *s.hit, by_start);
    *out = s.hit;
    *count = s.count;
    return 0;
}
