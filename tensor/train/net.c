/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The llama network forwards and backwards. Each operation's derivative stands in net_back in the
 * opposite order of net_forward; the matrix products carry the shapes.
 */
#include "tensor/train/net.h"

#include "tensor/train/gemm.h"
#include "tensor/train/ops.h"
#include "tensor/train/random.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The tensors of a block, in the order in which they lie in the parameter array. */
enum { ATTN_NORM, WQ, WK, WV, WO, FFN_NORM, WGATE, WUP, WDOWN, BLOCK_TENSORS };

/* Attention is computed for so many queries at a time; later keys are left out. */
enum { QUERIES = 56 };

/* What one block keeps from the way forward: one row a token each. */
struct kept {
    float *x, *inverse1, *h1, *q, *k, *v, *attended, *x2, *inverse2, *h2, *gate, *up, *hidden;
};

struct train_workspace {
    size_t capacity;
    struct kept *kept;             /* one a layer */
    float *x, *inverse, *h;        /* after the last block */
    float *rows, *logits, *d_rows; /* only rows with a target */
    uint32_t *row_of;              /* [capacity] which token such a row belongs to */
    float *scores, *d_scores;      /* QUERIES by context */
    float *d_x, *d_h, *d_q, *d_k, *d_v, *d_attended, *d_gate, *d_up, *d_hidden;
    float *memory;
};

static size_t kv_width(const struct train_shape *s)
{
    return (size_t)s->width / s->heads * s->kv_heads;
}

static void put_tensor(struct train_net *net, size_t rows, size_t columns, const char *name)
{
    struct train_tensor *tensor = &net->tensors[net->tensor_count++];

    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->rows = rows;
    tensor->columns = columns;
    tensor->offset = net->parameters;
    net->parameters += rows * columns;
}

static void put_block(struct train_net *net, unsigned layer)
{
    const struct train_shape *s = &net->shape;
    const size_t kv = kv_width(s), sizes[BLOCK_TENSORS][2] = {
                                       {1, s->width},     {s->width, s->width}, {kv, s->width},
                                       {kv, s->width},    {s->width, s->width}, {1, s->width},
                                       {s->ff, s->width}, {s->ff, s->width},    {s->width, s->ff},
                                   };
    static const char *const names[BLOCK_TENSORS] = {
        "attn_norm", "attn_q",   "attn_k", "attn_v",   "attn_output",
        "ffn_norm",  "ffn_gate", "ffn_up", "ffn_down",
    };
    char name[48];

    for (int i = 0; i < BLOCK_TENSORS; i++) {
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, names[i]);
        put_tensor(net, sizes[i][0], sizes[i][1], name);
    }
}

int train_net_open(struct train_net *net, const struct train_shape *shape)
{
    const struct train_shape *s = shape;
    size_t head;

    memset(net, 0, sizeof *net);
    if (!s->vocab || !s->width || !s->layers || !s->heads || !s->kv_heads || !s->ff ||
        !s->context || s->width % s->heads || s->heads % s->kv_heads || s->width / s->heads % 2)
        return -EINVAL;
    head = s->width / s->heads;
    net->shape = *shape;
    net->tensors = calloc((size_t)s->layers * BLOCK_TENSORS + 3, sizeof *net->tensors);
    net->rope = malloc((size_t)s->context * head * sizeof *net->rope);
    if (!net->tensors || !net->rope) {
        train_net_close(net);
        return -ENOMEM;
    }
    put_tensor(net, s->vocab, s->width, "token_embd.weight");
    for (unsigned i = 0; i < s->layers; i++)
        put_block(net, i);
    put_tensor(net, 1, s->width, "output_norm.weight");
    if (!s->tied)
        put_tensor(net, s->vocab, s->width, "output.weight");
    for (size_t p = 0; p < s->context; p++) {
        for (size_t j = 0; j < head; j += 2) {
            double angle = (double)p * pow((double)s->rope_base, -(double)j / (double)head);

            net->rope[p * head + j] = (float)cos(angle);
            net->rope[p * head + j + 1] = (float)sin(angle);
        }
    }
    return 0;
}

void train_net_close(struct train_net *net)
{
    free(net->tensors);
    free(net->rope);
    memset(net, 0, sizeof *net);
}

/* The place of a block's tensor in the parameter array. */
static size_t at(const struct train_net *net, size_t layer, int which)
{
    return net->tensors[1 + layer * BLOCK_TENSORS + (size_t)which].offset;
}

static size_t output_norm(const struct train_net *net)
{
    return net->tensors[1 + (size_t)net->shape.layers * BLOCK_TENSORS].offset;
}

static size_t output_matrix(const struct train_net *net)
{
    return net->shape.tied ? 0 : net->tensors[net->tensor_count - 1].offset;
}

void train_net_initialise(const struct train_net *net, uint64_t seed, float *parameters)
{
    const double into_residual = 1.0 / sqrt(2.0 * net->shape.layers);

    for (size_t t = 0; t < net->tensor_count; t++) {
        const struct train_tensor *tensor = &net->tensors[t];
        double spread = 0.7 / sqrt((double)tensor->columns);

        if (t == 0 || !strcmp(tensor->name, "output.weight"))
            spread = 0.05;
        else if (strstr(tensor->name, "attn_output") || strstr(tensor->name, "ffn_down"))
            spread *= into_residual;
        for (size_t i = 0; i < tensor->rows * tensor->columns; i++)
            parameters[tensor->offset + i] =
                tensor->rows == 1 ? 1.0f : (float)(spread * train_random_normal(&seed));
    }
}

size_t train_workspace_floats(const struct train_shape *s, size_t capacity)
{
    const size_t w = s->width, kv = kv_width(s), ff = s->ff;
    const size_t a_layer = 5 * w + w + 2 * kv + 3 * ff + 2;

    return capacity *
               (a_layer * s->layers + 2 * w + 1 + 2 * w + s->vocab + 4 * w + 2 * kv + 3 * ff) +
           2 * QUERIES * (size_t)s->context;
}

struct train_workspace *train_workspace_new(const struct train_net *net, size_t capacity)
{
    const struct train_shape *s = &net->shape;
    const size_t w = s->width, kv = kv_width(s), ff = s->ff, c = capacity;
    const size_t total = train_workspace_floats(s, capacity);
    struct train_workspace *ws = calloc(1, sizeof *ws);
    float *next;

    if (!ws)
        return NULL;
    ws->capacity = capacity;
    ws->kept = calloc(s->layers, sizeof *ws->kept);
    ws->row_of = malloc(c * sizeof *ws->row_of);
    ws->memory = malloc(total * sizeof *ws->memory);
    if (!ws->kept || !ws->row_of || !ws->memory) {
        train_workspace_free(ws);
        return NULL;
    }
    next = ws->memory;
#define TAKE(field, size) (ws->field = next, next += (size))
    for (unsigned i = 0; i < s->layers; i++) {
        TAKE(kept[i].x, c * w);
        TAKE(kept[i].inverse1, c);
        TAKE(kept[i].h1, c * w);
        TAKE(kept[i].q, c * w);
        TAKE(kept[i].k, c * kv);
        TAKE(kept[i].v, c * kv);
        TAKE(kept[i].attended, c * w);
        TAKE(kept[i].x2, c * w);
        TAKE(kept[i].inverse2, c);
        TAKE(kept[i].h2, c * w);
        TAKE(kept[i].gate, c * ff);
        TAKE(kept[i].up, c * ff);
        TAKE(kept[i].hidden, c * ff);
    }
    TAKE(x, c * w);
    TAKE(inverse, c);
    TAKE(h, c * w);
    TAKE(rows, c * w);
    TAKE(d_rows, c * w);
    TAKE(logits, c * s->vocab);
    TAKE(d_x, c * w);
    TAKE(d_h, c * w);
    TAKE(d_q, c * w);
    TAKE(d_attended, c * w);
    TAKE(d_k, c * kv);
    TAKE(d_v, c * kv);
    TAKE(d_gate, c * ff);
    TAKE(d_up, c * ff);
    TAKE(d_hidden, c * ff);
    TAKE(scores, QUERIES * (size_t)s->context);
    TAKE(d_scores, QUERIES * (size_t)s->context);
#undef TAKE
    return ws;
}

void train_workspace_free(struct train_workspace *workspace)
{
    if (!workspace)
        return;
    free(workspace->kept);
    free(workspace->row_of);
    free(workspace->memory);
    free(workspace);
}

static struct train_matrix rows_of(const float *data, size_t row)
{
    return (struct train_matrix){data, row, 1};
}

static struct train_matrix turned(const float *data, size_t row)
{
    return (struct train_matrix){data, 1, row};
}

/* y = x W', where W is `out` by `in`; with `add`, y += x W'. */
static void linear(size_t n, size_t in, size_t out, const float *x, const float *w, float *y,
                   int add)
{
    train_gemm(n, out, in, rows_of(x, in), turned(w, in), y, out, add);
}

/* The derivatives of y = x W': d_x = d_y W (or added to it), d_w += d_y' x. */
static void linear_back(size_t n, size_t in, size_t out, const float *x, const float *w,
                        const float *d_y, float *d_x, int add, float *d_w)
{
    train_gemm(n, in, out, rows_of(d_y, out), rows_of(w, in), d_x, in, add);
    train_gemm(out, in, n, turned(d_y, out), rows_of(x, in), d_w, in, 1);
}

/* A block of queries of one head: `rows` tokens that follow `first` others of the sequence. */
struct block {
    size_t rows, first, head;
    size_t q_at, k_at; /* where its queries and the sequence's keys start */
    size_t q_row, k_row;
};

typedef void block_fn(const struct block *block, const struct kept *kept,
                      struct train_workspace *ws);

/* Calls `fn` for every head and every block of queries, in ascending order. */
static void each_block(const struct train_shape *s, const struct train_batch *batch,
                       const struct kept *kept, struct train_workspace *ws, block_fn *fn)
{
    const size_t head = s->width / s->heads, group = s->heads / s->kv_heads;
    struct block block = {.head = head, .q_row = s->width, .k_row = kv_width(s)};

    for (size_t i = 0; i < batch->sequences; i++) {
        const size_t start = batch->starts[i], size = batch->starts[i + 1] - start;

        for (size_t h = 0; h < s->heads; h++) {
            for (block.first = 0; block.first < size; block.first += block.rows) {
                block.rows = size - block.first < QUERIES ? size - block.first : QUERIES;
                block.q_at = (start + block.first) * block.q_row + h * head;
                block.k_at = start * block.k_row + h / group * head;
                fn(&block, kept, ws);
            }
        }
    }
}

/* The attention weights of a block, into the scores of the workspace. */
static void weigh(const struct block *b, const struct kept *kept, struct train_workspace *ws)
{
    const size_t columns = b->first + b->rows;

    train_gemm(b->rows, columns, b->head, rows_of(kept->q + b->q_at, b->q_row),
               turned(kept->k + b->k_at, b->k_row), ws->scores, columns, 0);
    train_softmax_causal(b->rows, b->first, 1.0f / sqrtf((float)b->head), ws->scores);
}

static void attend(const struct block *b, const struct kept *kept, struct train_workspace *ws)
{
    const size_t columns = b->first + b->rows;

    weigh(b, kept, ws);
    train_gemm(b->rows, b->head, columns, rows_of(ws->scores, columns),
               rows_of(kept->v + b->k_at, b->k_row), kept->attended + b->q_at, b->q_row, 0);
}

/* Overwrites d_q and adds to d_k and d_v, from d_attended. */
static void attend_back(const struct block *b, const struct kept *kept, struct train_workspace *ws)
{
    const size_t columns = b->first + b->rows;
    const struct train_matrix d_out = rows_of(ws->d_attended + b->q_at, b->q_row);

    weigh(b, kept, ws);
    train_gemm(columns, b->head, b->rows, turned(ws->scores, columns), d_out, ws->d_v + b->k_at,
               b->k_row, 1);
    train_gemm(b->rows, columns, b->head, d_out, turned(kept->v + b->k_at, b->k_row), ws->d_scores,
               columns, 0);
    train_softmax_causal_back(b->rows, b->first, 1.0f / sqrtf((float)b->head), ws->scores,
                              ws->d_scores);
    train_gemm(b->rows, b->head, columns, rows_of(ws->d_scores, columns),
               rows_of(kept->k + b->k_at, b->k_row), ws->d_q + b->q_at, b->q_row, 0);
    train_gemm(columns, b->head, b->rows, turned(ws->d_scores, columns),
               rows_of(kept->q + b->q_at, b->q_row), ws->d_k + b->k_at, b->k_row, 1);
}

static void forward(const struct train_net *net, const float *p, const struct train_batch *batch,
                    struct train_workspace *ws)
{
    const struct train_shape *s = &net->shape;
    const size_t n = batch->tokens, w = s->width, kv = kv_width(s), ff = s->ff;
    const size_t head = w / s->heads;

    for (size_t i = 0; i < n; i++)
        memcpy(ws->kept[0].x + i * w, p + batch->token[i] * w, w * sizeof(float));
    for (size_t l = 0; l < s->layers; l++) {
        const struct kept *a = &ws->kept[l];
        float *next = l + 1 < s->layers ? ws->kept[l + 1].x : ws->x;

        train_rmsnorm(n, w, a->x, p + at(net, l, ATTN_NORM), s->epsilon, a->h1, a->inverse1);
        linear(n, w, w, a->h1, p + at(net, l, WQ), a->q, 0);
        linear(n, w, kv, a->h1, p + at(net, l, WK), a->k, 0);
        linear(n, w, kv, a->h1, p + at(net, l, WV), a->v, 0);
        train_rope(n, s->heads, head, batch->position, net->rope, 1, a->q);
        train_rope(n, s->kv_heads, head, batch->position, net->rope, 1, a->k);
        each_block(s, batch, a, ws, attend);
        memcpy(a->x2, a->x, n * w * sizeof(float));
        linear(n, w, w, a->attended, p + at(net, l, WO), a->x2, 1);

        train_rmsnorm(n, w, a->x2, p + at(net, l, FFN_NORM), s->epsilon, a->h2, a->inverse2);
        linear(n, w, ff, a->h2, p + at(net, l, WGATE), a->gate, 0);
        linear(n, w, ff, a->h2, p + at(net, l, WUP), a->up, 0);
        train_swiglu(n * ff, a->gate, a->up, a->hidden);
        memcpy(next, a->x2, n * w * sizeof(float));
        linear(n, ff, w, a->hidden, p + at(net, l, WDOWN), next, 1);
    }
    train_rmsnorm(n, w, ws->x, p + output_norm(net), s->epsilon, ws->h, ws->inverse);
}

static void backward(const struct train_net *net, const float *p, const struct train_batch *batch,
                     float *g, struct train_workspace *ws)
{
    const struct train_shape *s = &net->shape;
    const size_t n = batch->tokens, w = s->width, kv = kv_width(s), ff = s->ff;
    const size_t head = w / s->heads;

    for (size_t l = s->layers; l-- > 0;) {
        const struct kept *a = &ws->kept[l];

        linear_back(n, ff, w, a->hidden, p + at(net, l, WDOWN), ws->d_x, ws->d_hidden, 0,
                    g + at(net, l, WDOWN));
        train_swiglu_back(n * ff, a->gate, a->up, ws->d_hidden, ws->d_gate, ws->d_up);
        linear_back(n, w, ff, a->h2, p + at(net, l, WUP), ws->d_up, ws->d_h, 0,
                    g + at(net, l, WUP));
        linear_back(n, w, ff, a->h2, p + at(net, l, WGATE), ws->d_gate, ws->d_h, 1,
                    g + at(net, l, WGATE));
        train_rmsnorm_back(n, w, a->x2, p + at(net, l, FFN_NORM), a->inverse2, ws->d_h, ws->d_x,
                           g + at(net, l, FFN_NORM));

        linear_back(n, w, w, a->attended, p + at(net, l, WO), ws->d_x, ws->d_attended, 0,
                    g + at(net, l, WO));
        memset(ws->d_k, 0, n * kv * sizeof(float));
        memset(ws->d_v, 0, n * kv * sizeof(float));
        each_block(s, batch, a, ws, attend_back);
        train_rope(n, s->heads, head, batch->position, net->rope, -1, ws->d_q);
        train_rope(n, s->kv_heads, head, batch->position, net->rope, -1, ws->d_k);
        linear_back(n, w, w, a->h1, p + at(net, l, WQ), ws->d_q, ws->d_h, 0, g + at(net, l, WQ));
        linear_back(n, w, kv, a->h1, p + at(net, l, WK), ws->d_k, ws->d_h, 1, g + at(net, l, WK));
        linear_back(n, w, kv, a->h1, p + at(net, l, WV), ws->d_v, ws->d_h, 1, g + at(net, l, WV));
        train_rmsnorm_back(n, w, a->x, p + at(net, l, ATTN_NORM), a->inverse1, ws->d_h, ws->d_x,
                           g + at(net, l, ATTN_NORM));
    }
    for (size_t i = 0; i < n; i++)
        train_add(w, ws->d_x + i * w, g + batch->token[i] * w);
}

struct train_result train_net_run(const struct train_net *net, const float *parameters,
                                  const struct train_batch *batch, float scale, float *gradient,
                                  uint32_t *best, struct train_workspace *ws)
{
    const struct train_shape *s = &net->shape;
    const size_t w = s->width;
    const float *out = parameters + output_matrix(net);
    struct train_result result = {0, 0};
    size_t rows = 0;

    forward(net, parameters, batch, ws);
    for (size_t i = 0; i < batch->tokens; i++) {
        if (batch->target[i] < 0)
            continue;
        memcpy(ws->rows + rows * w, ws->h + i * w, w * sizeof(float));
        ws->row_of[rows++] = (uint32_t)i;
    }
    linear(rows, w, s->vocab, ws->rows, out, ws->logits, 0);
    for (size_t i = 0; i < rows; i++) {
        const uint32_t token = ws->row_of[i];
        uint32_t top;

        result.loss += (double)train_cross_entropy(s->vocab, (uint32_t)batch->target[token], scale,
                                                   ws->logits + i * s->vocab, &top);
        if (best)
            best[token] = top;
    }
    result.targets = (uint32_t)rows;
    if (!gradient)
        return result;

    linear_back(rows, w, s->vocab, ws->rows, out, ws->logits, ws->d_rows, 0,
                gradient + output_matrix(net));
    memset(ws->d_h, 0, batch->tokens * w * sizeof(float));
    for (size_t i = 0; i < rows; i++)
        memcpy(ws->d_h + ws->row_of[i] * w, ws->d_rows + i * w, w * sizeof(float));
    memset(ws->d_x, 0, batch->tokens * w * sizeof(float));
    train_rmsnorm_back(batch->tokens, w, ws->x, parameters + output_norm(net), ws->inverse, ws->d_h,
                       ws->d_x, gradient + output_norm(net));
    backward(net, parameters, batch, gradient, ws);
    return result;
}
