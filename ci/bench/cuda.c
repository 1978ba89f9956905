// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The CUDA executor beside the CPU executor, one model, in turn in one run: how far their logits
// are apart, whether the greatest is the same, and tokens a second reading a prompt and making
// tokens for one sequence and for many. Says "not run" where there is no GPU.
// Use: cuda MODEL [--device N] [--kv f16|f32] [--prompt 128] [--make 32] [--batch 8] [--rounds 3]
//      [--threads N] [--emulated]      --emulated: the device of the tests, to try this program
#include "tensor/cuda.h"
#include "tensor/files.h"

#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_BATCH = 64, MOST_PROMPT = 512, MOST_ROUNDS = 99, SIDES = 2, CPU = 0, GPU = 1 };

struct plan {
    const char *model, *library;
    unsigned device, prompt, make, batch, rounds, threads, kv_type;
};

struct bench {
    struct plan plan;
    struct tn_model *model;
    struct tn_model_info info;
    struct tn_executor *cpu;
    struct tn_cuda_executor *gpu;
    uint8_t *kv[MOST_BATCH];
    uint32_t *pages, page_count;
    int32_t tokens[MOST_PROMPT];
    float *logits[SIDES]; // a row for each token of the prompt
    uint64_t run;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void step(struct bench *b, int side, struct tn_step_sequence *s, size_t count)
{
    int rc = side == CPU ? tn_step(b->cpu, s, count) : tn_cuda_step(b->gpu, s, count);
    if (rc) {
        fprintf(stderr, "cuda: a step failed: %d %s\n", rc,
                side == GPU ? tn_cuda_failure(b->gpu) : "");
        exit(1);
    }
}

static struct tn_step_sequence sequence(const struct bench *b, int side, unsigned i,
                                        const int32_t *tokens, uint32_t count, uint32_t position)
{
    return (struct tn_step_sequence){.tokens = tokens,
                                     .token_count = count,
                                     .position = position,
                                     .kv_pages = b->pages,
                                     .kv_page_count = b->page_count,
                                     .kv = b->kv[i],
                                     .kv_page_total = b->page_count,
                                     .run = b->run + i,
                                     .logits_from = count - 1,
                                     .logits = b->logits[side] + (size_t)i * b->info.vocabulary};
}

// Tokens a second of the prompt.
static double read_prompt(struct bench *b, int side, bool all_logits)
{
    struct tn_step_sequence s = sequence(b, side, 0, b->tokens, b->plan.prompt, 0);
    s.logits_from = all_logits ? 0 : s.logits_from;
    b->run += MOST_BATCH;
    s.run = b->run;
    double begun = now();
    step(b, side, &s, 1);
    return b->plan.prompt / (now() - begun);
}

// Tokens a second of `batch` sequences together; the same tokens on both sides.
static double make_tokens(struct bench *b, int side, unsigned batch)
{
    struct tn_step_sequence s[MOST_BATCH];
    b->run += MOST_BATCH;
    for (unsigned i = 0; i < batch; i++) {
        s[i] = sequence(b, side, i, b->tokens, 16, 0);
        step(b, side, &s[i], 1);
    }
    double begun = now();
    for (unsigned n = 0; n < b->plan.make; n++) {
        for (unsigned i = 0; i < batch; i++) {
            s[i] = sequence(b, side, i, &b->tokens[(16 + n + i) % b->plan.prompt], 1, 16 + n);
        }
        step(b, side, s, batch);
    }
    return batch * b->plan.make / (now() - begun);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static uint32_t greatest(const float *row, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++) {
        best = row[i] > row[best] ? i : best;
    }
    return best;
}

static void compare_logits(struct bench *b)
{
    double off = 0, size = 0;
    unsigned same = 0;
    size_t row = b->info.vocabulary;
    for (int side = 0; side < SIDES; side++) {
        read_prompt(b, side, true);
    }
    for (size_t i = 0; i < b->plan.prompt * row; i++) {
        double a = (double)b->logits[CPU][i], d = (double)b->logits[GPU][i] - a;
        off += d * d;
        size += a * a;
    }
    for (unsigned i = 0; i < b->plan.prompt; i++) {
        same += greatest(b->logits[CPU] + i * row, b->info.vocabulary) ==
                greatest(b->logits[GPU] + i * row, b->info.vocabulary);
    }
    printf("logits of %u tokens: relative rms %.2e apart, the greatest is the same %u times\n",
           b->plan.prompt, sqrt(off / size), same);
}

// Medians of the rounds, both sides in turn. batch 0: the prompt.
static void compare_speed(struct bench *b, const char *what, unsigned batch)
{
    double rate[SIDES][MOST_ROUNDS];
    for (unsigned r = 0; r < b->plan.rounds; r++) {
        for (int side = 0; side < SIDES; side++) {
            rate[side][r] = batch ? make_tokens(b, side, batch) : read_prompt(b, side, false);
        }
    }
    for (int side = 0; side < SIDES; side++) {
        qsort(rate[side], b->plan.rounds, sizeof rate[side][0], ascending);
    }
    double cpu = rate[CPU][b->plan.rounds / 2], gpu = rate[GPU][b->plan.rounds / 2];
    printf("%-24s CPU %10.1f tokens/s   CUDA %10.1f tokens/s   %6.2f times\n", what, cpu, gpu,
           gpu / cpu);
}

static unsigned number(const char *text, unsigned least, unsigned most)
{
    long n = strtol(text, NULL, 10);
    if (n < (long)least || n > (long)most) {
        fprintf(stderr, "cuda: %s: expected %u to %u\n", text, least, most);
        exit(2);
    }
    return (unsigned)n;
}

static void read_options(int argc, char **argv, struct plan *p)
{
    static const struct option options[] = {{"device", required_argument, NULL, 'd'},
                                            {"kv", required_argument, NULL, 'k'},
                                            {"prompt", required_argument, NULL, 'p'},
                                            {"make", required_argument, NULL, 'm'},
                                            {"batch", required_argument, NULL, 'b'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"emulated", no_argument, NULL, 'e'},
                                            {NULL, 0, NULL, 0}};
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    *p = (struct plan){.prompt = 128,
                       .make = 32,
                       .batch = 8,
                       .rounds = 3,
                       .threads = cpus > 0 && cpus < 256 ? (unsigned)cpus : 1,
                       .kv_type = TN_F16};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'd':
            p->device = number(optarg, 0, 63);
            break;
        case 'k':
            p->kv_type = strcmp(optarg, "f32") == 0 ? TN_F32 : TN_F16;
            break;
        case 'p':
            p->prompt = number(optarg, 16, MOST_PROMPT);
            break;
        case 'm':
            p->make = number(optarg, 1, 4096);
            break;
        case 'b':
            p->batch = number(optarg, 1, MOST_BATCH);
            break;
        case 'r':
            p->rounds = number(optarg, 1, MOST_ROUNDS);
            break;
        case 't':
            p->threads = number(optarg, 1, 256);
            break;
        case 'e':
            p->library = "";
            break;
        default:
            exit(2);
        }
    }
    if (optind + 1 != argc) {
        fputs("cuda: expected one model\n", stderr);
        exit(2);
    }
    p->model = argv[optind];
}

static void open_memory(struct bench *b)
{
    uint32_t longest = b->plan.prompt > 16 + b->plan.make ? b->plan.prompt : 16 + b->plan.make;
    b->page_count = (longest + TN_KV_PAGE_TOKENS - 1) / TN_KV_PAGE_TOKENS;
    b->pages = calloc(b->page_count, sizeof *b->pages);
    bool enough = b->pages != NULL;
    size_t bytes = tn_kv_page_bytes(b->model, b->plan.kv_type) * b->page_count;
    for (unsigned i = 0; i < b->plan.batch; i++) {
        b->kv[i] = aligned_alloc(64, (bytes + 63) / 64 * 64);
        enough &= b->kv[i] != NULL;
    }
    size_t rows = b->plan.prompt > b->plan.batch ? b->plan.prompt : b->plan.batch;
    for (int side = 0; side < SIDES; side++) {
        b->logits[side] = malloc(rows * b->info.vocabulary * sizeof(float));
        enough &= b->logits[side] != NULL;
    }
    if (!enough) {
        fputs("cuda: no memory\n", stderr);
        exit(1);
    }
    for (uint32_t i = 0; i < b->page_count; i++) {
        b->pages[i] = i;
    }
    for (unsigned i = 0; i < b->plan.prompt; i++) {
        b->tokens[i] = (int32_t)((i * 7919ull + i * i * 31ull + 5) % b->info.vocabulary);
    }
}

static void refuse(const char *what, const char *error)
{
    fprintf(stderr, "cuda: %s: %s\n", what, error);
    exit(1);
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct tn_files *files;
    struct gguf *index;
    struct tn_cuda_device *device;
    struct tn_cuda_device_info info;
    struct tn_cuda_model *weights;
    char error[300] = "";
    read_options(argc, argv, &b.plan);
    if (tn_cuda_device_open(b.plan.library, b.plan.device, NULL, &device, error, sizeof error)) {
        printf("not run: %s\n", error);
        return 0;
    }
    tn_cuda_device_info(device, &info);
    if (tn_files_open(b.plan.model, &files, &index, error, sizeof error) ||
        tn_model_open_index(index, &b.model, error, sizeof error)) {
        refuse(b.plan.model, error);
    }
    tn_model_info(b.model, &b.info);
    open_memory(&b);
    const struct tn_executor_options cpu = {.isa = tn_isa_best(),
                                            .pool = tn_pool_threads(b.plan.threads),
                                            .max_tokens = MOST_PROMPT,
                                            .max_sequences = MOST_BATCH,
                                            .kv_type = b.plan.kv_type};
    const struct tn_cuda_executor_options gpu = {.max_tokens = MOST_PROMPT,
                                                 .max_sequences = MOST_BATCH,
                                                 .kv_type = b.plan.kv_type,
                                                 .pages = (b.plan.batch + 1) * b.page_count};
    double begun = now();
    if (tn_executor_open(b.model, &cpu, &b.cpu, error, sizeof error) ||
        tn_cuda_model_open(device, b.model, &weights, error, sizeof error) ||
        tn_cuda_executor_open(weights, &gpu, &b.gpu, error, sizeof error)) {
        refuse(b.plan.model, error);
    }
    printf("%s, %s, KV %s; CPU %s with %u threads; CUDA %s, compute capability %u.%u, weights "
           "copied in %.2f s\n",
           b.info.name, tn_type_info(b.info.weight_type)->name, tn_type_info(b.plan.kv_type)->name,
           tn_isa_name(cpu.isa), b.plan.threads, info.name, info.capability / 100,
           info.capability % 100, now() - begun);
    compare_logits(&b);
    char many[40];
    snprintf(many, sizeof many, "tokens of %u sequences", b.plan.batch);
    compare_speed(&b, "prompt", 0);
    compare_speed(&b, "tokens of 1 sequence", 1);
    compare_speed(&b, many, b.plan.batch);
    return 0;
}
