// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// tokenizer.json (and tokenizer_config.json) of a Hugging Face model to tokenizer.* keys. Two
// kinds: byte-level BPE, whose merges GGUF keeps; and BPE with byte fallback that came from
// SentencePiece, whose merges become the scores that order them.
#include "tensor/format/hf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Kinds of tokens, as GGUF numbers them.
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

struct vocabulary {
    struct hf_reader *r;
    json_t *model;     // of tokenizer.json
    json_t *ids;       // text to id
    const char **text; // of each id; NULL: none
    int32_t *kind;
    float *score;
    uint32_t count;
    char (*padding)[24];  // texts of ids without a token
    bool bytes_as_tokens; // the SentencePiece kind
};

#define TOKENIZER(v) (&(v)->r->model->tokenizer)

static int add(struct vocabulary *v, const char *text, json_t *id, int32_t kind)
{
    char shown[48];
    json_int_t n = json_is_integer(id) ? json_integer_value(id) : -1;
    if (n < 0 || n >= v->count)
        return hf_fail(v->r, -EINVAL, TOKENIZER(v),
                       "token '%s': its id is not from 0 to %u, which vocab_size admits",
                       hf_show(text, shown, sizeof shown), v->count - 1);
    if (v->text[n] && strcmp(v->text[n], text) != 0)
        return hf_fail(v->r, -EINVAL, TOKENIZER(v), "token '%s': its id %lld is another's too",
                       hf_show(text, shown, sizeof shown), (long long)n);
    v->text[n] = text;
    v->kind[n] = kind;
    return 0;
}

static int add_all(struct vocabulary *v, json_t *added)
{
    const char *text;
    json_t *id, *one;
    size_t i;
    int rc = 0;
    json_object_foreach(v->ids, text, id)
    {
        unsigned byte;
        char end;
        bool is_byte = v->bytes_as_tokens && strlen(text) == 6 &&
                       sscanf(text, "<0x%2X%c", &byte, &end) == 2 && end == '>';
        if ((rc = add(v, text, id, is_byte ? BYTE : NORMAL)))
            return rc;
    }
    if (added && !json_is_array(added))
        return hf_fail(v->r, -EINVAL, TOKENIZER(v), "added_tokens: is no list");
    json_array_foreach(added, i, one)
    {
        text = json_string_value(json_object_get(one, "content"));
        if (!text)
            return hf_fail(v->r, -EINVAL, TOKENIZER(v), "added_tokens: number %zu has no content",
                           i);
        bool special = json_is_true(json_object_get(one, "special"));
        if ((rc = add(v, text, json_object_get(one, "id"), special ? CONTROL : USER_DEFINED)))
            return rc;
    }
    const char *unknown = json_string_value(json_object_get(v->model, "unk_token"));
    json_t *at = unknown ? json_object_get(v->ids, unknown) : NULL;
    if (at) {
        v->kind[json_integer_value(at)] = UNKNOWN;
        tn_gguf_put_u32(v->r->keys, "tokenizer.ggml.unknown_token_id",
                        (uint32_t)json_integer_value(at));
    }
    for (uint32_t n = 0; n < v->count; n++) {
        if (v->text[n])
            continue;
        snprintf(v->padding[n], sizeof v->padding[n], "[PAD%u]", n);
        v->text[n] = v->padding[n];
        v->kind[n] = UNUSED;
    }
    return 0;
}

// A merge is "left right" or ["left", "right"]. Sets the length of left; NULL: neither. `joined`
// gets left and right without the space.
static const char *merge_text(json_t *merge, char **space, size_t *room, size_t *left)
{
    const char *a = json_string_value(merge), *b;
    size_t na, nb;
    if (a) {
        b = strchr(a, ' ');
        if (!b)
            return NULL;
        na = (size_t)(b++ - a);
    } else {
        a = json_string_value(json_array_get(merge, 0));
        b = json_string_value(json_array_get(merge, 1));
        if (!a || !b || json_array_size(merge) != 2)
            return NULL;
        na = strlen(a);
    }
    nb = strlen(b);
    if (na + nb + 2 > *room) {
        char *more = realloc(*space, na + nb + 256);
        if (!more)
            return NULL;
        *space = more;
        *room = na + nb + 256;
    }
    memcpy(*space, a, na);
    (*space)[na] = ' ';
    memcpy(*space + na + 1, b, nb + 1);
    *left = na;
    return *space;
}

// Merges as GGUF's list, or as scores: the earlier a piece can be made, the higher.
static int read_merges(struct vocabulary *v)
{
    json_t *list = json_object_get(v->model, "merges"), *one;
    char *space = NULL;
    size_t room = 0, left, i;
    int rc = 0;
    if (!json_is_array(list))
        return hf_fail(v->r, -EINVAL, TOKENIZER(v), "model.merges: is missing or no list");
    if (!v->bytes_as_tokens)
        tn_gguf_begin_strings(v->r->keys, "tokenizer.ggml.merges", json_array_size(list));
    json_array_foreach(list, i, one)
    {
        const char *text = merge_text(one, &space, &room, &left);
        if (!text) {
            rc = hf_fail(v->r, -EINVAL, TOKENIZER(v), "model.merges: number %zu is no pair", i);
            break;
        }
        size_t n = strlen(text);
        if (!v->bytes_as_tokens) {
            tn_gguf_next_string(v->r->keys, (struct gguf_string){text, n});
            continue;
        }
        memmove(space + left, space + left + 1, n - left); // joined, with the end's zero
        json_t *id = json_object_get(v->ids, space);
        if (!id) {
            rc = hf_fail(v->r, -EINVAL, TOKENIZER(v), "model.merges: number %zu makes no token", i);
            break;
        }
        float *score = &v->score[json_integer_value(id)];
        if (*score < -(float)i)
            *score = -(float)i;
    }
    free(space);
    return rc;
}

static int check_normalizer(struct vocabulary *v, json_t *n, bool *prepends)
{
    json_t *list = n, *one;
    char shown[64];
    size_t i;
    const char *type = json_string_value(json_object_get(n, "type"));
    if (!n || json_is_null(n))
        return 0;
    if (!v->bytes_as_tokens && type && strcmp(type, "NFC") == 0)
        return 0; // text comes composed; other text gives other tokens
    list = type && strcmp(type, "Sequence") == 0 ? json_object_get(n, "normalizers") : NULL;
    for (i = 0; i < (list ? json_array_size(list) : 1); i++) {
        one = list ? json_array_get(list, i) : n;
        type = json_string_value(json_object_get(one, "type"));
        bool prepend = type && strcmp(type, "Prepend") == 0;
        bool replace = type && strcmp(type, "Replace") == 0;
        if (!v->bytes_as_tokens || (!prepend && !replace))
            return hf_fail(v->r, -ENOTSUP, TOKENIZER(v), "normalizer: '%s' is not supported",
                           hf_show(type ? type : "(no type)", shown, sizeof shown));
        *prepends = *prepends || prepend;
    }
    return 0;
}

// Metaspace, or nothing where the normalizer has marked the spaces.
static int check_metaspace(struct vocabulary *v, json_t *pre, bool *prepends)
{
    char shown[64];
    if (!pre || json_is_null(pre))
        return 0;
    const char *type = json_string_value(json_object_get(pre, "type"));
    if (!type || strcmp(type, "Metaspace") != 0)
        return hf_fail(v->r, -ENOTSUP, TOKENIZER(v),
                       "pre_tokenizer: '%s' is not supported with byte_fallback",
                       hf_show(type ? type : "(no type)", shown, sizeof shown));
    const char *scheme = json_string_value(json_object_get(pre, "prepend_scheme"));
    json_t *old = json_object_get(pre, "add_prefix_space");
    *prepends = scheme ? strcmp(scheme, "never") != 0 : !old || json_is_true(old);
    return 0;
}

// ---- special tokens -----------------------------------------------------------------------------

// A token in tokenizer_config.json is its text, or an object that has it.
static int64_t special_id(const struct vocabulary *v, json_t *settings, const char *key,
                          int64_t otherwise)
{
    json_t *token = json_object_get(settings, key);
    const char *text =
        json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
    for (uint32_t i = 0; text && i < v->count; i++) {
        if (v->kind[i] != NORMAL && strcmp(v->text[i], text) == 0)
            return i;
    }
    json_t *id = text ? json_object_get(v->ids, text) : NULL;
    if (id)
        return json_integer_value(id);
    return otherwise < v->count ? otherwise : -1;
}

// Whether the post-processor's template begins (or ends) with a special token.
static bool template_adds(json_t *post, bool at_end)
{
    const char *type = json_string_value(json_object_get(post, "type"));
    if (type && strcmp(type, "Sequence") == 0) {
        json_t *list = json_object_get(post, "processors"), *one;
        size_t i;
        json_array_foreach(list, i, one)
        {
            const char *t = json_string_value(json_object_get(one, "type"));
            if (t && strcmp(t, "TemplateProcessing") == 0)
                return template_adds(one, at_end);
        }
        return false;
    }
    json_t *single = json_object_get(post, "single");
    size_t n = json_array_size(single);
    return n > 1 && json_object_get(json_array_get(single, at_end ? n - 1 : 0), "SpecialToken");
}

static bool adds(json_t *root, json_t *settings, const char *key, bool at_end)
{
    json_t *told = json_object_get(settings, key);
    return json_is_boolean(told) ? json_is_true(told)
                                 : template_adds(json_object_get(root, "post_processor"), at_end);
}

static void put_template(struct hf_reader *r, json_t *settings)
{
    json_t *template = json_object_get(settings, "chat_template"), *one;
    size_t i;
    json_array_foreach(template, i, one)
    { // several: the default one
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name && strcmp(name, "default") == 0)
            template = json_object_get(one, "template");
    }
    if (json_is_string(template))
        tn_gguf_put_string(r->keys, "tokenizer.chat_template", json_string_value(template));
}

static void put_specials(struct vocabulary *v, json_t *root, json_t *settings)
{
    struct tn_gguf_writer *w = v->r->keys;
    int64_t begin = special_id(v, settings, "bos_token", v->r->begin);
    int64_t end = special_id(v, settings, "eos_token", v->r->end);
    bool add_begin = adds(root, settings, "add_bos_token", false);
    if (begin >= 0)
        tn_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)begin);
    if (end >= 0)
        tn_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)end);
    tn_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", begin >= 0 && add_begin);
    tn_gguf_put_bool(w, "tokenizer.ggml.add_eos_token",
                     end >= 0 && adds(root, settings, "add_eos_token", true));
    put_template(v->r, settings);
}

// ---- all of it ----------------------------------------------------------------------------------

static int fill(struct vocabulary *v, json_t *root, json_t *settings)
{
    struct tn_gguf_writer *w = v->r->keys;
    bool prepends = false;
    json_t *pre = json_object_get(root, "pre_tokenizer");
    int rc = check_normalizer(v, json_object_get(root, "normalizer"), &prepends);
    if (!rc)
        rc = add_all(v, json_object_get(root, "added_tokens"));
    if (!rc && v->bytes_as_tokens) {
        tn_gguf_put_string(w, "tokenizer.ggml.model", "llama");
        rc = check_metaspace(v, pre, &prepends);
        tn_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", prepends);
    } else if (!rc) {
        bool whole = json_is_true(json_object_get(v->model, "ignore_merges"));
        const char *name = hf_pre_tokenizer(v->r, pre, whole);
        rc = name ? 0 : -ENOTSUP;
        tn_gguf_put_string(w, "tokenizer.ggml.model", "gpt2");
        tn_gguf_put_string(w, "tokenizer.ggml.pre", name ? name : "");
    }
    if (!rc)
        rc = read_merges(v);
    if (rc)
        return rc;
    tn_gguf_put_strings(w, "tokenizer.ggml.tokens", v->text, v->count);
    if (v->bytes_as_tokens)
        tn_gguf_put_f32s(w, "tokenizer.ggml.scores", v->score, v->count);
    tn_gguf_put_i32s(w, "tokenizer.ggml.token_type", v->kind, v->count);
    put_specials(v, root, settings);
    return 0;
}

int hf_tokenizer(struct hf_reader *r, json_t *root, json_t *settings)
{
    struct vocabulary v = {.r = r, .model = json_object_get(root, "model"), .count = r->vocabulary};
    const char *type = json_string_value(json_object_get(v.model, "type"));
    char shown[64];
    v.ids = json_object_get(v.model, "vocab");
    // Older files have no type; BPE is known by its merges.
    if ((!type && !json_object_get(v.model, "merges")) || (type && strcmp(type, "BPE") != 0))
        return hf_fail(r, -ENOTSUP, &r->model->tokenizer,
                       "model.type: '%s' is not supported (BPE "
                       "is)",
                       hf_show(type ? type : "(none)", shown, sizeof shown));
    if (!json_is_object(v.ids))
        return hf_fail(r, -EINVAL, &r->model->tokenizer, "model.vocab: is missing or no object");
    v.bytes_as_tokens = json_is_true(json_object_get(v.model, "byte_fallback"));
    v.text = calloc(v.count, sizeof *v.text);
    v.kind = calloc(v.count, sizeof *v.kind);
    v.score = calloc(v.count, sizeof *v.score);
    v.padding = calloc(v.count, sizeof *v.padding);
    int rc = -ENOMEM;
    if (v.text && v.kind && v.score && v.padding) {
        for (uint32_t i = 0; i < v.count; i++)
            v.score[i] = -1e9f; // what no merge makes comes last
        rc = fill(&v, root, settings);
    } else {
        hf_fail(r, rc, &r->model->tokenizer, "no memory for %u tokens", v.count);
    }
    free(v.text);
    free(v.kind);
    free(v.score);
    free(v.padding);
    return rc;
}
