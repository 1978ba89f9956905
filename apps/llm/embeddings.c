// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// POST /v1/embeddings, as OpenAI's API has it: one text or several, or their token ids, to vectors
// of length 1, as numbers or (encoding_format "base64") as float32, little-endian.
#include "apps/llm/exchange.h"
#include "apps/llm/port.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_TEXTS = 256, POOLING_NONE = 0 };

static int check_model(const struct llm *l, struct fault *f)
{
    uint64_t pooling;
    char key[64];
    if (!l->info.embeds)
        return fault_set(f, NOT_SUPPORTED, "%s goes on with texts and makes no embeddings",
                         l->name);
    snprintf(key, sizeof key, "%s.pooling_type", l->info.architecture);
    if (gguf_u64(tn_model_gguf(l->model), key, &pooling) == 0 && pooling == POOLING_NONE)
        return fault_set(f, NOT_SUPPORTED, "%s makes a vector a token, not one of a text", l->name);
    return 0;
}

static int check_options(const struct llm *l, const json_t *root, bool *base64, struct fault *f)
{
    const json_t *format = json_object_get(root, "encoding_format"),
                 *dimensions = json_object_get(root, "dimensions");
    const char *word = json_string_value(format);
    *base64 = word && strcmp(word, "base64") == 0;
    if (format && !json_is_null(format) && !*base64 && !(word && strcmp(word, "float") == 0))
        return fault_set(f, BAD_REQUEST, "encoding_format must be \"float\" or \"base64\"");
    if (dimensions && !json_is_null(dimensions) &&
        json_integer_value(dimensions) != (json_int_t)l->info.embedding)
        return fault_set(f, NOT_SUPPORTED, "dimensions: the model's vectors have %u",
                         l->info.embedding);
    return 0;
}

// Token ids of one text behind those of the job.
static int add_text(struct exchange *x, const json_t *text, size_t index)
{
    struct job *j = &x->job;
    struct fault *f = &x->refusal;
    const uint32_t context = engine_facts(x->llm->engine)->context;
    int32_t *ids = NULL;
    size_t n = 0;
    int rc;
    if (json_is_string(text)) {
        size_t bytes = json_string_length(text);
        if (bytes / tokenizer_longest(x->llm->tokenizer) > context)
            n = bytes / tokenizer_longest(x->llm->tokenizer), rc = 0;
        else
            rc = llm_text_ids(x->llm, json_string_value(text), bytes, TOKENIZE_ADD_SPECIAL, &ids,
                              &n, f);
    } else if (json_is_array(text)) {
        rc = ids_parse(text, "input", &ids, &n, f);
    } else {
        return fault_set(f, BAD_REQUEST, "input[%zu] must be a string or an array of token ids",
                         index);
    }
    if (!rc && n == 0)
        rc = fault_set(f, BAD_REQUEST, "input[%zu] is empty", index);
    if (!rc && n > context)
        rc = fault_set(f, 400, "exceed_context_size_error",
                       "input[%zu] has at least %zu tokens; the model's context holds %u", index, n,
                       context);
    for (size_t i = 0; i < n && !rc; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= x->llm->info.vocabulary)
            rc = fault_set(f, BAD_REQUEST,
                           "input[%zu]: token %d is not in the vocabulary of %u tokens", index,
                           ids[i], x->llm->info.vocabulary);
    int32_t *all = rc ? NULL : realloc(j->tokens, (j->token_count + n) * sizeof *all);
    if (!rc && !all)
        rc = fault_set(f, UNAVAILABLE, "not enough memory for the texts");
    if (!rc) {
        memcpy(all + j->token_count, ids, n * sizeof *all);
        j->tokens = all;
        j->token_count += n;
        j->text_ends[j->text_count++] = j->token_count;
    }
    free(ids);
    return rc;
}

int embeddings_read(struct exchange *x, const json_t *root)
{
    struct fault *f = &x->refusal;
    const json_t *input = json_object_get(root, "input");
    int rc = check_model(x->llm, f);
    if (!rc)
        rc = check_options(x->llm, root, &x->base64, f);
    if (rc)
        return rc;
    bool several = json_is_array(input) && !json_is_integer(json_array_get(input, 0));
    size_t count = several ? json_array_size(input) : 1;
    if (count == 0 || count > MOST_TEXTS)
        return fault_set(f, BAD_REQUEST, "input must have 1 to %d texts", MOST_TEXTS);
    x->job.text_ends = calloc(count, sizeof *x->job.text_ends);
    x->job.vectors = calloc(count * x->llm->info.embedding, sizeof *x->job.vectors);
    if (!x->job.text_ends || !x->job.vectors)
        return fault_set(f, UNAVAILABLE, "not enough memory for %zu vectors", count);
    for (size_t i = 0; i < count && !rc; i++) {
        rc = add_text(x, several ? json_array_get(input, i) : input, i);
        port_pause();
    }
    return rc;
}

// RFC 4648, section 4.
static void put_base64(const uint8_t *data, size_t bytes, struct text *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes; i += 3) {
        size_t n = bytes - i < 3 ? bytes - i : 3;
        uint32_t three = (uint32_t)data[i] << 16 | (n > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                         (n > 2 ? (uint32_t)data[i + 2] : 0);
        char four[4] = {digits[three >> 18], digits[three >> 12 & 63],
                        n > 1 ? digits[three >> 6 & 63] : '=', n > 2 ? digits[three & 63] : '='};
        text_put(out, four, sizeof four);
    }
}

void embeddings_frame(const struct exchange *x, struct text *out)
{
    const struct job *j = &x->job;
    size_t width = x->llm->info.embedding;
    text_puts(out, "{\"object\":\"list\",\"data\":[");
    for (size_t t = 0; t < j->text_count; t++) {
        const float *v = j->vectors + t * width;
        text_format(out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", t ? "," : "",
                    t);
        if (x->base64) {
            text_puts(out, "\"");
            put_base64((const uint8_t *)v, width * sizeof *v, out);
            text_puts(out, "\"");
        }
        for (size_t i = 0; i < width && !x->base64; i++)
            text_format(out, "%s%.9g", i ? "," : "[", (double)v[i]);
        text_puts(out, x->base64 ? "}" : "]}");
    }
    text_puts(out, "],\"model\":");
    text_json(out, x->llm->name, strlen(x->llm->name));
    text_format(out, ",\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu}}", j->token_count,
                j->token_count);
}
