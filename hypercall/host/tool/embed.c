// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera embed`: the vector a model makes of a whole text.
#include "hypercall/host/tool/tool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POOLING_NONE = 0 }; // value of *.pooling_type

static int32_t *text_tokens(const struct tool_model *m, const char *text, size_t *count)
{
    size_t bytes = strlen(text);
    long n = tokenizer_encode(m->tokenizer, text, bytes, TOKENIZE_ADD_SPECIAL, NULL, 0);
    int32_t *ids = malloc((n > 0 ? (size_t)n : 1) * sizeof *ids);
    if (n < 1 || !ids ||
        tokenizer_encode(m->tokenizer, text, bytes, TOKENIZE_ADD_SPECIAL, ids, (size_t)n) != n) {
        tool_fail("the text cannot be tokenised, or has no tokens");
        free(ids);
        return NULL;
    }
    *count = (size_t)n;
    return ids;
}

// Vectors the model makes of `tokens` tokens: one, or one each where it does not pool.
static uint32_t vector_count(const struct tool_model *m, uint32_t tokens)
{
    char key[64];
    uint64_t pooling;
    snprintf(key, sizeof key, "%s.pooling_type", m->info.architecture);
    bool none = gguf_u64(tn_model_gguf(m->model), key, &pooling) == 0 && pooling == POOLING_NONE;
    return none ? tokens : 1;
}

// To length 1.
static int normalise(float *v, uint32_t n)
{
    double squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        squares += (double)v[i] * (double)v[i];
    }
    if (!isfinite(squares) || squares <= 0) {
        return tool_fail("the embedding has no direction: the weights are damaged");
    }
    for (uint32_t i = 0; i < n; i++) {
        v[i] = (float)((double)v[i] / sqrt(squares));
    }
    return TOOL_OK;
}

static void print_vector(const float *v, uint32_t n)
{
    putchar('[');
    for (uint32_t i = 0; i < n; i++) {
        printf("%s%.9g", i ? "," : "", (double)v[i]);
    }
    putchar(']');
}

static int embed(struct tool_model *m, struct tool_setup *setup, const int32_t *ids, uint32_t count,
                 bool raw, bool json)
{
    struct tool_engine e;
    uint32_t width = m->info.embedding, vectors = vector_count(m, count);
    setup->context = setup->max_tokens = count;
    int status = tool_start(m, setup, &e);
    if (status) {
        return status;
    }
    float *v = calloc((size_t)count * width, sizeof *v);
    struct tn_step_sequence s = {.tokens = ids,
                                 .token_count = count,
                                 .kv_pages = e.page_table,
                                 .kv_page_count = e.pages,
                                 .logits_from = count,
                                 .embedding = v};
    if (!v) {
        status = tool_fail("no memory");
    } else if (tn_step(e.executor, &s, 1) != 0) {
        status = tool_fail("a text of %u tokens was refused", count);
    }
    for (uint32_t i = 0; i < vectors && !status && !raw; i++) {
        status = normalise(v + (size_t)i * width, width);
    }
    if (!status && json) {
        printf("{\"tokens\":%u,\"embedding\":", count);
    }
    for (uint32_t i = 0; i < vectors && !status; i++) {
        printf("%s", vectors > 1 && json ? (i ? "," : "[") : "");
        print_vector(v + (size_t)i * width, width);
        printf("%s", json ? "" : "\n");
    }
    if (!status && json) {
        printf("%s}\n", vectors > 1 ? "]" : "");
    }
    free(v);
    tool_stop(&e);
    return status;
}

static int run(int argc, char **argv)
{
    struct tool_setup setup = {0};
    struct tool_model m;
    const char *words[1], *text = NULL, *tokens = NULL;
    size_t word_count, count = 0;
    bool raw = false, json = false;
    struct tool_option options[] = {
        {"--text", OPTION_TEXT, &text, false},       {"--tokens", OPTION_TEXT, &tokens, false},
        {"--raw", OPTION_FLAG, &raw, false},         {"--json", OPTION_FLAG, &json, false},
        {"-t", OPTION_COUNT, &setup.threads, false}, {"--isa", OPTION_TEXT, &setup.isa, false},
        {"--kv", OPTION_TEXT, &setup.kv, false},
    };
    int status =
        tool_options(argc, argv, options, sizeof options / sizeof *options, words, 1, &word_count);
    if (!status && (word_count != 1 || !text == !tokens)) {
        status = tool_misuse("wanted: MODEL and one of --text TEXT, --tokens 101,7592,102");
    }
    if (!status) {
        status = tool_open(words[0], &m);
    }
    if (status) {
        return status;
    }
    status = tool_wants(&m, true);
    int32_t *ids = status ? NULL : text ? text_tokens(&m, text, &count) : tool_ids(tokens, &count);
    if (!status) {
        status = !ids ? TOOL_FAILED
                 : count > m.info.context
                     ? tool_fail("the text has %zu tokens, the model's context "
                                 "is %u",
                                 count, m.info.context)
                     : embed(&m, &setup, ids, (uint32_t)count, raw, json);
    }
    free(ids);
    tool_close(&m);
    return status;
}

const struct tool_command tool_embed = {
    .name = "embed",
    .summary = "the vector a model makes of a text",
    .help =
        "Usage: tessera embed MODEL --text TEXT | --tokens 101,7592,102 [OPTIONS]\n\n"
        "For models that embed (bert): prints the text's vector as a JSON array, of length 1,\n"
        "so that the product of two is their cosine. A model that does not pool gives a vector\n"
        "a token, a line each.\n\n"
        "  --text TEXT       the model's own special tokens are put around it\n"
        "  --tokens 1,2,3    these ids, nothing added\n"
        "  --raw             as the model made it, not brought to length 1\n"
        "  --json            {\"tokens\":N,\"embedding\":[...]}\n"
        "  -t THREADS  --isa LEVEL  --kv f32|f16|q8_0|q4_0     as for generate\n",
    .run = run,
};
