// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera bench`: tokens a second of prompts (pp) and of single tokens one after another (tg),
// each from an empty KV cache, one row of logits a step.
#include "hypercall/host/tool/tool.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_RUNS = 64 };

struct bench {
    struct tool_model model;
    struct tool_setup setup;
    bool json;
    uint32_t runs;
    unsigned printed;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_row(struct bench *b, const char *test, uint32_t tokens, uint32_t threads,
                      double *speed)
{
    if (b->json) {
        printf("%s{\"test\":\"%s%u\",\"threads\":%u,\"tokens_per_s\":[", b->printed++ ? "," : "",
               test, tokens, threads);
        for (uint32_t i = 0; i < b->runs; i++) {
            printf("%s%.3f", i ? "," : "", speed[i]);
        }
        printf("]}");
    } else {
        char name[32];
        snprintf(name, sizeof name, "%s%u", test, tokens);
        qsort(speed, b->runs, sizeof *speed, compare);
        printf("%-8s %7u %12.1f %10.1f %10.1f\n", name, threads, speed[b->runs / 2], speed[0],
               speed[b->runs - 1]);
    }
    fflush(stdout);
}

static int time_test(struct bench *b, struct tool_engine *e, bool prompt, uint32_t tokens,
                     uint32_t threads)
{
    double speed[MOST_RUNS];
    int32_t *ids = calloc(tokens, sizeof *ids);
    if (!ids) {
        return tool_fail("no memory");
    }
    for (uint32_t i = 0; i < tokens; i++) {
        ids[i] = (int32_t)((i * 7919u + 13u) % b->model.info.vocabulary);
    }
    int status = TOOL_OK;
    for (uint32_t r = 0; r <= b->runs && !status; r++) { // the first one warms up
        uint64_t begun = tool_now_ns();
        if (prompt) {
            status = tool_run(e, &b->model, ids, 0, tokens, false, NULL, NULL);
        }
        for (uint32_t i = 0; !prompt && i < tokens && !status; i++) {
            status = tool_run(e, &b->model, ids, i, i + 1, false, NULL, NULL);
        }
        if (r > 0) {
            speed[r - 1] = tokens * 1e9 / (double)(tool_now_ns() - begun);
        }
    }
    free(ids);
    if (!status) {
        print_row(b, prompt ? "pp" : "tg", tokens, threads, speed);
    }
    return status;
}

static int run_thread_count(struct bench *b, const struct tool_counts *prompts,
                            const struct tool_counts *made, uint32_t threads)
{
    struct tool_engine e;
    b->setup.threads = threads;
    int status = tool_start(&b->model, &b->setup, &e);
    if (status) {
        return status;
    }
    for (size_t i = 0; i < prompts->count && !status; i++) {
        if (prompts->values[i]) {
            status = time_test(b, &e, true, prompts->values[i], threads);
        }
    }
    for (size_t i = 0; i < made->count && !status; i++) {
        if (made->values[i]) {
            status = time_test(b, &e, false, made->values[i], threads);
        }
    }
    tool_stop(&e);
    return status;
}

static uint32_t longest(const struct tool_counts *a, const struct tool_counts *b)
{
    uint32_t most = 1;
    for (size_t i = 0; i < a->count; i++) {
        most = a->values[i] > most ? a->values[i] : most;
    }
    for (size_t i = 0; i < b->count; i++) {
        most = b->values[i] > most ? b->values[i] : most;
    }
    return most;
}

static int run(int argc, char **argv)
{
    struct bench b = {.runs = 5};
    struct tool_counts prompts = {{512}, 1}, made = {{64}, 1}, threads = {{0}, 1};
    const char *words[1];
    size_t word_count;
    struct tool_option options[] = {
        {"-p", OPTION_COUNTS, &prompts, false},
        {"-n", OPTION_COUNTS, &made, false},
        {"-t", OPTION_COUNTS, &threads, false},
        {"-r", OPTION_COUNT, &b.runs, false},
        {"--json", OPTION_FLAG, &b.json, false},
        {"--isa", OPTION_TEXT, &b.setup.isa, false},
        {"--kv", OPTION_TEXT, &b.setup.kv, false},
        {"--chunk", OPTION_COUNT, &b.setup.max_tokens, false},
    };
    int status =
        tool_options(argc, argv, options, sizeof options / sizeof *options, words, 1, &word_count);
    if (status) {
        return status;
    }
    if (word_count != 1 || b.runs == 0 || b.runs > MOST_RUNS) {
        return tool_misuse("wanted: MODEL; -r from 1 to %d", MOST_RUNS);
    }
    status = tool_open(words[0], &b.model);
    if (status) {
        return status;
    }
    b.setup.context = longest(&prompts, &made);
    if (b.setup.context > b.model.info.context) {
        tool_close(&b.model);
        return tool_fail("%u tokens do not fit the model's context of %u", b.setup.context,
                         b.model.info.context);
    }
    if (b.json) {
        printf("{\"model\":");
        size_t n = 0;
        while (b.model.info.name[n]) {
            n++;
        }
        tool_print_json_text(b.model.info.name, n);
        printf(",\"rows\":[");
    } else {
        printf("%-8s %7s %12s %10s %10s\n", "test", "threads", "tokens/s", "slowest", "fastest");
    }
    for (size_t i = 0; i < threads.count && !status; i++) {
        status = run_thread_count(&b, &prompts, &made,
                                  threads.values[i] ? threads.values[i] : tool_cpus());
    }
    if (b.json) {
        printf("]}\n");
    }
    tool_close(&b.model);
    return status;
}

const struct tool_command tool_bench = {
    .name = "bench",
    .summary = "speed of prompts and of single tokens",
    .help = "Usage: tessera bench MODEL [OPTIONS]\n\n"
            "Prompts of N tokens (ppN) and N single tokens one after another (tgN), each from an\n"
            "empty KV cache, after one run to warm up. The table gives medians.\n\n"
            "  -p 128,512     prompt lengths (512; 0: none)\n"
            "  -n 64          numbers of single tokens (64; 0: none)\n"
            "  -t 1,2         thread counts (all CPUs)\n"
            "  -r 5           runs of each (5)\n"
            "  --chunk N      tokens a step takes at most (512)\n"
            "  --json         {\"rows\":[{\"test\":\"pp128\",\"threads\":1,\"tokens_per_s\":[every "
            "run]}]}\n"
            "  --isa LEVEL  --kv f32|f16     as for generate\n",
    .run = run,
};
