// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// llama.cpp through its shared library, measured and asked as we measure and ask ourselves: `bench`
// speaks the protocol of `tessera bench --paced` (hypercall/host/tool/paced.c), `logits` writes
// what `tessera eval --logits` writes. A fresh KV cache each run, one row of logits a batch,
// micro-batches of 512 tokens and a lasting thread pool, as the field's own bench has them. Built
// by peer.sh.
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "llama.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { UBATCH = 512, MOST_SEQUENCES = 64, CONTEXT_LEAST = 64 };

static struct {
    int threads, sequences, context;
    bool all_rows, kv_f32;
} options = {.threads = 1, .sequences = 1, .context = UBATCH};

struct peer {
    struct llama_model *model;
    struct llama_context *context;
    ggml_threadpool_t pool;
    int vocabulary;
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("peer: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(1);
}

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void show_errors(enum ggml_log_level level, const char *text, void *unused)
{
    (void)unused;
    if (level == GGML_LOG_LEVEL_ERROR) {
        fputs(text, stderr);
    }
}

static void open_peer(struct peer *p, const char *path)
{
    struct llama_model_params m = llama_model_default_params();
    m.n_gpu_layers = 0;
    p->model = llama_model_load_from_file(path, m);
    if (!p->model) {
        die("%s did not load", path);
    }
    struct llama_context_params c = llama_context_default_params();
    c.n_ctx = (uint32_t)(options.context * options.sequences);
    c.n_batch = c.n_ctx > 2048 ? c.n_ctx : 2048;
    c.n_ubatch = UBATCH;
    c.n_seq_max = (uint32_t)options.sequences;
    c.n_threads = c.n_threads_batch = options.threads;
    c.no_perf = true;
    if (options.kv_f32) {
        c.type_k = c.type_v = GGML_TYPE_F32;
        c.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    p->context = llama_init_from_model(p->model, c);
    if (!p->context) {
        die("%s: no context", path);
    }
    // Without a pool of its own each batch would start its threads anew.
    ggml_backend_reg_t cpu =
        ggml_backend_dev_backend_reg(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
    ggml_threadpool_t (*make)(struct ggml_threadpool_params *) =
        (ggml_threadpool_t(*)(struct ggml_threadpool_params *))ggml_backend_reg_get_proc_address(
            cpu, "ggml_threadpool_new");
    struct ggml_threadpool_params pool = ggml_threadpool_params_default(options.threads);
    p->pool = make ? make(&pool) : NULL;
    if (!p->pool) {
        die("no thread pool");
    }
    llama_attach_threadpool(p->context, p->pool, p->pool);
    p->vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(p->model));
}

static void decode(struct peer *p, struct llama_batch batch)
{
    if (llama_decode(p->context, batch) != 0) {
        die("a batch of %d tokens was refused", batch.n_tokens);
    }
}

// ---- bench -------------------------------------------------------------------------------------

// "pp N": a prompt of N tokens. "tg N": N tokens one after another, of all sequences at once.
static void run_test(struct peer *p, bool prompt, int tokens, struct llama_batch batch)
{
    llama_memory_clear(llama_get_memory(p->context), true);
    for (int at = 0; at < tokens;) {
        int n = prompt ? tokens : 1, rows = 0;
        for (int i = 0; i < n; i++) {
            for (int s = 0; s < options.sequences; s++, rows++) {
                batch.token[rows] = (llama_token)(((at + i) * 7919 + s * 131 + 13) % p->vocabulary);
                batch.pos[rows] = at + i;
                batch.n_seq_id[rows] = 1;
                batch.seq_id[rows][0] = s;
                batch.logits[rows] = i == n - 1;
            }
        }
        batch.n_tokens = rows;
        decode(p, batch);
        at += n;
    }
    llama_synchronize(p->context);
}

static double peak_memory_mb(void)
{
    char line[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmHWM: %ld", &kb) == 1) {
            break;
        }
    }
    if (f) {
        fclose(f);
    }
    return (double)kb / 1024.0;
}

static void bench(const char *path, double begun)
{
    struct peer p;
    char test[8];
    int tokens;
    open_peer(&p, path);
    double opened = now(CLOCK_MONOTONIC);
    struct llama_batch batch =
        llama_batch_init(options.context * options.sequences, 0, MOST_SEQUENCES);
    run_test(&p, true, 1, batch);
    printf("ready %.6f %.6f\n", opened - begun, now(CLOCK_MONOTONIC) - begun);
    fflush(stdout);
    while (scanf("%7s %d", test, &tokens) == 2 && strcmp(test, "end") != 0) {
        if (tokens < 1 || tokens > options.context) {
            die("%d tokens do not fit the context of %d", tokens, options.context);
        }
        double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
        run_test(&p, strcmp(test, "pp") == 0, tokens, batch);
        printf("%.6f %.6f %.1f\n", now(CLOCK_MONOTONIC) - wall, now(CLOCK_PROCESS_CPUTIME_ID) - cpu,
               peak_memory_mb());
        fflush(stdout);
    }
}

// ---- logits ------------------------------------------------------------------------------------

static int read_ids(char *text, llama_token *out, int most)
{
    int count = 0;
    for (char *word = strtok(text, ", \n"); word; word = strtok(NULL, ", \n")) {
        char *end;
        long id = strtol(word, &end, 10);
        if (*end || count == most) {
            die("'%s': wanted at most %d token ids like 1,5,9", word, most);
        }
        out[count++] = (llama_token)id;
    }
    return count;
}

static void logits(const char *path, const char *out, char *ids)
{
    enum { MOST = 8192 };
    static llama_token tokens[MOST];
    int count = read_ids(ids, tokens, MOST);
    struct peer p;
    options.context = count < CONTEXT_LEAST ? CONTEXT_LEAST : count;
    open_peer(&p, path);
    FILE *f = fopen(out, "wb");
    if (!f) {
        die("%s: %s", out, strerror(errno));
    }
    struct llama_batch batch = llama_batch_init(count, 0, 1);
    batch.n_tokens = count;
    for (int i = 0; i < count; i++) {
        batch.token[i] = tokens[i];
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = options.all_rows || i == count - 1;
    }
    decode(&p, batch);
    size_t width = (size_t)p.vocabulary;
    for (int i = 0; i < count; i++) {
        if (batch.logits[i] &&
            fwrite(llama_get_logits_ith(p.context, i), sizeof(float), width, f) != width) {
            die("%s could not be written", out);
        }
    }
    if (fclose(f) != 0) {
        die("%s could not be written", out);
    }
}

static int number(const char *text, int least, int most)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (*end || n < least || n > most) {
        die("'%s' is not a number from %d to %d", text, least, most);
    }
    return (int)n;
}

int main(int argc, char **argv)
{
    double begun = now(CLOCK_MONOTONIC);
    char *words[4];
    int count = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--all") == 0) {
            options.all_rows = true;
        } else if (strcmp(argv[i], "--kv32") == 0) {
            options.kv_f32 = true;
        } else if (strcmp(argv[i], "-t") == 0 && i + 1 < argc) {
            options.threads = number(argv[++i], 1, 512);
        } else if (strcmp(argv[i], "--sequences") == 0 && i + 1 < argc) {
            options.sequences = number(argv[++i], 1, MOST_SEQUENCES);
        } else if (strcmp(argv[i], "--context") == 0 && i + 1 < argc) {
            options.context = number(argv[++i], 1, 65536);
        } else if (count < 4 && argv[i][0] != '-') {
            words[count++] = argv[i];
        } else {
            die("what is '%s'?", argv[i]);
        }
    }
    llama_log_set(show_errors, NULL);
    ggml_backend_load_all_from_path(PEER_LIBRARIES);
    llama_backend_init();
    if (count == 2 && strcmp(words[0], "bench") == 0) {
        bench(words[1], begun);
    } else if (count == 4 && strcmp(words[0], "logits") == 0) {
        logits(words[1], words[2], words[3]);
    } else {
        puts("Usage: peer bench MODEL [-t N] [--sequences N] [--context N]   (tests on standard "
             "input)\n"
             "       peer logits MODEL OUT.f32 1,5,9 [--all] [--kv32] [-t N]");
        return 2;
    }
    return 0;
}
