// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Opens the vocabulary of a GGUF (tokenizer.ggml.*): one pass over the tokens finds the byte
// tokens, the special ones and those that end generation.
#include "tensor/text/tokenizer_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

// End of generation, by text (facts of the format).
static const char *const end_texts[] = {
    "<|eot_id|>",    "<|im_end|>", "<|end|>",    "<end_of_turn>",     "<|endoftext|>",
    "<|eom_id|>",    "</s>",       "<|return|>", "<|call|>",          "<|end_of_text|>",
    "<EOT>",         "_<EOT>",     "[EOT]",      "[EOS]",             "<eos>",
    "<turn|>",       "<end_of_utterance>",       "<\xef\xbd\x9c"
    "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
};
#define END_TEXTS (sizeof end_texts / sizeof *end_texts)

struct opening {
    const struct gguf *g;
    struct tokenizer *t;
    char *error;
    size_t error_bytes;
};

__attribute__((format(printf, 3, 4))) static int fail(const struct opening *o, int code,
                                                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (o->error_bytes)
        vsnprintf(o->error, o->error_bytes, format, args);
    va_end(args);
    return code;
}

static int open_strings(const struct opening *o, const char *key, struct string_table *table)
{
    struct gguf_array a = {0};
    int rc = gguf_arr(o->g, key, &a);
    if (rc == -ENOENT)
        return fail(o, -EINVAL, "%s is missing: the file has no vocabulary of this kind", key);
    if (rc || a.type != GGUF_STRING)
        return fail(o, -EINVAL, "%s must be an array of strings", key);
    if (a.count > INT32_MAX / 4 || a.bytes > UINT32_MAX)
        return fail(o, -E2BIG, "%s has %llu strings, too many", key, (unsigned long long)a.count);
    table->data = a.data;
    table->count = (uint32_t)a.count;
    table->offset = malloc((a.count ? a.count : 1) * sizeof *table->offset);
    if (!table->offset)
        return fail(o, -ENOMEM, "no memory for the index of %s", key);
    uint64_t at = 0, bytes;
    for (uint64_t i = 0; i < a.count; i++) {
        table->offset[i] = (uint32_t)at;
        memcpy(&bytes, a.data + at, 8);
        at += 8 + bytes;
    }
    uint64_t slots = 16;
    while (slots * 3 < a.count * 4)
        slots *= 2;
    table->mask = (uint32_t)(slots - 1);
    table->seed = (uint64_t)(uintptr_t)table * 0x9e3779b97f4a7c15u;
    return 0;
}

static int open_kinds(const struct opening *o)
{
    struct tokenizer *t = o->t;
    struct gguf_array a = {0};
    t->token_kind = malloc(t->tokens.count);
    if (!t->token_kind)
        return fail(o, -ENOMEM, "no memory for the token types");
    memset(t->token_kind, TOKEN_NORMAL, t->tokens.count);
    int rc = gguf_arr(o->g, KEY("token_type"), &a);
    if (rc == -ENOENT)
        return 0;
    if (rc || (a.type != GGUF_I32 && a.type != GGUF_U32) || a.count != t->tokens.count)
        return fail(o, -EINVAL, KEY("token_type") ": must be %u 32-bit integers", t->tokens.count);
    for (uint32_t i = 0; i < t->tokens.count; i++) {
        uint32_t kind;
        memcpy(&kind, a.data + 4 * (size_t)i, 4);
        t->token_kind[i] = kind <= TOKEN_BYTE ? (uint8_t)kind : 0;
    }
    return 0;
}

static int open_scores(const struct opening *o)
{
    struct gguf_array a = {0};
    int rc = gguf_arr(o->g, KEY("scores"), &a);
    if (rc == -ENOENT)
        return 0;
    if (rc || a.type != GGUF_F32 || a.count != o->t->tokens.count)
        return fail(o, -EINVAL, KEY("scores") ": must be %u 32-bit floats", o->t->tokens.count);
    o->t->scores = a.data;
    return 0;
}

static void add_end(struct tokenizer *t, int32_t id)
{
    if (id < 0 || tokenizer_is_end(t, id) || t->end_count == TOKENIZER_MAX_ENDS)
        return;
    t->end[t->end_count++] = id;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_cut_out(uint8_t kind)
{
    return kind == TOKEN_CONTROL || kind == TOKEN_USER_DEFINED || kind == TOKEN_UNKNOWN;
}

static void scan_token(struct tokenizer *t, uint32_t id)
{
    struct gguf_string s = string_at(&t->tokens, id);
    if (s.bytes > t->longest)
        t->longest = s.bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)s.bytes;
    if (s.bytes == 6 && s.data[5] == '>' && !memcmp(s.data, "<0x", 3)) {
        int high = hex_value(s.data[3]), low = hex_value(s.data[4]);
        if (high >= 0 && low >= 0)
            t->byte_token[high << 4 | low] = (int32_t)id;
    }
    if (s.bytes >= 4 && (s.data[0] == '<' || s.data[0] == '[' || s.data[0] == '_'))
        for (size_t i = 0; i < END_TEXTS; i++)
            if (strlen(end_texts[i]) == s.bytes && !memcmp(end_texts[i], s.data, s.bytes)) {
                t->token_kind[id] = TOKEN_CONTROL; // some files mark them as ordinary text
                add_end(t, (int32_t)id);
            }
}

// The id under a key; `otherwise` when absent, -1 when it is outside the vocabulary.
static int32_t special_id(const struct opening *o, const char *key, int32_t otherwise)
{
    uint64_t id;
    uint32_t count = o->t->tokens.count;
    if (!gguf_u64(o->g, key, &id) && id < count)
        return (int32_t)id;
    return otherwise >= 0 && (uint32_t)otherwise < count ? otherwise : -1;
}

static const struct tokenizer *sorting; // qsort has no context; opening is single-threaded below

static int by_length_then_text(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    struct gguf_string p = string_at(&sorting->tokens, (uint32_t)x);
    struct gguf_string q = string_at(&sorting->tokens, (uint32_t)y);
    if (p.bytes != q.bytes)
        return p.bytes > q.bytes ? -1 : 1;
    int order = memcmp(p.data, q.data, p.bytes);
    return order ? order : x - y;
}
