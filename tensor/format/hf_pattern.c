// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which pre-tokenizer a tokenizer.json means: its parts and their patterns, as written there, to
// the name that tokenizer.ggml.pre has for them. What is not known is an error that shows it.
#include "tensor/format/hf.h"

#include <errno.h>
#include <string.h>

#define SHORTENED  "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SHORTENED2 "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define LIKE(numbers)                                                                              \
    "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" numbers                                                      \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(after)                                                                               \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" after "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER   \
    "*" after
#define CASED_TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct {
    const char *pattern;
    const char *name;  // of a vocabulary where merges alone decide; NULL: not known
    const char *whole; // where a piece that is a token stays whole; NULL: not known
} known[] = {
    {SHORTENED LIKE("\\p{N}{1,3}"), "dbrx", "llama-bpe"},
    {SHORTENED2 LIKE("\\p{N}{1,3}"), "dbrx", "llama-bpe"},
    {SHORTENED LIKE("\\p{N}"), "qwen2", NULL},
    {SHORTENED2 LIKE("\\p{N}"), "qwen2", NULL},
    {CASED("") "|\\p{N}" CASED_TAIL, NULL, "tekken"},
    {CASED("(?i:'s|'t|'re|'ve|'m|'ll|'d)?") "|\\p{N}{1,3}" CASED_TAIL, "gpt-4o", NULL},
};

static const char *type_of(json_t *part)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    return type ? type : "";
}

static const char *by_pattern(struct hf_reader *r, json_t *split, bool ignore_merges)
{
    json_t *pattern = json_object_get(split, "pattern");
    const char *text = json_string_value(json_object_get(pattern, "Regex"));
    const char *behavior = json_string_value(json_object_get(split, "behavior"));
    char shown[160];
    for (size_t i = 0; text && i < sizeof known / sizeof *known; i++) {
        const char *name = ignore_merges ? known[i].whole : known[i].name;
        if (strcmp(text, known[i].pattern) == 0 && name && behavior &&
            strcmp(behavior, "Isolated") == 0 && !json_is_true(json_object_get(split, "invert")))
            return name;
    }
    hf_fail(r, -ENOTSUP, &r->model->tokenizer,
            "pre_tokenizer: the pattern '%s'%s is none that is known",
            hf_show(text ? text : "(no Regex)", shown, sizeof shown),
            ignore_merges ? " with ignore_merges" : "");
    return NULL;
}

const char *hf_pre_tokenizer(struct hf_reader *r, json_t *pre, bool ignore_merges)
{
    json_t *list =
        strcmp(type_of(pre), "Sequence") == 0 ? json_object_get(pre, "pretokenizers") : NULL;
    size_t count = list ? json_array_size(list) : 1;
    json_t *first = list ? json_array_get(list, 0) : pre, *last = first;
    char shown[64];
    if (count == 2)
        last = json_array_get(list, 1);
    if (count < 1 || count > 2 || strcmp(type_of(last), "ByteLevel") != 0) {
        hf_fail(r, -ENOTSUP, &r->model->tokenizer,
                "pre_tokenizer: '%s' in %zu parts is not supported",
                hf_show(type_of(count > 2 ? pre : last), shown, sizeof shown), count);
        return NULL;
    }
    if (json_is_true(json_object_get(last, "add_prefix_space"))) {
        hf_fail(r, -ENOTSUP, &r->model->tokenizer,
                "pre_tokenizer: add_prefix_space is not supported");
        return NULL;
    }
    json_t *use = json_object_get(last, "use_regex");
    bool own_pattern = !use || json_is_true(use); // GPT-2's
    if (count == 1 && own_pattern && !ignore_merges)
        return "gpt-2";
    if (count == 2 && own_pattern && !ignore_merges && strcmp(type_of(first), "Digits") == 0 &&
        json_is_true(json_object_get(first, "individual_digits")))
        return "smollm";
    if (count == 2 && !own_pattern && strcmp(type_of(first), "Split") == 0)
        return by_pattern(r, first, ignore_merges);
    hf_fail(r, -ENOTSUP, &r->model->tokenizer,
            "pre_tokenizer: '%s' before ByteLevel is not supported",
            hf_show(type_of(first), shown, sizeof shown));
    return NULL;
}
