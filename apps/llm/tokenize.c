// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What /tokenize and /detokenize answer.
#include "apps/llm/llm.h"
#include "apps/llm/port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int take_flag(const json_t *root, const char *name, bool *out, struct fault *f)
{
    const json_t *v = json_object_get(root, name);
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_boolean(v))
        return fault_set(f, BAD_REQUEST, "%s must be true or false", name);
    *out = json_is_true(v);
    return 0;
}

static bool is_utf8(const char *text, size_t bytes)
{
    json_t *s = json_stringn(text, bytes); // jansson checks
    bool valid = s != NULL;
    json_decref(s);
    return valid;
}

// {"id":5,"piece":"text"}; a piece that is no whole UTF-8 is an array of its bytes.
static void put_piece(const struct llm *l, int32_t id, struct text *out)
{
    char piece[1024];
    long n = tokenizer_piece(l->tokenizer, id, true, piece, sizeof piece);
    size_t bytes = n < 0 ? 0 : (size_t)n < sizeof piece ? (size_t)n : sizeof piece;
    text_format(out, "{\"id\":%d,\"piece\":", id);
    if (is_utf8(piece, bytes)) {
        text_json(out, piece, bytes);
    } else {
        for (size_t i = 0; i < bytes; i++)
            text_format(out, "%s%u", i ? "," : "[", (unsigned char)piece[i]);
        text_puts(out, "]");
    }
    text_puts(out, "}");
}

int llm_tokenize(const struct llm *l, const json_t *root, struct text *out, struct fault *f)
{
    bool special = false, parse = true, pieces = false;
    const json_t *content = json_object_get(root, "content");
    int32_t *ids;
    size_t n;
    if (!json_is_string(content))
        return fault_set(f, BAD_REQUEST, "content must be a string");
    int rc = take_flag(root, "add_special", &special, f);
    if (!rc)
        rc = take_flag(root, "parse_special", &parse, f);
    if (!rc)
        rc = take_flag(root, "with_pieces", &pieces, f);
    if (!rc)
        rc = llm_text_ids(l, json_string_value(content), json_string_length(content),
                          (special ? TOKENIZE_ADD_SPECIAL : 0) |
                              (parse ? TOKENIZE_PARSE_SPECIAL : 0),
                          &ids, &n, f);
    if (rc)
        return rc;
    text_puts(out, "{\"tokens\":[");
    for (size_t i = 0; i < n; i++) {
        if (i % 256 == 255)
            port_pause();
        text_puts(out, i ? "," : "");
        if (pieces)
            put_piece(l, ids[i], out);
        else
            text_format(out, "%d", ids[i]);
    }
    text_puts(out, "]}");
    free(ids);
    return 0;
}

int llm_detokenize(const struct llm *l, const json_t *root, struct text *out, struct fault *f)
{
    const json_t *tokens = json_object_get(root, "tokens");
    uint32_t size = tokenizer_size(l->tokenizer); // the model may have rows beyond it
    int32_t *ids;
    size_t n;
    if (!json_is_array(tokens))
        return fault_set(f, BAD_REQUEST, "tokens must be an array of token ids");
    int rc = ids_parse(tokens, "tokens", &ids, &n, f);
    if (rc)
        return rc;
    for (size_t i = 0; i < n && !rc; i++)
        if ((uint32_t)ids[i] >= size)
            rc = fault_set(f, BAD_REQUEST,
                           "tokens[%zu]: token %d is not in the vocabulary of %u tokens", i, ids[i],
                           size);
    long bytes = rc ? 0 : tokenizer_decode(l->tokenizer, ids, n, true, NULL, 0);
    char *raw = rc || bytes < 0 ? NULL : malloc((size_t)bytes + 1);
    char *whole = rc || bytes < 0 ? NULL : malloc(3 * ((size_t)bytes + 4));
    if (!rc && (!raw || !whole)) {
        rc = fault_set(f, UNAVAILABLE, "not enough memory for %zu tokens", n);
    } else if (!rc) {
        struct utf8_stream u = {0};
        tokenizer_decode(l->tokenizer, ids, n, true, raw, (size_t)bytes);
        size_t have = utf8_stream_push(&u, raw, (size_t)bytes, true, whole);
        text_puts(out, "{\"content\":");
        text_json(out, whole, have);
        text_puts(out, "}");
    }
    free(raw);
    free(whole);
    free(ids);
    return rc;
}
