// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Byte-level BPE ("gpt2" vocabularies): the splitter cuts words, each byte becomes a printable
// character, and neighbours merge in the order of the file's merges. And BPE over the characters
// themselves ("gemma4").
#include "tensor/text/tokenizer_private.h"

#include <errno.h>
#include <stdlib.h>

// Printable Latin-1 stands for itself, the other bytes for U+0100 and up in order (GPT-2's table).
static bool is_own_character(uint32_t c)
{
    return (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255);
}

uint32_t byte_to_character(uint8_t byte)
{
    if (is_own_character(byte))
        return byte;
    // Bytes without a character of their own: 0..32, 127..160, 173.
    return 256u + (byte <= 32 ? byte : byte <= 160 ? byte - 127u + 33u : 67u);
}

int character_to_byte(uint32_t c)
{
    if (c < 256)
        return is_own_character(c) ? (int)c : -1;
    c -= 256;
    return c <= 32 ? (int)c : c <= 66 ? (int)c - 33 + 127 : c == 67 ? 173 : -1;
}

size_t put_utf8(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

static bool pair_rank(const struct tokenizer *t, const char *text, size_t left, size_t bytes,
                      uint32_t *rank, int *failed)
{
    int64_t merge = merge_lookup(t, text, left, bytes);
    if (merge == -2)
        *failed = -ENOMEM;
    if (merge < 0)
        return false;
    *rank = (uint32_t)merge;
    return true;
}

struct word_encoder {
    const struct tokenizer *t;
    struct merge_work *work;
    struct id_sink *out;
    char *text;
    size_t max, words;
};

// The word's bytes as characters of the byte alphabet, in e->text.
static int spell(struct word_encoder *e, const char *word, size_t *bytes)
{
    if (2 * *bytes > e->max) {
        size_t max = 2 * *bytes + 256;
        char *text = realloc(e->text, max);
        if (!text)
            return -ENOMEM;
        e->text = text;
        e->max = max;
    }
    size_t n = 0;
    for (size_t i = 0; i < *bytes; i++)
        n += put_utf8(byte_to_character((uint8_t)word[i]), e->text + n);
    *bytes = n;
    return 0;
}

// A piece that no token is: its bytes, as far as the vocabulary has them.
static void put_bytes(const struct tokenizer *t, const char *text, size_t bytes,
                      struct id_sink *out)
{
    for (size_t i = 0; i < bytes; i++) {
        int64_t id = t->marked ? t->byte_token[(uint8_t)text[i]] : token_lookup(t, text + i, 1);
        if (id >= 0)
            sink_put(out, (int32_t)id);
    }
}

// Merges one word, already in the vocabulary's alphabet. whole: if it is a token, that is all.
static int encode_spelled(struct word_encoder *e, const char *text, size_t bytes, bool whole)
{
    const struct tokenizer *t = e->t;
    if (whole) {
        int64_t id = token_lookup(t, text, bytes);
        if (id == -2)
            return -ENOMEM;
        if (id >= 0) {
            sink_put(e->out, (int32_t)id);
            return 0;
        }
    }
    int rc = merge_run(e->work, t, text, bytes, pair_rank);
    for (int32_t i = rc || !bytes ? -1 : 0; i >= 0; i = e->work->symbol[i].next) {
        const struct merge_symbol *s = &e->work->symbol[i];
        int64_t id = token_lookup(t, text + s->start, s->bytes);
        if (id == -2)
            return -ENOMEM;
        if (id >= 0)
            sink_put(e->out, (int32_t)id);
        else
            put_bytes(t, text + s->start, s->bytes, e->out);
    }
    return rc;
}

static int encode_word(void *ctx, const char *word, size_t bytes)
{
    struct word_encoder *e = ctx;
    maybe_pause(e->words++);
    int rc = spell(e, word, &bytes);
    return rc ? rc : encode_spelled(e, e->text, bytes, e->t->ignore_merges);
}

// Vocabularies without a byte alphabet (gemma4): spaces are marked, a word is all between line
// feeds, and a run of those is a token of its own where there is one.
static int encode_marked(struct word_encoder *e, const char *text, size_t bytes)
{
    size_t n;
    char *marked = mark_spaces(text, bytes, false, &n);
    int rc = marked ? 0 : -ENOMEM;
    for (size_t at = 0, end; !rc && at < n; at = end) {
        bool feeds = marked[at] == '\n';
        for (end = at + 1; end < n && (marked[end] == '\n') == feeds;)
            end++;
        rc = encode_spelled(e, marked + at, end - at, feeds);
    }
    free(marked);
    return rc;
}

int bpe_encode(const struct tokenizer *t, struct merge_work *w, const char *text, size_t bytes,
               struct id_sink *out)
{
    struct word_encoder e = {.t = t, .work = w, .out = out};
    if (t->marked)
        return encode_marked(&e, text, bytes);
    int rc = pretokenizer_run(t->split, text, bytes, encode_word, &e);
    free(e.text);
    return rc;
}
