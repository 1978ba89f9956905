// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What five ways of computing less would cost in error and gain in time, on a given llama model:
// a precision cascade, reusing a layer's output, pruning neurons, scheduling independent
// operations, and leaving early. A plain forward pass of our own (float32, one token after another)
// keeps what passes between layers; the numbers stand in tensor/infer/README.md.
#include "tensor/gguf.h"
#include "tensor/infer.h"
#include "tensor/quant.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct matrix {
    float *w;
    size_t rows, columns;
};

struct layer {
    float *attention_norm, *ffn_norm;
    struct matrix q, k, v, o, gate, up, down;
};

struct net {
    size_t n, layers, heads, kv_heads, dim, ff, vocabulary;
    double epsilon, base;
    struct matrix table, head;
    float *norm;
    struct layer *layer;
};

// What a run kept: of token t, the stream before layer l (l == layers: behind the last), the
// products of gate and up, and the logits.
struct run {
    size_t tokens;
    float *stream, *hidden, *logits;
};

static void *take(size_t count)
{
    void *p = calloc(count ? count : 1, sizeof(float));
    if (!p) {
        fputs("techniques: no memory\n", stderr);
        exit(1);
    }
    return p;
}

static double key(const struct gguf *g, const char *name, double absent)
{
    char text[96];
    double v;
    snprintf(text, sizeof text, "llama.%s", name);
    if (gguf_f64(g, text, &v) == 0) {
        return v;
    }
    if (absent < 0) {
        fprintf(stderr, "techniques: %s is missing\n", text);
        exit(1);
    }
    return absent;
}

static struct matrix read_matrix(const struct gguf *g, const char *format, size_t layer)
{
    char name[96];
    snprintf(name, sizeof name, format, layer);
    const struct gguf_tensor *t = gguf_find(g, name);
    if (!t) {
        return (struct matrix){0};
    }
    struct matrix m = {.rows = t->shape[1], .columns = t->shape[0]};
    m.w = take(m.rows * m.columns);
    for (size_t r = 0; r < m.rows; r++) {
        const uint8_t *row = (const uint8_t *)t->data + r * tn_row_bytes(t->type, m.columns);
        if (tn_quant_decode(t->type, row, m.columns, m.w + r * m.columns) != 0) {
            fprintf(stderr, "techniques: %s cannot be decoded\n", name);
            exit(1);
        }
    }
    return m;
}

static void open_net(struct net *x, const struct gguf *g)
{
    x->n = (size_t)key(g, "embedding_length", -1);
    x->layers = (size_t)key(g, "block_count", -1);
    x->heads = (size_t)key(g, "attention.head_count", -1);
    x->kv_heads = (size_t)key(g, "attention.head_count_kv", (double)x->heads);
    x->ff = (size_t)key(g, "feed_forward_length", -1);
    x->dim = x->n / x->heads;
    x->epsilon = key(g, "attention.layer_norm_rms_epsilon", -1);
    x->base = key(g, "rope.freq_base", 10000);
    x->table = read_matrix(g, "token_embd.weight", 0);
    x->head = read_matrix(g, "output.weight", 0);
    x->head = x->head.w ? x->head : x->table;
    x->vocabulary = x->table.rows;
    x->norm = read_matrix(g, "output_norm.weight", 0).w;
    x->layer = calloc(x->layers, sizeof *x->layer);
    for (size_t l = 0; l < x->layers; l++) {
        x->layer[l] = (struct layer){
            .attention_norm = read_matrix(g, "blk.%zu.attn_norm.weight", l).w,
            .ffn_norm = read_matrix(g, "blk.%zu.ffn_norm.weight", l).w,
            .q = read_matrix(g, "blk.%zu.attn_q.weight", l),
            .k = read_matrix(g, "blk.%zu.attn_k.weight", l),
            .v = read_matrix(g, "blk.%zu.attn_v.weight", l),
            .o = read_matrix(g, "blk.%zu.attn_output.weight", l),
            .gate = read_matrix(g, "blk.%zu.ffn_gate.weight", l),
            .up = read_matrix(g, "blk.%zu.ffn_up.weight", l),
            .down = read_matrix(g, "blk.%zu.ffn_down.weight", l),
        };
    }
}

// ---- the forward pass --------------------------------------------------------------------------

static void multiply(const struct matrix *m, const float *x, float *y)
{
    for (size_t r = 0; r < m->rows; r++) {
        const float *w = m->w + r * m->columns;
        float part[16] = {0};
        size_t c = 0;
        for (; c + 16 <= m->columns; c += 16) {
            for (int i = 0; i < 16; i++) {
                part[i] += w[c + (size_t)i] * x[c + (size_t)i];
            }
        }
        float sum = 0;
        for (int i = 0; i < 16; i++) {
            sum += part[i];
        }
        for (; c < m->columns; c++) {
            sum += w[c] * x[c];
        }
        y[r] = sum;
    }
}

static void normalise(const struct net *x, const float *in, const float *weight, float *out)
{
    double squares = 0;
    for (size_t i = 0; i < x->n; i++) {
        squares += (double)in[i] * (double)in[i];
    }
    double scale = 1 / sqrt(squares / (double)x->n + x->epsilon);
    for (size_t i = 0; i < x->n; i++) {
        out[i] = (float)((double)in[i] * scale) * weight[i];
    }
}

static void turn(const struct net *x, float *v, size_t heads, size_t position)
{
    for (size_t h = 0; h < heads; h++) {
        for (size_t i = 0; i < x->dim; i += 2) {
            double angle = (double)position * pow(x->base, -(double)i / (double)x->dim);
            float c = (float)cos(angle), s = (float)sin(angle), *p = v + h * x->dim + i;
            float a = p[0], b = p[1];
            p[0] = a * c - b * s;
            p[1] = a * s + b * c;
        }
    }
}

static void attend(const struct net *x, const float *q, const float *keys, const float *values,
                   size_t count, float *out)
{
    size_t width = x->kv_heads * x->dim;
    float *score = take(count);
    for (size_t h = 0; h < x->heads; h++) {
        size_t from = h / (x->heads / x->kv_heads) * x->dim;
        double most = -1e30, total = 0;
        for (size_t t = 0; t < count; t++) {
            double dot = 0;
            for (size_t i = 0; i < x->dim; i++) {
                dot += (double)q[h * x->dim + i] * (double)keys[t * width + from + i];
            }
            score[t] = (float)(dot / sqrt((double)x->dim));
            most = (double)score[t] > most ? (double)score[t] : most;
        }
        for (size_t t = 0; t < count; t++) {
            score[t] = (float)exp((double)score[t] - most);
            total += (double)score[t];
        }
        for (size_t i = 0; i < x->dim; i++) {
            double sum = 0;
            for (size_t t = 0; t < count; t++) {
                sum += (double)score[t] * (double)values[t * width + from + i];
            }
            out[h * x->dim + i] = (float)(sum / total);
        }
    }
    free(score);
}

static void run_layer(const struct net *x, const struct layer *l, size_t t, float *stream,
                      float *keys, float *values, float *hidden)
{
    size_t width = x->kv_heads * x->dim;
    float *a = take(x->n), *q = take(x->n), *b = take(x->n), *gate = take(x->ff);
    normalise(x, stream, l->attention_norm, a);
    multiply(&l->q, a, q);
    multiply(&l->k, a, keys + t * width);
    multiply(&l->v, a, values + t * width);
    turn(x, q, x->heads, t);
    turn(x, keys + t * width, x->kv_heads, t);
    attend(x, q, keys, values, t + 1, a);
    multiply(&l->o, a, b);
    for (size_t i = 0; i < x->n; i++) {
        stream[i] += b[i];
    }
    normalise(x, stream, l->ffn_norm, a);
    multiply(&l->gate, a, gate);
    multiply(&l->up, a, hidden);
    for (size_t i = 0; i < x->ff; i++) {
        hidden[i] *= gate[i] / (1 + expf(-gate[i]));
    }
    multiply(&l->down, hidden, b);
    for (size_t i = 0; i < x->n; i++) {
        stream[i] += b[i];
    }
    free(a), free(q), free(b), free(gate);
}

static void logits_of(const struct net *x, const float *stream, float *logits)
{
    float *a = take(x->n);
    normalise(x, stream, x->norm, a);
    multiply(&x->head, a, logits);
    free(a);
}

static float *stream_of(const struct net *x, const struct run *r, size_t t, size_t layer)
{
    return r->stream + (t * (x->layers + 1) + layer) * x->n;
}

// Writes its own text from ids[0] on at temperature 1 when `made` is set, otherwise reads ids.
static struct run forward(const struct net *x, int32_t *ids, size_t tokens, bool made)
{
    struct run r = {tokens, take(tokens * (x->layers + 1) * x->n), take(tokens * x->layers * x->ff),
                    take(tokens * x->vocabulary)};
    size_t width = x->kv_heads * x->dim;
    float *keys = take(x->layers * tokens * width), *values = take(x->layers * tokens * width);
    float *scratch = take(x->vocabulary);
    struct tn_sampling s = {.temperature = 1, .top_p = 1, .repeat_penalty = 1};
    struct tn_rng rng;
    tn_rng_seed(&rng, 1);
    for (size_t t = 0; t < tokens; t++) {
        float *stream = stream_of(x, &r, t, 0), *logits = r.logits + t * x->vocabulary;
        memcpy(stream, x->table.w + (size_t)ids[t] * x->n, x->n * sizeof *stream);
        for (size_t l = 0; l < x->layers; l++) {
            float *next = stream_of(x, &r, t, l + 1);
            memcpy(next, stream, x->n * sizeof *stream);
            run_layer(x, &x->layer[l], t, next, keys + l * tokens * width,
                      values + l * tokens * width, r.hidden + (t * x->layers + l) * x->ff);
            stream = next;
        }
        logits_of(x, stream, logits);
        if (made && t + 1 < tokens) {
            memcpy(scratch, logits, x->vocabulary * sizeof *scratch);
            ids[t + 1] = tn_sample(scratch, (uint32_t)x->vocabulary, &s, &rng, NULL, 0);
        }
    }
    free(keys), free(values), free(scratch);
    return r;
}

// ---- yardsticks --------------------------------------------------------------------------------

static size_t greatest(const float *v, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = v[i] > v[best] ? i : best;
    }
    return best;
}

// Entropy in nats, and the greatest probability.
static double entropy(const float *logits, size_t n, double *top)
{
    double most = (double)logits[greatest(logits, n)], total = 0, mean = 0;
    for (size_t i = 0; i < n; i++) {
        double e = exp((double)logits[i] - most);
        total += e;
        mean += e * ((double)logits[i] - most);
    }
    *top = 1 / total;
    return log(total) - mean / total;
}

static double distance(const float *a, const float *b, size_t n)
{
    double d = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)a[i] * (double)a[i];
    }
    return sqrt(d / (size > 0 ? size : 1));
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double weights(const struct net *x)
{
    const struct layer *l = x->layer;
    double each = (double)(l->q.rows + l->o.rows) * (double)x->n +
                  2.0 * (double)l->k.rows * (double)x->n + 3.0 * (double)x->ff * (double)x->n;
    return each * (double)x->layers;
}

// ---- the five ----------------------------------------------------------------------------------

static void round_to(struct matrix *m, uint32_t type)
{
    uint8_t *row = take(m->columns + 64);
    for (size_t r = 0; m->columns % 32 == 0 && r < m->rows; r++) {
        if (tn_quant_encode(type, m->w + r * m->columns, m->columns, row) == 0) {
            tn_quant_decode(type, row, m->columns, m->w + r * m->columns);
        }
    }
    free(row);
}

// Rounds the layers' weights: the net is of no use for the others afterwards.
static void cascade(struct net *x, int32_t *ids, const struct run *full)
{
    for (size_t l = 0; l < x->layers; l++) {
        struct matrix *all[] = {&x->layer[l].q,   &x->layer[l].k,    &x->layer[l].v,
                                &x->layer[l].o,   &x->layer[l].gate, &x->layer[l].up,
                                &x->layer[l].down};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            round_to(all[i], TN_Q4_0);
        }
    }
    struct run low = forward(x, ids, full->tokens, false);
    static const double gates[] = {0.1, 0.5, 1, 2};
    puts("1. precision cascade: Q4_0 first, in full when the entropy is above a gate");
    for (size_t g = 0; g < sizeof gates / sizeof *gates; g++) {
        size_t kept = 0, wrong = 0;
        for (size_t t = 0; t < full->tokens; t++) {
            const float *a = full->logits + t * x->vocabulary, *b = low.logits + t * x->vocabulary;
            double top;
            if (entropy(b, x->vocabulary, &top) < gates[g]) {
                kept++;
                wrong += greatest(a, x->vocabulary) != greatest(b, x->vocabulary);
            }
        }
        printf("   gate %.1f nats: %5.1f%% of tokens kept from Q4_0, %5.2f%% of those another "
               "token\n",
               gates[g], 100.0 * (double)kept / (double)full->tokens,
               kept ? 100.0 * (double)wrong / (double)kept : 0);
    }
    free(low.stream), free(low.hidden), free(low.logits);
}

static void forwarding(const struct net *x, const struct run *r)
{
    size_t count = 0, most = (r->tokens - 1) * x->layers;
    double *change = take(2 * most), *error = take(2 * most);
    float *was = take(x->n), *is = take(x->n);
    for (size_t t = 1; t < r->tokens; t++) {
        for (size_t l = 0; l < x->layers; l++) {
            const float *in = stream_of(x, r, t, l), *out = stream_of(x, r, t, l + 1);
            const float *in0 = stream_of(x, r, t - 1, l), *out0 = stream_of(x, r, t - 1, l + 1);
            for (size_t i = 0; i < x->n; i++) {
                is[i] = out[i] - in[i];
                was[i] = out0[i] - in0[i];
            }
            change[count] = distance(in, in0, x->n);
            error[count++] = distance(is, was, x->n);
        }
    }
    puts("2. layer forwarding: what a layer adds is reused when its input barely changed");
    static const double limits[] = {0.01, 0.05, 0.2, 0.5};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        size_t below = 0;
        double worst = 0;
        for (size_t j = 0; j < count; j++) {
            if (change[j] < limits[i]) {
                below++;
                worst = error[j] > worst ? error[j] : worst;
            }
        }
        printf("   input changed by less than %2.0f%%: %6.2f%% of layers, worst error of what is "
               "reused %.0f%%\n",
               100 * limits[i], 100.0 * (double)below / (double)count, 100 * worst);
    }
    qsort(change, count, sizeof *change, ascending);
    qsort(error, count, sizeof *error, ascending);
    printf("   change of a layer's input from token to token: least %.0f%%, median %.0f%%; error "
           "of reuse: least %.0f%%, median %.0f%%\n",
           100 * change[0], 100 * change[count / 2], 100 * error[0], 100 * error[count / 2]);
    free(change), free(error), free(was), free(is);
}

static void pruning(const struct net *x, const struct run *r)
{
    static const double bounds[] = {0.01, 0.05};
    double *part = take(2 * x->ff), *length = take(2 * x->ff);
    puts("3. neuron pruning: of the feed-forward neurons with the least part in the output");
    for (size_t b = 0; b < sizeof bounds / sizeof *bounds; b++) {
        double bounded = 0, alone = 0;
        size_t count = 0;
        for (size_t l = 0; l < x->layers; l++) {
            const struct matrix *down = &x->layer[l].down;
            for (size_t i = 0; i < x->ff; i++) {
                length[i] = 0;
                for (size_t j = 0; j < x->n; j++) {
                    double w = (double)down->w[j * x->ff + i];
                    length[i] += w * w;
                }
            }
            for (size_t t = 0; t < r->tokens; t += 4) {
                const float *h = r->hidden + (t * x->layers + l) * x->ff;
                float *out = take(x->n);
                multiply(down, h, out);
                double size = 0, sum = 0, squares = 0;
                for (size_t j = 0; j < x->n; j++) {
                    size += (double)out[j] * (double)out[j];
                }
                free(out);
                for (size_t i = 0; i < x->ff; i++) {
                    part[i] = fabs((double)h[i]) * sqrt(length[i]);
                }
                qsort(part, x->ff, sizeof *part, ascending);
                size_t sure = 0, likely = 0; // by the triangle inequality; as if at right angles
                for (size_t i = 0; i < x->ff; i++) {
                    sum += part[i];
                    squares += part[i] * part[i];
                    sure += sum <= bounds[b] * sqrt(size);
                    likely += squares <= bounds[b] * bounds[b] * size;
                }
                bounded += (double)sure / (double)x->ff;
                alone += (double)likely / (double)x->ff;
                count++;
            }
        }
        // Only their columns of `down` need not be read: a third of the feed-forward network.
        double third = (double)x->layers * (double)x->ff * (double)x->n / weights(x);
        printf("   error of the output at most %.0f%%: %4.1f%% of neurons (%4.1f%% without a "
               "proof), that is %4.1f%% of the layers' weights\n",
               100 * bounds[b], 100 * bounded / (double)count, 100 * alone / (double)count,
               100 * bounded / (double)count * third);
    }
    free(part), free(length);
}

// Some microseconds of work.
static void tile(void *arg, size_t i, unsigned worker)
{
    (void)i, (void)worker;
    const struct matrix *m = arg;
    float y[64], x[512] = {0};
    struct matrix part = {m->w, 64, m->columns < 512 ? m->columns : 512};
    multiply(&part, x, y);
    __asm__ volatile("" ::"r"(y) : "memory");
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// Seconds a job of `tiles` tiles takes, the best of several measurements.
static double job_time(struct tn_pool *pool, struct matrix *m, size_t tiles)
{
    enum { JOBS = 2000 };
    double best = 1;
    for (int r = 0; r < 15; r++) {
        double begun = seconds();
        for (int i = 0; i < JOBS; i++) {
            pool->run(pool, tile, m, tiles);
        }
        double each = (seconds() - begun) / JOBS;
        best = each < best ? each : best;
    }
    return best;
}

static void scheduling(const struct net *x)
{
    struct tn_pool *pool = tn_pool_threads(2);
    struct matrix m = x->layer[0].q;
    double cost = job_time(pool, &m, 2) - job_time(&tn_pool_single, &m, 1);
    tn_pool_free(pool);
    // q, k and v are one job, gate and up another; what is left is a chain: 9 jobs a layer.
    double jobs = 9.0 * (double)x->layers + 3;
    printf(
        "4. scheduling: beginning and ending a job on 2 threads takes %.2f us; %.0f jobs a step, "
        "each needs the one before: %.3f ms, against %.3f ms for reading the weights once (Q4_0, "
        "60 GB/s)\n",
        cost * 1e6, jobs, cost * jobs * 1e3, weights(x) * 0.5625 / 60e9 * 1e3);
}

static void leaving_early(const struct net *x, const struct run *r)
{
    static const double gates[] = {0.9, 0.99, 0.999};
    float *logits = take(x->vocabulary);
    puts("5. early exit: when the logits behind a layer give one token at least a probability of");
    for (size_t g = 0; g < sizeof gates / sizeof *gates; g++) {
        size_t left = 0, wrong = 0, saved = 0;
        for (size_t t = 0; t < r->tokens; t++) {
            size_t last = greatest(r->logits + t * x->vocabulary, x->vocabulary);
            for (size_t l = 1; l < x->layers; l++) {
                double top;
                logits_of(x, stream_of(x, r, t, l), logits);
                entropy(logits, x->vocabulary, &top);
                if (top >= gates[g]) {
                    left++;
                    saved += x->layers - l;
                    wrong += greatest(logits, x->vocabulary) != last;
                    break;
                }
            }
        }
        double head = (double)x->vocabulary * (double)x->n / (weights(x) / (double)x->layers);
        printf("   %.3f: %5.1f%% of tokens leave, %5.1f%% of layers not run, %5.1f%% of those "
               "another token; a look costs %.2f layers\n",
               gates[g], 100.0 * (double)left / (double)r->tokens,
               100.0 * (double)saved / (double)(r->tokens * x->layers),
               left ? 100.0 * (double)wrong / (double)left : 0, head);
    }
    free(logits);
}

int main(int argc, char **argv)
{
    long tokens = argc > 2 ? strtol(argv[2], NULL, 10) : 128;
    if (argc < 2 || tokens < 2 || tokens > 4096) {
        puts("Usage: techniques MODEL.gguf [TOKENS=128]   (architecture llama)");
        return 2;
    }
    struct stat st;
    struct gguf *g;
    char error[256];
    int fd = open(argv[1], O_RDONLY);
    void *file = fd >= 0 && fstat(fd, &st) == 0
                     ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
                     : MAP_FAILED;
    if (file == MAP_FAILED) {
        fprintf(stderr, "techniques: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    if (gguf_open(file, (size_t)st.st_size, &g, error, sizeof error) != 0) {
        fprintf(stderr, "techniques: %s\n", error);
        return 1;
    }
    struct net x;
    open_net(&x, g);
    int32_t *ids = take((size_t)tokens);
    ids[0] = 1;
    struct run r = forward(&x, ids, (size_t)tokens, true);
    printf("%s: %zu layers, %ld tokens of its own text at temperature 1\n", argv[1], x.layers,
           tokens);
    forwarding(&x, &r);
    pruning(&x, &r);
    scheduling(&x);
    leaving_early(&x, &r);
    cascade(&x, ids, &r);
    return 0;
}
