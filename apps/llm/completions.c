// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// POST /v1/completions, /v1/chat/completions, /logits: from a body to an exchange.
#include "apps/llm/exchange.h"

#include <errno.h>
#include <stdlib.h>

static void start(struct http_request *r, struct llm *l, enum exchange_kind kind)
{
    struct fault f;
    struct completion c;
    int32_t *ids = NULL;
    size_t n = 0, bytes;
    const char *body = http_body(r, &bytes);
    int rc = completion_parse(body, bytes, kind == EXCHANGE_CHAT, &c, &f);
    if (!rc)
        rc = llm_prompt_ids(l, &c, &ids, &n, &f);
    if (rc) {
        count(&l->refused, 1);
        completion_free(&c);
        llm_refuse(r, &f);
        return;
    }
    exchange_start(l, r, kind, &c, ids, n);
}

void llm_completions_post(struct http_request *r, void *llm)
{
    start(r, llm, EXCHANGE_COMPLETION);
}

void llm_chat_post(struct http_request *r, void *llm)
{
    start(r, llm, EXCHANGE_CHAT);
}

// {"prompt": text or ids} or {"tokens": ids}: the last position's row, float32, little-endian.
void llm_logits_post(struct http_request *r, void *llm)
{
    struct llm *l = llm;
    struct fault f;
    struct completion c = {0};
    int32_t *ids = NULL;
    size_t n = 0, bytes;
    const char *body = http_body(r, &bytes);
    int rc = -EINVAL;
    c.root = body_parse(body, bytes, &f);
    if (c.root) {
        const json_t *tokens = json_object_get(c.root, "tokens"),
                     *prompt = json_object_get(c.root, "prompt");
        if (json_is_string(prompt)) {
            c.prompt = json_string_value(prompt);
            c.prompt_bytes = json_string_length(prompt);
            rc = 0;
        } else if (json_is_array(tokens) || json_is_array(prompt)) {
            const char *field = json_is_array(tokens) ? "tokens" : "prompt";
            rc = ids_parse(json_is_array(tokens) ? tokens : prompt, field, &c.ids, &c.id_count, &f);
        } else {
            fault_set(&f, BAD_REQUEST, "prompt must be a string, or tokens an array of token ids");
        }
    }
    if (!rc)
        rc = llm_prompt_ids(l, &c, &ids, &n, &f);
    if (rc) {
        count(&l->refused, 1);
        completion_free(&c);
        llm_refuse(r, &f);
        return;
    }
    exchange_start(l, r, EXCHANGE_LOGITS, &c, ids, n);
}
