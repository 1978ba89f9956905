// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Opens the vocabulary of a GGUF (tokenizer.ggml.*), each kind with its own keys; one pass over the
// tokens finds the byte tokens, the special ones and those that end generation (known.c).
#include "tensor/text/tokenizer_private.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

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
        return fail(o, -EINVAL, KEY("scores") " is missing: this kind of vocabulary needs it");
    if (rc || a.type != GGUF_F32 || a.count != o->t->tokens.count)
        return fail(o, -EINVAL, KEY("scores") ": must be %u 32-bit floats", o->t->tokens.count);
    o->t->scores = a.data;
    return 0;
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
    if (s.bytes && t->token_kind[id] == TOKEN_USER_DEFINED)
        t->has_user_defined = true;
    known_token(t, id);
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

static int open_marked_bpe(const struct opening *o)
{
    return open_strings(o, KEY("merges"), &o->t->merges);
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

// The text of the tokens that WPM and unigram match byte by byte is bounded (trie.c).
static int check_text(const struct opening *o)
{
    uint64_t bytes = 0;
    for (uint32_t id = 0; id < o->t->tokens.count; id++)
        bytes += string_at(&o->t->tokens, id).bytes;
    if (bytes >= TRIE_MAX_BYTES)
        return fail(o, -E2BIG, KEY("tokens") " holds %llu bytes of text, too many for this kind",
                    (unsigned long long)bytes);
    return 0;
}

static int open_wpm(const struct opening *o)
{
    struct tokenizer *t = o->t;
    t->lowercase = true;
    gguf_bool(o->g, KEY("normalizer.lowercase"), &t->lowercase);
    t->strip_accents = t->lowercase;
    gguf_bool(o->g, KEY("normalizer.strip_accents"), &t->strip_accents);
    return check_text(o);
}

static int open_charsmap(const struct opening *o)
{
    struct gguf_array a = {0};
    int rc = gguf_arr(o->g, KEY("precompiled_charsmap"), &a);
    if (rc == -ENOENT)
        return 0;
    if (rc || (a.type != GGUF_U8 && a.type != GGUF_I8))
        return fail(o, -EINVAL, KEY("precompiled_charsmap") ": must be an array of bytes");
    if (a.count && charsmap_open(&o->t->charsmap, a.data, a.count))
        return fail(o, -EINVAL,
                    KEY("precompiled_charsmap") ": its parts do not fit into its %llu bytes",
                    (unsigned long long)a.count);
    return 0;
}

static int open_unigram(const struct opening *o)
{
    struct tokenizer *t = o->t;
    float lowest = FLT_MAX;
    int rc = open_scores(o);
    for (uint32_t id = 0; !rc && id < t->tokens.count; id++) {
        float score;
        memcpy(&score, t->scores + 4 * (size_t)id, 4);
        if (!isfinite(score))
            rc = fail(o, -EINVAL, KEY("scores") ": that of token %u is not a finite number", id);
        else if (t->token_kind[id] == TOKEN_NORMAL && score < lowest)
            lowest = score;
    }
    t->unknown_score = lowest - 10.0f;
    gguf_bool(o->g, KEY("remove_extra_whitespaces"), &t->collapse_spaces);
    if (!rc)
        rc = open_charsmap(o);
    return rc ? rc : check_text(o);
}

// The ids that the kinds have when the file names none.
static const struct kind_defaults {
    const char *name;
    enum vocabulary_kind kind;
    int32_t bos, eos, unk, sep;
    bool add_bos, add_eos, space_prefix, marked;
    int (*open)(const struct opening *o);
} kinds[] = {
    {"llama", VOCABULARY_SPM, 1, 2, 0, -1, true, false, true, false, open_scores},
    {"gpt2", VOCABULARY_BPE, 11, 11, -1, -1, false, false, false, false, open_bpe},
    {"gemma4", VOCABULARY_BPE, -1, -1, -1, -1, true, false, false, true, open_marked_bpe},
    {"bert", VOCABULARY_WPM, 101, -1, 100, 102, true, false, false, false, open_wpm},
    {"t5", VOCABULARY_UNIGRAM, -1, 1, 2, -1, false, true, false, false, open_unigram},
};

static const struct kind_defaults *find_kind(const struct opening *o)
{
    struct gguf_string model = {"", 0};
    int rc = gguf_str(o->g, KEY("model"), &model);
    if (rc) {
        fail(o, -EINVAL, KEY("model") " is %s: the file has no tokenizer",
             rc == -ENOENT ? "missing" : "no string");
        return NULL;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (model.bytes == strlen(kinds[i].name) && !memcmp(model.data, kinds[i].name, model.bytes))
            return &kinds[i];
    fail(o, -ENOTSUP,
         KEY("model") ": kind '%.*s' is not supported (llama, gpt2, gemma4, bert and t5 are)",
         (int)(model.bytes < 64 ? model.bytes : 64), model.data);
    return NULL;
}

static int open_specials(const struct opening *o, const struct kind_defaults *k)
{
    struct tokenizer *t = o->t;
    t->bos = special_id(o, KEY("bos_token_id"), special_id(o, KEY("cls_token_id"), k->bos));
    t->eos = special_id(o, KEY("eos_token_id"), k->eos);
    t->unk = special_id(o, KEY("unknown_token_id"), k->unk);
    // The format spells it so.
    t->sep = special_id(o, KEY("seperator_token_id"), k->sep);
    t->eot = special_id(o, KEY("eot_token_id"), -1);
    t->eom = special_id(o, KEY("eom_token_id"), -1);
    if (t->unk < 0 && (k->kind == VOCABULARY_WPM || k->kind == VOCABULARY_UNIGRAM))
        return fail(o, -EINVAL,
                    KEY("unknown_token_id") " is missing: this kind of vocabulary needs it");
    known_ends(t);
    gguf_bool(o->g, KEY("add_bos_token"), &t->add_bos);
    gguf_bool(o->g, KEY("add_eos_token"), &t->add_eos);
    gguf_bool(o->g, KEY("add_space_prefix"), &t->add_space_prefix);
    if (k->kind == VOCABULARY_WPM) { // CLS and SEP are always around its text
        t->add_bos = t->add_sep = true;
        t->add_eos = false;
    }
    t->add_bos = (t->add_bos || k->marked) && t->bos >= 0; // gemma4 files forget the flag
    t->add_eos = t->add_eos && t->eos >= 0;
    t->add_sep = t->add_sep && t->sep >= 0;
    return 0;
}

static int open_all(const struct opening *o)
{
    struct tokenizer *t = o->t;
    const struct kind_defaults *k = find_kind(o);
    if (!k) {
        struct gguf_string ignored;
        return gguf_str(o->g, KEY("model"), &ignored) ? -EINVAL : -ENOTSUP;
    }
    t->kind = k->kind;
    t->marked = k->marked;
    t->add_bos = k->add_bos;
    t->add_eos = k->add_eos;
    t->add_space_prefix = k->space_prefix;
    int rc = open_strings(o, KEY("tokens"), &t->tokens);
    if (rc)
        return rc;
    if (!t->tokens.count)
        return fail(o, -EINVAL, KEY("tokens") " is empty");
    if ((rc = open_kinds(o)) || (rc = k->open(o)))
        return rc;
    memset(t->byte_token, 0xff, sizeof t->byte_token);
    for (uint32_t id = 0; id < t->tokens.count; id++)
        scan_token(t, id);
    t->has_bytes = true;
    for (int byte = 0; byte < 256; byte++)
        t->has_bytes = t->has_bytes && t->byte_token[byte] >= 0 &&
                       t->token_kind[t->byte_token[byte]] == TOKEN_BYTE;
    rc = open_specials(o, k);
    if (rc)
        return rc;
    known_blanks(o->g, t);
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
    token_trie_free(t);
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
