// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Mixtures of experts. A token and one of its experts is a pair; pairs are put in the order of
// experts, so that each expert's networks run as products over neighbouring columns, as wide as
// the step allows. A token's results are summed in the order in which it chose. So the bits depend
// on the token alone. Source: Shazeer et al. 2017 and the `_exps` tensors of GGUF.
#include "tensor/core/math.h"
#include "tensor/cpu/product.h"

#include <string.h>

enum { TOKENS_TOGETHER = 16, ROUND_BYTES = 32 << 20 };

// A round: as many tokens as the memory holds the pairs of.
struct round {
    struct tn_executor *x;
    const struct ir_op *op;
    const struct ir_experts *e;
    const float *in, *router;
    float *out;
    size_t tokens, pairs;
    // Of the products under way.
    const struct ir_matrix *matrix[2];
    const float *bias[2];
    size_t tile_rows;
    float *result;  // [pair][rows]
    bool onto_gate; // result holds the gate already
};

// ---- memory ------------------------------------------------------------------------------------

static size_t pairs_of(const struct ir_experts *e, size_t tokens)
{
    size_t bytes = (e->up.rows + e->down.rows) * sizeof(float) * e->used;
    size_t fit = ROUND_BYTES / bytes;
    fit = fit < TN_PANEL_COLUMNS ? TN_PANEL_COLUMNS : fit;
    return (tokens < fit ? tokens : fit) * e->used;
}

size_t tn_experts_columns(const struct tn_executor *x)
{
    size_t most = 0;
    for (uint32_t i = 0; i < x->graph->op_count; i++) {
        const struct ir_experts *e = x->graph->ops[i].experts;
        size_t pairs = e ? pairs_of(e, x->options.max_tokens) : 0;
        most = pairs > most ? pairs : most;
    }
    return most;
}

static void grow(size_t *most, size_t n)
{
    *most = n > *most ? n : *most;
}

void tn_experts_carve(struct tn_executor *x, struct tn_arena *a)
{
    size_t pairs = tn_experts_columns(x), count = 0, hidden = 0, results = 0, gathered = 0;
    if (pairs == 0) {
        return;
    }
    for (uint32_t i = 0; i < x->graph->op_count; i++) {
        const struct ir_experts *e = x->graph->ops[i].experts;
        if (!e) {
            continue;
        }
        size_t n = pairs_of(e, x->options.max_tokens);
        grow(&count, e->count);
        grow(&hidden, n * e->up.rows);
        grow(&results, n * e->down.rows);
        if (tn_columns_kind_of(e->up.type) == TN_COLUMNS_FLOAT ||
            (e->gate.data && tn_columns_kind_of(e->gate.type) == TN_COLUMNS_FLOAT)) {
            grow(&gathered, n * e->up.columns);
        }
    }
    struct tn_experts_memory *m = &x->experts;
    m->chosen = tn_arena_take(a, pairs * sizeof *m->chosen);
    m->weight = tn_arena_take(a, pairs * sizeof *m->weight);
    m->token = tn_arena_take(a, pairs * sizeof *m->token);
    m->place = tn_arena_take(a, pairs * sizeof *m->place);
    m->first = tn_arena_take(a, (count + 1) * sizeof *m->first);
    m->first_tile = tn_arena_take(a, (count + 1) * sizeof *m->first_tile);
    m->scores = tn_arena_take(a, x->options.pool->width * count * 2 * sizeof *m->scores);
    m->hidden = tn_arena_take(a, hidden * sizeof *m->hidden);
    m->results = tn_arena_take(a, results * sizeof *m->results);
    m->gathered = tn_arena_take(a, gathered * sizeof *m->gathered);
    m->most_experts = count;
}

// ---- choosing ----------------------------------------------------------------------------------

// exp(x - greatest) of all, divided by their sum.
static void softmax(float *x, size_t n)
{
    float greatest = x[0];
    double total = 0;
    for (size_t i = 1; i < n; i++) {
        greatest = x[i] > greatest ? x[i] : greatest;
    }
    for (size_t i = 0; i < n; i++) {
        double v = tn_exp((double)x[i] - (double)greatest);
        x[i] = (float)v;
        total += v;
    }
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)((double)x[i] / total);
    }
}

// The experts of one token, the best first, of equals the first; and their weights.
static void choose(const struct ir_experts *e, const float *router, float *score, float *rank,
                   uint32_t *chosen, float *weight)
{
    memcpy(score, router, e->count * sizeof *score);
    if (e->sigmoid) {
        for (size_t i = 0; i < e->count; i++) {
            score[i] = (float)(1.0 / (1.0 + tn_exp(-(double)score[i])));
        }
    } else if (!e->softmax_chosen) {
        softmax(score, e->count);
    }
    for (size_t i = 0; i < e->count; i++) {
        rank[i] = score[i] + (e->choice_bias ? e->choice_bias[i] : 0);
    }
    for (uint32_t u = 0; u < e->used; u++) {
        uint32_t best = e->count;
        for (uint32_t i = 0; i < e->count; i++) {
            bool taken = false; // a NaN is never greater, but takes its turn
            for (uint32_t j = 0; j < u && !taken; j++) {
                taken = chosen[j] == i;
            }
            if (!taken && (best == e->count || rank[i] > rank[best])) {
                best = i;
            }
        }
        chosen[u] = best;
        weight[u] = score[best];
    }
    if (e->softmax_chosen) {
        softmax(weight, e->used);
    }
    float sum = 0;
    for (uint32_t u = 0; u < e->used; u++) {
        sum += weight[u];
    }
    sum = sum > 6.103515625e-5f ? sum : 6.103515625e-5f; // the least normal f16, as elsewhere
    for (uint32_t u = 0; u < e->used; u++) {
        weight[u] = e->normalised ? weight[u] / sum : weight[u];
        weight[u] *= e->weight_scale;
    }
}

static void choose_tile(void *arg, size_t i, unsigned worker)
{
    const struct round *r = arg;
    const struct tn_experts_memory *m = &r->x->experts;
    float *score = m->scores + worker * m->most_experts * 2, *rank = score + m->most_experts;
    size_t used = r->e->used, first = i * TOKENS_TOGETHER;
    for (size_t t = first; t < r->tokens && t < first + TOKENS_TOGETHER; t++) {
        choose(r->e, r->router + t * r->e->count, score, rank, m->chosen + t * used,
               m->weight + t * used);
    }
}

// Pairs in the order of experts, then tokens: m->token of each place, m->place of each pair.
static void put_in_order(const struct round *r)
{
    struct tn_experts_memory *m = &r->x->experts;
    memset(m->first, 0, (r->e->count + 1) * sizeof *m->first);
    for (size_t p = 0; p < r->pairs; p++) {
        m->first[m->chosen[p] + 1]++;
    }
    for (size_t i = 0; i < r->e->count; i++) {
        m->first[i + 1] += m->first[i];
    }
    for (size_t p = 0; p < r->pairs; p++) {
        uint32_t place = m->first[m->chosen[p]]++;
        m->place[p] = place;
        m->token[place] = (uint32_t)(p / r->e->used);
    }
    for (size_t i = r->e->count; i > 0; i--) { // they moved on by their counts
        m->first[i] = m->first[i - 1];
    }
    m->first[0] = 0;
}

// ---- products ----------------------------------------------------------------------------------

static struct ir_matrix expert_matrix(const struct ir_matrix *all, size_t expert)
{
    struct ir_matrix m = *all;
    size_t rows = m.type & TN_PACKED ? (m.rows + 15u) / 16 * 16 : m.rows;
    m.data += expert * rows * m.row_bytes;
    return m;
}

static void product_tile(void *arg, size_t i, unsigned worker)
{
    const struct round *r = arg;
    struct tn_executor *x = r->x;
    const struct tn_experts_memory *m = &x->experts;
    const size_t height = r->matrix[0]->rows;
    size_t low = 0, high = r->e->count; // the expert: first_tile[low] <= i < first_tile[low + 1]
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        *(m->first_tile[middle] <= i ? &low : &high) = middle;
    }
    i -= m->first_tile[low];
    size_t columns = m->first[low + 1] - m->first[low];
    size_t chunks = (columns + x->input.chunk - 1) / x->input.chunk;
    size_t from = i % chunks * x->input.chunk, row = i / chunks * r->tile_rows;
    columns = columns - from < x->input.chunk ? columns - from : x->input.chunk;
    size_t rows = height - row < r->tile_rows ? height - row : r->tile_rows;
    from += m->first[low];

    float *const *tile = x->workers[worker].tile;
    for (int j = 0; j < 2 && r->matrix[j]; j++) {
        struct ir_matrix own = expert_matrix(r->matrix[j], low);
        tn_multiply_tile(x, worker,
                         &(struct tn_tile){.matrix = &own,
                                           .row = row,
                                           .rows = rows,
                                           .column = from,
                                           .columns = columns,
                                           .out = tile[j],
                                           .stride = r->tile_rows});
        for (size_t c = 0; r->bias[j] && c < columns; c++) {
            const float *bias = r->bias[j] + low * height + row;
            for (size_t k = 0; k < rows; k++) {
                tile[j][c * r->tile_rows + k] += bias[k];
            }
        }
    }
    for (size_t c = 0; c < columns; c++) {
        float *t = tile[0] + c * r->tile_rows, *to = r->result + (from + c) * height + row;
        if (r->onto_gate) {
            x->row_kernels->gate(r->e->activation, to, t, rows);
            continue;
        }
        if (r->matrix[1]) {
            x->row_kernels->gate(r->e->activation, t, tile[1] + c * r->tile_rows, rows);
        }
        memcpy(to, t, rows * sizeof *to);
    }
}

// r->result = the experts' matrices times the input prepared.
static void run_products(struct round *r)
{
    struct tn_executor *x = r->x;
    struct tn_experts_memory *m = &x->experts;
    uint32_t most = 0, tiles = 0;
    for (size_t i = 0; i < r->e->count; i++) {
        uint32_t columns = m->first[i + 1] - m->first[i];
        most = columns > most ? columns : most;
    }
    r->tile_rows = most < TN_PANEL_COLUMNS ? 128 : 32;
    uint32_t row_tiles = (uint32_t)((r->matrix[0]->rows + r->tile_rows - 1) / r->tile_rows);
    for (size_t i = 0; i < r->e->count; i++) {
        uint32_t columns = m->first[i + 1] - m->first[i];
        m->first_tile[i] = tiles;
        tiles += (uint32_t)((columns + x->input.chunk - 1) / x->input.chunk) * row_tiles;
    }
    m->first_tile[r->e->count] = tiles;
    x->options.pool->run(x->options.pool, product_tile, r, tiles);
}

static void gather_tile(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    const struct round *r = arg;
    const struct tn_experts_memory *m = &r->x->experts;
    size_t k = r->e->up.columns;
    memcpy(m->gathered + i * k, r->in + m->token[i] * k, k * sizeof(float));
}

// The tokens of the pairs, ready for weights of `type`.
static void prepare_tokens(struct round *r, uint32_t type)
{
    struct tn_executor *x = r->x;
    struct tn_experts_memory *m = &x->experts;
    if (tn_columns_kind_of(type) != TN_COLUMNS_FLOAT) {
        tn_prepare_input(x, NULL, r->in, m->token, r->pairs, r->e->up.columns, type);
        return;
    }
    x->options.pool->run(x->options.pool, gather_tile, r, r->pairs);
    tn_prepare_input(x, NULL, m->gathered, NULL, r->pairs, r->e->up.columns, type);
}

static void gate_and_up(struct round *r)
{
    const struct ir_experts *e = r->e;
    r->result = r->x->experts.hidden;
    r->onto_gate = false;
    prepare_tokens(r, e->gate.type);
    r->matrix[0] = &e->gate;
    r->bias[0] = e->gate_bias;
    r->matrix[1] = &e->up;
    r->bias[1] = e->up_bias;
    if (tn_columns_kind_of(e->gate.type) != tn_columns_kind_of(e->up.type)) {
        r->matrix[1] = NULL;
        run_products(r);
        prepare_tokens(r, e->up.type);
        r->matrix[0] = &e->up;
        r->bias[0] = e->up_bias;
        r->onto_gate = true;
    }
    run_products(r);
}

static void down(struct round *r)
{
    struct tn_experts_memory *m = &r->x->experts;
    tn_prepare_input(r->x, NULL, m->hidden, NULL, r->pairs, r->e->down.columns, r->e->down.type);
    r->matrix[0] = &r->e->down;
    r->bias[0] = r->e->down_bias;
    r->matrix[1] = NULL;
    r->result = m->results;
    r->onto_gate = false;
    run_products(r);
}

// out = sum over a token's experts, in the order chosen, of weight * result.
static void mix_tile(void *arg, size_t t, unsigned worker)
{
    (void)worker;
    const struct round *r = arg;
    const struct tn_experts_memory *m = &r->x->experts;
    size_t width = r->e->down.rows, used = r->e->used;
    float *out = r->out + t * width;
    for (size_t u = 0; u < used; u++) {
        const float *result = m->results + m->place[t * used + u] * width;
        float weight = m->weight[t * used + u];
        for (size_t i = 0; i < width; i++) {
            out[i] = u ? out[i] + weight * result[i] : weight * result[i];
        }
    }
}

void tn_run_experts(struct tn_executor *x, const struct ir_op *op)
{
    const struct ir_experts *e = op->experts;
    struct tn_pool *pool = x->options.pool;
    size_t tokens = tn_rows_of(x, x->graph->values[op->in[0]].rows), at = 0;
    size_t together = pairs_of(e, x->options.max_tokens) / e->used;
    for (struct round r = {.x = x, .op = op, .e = e}; at < tokens; at += r.tokens) {
        r.tokens = tokens - at < together ? tokens - at : together;
        r.pairs = r.tokens * e->used;
        r.in = tn_value(x, op->in[0]) + at * e->up.columns;
        r.router = tn_value(x, op->in[1]) + at * e->count;
        r.out = tn_value(x, op->out) + at * e->down.rows;
        pool->run(pool, choose_tile, &r, (r.tokens + TOKENS_TOGETHER - 1) / TOKENS_TOGETHER);
        put_in_order(&r);
        gate_and_up(&r);
        down(&r);
        pool->run(pool, mix_tile, &r, r.tokens);
    }
    x->input_value = 0;
}
