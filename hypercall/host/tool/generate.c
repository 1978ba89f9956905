// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera generate`: text after a prompt, streamed as it is made.
#include "hypercall/host/tool/tool.h"

#include <errno.h>
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
};

struct generation {
    struct tool_model model, draft;
    struct tool_setup setup;
    struct tn_trace trace;
    struct tn_sampling sampling;
    const char *draft_path; // NULL: none
    uint32_t draft_tokens, lookup, most;
    bool traced;
    struct output output;
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

// ---- the end -----------------------------------------------------------------------------------

static void print_json(struct generation *g, size_t prompt_count, const struct infer_stats *s)
{
    static const char *const words[] = {"stop", "length", "cancelled", "error"};
    const struct output *o = &g->output;
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
           "\"decode_seconds\":%.6f,\"steps\":%llu,\"drafted_tokens\":%llu,"
           "\"accepted_tokens\":%llu",
           prompt_count, words[o->why], (double)s->prompt_ns * 1e-9, (double)s->decode_ns * 1e-9,
           (unsigned long long)s->steps, (unsigned long long)s->drafted_tokens,
           (unsigned long long)s->accepted_tokens);
    if (g->traced) {
        printf(",\"trace\":[");
        tool_print_trace(&g->trace, stdout, true);
        putchar(']');
    }
    printf("}\n");
    free(text);
}

static void print_speed(struct generation *g, size_t prompt_count, const struct infer_stats *s,
                        const struct tool_engine *e)
{
    print_text(&g->output, "", 0, true);
    putchar('\n');
    fflush(stdout);
    fprintf(stderr, "[%zu prompt tokens, %.1f/s; %llu made, %.1f/s; %s, %u threads]\n",
            prompt_count, (double)s->prompt_tokens * 1e9 / (double)(s->prompt_ns + 1),
            (unsigned long long)s->made_tokens,
            (double)s->made_tokens * 1e9 / (double)(s->decode_ns + 1), tn_isa_name(e->isa),
            e->pool->width);
    if (s->drafted_tokens) {
        fprintf(stderr, "[%llu tokens guessed, %.1f%% of them right; %llu steps]\n",
                (unsigned long long)s->drafted_tokens,
                100.0 * (double)s->accepted_tokens / (double)s->drafted_tokens,
                (unsigned long long)s->steps);
    }
    if (g->traced) {
        tool_print_trace(&g->trace, stderr, false);
    }
}

// ---- generating --------------------------------------------------------------------------------

static int start_draft(struct generation *g, const struct tool_engine *e, struct tool_engine *draft)
{
    int status = tool_open(g->draft_path, &g->draft);
    if (status) {
        return status;
    }
    struct tool_setup setup = g->setup;
    setup.pool = e->pool;
    setup.trace = NULL;
    status = tool_wants(&g->draft, false);
    if (!status && g->draft.info.vocabulary != g->model.info.vocabulary) {
        status = tool_fail("--draft: %s has a vocabulary of %u tokens, the model one of %u",
                           g->draft_path, g->draft.info.vocabulary, g->model.info.vocabulary);
    }
    if (!status) {
        status = tool_start(&g->draft, &setup, draft);
    }
    if (status) {
        tool_close(&g->draft);
    }
    return status;
}

static int write_on(struct generation *g, struct tool_engine *e, struct tool_engine *draft,
                    const int32_t *ids, size_t count)
{
    struct output *o = &g->output;
    struct infer_engine *infer = NULL;
    struct infer_options options = {.slots = 1,
                                    .queue = 1,
                                    .context = e->context,
                                    .now_ns = tool_now_ns,
                                    .lookup = g->lookup,
                                    .draft_model = g->draft.model,
                                    .draft = draft->executor,
                                    .draft_tokens = g->draft_tokens};
    struct infer_request r = {.tokens = ids,
                              .token_count = count,
                              .max_tokens = g->most,
                              .sampling = g->sampling,
                              .on_token = on_token,
                              .on_finish = on_finish,
                              .ctx = o};
    o->model = &g->model;
    o->space = e->context;
    o->tokens = malloc(o->space * sizeof *o->tokens);
    o->piece_bytes = tokenizer_longest(g->model.tokenizer);
    o->piece = malloc(o->piece_bytes);
    int error = !o->tokens || !o->piece ? -ENOMEM
                                        : infer_open(g->model.model, e->executor, &options, &infer);
    if (error) {
        return tool_fail("the engine could not be made: %s", strerror(-error));
    }
    error = infer_submit(infer, &r, NULL);
    if (error == -E2BIG) {
        error =
            tool_fail("the prompt of %zu tokens does not fit the context of %u", count, e->context);
    } else if (error) {
        error = count ? tool_fail("the prompt was refused: an id is outside the vocabulary of %u",
                                  g->model.info.vocabulary)
                      : tool_fail("the prompt has no tokens");
    }
    while (!error && !o->finished) {
        infer_step(infer);
    }
    if (!error) {
        struct infer_stats s;
        infer_get_stats(infer, &s);
        if (o->json) {
            print_json(g, count, &s);
        } else {
            print_speed(g, count, &s, e);
        }
        error = o->why == INFER_ERROR ? tool_fail_numbers(g->model.model) : TOOL_OK;
    }
    infer_close(infer);
    return error;
}

static int generate(struct generation *g, const int32_t *ids, size_t count)
{
    struct tool_engine e, draft = {0};
    if (g->most && count + g->most + 1 < g->model.info.context) { // else the model's whole context
        g->setup.context = (uint32_t)(count + g->most + 1);
    }
    if (g->traced) {
        tool_start_trace(&g->trace);
        g->setup.trace = &g->trace;
    }
    int status = tool_start(&g->model, &g->setup, &e);
    if (status) {
        return status;
    }
    if (g->draft_path) {
        status = start_draft(g, &e, &draft);
    }
    if (!status) {
        status = write_on(g, &e, &draft, ids, count);
        if (g->draft_path) {
            tool_stop(&draft);
            tool_close(&g->draft);
        }
    }
    free(g->output.tokens);
    free(g->output.piece);
    tool_stop(&e);
    return status;
}

static int check_numbers(double temperature, double top_p, double min_p, double repeat)
{
    if (!(temperature >= 0 && temperature <= 100)) {
        return tool_misuse("--temperature must be from 0 to 100");
    }
    if (!(top_p > 0 && top_p <= 1) || !(min_p >= 0 && min_p <= 1)) {
        return tool_misuse("--top-p must be above 0 and at most 1, --min-p from 0 to 1");
    }
    if (!(repeat > 0 && repeat <= 100)) {
        return tool_misuse("--repeat-penalty must be above 0 and at most 100");
    }
    return TOOL_OK;
}

static int run(int argc, char **argv)
{
    struct tn_sampling s = tn_sampling_default();
    struct generation g = {.most = 128, .draft_tokens = 4};
    const char *words[1], *prompt = NULL, *tokens = NULL;
    size_t word_count, count = 0;
    uint32_t seed = 0;
    double temperature = (double)s.temperature, top_p = (double)s.top_p, min_p = (double)s.min_p,
           repeat = (double)s.repeat_penalty;
    struct tool_option options[] = {
        {"--prompt", OPTION_TEXT, &prompt, false},
        {"--tokens", OPTION_TEXT, &tokens, false},
        {"-n", OPTION_COUNT, &g.most, false},
        {"--temperature", OPTION_NUMBER, &temperature, false},
        {"--top-k", OPTION_COUNT, &s.top_k, false},
        {"--top-p", OPTION_NUMBER, &top_p, false},
        {"--min-p", OPTION_NUMBER, &min_p, false},
        {"--repeat-penalty", OPTION_NUMBER, &repeat, false},
        {"--seed", OPTION_COUNT, &seed, false},
        {"--draft", OPTION_TEXT, &g.draft_path, false},
        {"--draft-tokens", OPTION_COUNT, &g.draft_tokens, false},
        {"--lookup", OPTION_COUNT, &g.lookup, false},
        {"--ids", OPTION_FLAG, &g.output.ids, false},
        {"--json", OPTION_FLAG, &g.output.json, false},
        {"--trace", OPTION_FLAG, &g.traced, false},
        {"-t", OPTION_COUNT, &g.setup.threads, false},
        {"--isa", OPTION_TEXT, &g.setup.isa, false},
        {"--kv", OPTION_TEXT, &g.setup.kv, false},
    };
    int status =
        tool_options(argc, argv, options, sizeof options / sizeof *options, words, 1, &word_count);
    if (!status && (word_count != 1 || !prompt == !tokens)) {
        status = tool_misuse("wanted: MODEL and one of --prompt TEXT, --tokens 1,5,9");
    }
    if (!status) {
        status = check_numbers(temperature, top_p, min_p, repeat);
    }
    if (!status && (g.lookup > 64 || g.draft_tokens == 0 || g.draft_tokens > 64)) {
        status = tool_misuse("--lookup must be at most 64, --draft-tokens from 1 to 64");
    }
    if (!status) {
        status = tool_open(words[0], &g.model);
    }
    if (status) {
        return status;
    }
    s.temperature = (float)temperature;
    s.top_p = (float)top_p;
    s.min_p = (float)min_p;
    s.repeat_penalty = (float)repeat;
    s.seed = seed;
    g.sampling = s;
    status = tool_wants(&g.model, false);
    if (!status) {
        int32_t *ids = prompt ? prompt_tokens(&g.model, prompt, &count) : tool_ids(tokens, &count);
        status = ids ? generate(&g, ids, count) : TOOL_FAILED;
        free(ids);
    }
    tool_close(&g.model);
    return status;
}

const struct tool_command tool_generate = {
    .name = "generate",
    .summary = "write on after a prompt",
    .help =
        "Usage: tessera generate MODEL --prompt TEXT | --tokens 1,5,9 [OPTIONS]\n\n"
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
        "  --lookup N           guess up to N tokens from what the text says before (0: off)\n"
        "  --draft MODEL        a smaller model of the same vocabulary guesses tokens\n"
        "  --draft-tokens N     how many at once (4). Guesses never change the text: the model\n"
        "                       checks them all, several in one step\n"
        "  --ids                print token ids instead of text\n"
        "  --json               print one JSON object at the end instead\n"
        "  --trace              time by operation, to standard error or into the JSON object\n"
        "  -t THREADS           (all CPUs)\n"
        "  --isa LEVEL          scalar, avx2, avx512 or avx512vnni (the best there is)\n"
        "  --kv TYPE            type of the KV cache: f32 (unless given), f16, q8_0, q4_0\n",
    .run = run,
};
