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
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "</s>",
    "<|return|>",
    "<|call|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<eos>",
    "<turn|>",
    "<end_of_utterance>",
    "<\xef\xbd\x9c"
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

static int by_length_then_text(const void *a, const void *b, void *ctx)
{
    const struct tokenizer *t = ctx;
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    struct gguf_string p = string_at(&t->tokens, (uint32_t)x);
    struct gguf_string q = string_at(&t->tokens, (uint32_t)y);
    if (p.bytes != q.bytes)
        return p.bytes > q.bytes ? -1 : 1;
    int order = memcmp(p.data, q.data, p.bytes);
    return order ? order : x - y;
}

static int collect_special(const struct opening *o)
{
    struct tokenizer *t = o->t;
    uint32_t n = 0;
    for (uint32_t id = 0; id < t->tokens.count; id++)
        n += is_cut_out(t->token_kind[id]);
    t->special = malloc((n ? n : 1) * sizeof *t->special);
    if (!t->special)
        return fail(o, -ENOMEM, "no memory for the special tokens");
    for (uint32_t id = 0; id < t->tokens.count; id++) {
        struct gguf_string s = string_at(&t->tokens, id);
        if (!is_cut_out(t->token_kind[id]) || !s.bytes)
            continue;
        t->special[t->special_count++] = (int32_t)id;
        t->special_first[(uint8_t)s.data[0]] = true;
    }
    qsort_r(t->special, t->special_count, sizeof *t->special, by_length_then_text, t);
    return 0;
}

static int open_bpe(const struct opening *o)
{
    struct tokenizer *t = o->t;
    struct gguf_string pre = {"default", 7};
    int rc = gguf_str(o->g, KEY("pre"), &pre);
    if (rc == -EINVAL)
        return fail(o, rc, KEY("pre") " must be a string");
    if ((rc = open_strings(o, KEY("merges"), &t->merges)))
        return rc;
    rc = pretokenizer_open(pre, &t->split, &t->ignore_merges, &t->add_bos);
    if (rc == -ENOTSUP)
        return fail(o, rc, KEY("pre") ": pre-tokenizer '%.*s' is not known here",
                    (int)(pre.bytes < 64 ? pre.bytes : 64), pre.data);
    return rc ? fail(o, rc, KEY("pre") ": no memory for the splitter") : 0;
}

static int open_all(const struct opening *o)
{
    struct tokenizer *t = o->t;
    struct gguf_string model = {"", 0};
    int rc = gguf_str(o->g, KEY("model"), &model);
    if (rc)
        return fail(o, -EINVAL, KEY("model") " is %s: the file has no tokenizer",
                    rc == -ENOENT ? "missing" : "no string");
    bool spm = model.bytes == 5 && !memcmp(model.data, "llama", 5);
    if (!spm && !(model.bytes == 4 && !memcmp(model.data, "gpt2", 4)))
        return fail(o, -ENOTSUP, KEY("model") ": kind '%.*s' is not supported (llama, gpt2 are)",
                    (int)(model.bytes < 64 ? model.bytes : 64), model.data);
    t->kind = spm ? VOCABULARY_SPM : VOCABULARY_BPE;
    t->add_bos = t->add_space_prefix = spm;
    if ((rc = open_strings(o, KEY("tokens"), &t->tokens)))
        return rc;
    if (!t->tokens.count)
        return fail(o, -EINVAL, KEY("tokens") " is empty");
    if ((rc = open_kinds(o)) || (rc = spm ? open_scores(o) : open_bpe(o)))
        return rc;
    memset(t->byte_token, 0xff, sizeof t->byte_token);
    for (uint32_t id = 0; id < t->tokens.count; id++)
        scan_token(t, id);
    t->bos = special_id(o, KEY("bos_token_id"), spm ? 1 : 11);
    t->eos = special_id(o, KEY("eos_token_id"), spm ? 2 : 11);
    t->unk = special_id(o, KEY("unknown_token_id"), spm ? 0 : -1);
    t->eot = special_id(o, KEY("eot_token_id"), -1);
    t->eom = special_id(o, KEY("eom_token_id"), -1);
    add_end(t, t->eos);
    add_end(t, t->eot);
    add_end(t, t->eom);
    gguf_bool(o->g, KEY("add_bos_token"), &t->add_bos);
    gguf_bool(o->g, KEY("add_eos_token"), &t->add_eos);
    gguf_bool(o->g, KEY("add_space_prefix"), &t->add_space_prefix);
    t->add_bos = t->add_bos && t->bos >= 0;
    t->add_eos = t->add_eos && t->eos >= 0;
    return collect_special(o);
}

int tokenizer_open(const struct gguf *g, struct tokenizer **out, char *error, size_t error_bytes)
{
    struct opening o = {g, calloc(1, sizeof *o.t), error, error ? error_bytes : 0};
    *out = NULL;
    if (!o.t)
        return fail(&o, -ENOMEM, "no memory for the tokenizer");
    int rc = open_all(&o);
    if (rc)
        tokenizer_close(o.t);
    else
        *out = o.t;
    return rc;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    free(t->tokens.offset);
    free(t->merges.offset);
    free(atomic_load_explicit(&t->tokens.slot, memory_order_relaxed));
    free(atomic_load_explicit(&t->merges.slot, memory_order_relaxed));
    free(t->token_kind);
    free(t->special);
    pretokenizer_close(t->split);
    free(t);
}

uint32_t tokenizer_size(const struct tokenizer *t)
{
    return t->tokens.count;
}
int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}
int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}
bool tokenizer_adds_bos(const struct tokenizer *t)
{
    return t->add_bos;
}
size_t tokenizer_longest(const struct tokenizer *t)
{
    return t->longest ? t->longest : 1;
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    for (uint32_t i = 0; i < t->end_count; i++)
        if (t->end[i] == id)
            return true;
    return false;
}

bool tokenizer_is_control(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->tokens.count && t->token_kind[id] == TOKEN_CONTROL;
}

int32_t tokenizer_find(const struct tokenizer *t, const char *text)
{
    int64_t id = token_lookup(t, text, strlen(text));
    return id < 0 ? -1 : (int32_t)id;
}
