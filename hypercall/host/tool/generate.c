// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera generate`: text after a prompt, streamed as it is made.
#include "hypercall/host/tool/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct output {
    const struct tool_model *model;
    bool ids, json;
    struct utf8_stream utf8;
    int32_t *tokens;
    size_t count, space;
    bool finished;
    enum infer_finish why;
    char *piece; // of one token: room for the longest
    size_t piece_bytes;
    uint64_t first_ns; // when the first token came
};

enum { PIECE = 512 };

static void print_text(struct output *o, const char *bytes, size_t count, bool flush)
{
    char text[3 * (PIECE + 4)]; // each broken byte becomes three
    do {
        size_t n = count < PIECE ? count : PIECE;
        size_t length = utf8_stream_push(&o->utf8, bytes, n, flush && n == count, text);
        fwrite(text, 1, length, stdout);
        bytes += n;
        count -= n;
    } while (count);
    fflush(stdout);
}

static int on_token(void *ctx, int32_t id)
{
    struct output *o = ctx;
    if (o->first_ns == 0) {
        o->first_ns = tool_now_ns();
    }
    if (o->count < o->space) {
        o->tokens[o->count++] = id;
    }
    if (o->ids && !o->json) {
        printf("%s%d", o->count > 1 ? "," : "", id);
        fflush(stdout);
    } else if (!o->json) {
        long n = tokenizer_piece(o->model->tokenizer, id, false, o->piece, o->piece_bytes);
        print_text(o, o->piece, n > 0 ? (size_t)n : 0, false);
    }
    return 0;
}

static void on_finish(void *ctx, enum infer_finish why, uint32_t prompt, uint32_t made)
{
    (void)prompt, (void)made;
    struct output *o = ctx;
    o->finished = true;
    o->why = why;
}

static int32_t *prompt_tokens(const struct tool_model *m, const char *text, size_t *count)
{
    size_t bytes = strlen(text), most = bytes + 8;
    int32_t *ids = malloc(most * sizeof *ids);
    long n = ids ? tokenizer_encode(m->tokenizer, text, bytes,
                                    TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, ids, most)
                 : -1;
    if (n < 0 || (size_t)n > most) {
        tool_fail("the prompt cannot be tokenised");
        free(ids);
        return NULL;
    }
    *count = (size_t)n;
    return ids;
}

static void print_json(const struct output *o, size_t prompt_count, const struct infer_stats *s)
{
    static const char *const words[] = {"stop", "length", "cancelled", "error"};
    long needed = tokenizer_decode(o->model->tokenizer, o->tokens, o->count, false, NULL, 0);
    size_t most = needed > 0 ? (size_t)needed : 1;
    char *text = malloc(most);
    long n =
        text ? tokenizer_decode(o->model->tokenizer, o->tokens, o->count, false, text, most) : 0;
    printf("{\"text\":");
    tool_print_json_text(text ? text : "", n > 0 && (size_t)n <= most ? (size_t)n : 0);
    printf(",\"tokens\":[");
    for (size_t i = 0; i < o->count; i++) {
        printf("%s%d", i ? "," : "", o->tokens[i]);
    }
    printf("],\"prompt_tokens\":%zu,\"finish\":\"%s\",\"prompt_seconds\":%.6f,"
           "\"decode_seconds\":%.6f}\n",
           prompt_count, words[o->why], (double)s->prompt_ns * 1e-9, (double)s->decode_ns * 1e-9);
    free(text);
}

static int generate(struct tool_model *m, struct tool_setup *setup, const int32_t *ids,
                    size_t count, uint32_t most, const struct tn_sampling *sampling,
                    struct output *o)
{
    struct tool_engine engine;
    struct infer_engine *infer = NULL;
    if (most && count + most + 1 < m->info.context) { // else the model's whole context
        setup->context = (uint32_t)(count + most + 1);
    }
    int status = tool_start(m, setup, &engine);
    if (status) {
        return status;
    }
    struct infer_options options = {.slots = 1, .queue = 1, .now_ns = tool_now_ns};
    options.context = engine.context;
    struct infer_request r = {.tokens = ids,
                              .token_count = count,
                              .max_tokens = most,
                              .sampling = *sampling,
                              .on_token = on_token,
                              .on_finish = on_finish,
                              .ctx = o};
    o->space = engine.context;
    o->tokens = malloc(o->space * sizeof *o->tokens);
    o->piece_bytes = tokenizer_longest(m->tokenizer);
    o->piece = malloc(o->piece_bytes);
    int e = !o->tokens || !o->piece ? -1 : infer_open(m->model, engine.executor, &options, &infer);
    if (e) {
        status = tool_fail("no memory");
        goto out;
    }
    e = infer_submit(infer, &r, NULL);
    if (e) {
        status = tool_fail("the prompt of %zu tokens was refused: the context is %u, the "
                           "vocabulary %u",
                           count, engine.context, m->info.vocabulary);
        goto out;
    }
    while (!o->finished) {
        infer_step(infer);
    }
    struct infer_stats s;
    infer_get_stats(infer, &s);
    if (o->json) {
        print_json(o, count, &s);
    } else {
        print_text(o, "", 0, true);
        putchar('\n');
        fprintf(stderr, "[%zu prompt tokens, %.1f/s; %llu made, %.1f/s; %s, %u threads]\n", count,
                (double)s.prompt_tokens * 1e9 / (double)(s.prompt_ns + 1),
                (unsigned long long)s.made_tokens,
                (double)s.made_tokens * 1e9 / (double)(s.decode_ns + 1), tn_isa_name(engine.isa),
                engine.pool->width);
    }
    status = o->why == INFER_ERROR
                 ? tool_fail("the logits are not finite numbers: the weights are damaged")
                 : TOOL_OK;
out:
    infer_close(infer);
    free(o->tokens);
    free(o->piece);
    tool_stop(&engine);
    return status;
}

static int run(int argc, char **argv)
{
    struct tn_sampling s = tn_sampling_default();
    struct tool_setup setup = {0};
    struct tool_model m;
    struct output o = {0};
    const char *words[1], *prompt = NULL, *tokens = NULL;
    size_t word_count, count = 0;
    uint32_t most = 128, seed = 0;
    double temperature = (double)s.temperature, top_p = (double)s.top_p, min_p = (double)s.min_p,
           repeat = (double)s.repeat_penalty;
    struct tool_option options[] = {
        {"--prompt", OPTION_TEXT, &prompt, false},
        {"--tokens", OPTION_TEXT, &tokens, false},
        {"-n", OPTION_COUNT, &most, false},
        {"--temperature", OPTION_NUMBER, &temperature, false},
        {"--top-k", OPTION_COUNT, &s.top_k, false},
        {"--top-p", OPTION_NUMBER, &top_p, false},
        {"--min-p", OPTION_NUMBER, &min_p, false},
        {"--repeat-penalty", OPTION_NUMBER, &repeat, false},
        {"--seed", OPTION_COUNT, &seed, false},
        {"--ids", OPTION_FLAG, &o.ids, false},
        {"--json", OPTION_FLAG, &o.json, false},
        {"-t", OPTION_COUNT, &setup.threads, false},
        {"--isa", OPTION_TEXT, &setup.isa, false},
        {"--kv", OPTION_TEXT, &setup.kv, false},
    };
    int status =
        tool_options(argc, argv, options, sizeof options / sizeof *options, words, 1, &word_count);
    if (status) {
        return status;
    }
    if (word_count != 1 || !prompt == !tokens) {
        return tool_misuse("wanted: MODEL and one of --prompt TEXT, --tokens 1,5,9");
    }
    s.temperature = (float)temperature;
    s.top_p = (float)top_p;
    s.min_p = (float)min_p;
    s.repeat_penalty = (float)repeat;
    s.seed = seed;
    status = tool_open(words[0], &m);
    if (status) {
        return status;
    }
    o.model = &m;
    int32_t *ids = prompt ? prompt_tokens(&m, prompt, &count) : tool_ids(tokens, &count);
    status = ids ? generate(&m, &setup, ids, count, most, &s, &o) : TOOL_FAILED;
    free(ids);
    tool_close(&m);
    return status;
}

const struct tool_command tool_generate = {
    .name = "generate",
    .summary = "write on after a prompt",
    .help = "Usage: tessera generate MODEL --prompt TEXT | --tokens 1,5,9 [OPTIONS]\n\n"
            "Streams what the model writes after the prompt; speed goes to standard error.\n\n"
            "  --prompt TEXT        the prompt; special tokens in it (<|...|>) are recognised\n"
            "  --tokens 1,5,9       the prompt as token ids, nothing added\n"
            "  -n N                 at most N tokens (128; 0: until the context is full)\n"
            "  --temperature T      0 takes the likeliest token always (0.8)\n"
            "  --top-k K            from the K likeliest (40; 0: all)\n"
            "  --top-p P            from the likeliest that make up P (0.95; 1: all)\n"
            "  --min-p P            none below P times the likeliest (0.05; 0: all)\n"
            "  --repeat-penalty X   divides the logits of the last 64 tokens (1: off)\n"
            "  --seed N             the same seed gives the same text (0)\n"
            "  --ids                print token ids instead of text\n"
            "  --json               print one JSON object at the end instead\n"
            "  -t THREADS           (all CPUs)\n"
            "  --isa LEVEL          scalar, avx2, avx512 or avx512vnni (the best there is)\n"
            "  --kv f32|f16         type of the KV cache (f32)\n",
    .run = run,
};
