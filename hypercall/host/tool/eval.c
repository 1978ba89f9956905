// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera eval`: logits of given tokens, or how well the model foretells a text.
#include "hypercall/host/tool/tool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEFAULT_WINDOW = 512 };

// Where rows of logits go: a file, and the sum of negative log-likelihoods.
struct rows {
    const struct tn_model *model;
    FILE *file;
    bool file_all; // every row into the file, or only the last
    uint32_t vocabulary;
    const int32_t *tokens;
    uint32_t count;
    double nll;
    uint64_t scored, total; // total: of the whole text, 0: no progress wanted
    uint64_t told_ns;       // when progress was last shown
};

enum { PROGRESS_NS = 2000000000 };

static void show_progress(struct rows *r)
{
    uint64_t now = tool_now_ns();
    if (r->total && now - r->told_ns > PROGRESS_NS) {
        r->told_ns = now;
        fprintf(stderr, "[%llu of %llu tokens, perplexity so far %.4f]\n",
                (unsigned long long)r->scored, (unsigned long long)r->total,
                exp(r->scored ? r->nll / (double)r->scored : 0));
    }
}

static double surprise(const float *logits, uint32_t vocabulary, int32_t id)
{
    float most = logits[0];
    double sum = 0;
    for (uint32_t i = 1; i < vocabulary; i++) {
        most = logits[i] > most ? logits[i] : most;
    }
    for (uint32_t i = 0; i < vocabulary; i++) {
        sum += exp((double)logits[i] - (double)most);
    }
    return log(sum) + (double)most - (double)logits[id];
}

static int on_row(void *ctx, uint32_t position, float *logits)
{
    struct rows *r = ctx;
    bool last = position + 1 == r->count;
    for (uint32_t i = 0; i < r->vocabulary; i++) {
        if (!isfinite(logits[i])) {
            return tool_fail_numbers(r->model);
        }
    }
    if (r->file && (r->file_all || last) &&
        fwrite(logits, sizeof *logits, r->vocabulary, r->file) != r->vocabulary) {
        return tool_fail("the logits could not be written");
    }
    if (!last && (uint32_t)r->tokens[position + 1] < r->vocabulary) {
        r->nll += surprise(logits, r->vocabulary, r->tokens[position + 1]);
        r->scored++;
    }
    show_progress(r);
    return TOOL_OK;
}

static void print_score(const struct rows *r, bool json)
{
    double mean = r->scored ? r->nll / (double)r->scored : 0;
    if (json) {
        printf("{\"tokens\":%llu,\"nll\":%.9f,\"perplexity\":%.6f}\n",
               (unsigned long long)r->scored, mean, exp(mean));
    } else {
        printf("%llu tokens foretold: mean negative log-likelihood %.6f, perplexity %.4f\n",
               (unsigned long long)r->scored, mean, exp(mean));
    }
}

static int eval_tokens(struct tool_model *m, struct tool_engine *e, const char *tokens,
                       const char *path, bool all, bool json)
{
    size_t count;
    int32_t *ids = tool_ids(tokens, &count);
    if (!ids) {
        return TOOL_USAGE;
    }
    struct rows r = {.model = m->model,
                     .file_all = all,
                     .vocabulary = m->info.vocabulary,
                     .tokens = ids,
                     .count = (uint32_t)count};
    int status = TOOL_OK;
    if (count > e->context) {
        status = tool_fail("%zu tokens do not fit the context of %u (%s.context_length)", count,
                           e->context, m->info.architecture);
    } else if (path && !(r.file = fopen(path, "wb"))) {
        status = tool_fail("%s: cannot be written", path);
    }
    if (!status) {
        bool every = all || !path;
        status = tool_run(e, m, ids, 0, (uint32_t)count, every, on_row, &r);
        if (!status && every) {
            print_score(&r, json);
        }
    }
    if (r.file && fclose(r.file) != 0 && !status) {
        status = tool_fail("%s: could not be written", path);
    }
    free(ids);
    return status;
}

// Windows that do not overlap, each beginning with BOS where the model wants one.
static int eval_windows(struct tool_model *m, struct tool_engine *e, const int32_t *ids,
                        size_t count, uint32_t window, struct rows *r)
{
    bool bos = tokenizer_adds_bos(m->tokenizer) && tokenizer_bos(m->tokenizer) >= 0;
    int32_t *tokens = malloc(window * sizeof *tokens);
    if (!tokens) {
        return tool_fail("no memory");
    }
    int status = TOOL_OK;
    for (size_t at = 0; at < count && !status;) {
        uint32_t n = 0;
        if (bos) {
            tokens[n++] = tokenizer_bos(m->tokenizer);
        }
        while (n < window && at < count) {
            tokens[n++] = ids[at++];
        }
        r->tokens = tokens;
        r->count = n;
        status = n > 1 ? tool_run(e, m, tokens, 0, n, true, on_row, r) : TOOL_OK;
    }
    free(tokens);
    return status;
}

static int eval_text(struct tool_model *m, struct tool_engine *e, const char *path, uint32_t window,
                     bool json)
{
    size_t bytes;
    char *text = tool_read_all(path, &bytes);
    if (!text) {
        return TOOL_FAILED;
    }
    long n = tokenizer_encode(m->tokenizer, text, bytes, 0, NULL, 0);
    int32_t *ids = malloc((n > 0 ? (size_t)n : 1) * sizeof *ids);
    int status = TOOL_OK;
    struct rows r = {.model = m->model, .vocabulary = m->info.vocabulary, .told_ns = tool_now_ns()};
    if (n < 2 || !ids || tokenizer_encode(m->tokenizer, text, bytes, 0, ids, (size_t)n) != n) {
        status = tool_fail("%s: has less than two tokens, or cannot be tokenised", path);
    } else {
        r.total = (uint64_t)n;
        status = eval_windows(m, e, ids, (size_t)n, window < e->context ? window : e->context, &r);
    }
    if (!status) {
        print_score(&r, json);
    }
    free(ids);
    free(text);
    return status;
}

// How many ids there are; 0: they are none (told).
static uint32_t count_ids(const char *text)
{
    size_t count = 0;
    int32_t *ids = tool_ids(text, &count);
    free(ids);
    return !ids ? 0 : count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
}

static int run(int argc, char **argv)
{
    struct tool_setup setup = {0};
    struct tool_model m;
    struct tool_engine e;
    const char *words[1], *tokens = NULL, *text = NULL, *logits = NULL;
    size_t word_count;
    uint32_t window = DEFAULT_WINDOW;
    bool all = false, json = false;
    struct tool_option options[] = {
        {"--tokens", OPTION_TEXT, &tokens, false},
        {"--text", OPTION_TEXT, &text, false},
        {"--logits", OPTION_TEXT, &logits, false},
        {"--all", OPTION_FLAG, &all, false},
        {"--json", OPTION_FLAG, &json, false},
        {"--window", OPTION_COUNT, &window, false},
        {"-t", OPTION_COUNT, &setup.threads, false},
        {"--isa", OPTION_TEXT, &setup.isa, false},
        {"--kv", OPTION_TEXT, &setup.kv, false},
        {"--chunk", OPTION_COUNT, &setup.max_tokens, false},
        {"--context", OPTION_COUNT, &setup.context, false},
    };
    int status =
        tool_options(argc, argv, options, sizeof options / sizeof *options, words, 1, &word_count);
    if (status) {
        return status;
    }
    if (word_count != 1 || !tokens == !text) {
        return tool_misuse("wanted: MODEL and one of --tokens 1,5,9, --text FILE");
    }
    if (window < 2 || (text && logits)) {
        return tool_misuse("--window must be at least 2; --logits goes with --tokens");
    }
    if (tokens && setup.context == 0) { // no more than there are to hold
        setup.context = count_ids(tokens);
        if (setup.context == 0) {
            return TOOL_USAGE;
        }
    }
    status = tool_open(words[0], &m);
    if (status) {
        return status;
    }
    status = tool_wants(&m, false);
    if (!status) {
        status = tool_start(&m, &setup, &e);
    }
    if (!status) {
        status = tokens ? eval_tokens(&m, &e, tokens, logits, all, json)
                        : eval_text(&m, &e, text, window, json);
        tool_stop(&e);
    }
    tool_close(&m);
    return status;
}

const struct tool_command tool_eval = {
    .name = "eval",
    .summary = "logits of given tokens, or perplexity of a text",
    .help =
        "Usage: tessera eval MODEL --tokens 1,5,9 [--logits OUT.f32 [--all]] [OPTIONS]\n"
        "       tessera eval MODEL --text FILE [OPTIONS]\n\n"
        "  --tokens 1,5,9     these ids, nothing added\n"
        "  --logits OUT.f32   write float32 logits, a row of vocabulary size a position: the\n"
        "                     last position, or with --all every one\n"
        "  --text FILE        mean negative log-likelihood and perplexity; '-' is standard\n"
        "                     input. Cut into windows that do not overlap\n"
        "  --window N         positions a window has (512)\n"
        "  --chunk N          tokens a step takes at most (512); changes no bit of the result\n"
        "  --context N        positions to make room for (--tokens: as many as there are;\n"
        "                     --text: the model's); longrope models choose their factors by it\n"
        "  --json             the score as a JSON object\n"
        "  -t THREADS  --isa LEVEL  --kv f32|f16|q8_0|q4_0     as for generate\n",
    .run = run,
};
