// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Token ids to text.
#include "tensor/text/tokenizer_private.h"

#include <errno.h>
#include <string.h>

struct text_sink {
    char *out;
    size_t max, count;
};

static void put(struct text_sink *s, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++, s->count++)
        if (s->count < s->max)
            s->out[s->count] = bytes[i];
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// "<0x0A>" is the byte 10; anything else of kind BYTE is itself.
static void put_byte(struct text_sink *s, struct gguf_string text)
{
    if (text.bytes == 6 && !memcmp(text.data, "<0x", 3) && text.data[5] == '>') {
        int high = hex_digit(text.data[3]), low = hex_digit(text.data[4]);
        if (high >= 0 && low >= 0) {
            char byte = (char)(high << 4 | low);
            put(s, &byte, 1);
            return;
        }
    }
    put(s, text.data, text.bytes);
}

// Tokens with marked spaces (all kinds but byte-level BPE).
static void put_marked(struct text_sink *s, struct gguf_string text)
{
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.bytes - i >= 3 && !memcmp(text.data + i, "\xe2\x96\x81", 3)) {
            put(s, " ", 1);
            i += 2;
        } else {
            put(s, text.data + i, 1);
        }
    }
}

// One character of a vocabulary's text; broken UTF-8 counts as single bytes.
static size_t take_character(const char *text, size_t bytes, uint32_t *out)
{
    size_t n = utf8_character(text, bytes);
    *out = n ? utf8_value(text, n) : (uint8_t)text[0];
    return n ? n : 1;
}

static void put_bpe(struct text_sink *s, struct gguf_string text)
{
    for (size_t i = 0, n; i < text.bytes; i += n) {
        uint32_t c;
        n = take_character(text.data + i, text.bytes - i, &c);
        int byte = character_to_byte(c);
        char one = (char)byte;
        if (byte >= 0)
            put(s, &one, 1);
        else
            put(s, text.data + i, n);
    }
}

static void put_token(const struct tokenizer *t, int32_t id, bool special, struct text_sink *s)
{
    struct gguf_string text = string_at(&t->tokens, (uint32_t)id);
    switch (t->token_kind[id]) {
    case TOKEN_CONTROL:
    case TOKEN_UNKNOWN:
        if (special)
            put(s, text.data, text.bytes);
        break;
    case TOKEN_USER_DEFINED:
        put(s, text.data, text.bytes);
        break;
    case TOKEN_BYTE:
        put_byte(s, text);
        break;
    case TOKEN_UNUSED:
        break;
    default:
        if (t->kind == VOCABULARY_BPE && !t->marked)
            put_bpe(s, text);
        else
            put_marked(s, text);
    }
}

long tokenizer_piece(const struct tokenizer *t, int32_t id, bool special, char *out, size_t max)
{
    struct text_sink s = {out, max, 0};
    if (id < 0 || (uint32_t)id >= t->tokens.count)
        return -EINVAL;
    put_token(t, id, special, &s);
    return (long)s.count;
}

long tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t count, bool special,
                      char *out, size_t max)
{
    struct text_sink s = {out, max, 0};
    // The space that encoding put there.
    bool strip = t->kind == VOCABULARY_WPM || (t->kind != VOCABULARY_BPE && t->add_space_prefix);
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= t->tokens.count)
            return -EINVAL;
        maybe_pause(i);
        if (strip && t->token_kind[ids[i]] != TOKEN_CONTROL) {
            char first = 0;
            struct text_sink peek = {&first, 1, 0};
            put_token(t, ids[i], special, &peek);
            strip = false;
            if (peek.count && first == ' ') {
                struct gguf_string text = string_at(&t->tokens, (uint32_t)ids[i]);
                size_t mark = text.data[0] == ' ' ? 1 : 3;
                if (t->token_kind[ids[i]] == TOKEN_BYTE)
                    continue;
                text.data += mark;
                text.bytes -= mark;
                put_marked(&s, text);
                continue;
            }
        }
        put_token(t, ids[i], special, &s);
    }
    return (long)s.count;
}
