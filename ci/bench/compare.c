// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// How exact two engines are on one file: its weights are expanded to f32 by ggml's own decoders,
// llama.cpp's logits of that file are the reference, and llama.cpp's and ours of the file itself
// are held against it. Built by peer.sh; used by ci/compare-llama.sh.
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "gguf.h"
#include "llama.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TOKENS = 512 };

__attribute__((noreturn)) static void die(const char *what, const char *name)
{
    fprintf(stderr, "compare: %s %s\n", what, name);
    exit(1);
}

static void show_errors(enum ggml_log_level level, const char *text, void *unused)
{
    (void)unused;
    if (level == GGML_LOG_LEVEL_ERROR) {
        fputs(text, stderr);
    }
}

// The same model with every weight as f32.
static void expand(const char *from, const char *to)
{
    struct ggml_context *tensors = NULL;
    struct gguf_init_params read = {.no_alloc = false, .ctx = &tensors};
    struct gguf_context *in = gguf_init_from_file(from, read), *out = gguf_init_empty();
    if (!in) {
        die("cannot read", from);
    }
    size_t bytes = 1 << 20;
    for (struct ggml_tensor *t = ggml_get_first_tensor(tensors); t;
         t = ggml_get_next_tensor(tensors, t)) {
        bytes += (size_t)ggml_nelements(t) * sizeof(float) + 1024;
    }
    struct ggml_init_params space = {.mem_size = bytes};
    struct ggml_context *wide = ggml_init(space);
    gguf_set_kv(out, in);
    for (int64_t i = 0; i < gguf_get_n_tensors(in); i++) {
        struct ggml_tensor *t = ggml_get_tensor(tensors, gguf_get_tensor_name(in, i));
        struct ggml_tensor *w = ggml_new_tensor(wide, GGML_TYPE_F32, ggml_n_dims(t), t->ne);
        ggml_set_name(w, gguf_get_tensor_name(in, i));
        if (t->type == GGML_TYPE_F32) {
            memcpy(w->data, t->data, ggml_nbytes(t));
        } else {
            ggml_get_type_traits(t->type)->to_float(t->data, w->data, ggml_nelements(t));
        }
        gguf_add_tensor(out, w);
    }
    if (!gguf_write_to_file(out, to, false)) {
        die("cannot write", to);
    }
    gguf_free(in);
    gguf_free(out);
    ggml_free(tensors);
    ggml_free(wide);
}

// What llama.cpp makes of the tokens with KV in f32 and no flash attention: logits of every
// position, or the pooled embedding. *width: values a row.
static float *run(const char *path, const llama_token *tokens, int count, bool embeds, int *width)
{
    struct llama_model_params m = llama_model_default_params();
    m.n_gpu_layers = 0;
    struct llama_model *model = llama_model_load_from_file(path, m);
    if (!model) {
        die("llama.cpp does not load", path);
    }
    struct llama_context_params c = llama_context_default_params();
    c.n_ctx = (uint32_t)count;
    c.n_batch = c.n_ubatch = MOST_TOKENS;
    c.n_threads = c.n_threads_batch = 1;
    c.type_k = c.type_v = GGML_TYPE_F32;
    c.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    c.embeddings = embeds;
    struct llama_context *context = llama_init_from_model(model, c);
    struct llama_batch batch = llama_batch_init(count, 0, 1);
    if (!context) {
        die("llama.cpp has no context for", path);
    }
    batch.n_tokens = count;
    for (int i = 0; i < count; i++) {
        batch.token[i] = tokens[i];
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = true;
    }
    int e = embeds ? llama_encode(context, batch) : llama_decode(context, batch);
    if (e != 0) {
        die("llama.cpp failed on", path);
    }
    int rows = embeds ? 1 : count;
    *width =
        embeds ? llama_model_n_embd(model) : llama_vocab_n_tokens(llama_model_get_vocab(model));
    float *out = malloc((size_t)rows * (size_t)*width * sizeof *out);
    for (int i = 0; i < rows; i++) {
        const float *row =
            embeds ? llama_get_embeddings_seq(context, 0) : llama_get_logits_ith(context, i);
        memcpy(out + (size_t)i * (size_t)*width, row, (size_t)*width * sizeof *out);
    }
    llama_batch_free(batch);
    llama_free(context);
    llama_model_free(model);
    return out;
}

static float *read_floats(const char *path, size_t count)
{
    float *x = malloc(count * sizeof *x);
    FILE *f = fopen(path, "rb");
    if (!f || fread(x, sizeof *x, count, f) != count || fgetc(f) != EOF) {
        die("wanted as many values as llama.cpp made in", path);
    }
    fclose(f);
    return x;
}

static double relative_rms(const float *right, const float *x, size_t count)
{
    double off = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(x[i])) {
            return INFINITY;
        }
        off += pow((double)x[i] - (double)right[i], 2);
        size += pow((double)right[i], 2);
    }
    return sqrt(off / size);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The relative rms of the middle row: one token that takes another expert spoils its own row only.
static double middle_row(const float *right, const float *x, int rows, int width)
{
    double each[MOST_TOKENS];
    for (int r = 0; r < rows; r++) {
        size_t at = (size_t)r * (size_t)width;
        each[r] = relative_rms(right + at, x + at, (size_t)width);
    }
    qsort(each, (size_t)rows, sizeof *each, by_size);
    return each[rows / 2];
}

static double log_sum(const float *x, int width)
{
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < width; i++) {
        most = fmax(most, (double)x[i]);
    }
    for (int i = 0; i < width; i++) {
        sum += exp((double)x[i] - most);
    }
    return most + log(sum);
}

// Kullback-Leibler divergence of the distributions, mean over rows.
static double divergence(const float *right, const float *x, int rows, int width)
{
    double sum = 0;
    for (int r = 0; r < rows; r++, right += width, x += width) {
        double p = log_sum(right, width), q = log_sum(x, width);
        for (int i = 0; i < width; i++) {
            double lp = (double)right[i] - p, lq = (double)x[i] - q;
            sum += exp(lp) * (lp - lq);
        }
    }
    return sum / rows;
}

static double cosine(const float *a, const float *b, size_t count)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < count; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

int main(int argc, char **argv)
{
    bool embeds = argc == 6 && strcmp(argv[5], "--embedding") == 0;
    if (argc != 5 && !embeds) {
        puts("Usage: compare MODEL EXPANDED 1,5,9 OURS.f32 [--embedding]\n"
             "EXPANDED is written; prints relative rms against it: of llama.cpp, of ours, of ours\n"
             "against llama.cpp; then mean KL and the middle row's rms, each of llama.cpp and of\n"
             "ours; or for embeddings the cosine of the two");
        return 2;
    }
    llama_token tokens[MOST_TOKENS];
    int count = 0, width = 0;
    for (char *word = strtok(argv[3], ","); word && count < MOST_TOKENS; word = strtok(NULL, ",")) {
        tokens[count++] = atoi(word);
    }
    llama_log_set(show_errors, NULL);
    ggml_backend_load_all_from_path(PEER_LIBRARIES);
    llama_backend_init();
    expand(argv[1], argv[2]);
    float *right = run(argv[2], tokens, count, embeds, &width);
    float *peer = run(argv[1], tokens, count, embeds, &width);
    int rows = embeds ? 1 : count;
    size_t values = (size_t)rows * (size_t)width;
    float *ours = read_floats(argv[4], values);
    printf("%.4g %.4g %.4g", relative_rms(right, peer, values), relative_rms(right, ours, values),
           relative_rms(peer, ours, values));
    if (embeds) {
        printf(" %.9f\n", cosine(peer, ours, values));
    } else {
        printf(" %.3g %.3g %.4g %.4g\n", divergence(right, peer, rows, width),
               divergence(right, ours, rows, width), middle_row(right, peer, rows, width),
               middle_row(right, ours, rows, width));
    }
    return 0;
}
