// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Tiled attention: scores of a whole split first, then weights, then the mix, each a block product
// over one page at a time (as in flash attention; Dao et al. 2022, section 3.1, with the tiles of
// keys fixed by position). Promises: attention.h.
#include "tensor/cpu/attention.h"

#include "tensor/cpu/executor.h"
#include "tensor/cpu/kv.h"

#include <string.h>

enum {
    PAGE = TN_KV_PAGE_TOKENS,
    SPLIT = TN_SPLIT_TOKENS,
    SCORE_STRIDE = SPLIT + 16, // not a power of two: rows must not share cache sets
    MOST_QUERIES = 64,
    MOST_WORK = 1 << 27, // multiply-adds of one tile, roughly
    QUERY_STEP = 8,      // tiles leave out queries in steps of a register block
    MOST_PART_FLOATS = 1 << 20,
    LEAST_SHARED_WORK = 1 << 17, // multiply-adds below which waking other workers costs more
};

static size_t padded(size_t dim)
{
    return (dim + 15) & ~(size_t)15;
}

// Emulators compute slowly: smaller tiles keep them short (DESIGN decision 8).
static size_t most_queries(enum tn_isa isa, size_t dim)
{
    return isa == TN_ISA_SCALAR ? 8 : dim <= 128 ? MOST_QUERIES : MOST_QUERIES / 2;
}

static size_t splits_of(size_t positions)
{
    return (positions + SPLIT - 1) / SPLIT;
}

// ---- memory ------------------------------------------------------------------------------------

static size_t worker_floats(size_t queries, size_t dim)
{
    return queries * (dim + SCORE_STRIDE + 2 * padded(dim)) + PAGE * padded(dim);
}

static size_t part_floats(size_t dim)
{
    return padded(dim) + 16; // greatest, sum; then the mixed values
}

void tn_attention_carve(struct tn_attention_memory *m, const struct tn_attention_limits *l,
                        struct tn_arena *a)
{
    size_t group = l->heads / l->kv_heads, queries = most_queries(l->isa, l->dim);
    size_t tiles_a_token = (group + QUERY_STEP - 1) / QUERY_STEP, splits = splits_of(l->context);
    m->tiles = tn_arena_take(a, l->max_tokens * tiles_a_token * sizeof *m->tiles);
    m->runs = tn_arena_take(a, l->max_tokens * sizeof *m->runs);
    m->workers = tn_arena_take(a, l->width * sizeof *m->workers);
    for (unsigned i = 0; i < l->width; i++) {
        float *scratch = tn_arena_take(a, worker_floats(queries, l->dim) * sizeof(float));
        if (m->workers) {
            m->workers[i] = scratch;
        }
    }
    m->part_count = 0;
    if (l->width > 1 && splits > 1) {
        m->part_count = 2 * l->width * splits * (group < queries ? group : queries);
        size_t most = MOST_PART_FLOATS / part_floats(l->dim);
        m->part_count = m->part_count < most ? m->part_count : most;
    }
    m->parts = tn_arena_take(a, m->part_count * part_floats(l->dim) * sizeof(float));
}

// ---- binding a step ----------------------------------------------------------------------------

// Queries of a tile that may see so many positions: fewer where there are many, so that a tile's
// time stays bounded (DESIGN decision 8).
static uint32_t queries_of(const struct tn_executor *x, size_t positions)
{
    size_t dim = x->graph->head_dim, queries = most_queries(x->options.isa, dim);
    while (queries > QUERY_STEP && queries * positions * 2 * dim > MOST_WORK) {
        queries /= 2;
    }
    return (uint32_t)queries;
}

static void add_runs(struct tn_attention_memory *m, const struct tn_step_sequence *s, uint32_t row)
{
    for (uint32_t done = 0; done < s->token_count;) {
        uint32_t position = s->position + done, place = position % PAGE;
        uint32_t left = s->token_count - done, space = PAGE - place;
        uint32_t count = left < space ? left : space;
        m->runs[m->run_count++] =
            (struct tn_page_run){row + done, s->kv_pages[position / PAGE], place, count};
        done += count;
    }
}

void tn_attention_bind(struct tn_executor *x)
{
    struct tn_attention_memory *m = &x->attention;
    const struct ir_graph *g = x->graph;
    uint32_t group = g->heads / g->kv_heads;
    m->tile_count = 0;
    m->run_count = 0;
    for (uint32_t row = 0; row < x->row_count;) {
        uint32_t sequence = x->rows[row].sequence;
        const struct tn_step_sequence *s = &x->sequences[sequence];
        uint32_t all = s->token_count * group;
        uint32_t queries = queries_of(x, s->position + s->token_count);
        for (uint32_t first = 0; first < all; first += queries) {
            uint32_t count = all - first < queries ? all - first : queries;
            m->tiles[m->tile_count++] = (struct tn_query_tile){sequence, row, first, count};
        }
        add_runs(m, s, row);
        row += s->token_count;
    }
}

// ---- one tile ----------------------------------------------------------------------------------

struct job {
    struct tn_executor *x;
    const struct ir_op *op;
    const float *queries; // or keys
    float *out;           // or values
    size_t group, dim, padded, columns;
    size_t splits; // of the longest sequence, when splits are worked on one by one
};

struct tile {
    const struct job *job;
    const struct tn_query_tile *t;
    const struct tn_step_sequence *sequence;
    const uint8_t *kv; // this layer's and head's block in page 0
    size_t head;       // KV head
    // Scratch: queries [count][dim], scores [count][SCORE_STRIDE], this split's mix and the mix so
    // far [count][padded], a page in floats.
    float *queries, *scores, *mixed, *sum, *page;
    uint32_t from[MOST_QUERIES], to[MOST_QUERIES];     // positions that each query sees
    float greatest[MOST_QUERIES], total[MOST_QUERIES]; // of the split
};

static void see(struct tile *t, size_t i)
{
    const struct ir_attention *a = &t->job->op->attention;
    uint32_t token = (t->t->first + (uint32_t)i) / (uint32_t)t->job->group;
    uint32_t position = t->sequence->position + token;
    t->to[i] = a->everywhere ? t->sequence->position + t->sequence->token_count : position + 1;
    t->from[i] = a->window && position + 1 > a->window ? position + 1 - a->window : 0;
}

// One head of a row of the step, normed and turned if the operation says so.
static void load_head(const struct job *j, const float *in, size_t row, float *out)
{
    const struct tn_row_kernels *k = j->x->row_kernels;
    const struct ir_op *op = j->op;
    size_t turned = op->rope ? op->rope->rotated : 0;
    if (op->vector[0]) {
        k->rms_norm(out, in, op->vector[0], j->dim, op->number);
        in = out;
    } else if (turned < j->dim) {
        memcpy(out + turned, in + turned, (j->dim - turned) * sizeof *out);
    }
    if (turned) {
        (op->rope->split_halves ? k->turn_halves : k->turn_neighbours)(
            out, in, tn_turns(j->x, op->rope, row), turned / 2);
    }
}

static const float *query_row(const struct tile *t, size_t i, const float *value)
{
    size_t group = t->job->group, at = t->t->first + i;
    return value + (t->t->row + at / group) * t->job->columns +
           (t->head * group + at % group) * t->job->dim;
}

static void begin_tile(struct tile *t, const struct job *j, size_t tile, size_t head,
                       unsigned worker)
{
    struct tn_executor *x = j->x;
    t->job = j;
    t->t = &x->attention.tiles[tile];
    t->head = head;
    t->sequence = &x->sequences[t->t->sequence];
    t->kv = tn_kv_layer(x, t->sequence, j->op->layer) + head * x->kv_head_bytes;
    size_t count = t->t->count, dim = j->dim;
    t->page = x->attention.workers[worker];
    t->mixed = t->page + PAGE * j->padded;
    t->sum = t->mixed + count * j->padded;
    t->scores = t->sum + count * j->padded;
    t->queries = t->scores + count * SCORE_STRIDE;
    for (size_t i = 0; i < count; i++) {
        see(t, i);
        size_t row = t->t->row + (t->t->first + i) / j->group;
        load_head(j, query_row(t, i, j->queries), row, t->queries + i * dim);
    }
}

// Queries [*first, *last) see something of positions [from, to); all beyond them do not.
static bool who_sees(const struct tile *t, uint32_t from, uint32_t to, size_t *first, size_t *last)
{
    size_t a = 0, b = t->t->count;
    while (a < b && t->to[a] <= from) {
        a++;
    }
    while (b > a && t->from[b - 1] >= to) {
        b--;
    }
    *first = a & ~(size_t)(QUERY_STEP - 1);
    *last = b;
    return a < b;
}

// Whether a page goes to few rows directly: if they fit in at most two groups of a power of two.
static bool directly(const struct tile *t, size_t rows)
{
    const struct job *j = t->job;
    return j->x->options.kv_type != TN_F32 && rows <= j->x->row_kernels->direct_rows &&
           __builtin_popcountll(rows) <= 2;
}

// How many queries from `first` on to work on at once: all that see up to `to`, or one step of
// those that see less, so that little is computed that none of them sees.
static size_t same_view(const struct tile *t, size_t first, size_t last, uint32_t to)
{
    size_t all = last - first;
    return t->to[first] >= to || all < QUERY_STEP ? all : QUERY_STEP;
}

static void score_page(struct tile *t, uint32_t page, uint32_t begin)
{
    const struct job *j = t->job;
    const struct tn_row_kernels *k = j->x->row_kernels;
    uint32_t kv_type = j->x->options.kv_type;
    size_t first, last;
    if (!who_sees(t, page * PAGE, (page + 1) * PAGE, &first, &last)) {
        return;
    }
    const uint8_t *keys = t->kv + t->sequence->kv_pages[page] * j->x->kv_page_bytes;
    const float *floats = (const float *)(const void *)keys;
    float *scores = t->scores + first * SCORE_STRIDE + (page * PAGE - begin);
    if (directly(t, last - first)) {
        k->score_direct(&(struct tn_page_product){.kv_type = kv_type,
                                                  .page = keys,
                                                  .a = t->queries + first * j->dim,
                                                  .a_stride = j->dim,
                                                  .c = scores,
                                                  .c_stride = SCORE_STRIDE,
                                                  .rows = last - first,
                                                  .dim = j->dim});
        return;
    }
    if (kv_type != TN_F32) {
        k->keys_to_floats(kv_type, keys, j->dim, t->page);
        floats = t->page;
    }
    for (size_t i = first, rows; i < last; i += rows) {
        rows = same_view(t, i, last, (page + 1) * PAGE);
        k->block_product(&(struct tn_block_product){
            .a = t->queries + i * j->dim,
            .a_stride = j->dim,
            .b = floats,
            .b_stride = PAGE,
            .c = scores + (i - first) * SCORE_STRIDE,
            .c_stride = SCORE_STRIDE,
            .rows = rows,
            .depth = j->dim,
            .columns = t->to[i + rows - 1] <= page * PAGE + PAGE / 2 ? PAGE / 2 : PAGE,
        });
    }
}

static void mix_page(struct tile *t, uint32_t page, uint32_t begin)
{
    const struct job *j = t->job;
    const struct tn_row_kernels *k = j->x->row_kernels;
    uint32_t kv_type = j->x->options.kv_type, from = page * PAGE, to = from + PAGE;
    size_t first, last;
    if (!who_sees(t, from, to, &first, &last)) {
        return;
    }
    const uint8_t *values = t->kv + t->sequence->kv_pages[page] * j->x->kv_page_bytes +
                            tn_kv_part_bytes(kv_type, j->dim);
    const float *floats = (const float *)(const void *)values;
    // What no query here sees may never have been written.
    to = t->to[last - 1] < to ? t->to[last - 1] : to;
    uint32_t skipped = t->from[first] > from ? t->from[first] - from : 0;
    const float *weights = t->scores + first * SCORE_STRIDE + (from + skipped - begin);
    if (directly(t, last - first)) {
        k->mix_direct(&(struct tn_page_product){.kv_type = kv_type,
                                                .page = values,
                                                .a = weights,
                                                .a_stride = SCORE_STRIDE,
                                                .c = t->mixed + first * j->padded,
                                                .c_stride = j->padded,
                                                .rows = last - first,
                                                .dim = j->dim,
                                                .first = skipped,
                                                .count = to - from - skipped});
        return;
    }
    if (kv_type != TN_F32 || j->dim != j->padded) {
        k->values_to_floats(kv_type, values, j->dim, to - from, j->padded, t->page);
        floats = t->page;
    }
    for (size_t i = first, rows; i < last; i += rows) {
        rows = same_view(t, i, last, to);
        uint32_t end = t->to[i + rows - 1] < to ? t->to[i + rows - 1] : to;
        k->block_product(&(struct tn_block_product){
            .a = weights + (i - first) * SCORE_STRIDE,
            .a_stride = SCORE_STRIDE,
            .b = floats + skipped * j->padded,
            .b_stride = j->padded,
            .c = t->mixed + i * j->padded,
            .c_stride = j->padded,
            .rows = rows,
            .depth = end - from - skipped,
            .columns = j->padded,
            .add = true,
        });
    }
}

static size_t clamp(uint32_t position, uint32_t begin)
{
    return position <= begin ? 0 : position - begin < SPLIT ? position - begin : SPLIT;
}

// Greatest scores, sums and mixes of one split for all queries of the tile.
static void run_split(struct tile *t, size_t split)
{
    const struct job *j = t->job;
    const struct ir_attention *a = &j->op->attention;
    size_t count = t->t->count;
    uint32_t begin = (uint32_t)(split * SPLIT), end = begin + SPLIT;
    uint32_t from = t->from[0] > begin ? t->from[0] : begin;
    uint32_t to = t->to[count - 1] < end ? t->to[count - 1] : end;
    for (uint32_t page = from / PAGE; page * PAGE < to; page++) {
        score_page(t, page, begin);
    }
    size_t first = (from - begin) / PAGE * PAGE, last = (to - begin + 15) & ~(size_t)15;
    for (size_t i = 0; i < count; i++) {
        t->greatest[i] = j->x->row_kernels->weigh(t->scores + i * SCORE_STRIDE, first, last,
                                                  clamp(t->from[i], begin), clamp(t->to[i], begin),
                                                  a->scale, a->softcap, &t->total[i]);
    }
    memset(t->mixed, 0, count * j->padded * sizeof(float));
    for (uint32_t page = from / PAGE; page * PAGE < to; page++) {
        mix_page(t, page, begin);
    }
}

static bool tile_sees(const struct tile *t, size_t split)
{
    return t->from[0] < (split + 1) * SPLIT && t->to[t->t->count - 1] > split * SPLIT;
}

// What one query has taken in so far.
struct taken {
    float greatest, total;
};

static void take_in(const struct job *j, struct taken *so_far, float *sum, float greatest,
                    float total, const float *mixed)
{
    const float nothing = -__builtin_inff();
    if (greatest == nothing) {
        return; // the query sees none of this split
    }
    const struct tn_row_kernels *k = j->x->row_kernels;
    float next = so_far->greatest > greatest ? so_far->greatest : greatest;
    float old = k->exponential(so_far->greatest - next), new = k->exponential(greatest - next);
    so_far->total = so_far->total * old + total * new;
    so_far->greatest = next;
    k->combine(sum, old, mixed, new, j->padded);
}

static void finish(const struct tile *t, size_t i, struct taken so_far, float *sum)
{
    const struct job *j = t->job;
    const struct tn_row_kernels *k = j->x->row_kernels;
    const float *sinks = j->op->attention.sinks;
    float *out = j->out + (query_row(t, i, j->queries) - j->queries);
    if (sinks) {
        float sink = sinks[t->head * j->group + (t->t->first + i) % j->group];
        float next = so_far.greatest > sink ? so_far.greatest : sink;
        float old = k->exponential(so_far.greatest - next);
        so_far.total = so_far.total * old + k->exponential(sink - next);
        k->combine(sum, old, sum, 0, j->padded);
    }
    k->divide(out, sum, so_far.total, j->dim);
}

static void run_tile(void *arg, size_t i, unsigned worker)
{
    const struct job *j = arg;
    size_t tiles = j->x->attention.tile_count;
    struct tile t;
    begin_tile(&t, j, tiles - 1 - i % tiles, i / tiles, worker); // the longest ones first
    size_t count = t.t->count, splits = splits_of(t.to[count - 1]);
    struct taken so_far[MOST_QUERIES];
    for (size_t q = 0; q < count; q++) {
        so_far[q] = (struct taken){-__builtin_inff(), 0};
    }
    memset(t.sum, 0, count * j->padded * sizeof(float));
    for (size_t s = t.from[0] / SPLIT; s < splits; s++) {
        run_split(&t, s);
        for (size_t q = 0; q < count; q++) {
            take_in(j, &so_far[q], t.sum + q * j->padded, t.greatest[q], t.total[q],
                    t.mixed + q * j->padded);
        }
    }
    for (size_t q = 0; q < count; q++) {
        finish(&t, q, so_far[q], t.sum + q * j->padded);
    }
}

// ---- splits by themselves ----------------------------------------------------------------------
// For few heads and many positions, so that all workers have something to do: first each split of
// each tile, then the tiles take them in.

static float *part_of(const struct job *j, size_t tile, size_t split, size_t query)
{
    size_t index = (tile * j->splits + split) * j->group + query;
    return j->x->attention.parts + index * part_floats(j->dim);
}

static void run_part(void *arg, size_t i, unsigned worker)
{
    const struct job *j = arg;
    size_t tiles = j->x->attention.tile_count, split = i % j->splits, tile = i / j->splits;
    struct tile t;
    begin_tile(&t, j, tile % tiles, tile / tiles, worker);
    if (!tile_sees(&t, split)) {
        return;
    }
    run_split(&t, split);
    for (size_t q = 0; q < t.t->count; q++) {
        float *part = part_of(j, tile, split, q);
        part[0] = t.greatest[q];
        part[1] = t.total[q];
        memcpy(part + 16, t.mixed + q * j->padded, j->padded * sizeof(float));
    }
}

static void join_parts(void *arg, size_t tile, unsigned worker)
{
    const struct job *j = arg;
    size_t tiles = j->x->attention.tile_count;
    struct tile t;
    begin_tile(&t, j, tile % tiles, tile / tiles, worker);
    for (size_t q = 0; q < t.t->count; q++) {
        struct taken so_far = {-__builtin_inff(), 0};
        memset(t.sum, 0, j->padded * sizeof(float));
        for (size_t s = 0; s < j->splits; s++) {
            if (tile_sees(&t, s)) {
                const float *part = part_of(j, tile, s, q);
                take_in(j, &so_far, t.sum, part[0], part[1], part + 16);
            }
        }
        finish(&t, q, so_far, t.sum);
    }
}

// ---- the operations ----------------------------------------------------------------------------

static void run_all(struct tn_pool *pool, bool share, void (*tile)(void *, size_t, unsigned),
                    void *arg, size_t count)
{
    if (share) {
        pool->run(pool, tile, arg, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        tile(arg, i, 0);
    }
}

void tn_run_attention(struct tn_executor *x, const struct ir_op *op)
{
    const struct ir_graph *g = x->graph;
    const struct tn_attention_memory *m = &x->attention;
    struct job j = {.x = x,
                    .op = op,
                    .queries = tn_value(x, op->in[0]),
                    .out = tn_value(x, op->out),
                    .group = g->heads / g->kv_heads,
                    .dim = g->head_dim,
                    .padded = padded(g->head_dim),
                    .columns = g->heads * g->head_dim};
    size_t tiles = m->tile_count * g->kv_heads, work = 0;
    bool single = true; // one token of each sequence
    for (uint32_t i = 0; i < m->tile_count; i++) {
        const struct tn_query_tile *t = &m->tiles[i];
        const struct tn_step_sequence *s = &x->sequences[t->sequence];
        size_t positions = s->position + s->token_count;
        work += positions * t->count * 2 * j.columns / j.group;
        single &= s->token_count == 1 && t->count == j.group;
        j.splits = splits_of(positions) > j.splits ? splits_of(positions) : j.splits;
    }
    bool share = work >= LEAST_SHARED_WORK;
    if (share && single && j.splits > 1 && tiles < 2 * (size_t)x->options.pool->width &&
        tiles * j.splits * j.group <= m->part_count) {
        run_all(x->options.pool, share, run_part, &j, tiles * j.splits);
        run_all(x->options.pool, share, join_parts, &j, tiles);
        return;
    }
    run_all(x->options.pool, share, run_tile, &j, tiles);
}

static void store_run(void *arg, size_t i, unsigned worker)
{
    const struct job *j = arg;
    struct tn_executor *x = j->x;
    const struct tn_page_run *run = &x->attention.runs[i];
    const struct tn_step_sequence *s = &x->sequences[x->rows[run->row].sequence];
    uint8_t *head = tn_kv_layer(x, s, j->op->layer) + run->page * x->kv_page_bytes;
    const float *keys = j->queries + run->row * j->columns;
    float *turned = x->attention.workers[worker]; // room for a page
    bool as_they_are = !j->op->rope && !j->op->vector[0];
    struct tn_kv_rows rows = {.keys = turned,
                              .values = j->out + run->row * j->columns,
                              .key_stride = as_they_are ? j->columns : j->dim,
                              .value_stride = j->columns,
                              .dim = j->dim,
                              .place = run->place,
                              .count = run->count};
    for (uint32_t h = 0; h < x->graph->kv_heads; h++, keys += j->dim, rows.values += j->dim) {
        for (size_t r = 0; !as_they_are && r < run->count; r++) {
            load_head(j, keys + r * j->columns, run->row + r, turned + r * j->dim);
        }
        rows.keys = as_they_are ? keys : turned;
        tn_kv_store(x->row_kernels, x->options.kv_type, head, &rows);
        head += x->kv_head_bytes;
    }
}

void tn_run_kv_store(struct tn_executor *x, const struct ir_op *op)
{
    struct job j = {.x = x,
                    .op = op,
                    .queries = tn_value(x, op->in[0]),
                    .out = tn_value(x, op->in[1]),
                    .dim = x->graph->head_dim,
                    .columns = x->graph->kv_heads * x->graph->head_dim};
    bool share = x->row_count * j.columns >= LEAST_SHARED_WORK / 16;
    run_all(x->options.pool, share, store_run, &j, x->attention.run_count);
}
