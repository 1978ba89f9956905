// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera bench`: tokens a second of prompts (pp) and of tokens one after another (tg), each from
// an empty KV cache, one row of logits a step and sequence.
#include "hypercall/host/tool/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RUNS = 64 };

struct bench {
    struct tool_model model;
    struct tool_setup setup;
    struct tn_trace trace;
    bool json, traced;
    uint32_t runs;
    unsigned printed;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_rates(const char *name, const double *rates, uint32_t count)
{
    printf(",\"%s\":[", name);
    for (uint32_t i = 0; i < count; i++) {
        printf("%s%.3f", i ? "," : "", rates[i]);
    }
    putchar(']');
}

static void print_row(struct bench *b, const struct bench_test *t, uint32_t threads, double *speed,
                      const double *by_cpu)
{
    struct bench_work work = bench_work(&b->model, t);
    char name[32];
    snprintf(name, sizeof name, "%s%u", t->prompt ? "pp" : "tg", t->tokens);
    if (b->json) {
        printf("%s{\"test\":\"%s\",\"threads\":%u,\"sequences\":%u", b->printed++ ? "," : "", name,
               threads, t->sequences);
        print_rates("tokens_per_s", speed, b->runs);
        if (threads == 1) { // of more threads it would count their waiting
            print_rates("tokens_per_cpu_s", by_cpu, b->runs);
        }
        printf(",\"multiply_adds\":%.0f,\"step_weight_bytes\":%.0f", work.multiply_adds,
               work.step_weight_bytes);
        if (b->traced) {
            printf(",\"trace\":[");
            tool_print_trace(&b->trace, stdout, true);
            putchar(']');
        }
        putchar('}');
    } else {
        double tokens = (double)t->tokens * t->sequences;
        qsort(speed, b->runs, sizeof *speed, compare);
        double median = speed[b->runs / 2];
        printf("%-8s %7u %9u %12.1f %10.1f %10.1f %10.1f %9.2f\n", name, threads, t->sequences,
               median, speed[0], speed[b->runs - 1], 2e-9 * work.multiply_adds / tokens * median,
               t->prompt ? 0.0 : 1e-9 * work.step_weight_bytes / t->sequences * median);
        if (b->traced) {
            tool_print_trace(&b->trace, stdout, false);
            putchar('\n');
        }
    }
    fflush(stdout);
}

static int time_test(struct bench *b, struct bench_engine *e, const struct bench_test *t,
                     uint32_t threads)
{
    double speed[MOST_RUNS], by_cpu[MOST_RUNS];
    struct bench_time time;
    int status = bench_run(e, t, &time); // to warm up
    if (b->traced) {
        tool_start_trace(&b->trace);
    }
    for (uint32_t r = 0; r < b->runs && !status; r++) {
        status = bench_run(e, t, &time);
        double tokens = (double)t->tokens * t->sequences;
        speed[r] = tokens / time.wall;
        by_cpu[r] = tokens / time.cpu;
    }
    if (!status) {
        print_row(b, t, threads, speed, by_cpu);
    }
    return status;
}

static int run_thread_count(struct bench *b, const struct tool_counts *prompts,
                            const struct tool_counts *made, uint32_t threads, uint32_t sequences)
{
    struct bench_engine e;
    b->setup.threads = threads;
    b->setup.sequences = sequences;
    int status = bench_start(&b->model, &b->setup, &e);
    if (status) {
        return status;
    }
    for (size_t i = 0; i < prompts->count + made->count && !status; i++) {
        bool prompt = i < prompts->count;
        struct bench_test t = {
            prompt, prompt ? prompts->values[i] : made->values[i - prompts->count], sequences};
        if (t.tokens) {
            status = time_test(b, &e, &t, e.engine.pool->width);
        }
    }
    bench_stop(&e);
    return status;
}

static int run_all(struct bench *b, const struct tool_counts *prompts,
                   const struct tool_counts *made, const struct tool_counts *threads,
                   const struct tool_counts *sequences)
{
    if (b->json) {
        printf("{\"model\":");
        tool_print_json_text(b->model.info.name, strlen(b->model.info.name));
        printf(",\"vocabulary\":%u,\"rows\":[", b->model.info.vocabulary);
    } else {
        printf("%-8s %7s %9s %12s %10s %10s %10s %9s\n", "test", "threads", "sequences", "tokens/s",
               "slowest", "fastest", "GFLOP/s", "GB/s");
    }
    int status = TOOL_OK;
    for (size_t i = 0; i < threads->count && !status; i++) {
        for (size_t j = 0; j < sequences->count && !status; j++) {
            uint32_t width = threads->values[i] ? threads->values[i] : tool_cpus();
            status = run_thread_count(b, prompts, made, width, sequences->values[j]);
        }
    }
    if (b->json) {
        printf("]}\n");
    }
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
    uint64_t begun = tool_now_ns();
    struct bench b = {.runs = 5, .setup = {.max_tokens = TOOL_STEP_TOKENS}};
    struct tool_counts prompts = {{512}, 1}, made = {{64}, 1}, threads = {{0}, 1},
                       sequences = {{1}, 1};
    const char *words[1];
    size_t word_count;
    bool paced = false;
    struct bench_guesses guesses = {.draft_tokens = 4};
    struct tool_option options[] = {
        {"-p", OPTION_COUNTS, &prompts, false},
        {"-n", OPTION_COUNTS, &made, false},
        {"-t", OPTION_COUNTS, &threads, false},
        {"-r", OPTION_COUNT, &b.runs, false},
        {"--sequences", OPTION_COUNTS, &sequences, false},
        {"--lookup", OPTION_COUNT, &guesses.lookup, false},
        {"--draft", OPTION_TEXT, &guesses.draft, false},
        {"--draft-tokens", OPTION_COUNT, &guesses.draft_tokens, false},
        {"--trace", OPTION_FLAG, &b.traced, false},
        {"--paced", OPTION_FLAG, &paced, false},
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
    for (size_t i = 0; i < sequences.count; i++) {
        if (sequences.values[i] == 0 || sequences.values[i] > b.setup.max_tokens) {
            return tool_misuse("--sequences: from 1 to the tokens of a step (%u)",
                               b.setup.max_tokens);
        }
    }
    if (guesses.lookup > 64 || guesses.draft_tokens == 0 || guesses.draft_tokens > 64) {
        return tool_misuse("--lookup must be at most 64, --draft-tokens from 1 to 64");
    }
    status = tool_open(words[0], &b.model);
    if (status) {
        return status;
    }
    status = tool_wants(&b.model, false);
    if (status) {
        tool_close(&b.model);
        return status;
    }
    b.setup.context = longest(&prompts, &made);
    b.setup.trace = b.traced ? &b.trace : NULL;
    tool_start_trace(&b.trace);
    if (b.setup.context > b.model.info.context) {
        status = tool_fail("%u tokens do not fit the model's context of %u", b.setup.context,
                           b.model.info.context);
    } else if (guesses.lookup || guesses.draft) {
        b.setup.threads = threads.values[0];
        status = bench_speculate(&b.model, &b.setup, &guesses, made.values[0], b.runs, b.json);
    } else if (paced) {
        b.setup.threads = threads.values[0];
        b.setup.sequences = sequences.values[0];
        status = bench_paced(&b.model, &b.setup, begun);
    } else {
        status = run_all(&b, &prompts, &made, &threads, &sequences);
    }
    tool_close(&b.model);
    return status;
}

const struct tool_command tool_bench = {
    .name = "bench",
    .summary = "speed of prompts and of tokens one after another",
    .help =
        "Usage: tessera bench MODEL [OPTIONS]\n\n"
        "Prompts of N tokens (ppN) and N tokens one after another (tgN), each from an empty\n"
        "KV cache, after one run to warm up. The table gives medians; GFLOP/s of the model's\n"
        "products and attention, and GB/s of weights read.\n\n"
        "  -p 128,512       prompt lengths (512; 0: none)\n"
        "  -n 64            numbers of single tokens (64; 0: none)\n"
        "  -t 1,2           thread counts (all CPUs)\n"
        "  -r 5             runs of each (5)\n"
        "  --sequences 1,8  sequences at once, in the same steps (1); tokens/s of all together\n"
        "  --lookup N  --draft MODEL  --draft-tokens N    as for generate: -n tokens written\n"
        "                   greedily with and without guesses, and how many were right\n"
        "  --trace          time by operation after each row\n"
        "  --chunk N        tokens a step takes at most (512)\n"
        "  --paced          runs what lines like `pp 512` on standard input ask for, with the\n"
        "                   first of -t and --sequences\n"
        "  --json           {\"rows\":[{\"test\":\"pp128\",\"threads\":1,\"tokens_per_s\":[every "
        "run]}]}\n"
        "  --isa LEVEL  --kv f32|f16|q8_0|q4_0     as for generate\n",
    .run = run,
};
