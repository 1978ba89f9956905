// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any body, as the reader takes it: refused with a message, or token ids that are all in the
// vocabulary; /tokenize and /detokenize answer with JSON, and give a text back as it was.
// Links: apps/llm/text.c apps/llm/stop.c apps/llm/body.c apps/llm/request.c apps/llm/metrics.c
// Links: apps/llm/engine.c apps/llm/engine_open.c apps/llm/frames.c apps/llm/exchange.c
// Links: apps/llm/server.c apps/llm/reader.c apps/llm/tokenize.c apps/llm/info.c
// Links: apps/llm/embeddings.c apps/llm/offload.c apps/llm/offload_bench.c
// Links: hypercall/guest/client.c hypercall/guest/client_names.c hypercall/guest/runner.c
// Links: hypercall/guest/runner_setup.c hypercall/guest/runner_measure.c hypercall/guest/identity.c
// Links: hypercall/guest/connect_host.c
// Links: apps/llm/port_native_host.c tensor/core/pool_host.c @tensor
// Links: libos/net/http_server.c libos/net/http_conn.c libos/net/http_parse.c
// Links: libos/net/http_request.c libos/net/http_reply.c libos/net/http_route.c
// Links: libos/net/http_buffer.c libos/net/http_sockets_host.c
// Links: /usr/share/llhttp/api.c /usr/share/llhttp/http.c /usr/share/llhttp/llhttp.c
// Libs: -ljansson
#include "apps/llm/engine_private.h"
#include "apps/llm/llm.h"
#include "tensor/format/test_gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

const char app_name[] = "llm";
const char app_version[] = "0.0.0";

static struct llm llm;
static struct engine engine;

static void open_ours(void)
{
    struct maker m;
    char error[200];
    test_model(&m, "{{ '<|im_start|>' + message['role'] }}");
    void *block = aligned_alloc(64, (m.bytes + 63) & ~(size_t)63);
    memcpy(block, m.data, m.bytes);
    free(m.data);
    if (tn_model_open(block, m.bytes, &llm.model, error, sizeof error))
        abort();
    tn_model_info(llm.model, &llm.info);
    llm.tokenizer = tn_model_tokenizer(llm.model);
    engine.facts.context = TEST_MODEL_CONTEXT;
    llm.engine = &engine;
}

static void prompt(const char *body, size_t bytes, bool chat)
{
    struct completion c;
    struct fault f = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    if (!completion_parse(body, bytes, chat, &c, &f)) {
        if (llm_prompt_ids(&llm, &c, &ids, &n, &f)) {
            if (f.status < 400 || !f.message[0] || ids)
                abort();
        } else if (!n || n >= TEST_MODEL_CONTEXT) {
            abort();
        }
        for (size_t i = 0; ids && i < n; i++)
            if (ids[i] < 0 || (uint32_t)ids[i] >= llm.info.vocabulary)
                abort();
        free(ids);
    }
    completion_free(&c);
}

// The answer as JSON, or NULL after a refusal.
static json_t *answer(int (*ask)(const struct llm *, const json_t *, struct text *, struct fault *),
                      const json_t *root)
{
    struct text out = {0};
    struct fault f = {0};
    json_t *json = NULL;
    if (ask(&llm, root, &out, &f)) {
        if (f.status < 400 || !f.message[0])
            abort();
    } else {
        json = json_loadb(out.data, out.bytes, JSON_ALLOW_NUL, NULL);
        if (!json)
            abort();
    }
    text_free(&out);
    return json;
}

static void there_and_back(const json_t *root)
{
    json_t *tokens = answer(llm_tokenize, root), *text;
    const json_t *content = json_object_get(root, "content"), *back;
    json_decref(answer(llm_detokenize, root));
    // Pieces are objects, and BOS would show.
    if (tokens && !json_is_true(json_object_get(root, "with_pieces")) &&
        !json_is_true(json_object_get(root, "add_special"))) {
        const char *had = json_string_value(content);
        size_t bytes = json_string_length(content);
        text = answer(llm_detokenize, tokens);
        back = json_object_get(text, "content");
        // SPM cannot tell its own space mark in a text from a space, and after a special token
        // (all of ours begin with '<') a space comes in.
        bool differs = bytes == 0 || memmem(had, bytes, "\xe2\x96\x81", 3) != NULL ||
                       (memchr(had, '<', bytes) != NULL &&
                        !json_is_false(json_object_get(root, "parse_special")));
        if (!text || (!differs && (json_string_length(back) != bytes ||
                                   memcmp(json_string_value(back), had, bytes))))
            abort();
        json_decref(text);
    }
    json_decref(tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *body = bytes ? (const char *)data : "";
    struct fault f = {0};
    if (!llm.model)
        open_ours();
    prompt(body, bytes, false);
    prompt(body, bytes, true);
    json_t *root = body_parse(body, bytes, &f);
    if (root)
        there_and_back(root);
    json_decref(root);
    return 0;
}
