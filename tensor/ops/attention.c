// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// ATTENTION over tensors that hold all keys and values, by the model executor's kernels and with
// its rules (tensor/cpu/attention.h): splits of 512 keys, within one a chain for each score,
// weights to the greatest score of the split, values mixed in ascending order; splits are taken in
// one after the other. So the bits are those of attention over KV pages of F32.
#include "tensor/ops/ops_private.h"

#include <string.h>

enum {
    PAGE = TN_KV_PAGE_TOKENS, // keys that lie transposed together
    SPLIT = TN_SPLIT_TOKENS,
    SCORE_STRIDE = SPLIT + 16, // not a power of two: rows must not share cache sets
    MOST_QUERIES = 64,
    QUERY_STEP = 8,
    MOST_WORK = 1 << 27, // multiply-adds of one tile, roughly
};

struct attention {
    struct tn_ops *o;
    const struct tn_ops_node *n;
    const float *queries, *keys, *values;
    float *out;
    float *turned_keys; // [kv head][page][dim][PAGE]
    float *wide_values; // [kv head][key][wide], where `value_dim` is no multiple of 16
    size_t rows, heads, kv_heads, group, key_count, pages;
    size_t dim, value_dim, wide; // wide: value_dim rounded up to sixteens
    // Values from one row, or head, to the next: of queries, keys, values, out.
    size_t row_step[4], head_step[4];
    size_t queries_a_tile, tiles_a_head;
    uint32_t window;
    bool causal;
};

static size_t round_16(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

static void layout(struct attention *a, int which, const struct ops_tensor *t, bool outer)
{
    a->row_step[which] = t->shape[0] * (outer ? t->shape[1] : 1);
    a->head_step[which] = t->shape[0] * (outer ? 1 : t->shape[1]);
}

static struct attention describe(const struct tn_ops *o, const struct tn_ops_node *n)
{
    const struct ops_tensor *q = &o->tensors[n->in[0]], *k = &o->tensors[n->in[1]];
    const bool outer = n->integer[0] & TN_OPS_ROWS_OUTER;
    struct attention a = {.n = n,
                          .rows = q->shape[outer ? 2 : 1],
                          .heads = q->shape[outer ? 1 : 2],
                          .key_count = k->shape[outer ? 2 : 1],
                          .kv_heads = k->shape[outer ? 1 : 2],
                          .dim = q->shape[0],
                          .value_dim = o->tensors[n->out].shape[0],
                          .window = n->integer[1],
                          .causal = n->integer[0] & TN_OPS_CAUSAL};
    a.group = a.heads / a.kv_heads;
    a.wide = round_16(a.value_dim);
    a.pages = (a.key_count + PAGE - 1) / PAGE;
    for (int i = 0; i < 3; i++) {
        layout(&a, i, &o->tensors[n->in[i]], outer);
    }
    layout(&a, 3, &o->tensors[n->out], outer);
    // Emulators compute slowly: smaller tiles keep them short (DESIGN decision 8).
    size_t most = o->x.options.isa == TN_ISA_SCALAR ? 8 : MOST_QUERIES;
    while (most > QUERY_STEP && most * a.key_count * (a.dim + a.value_dim) > MOST_WORK) {
        most /= 2;
    }
    a.queries_a_tile = most;
    a.tiles_a_head = (a.rows * a.group + most - 1) / most;
    return a;
}

static size_t worker_floats(size_t queries, size_t dim, size_t wide)
{
    return queries * (dim + SCORE_STRIDE + 2 * wide);
}

void ops_attention_needs(const struct tn_ops *o, const struct tn_ops_node *n, size_t *floats,
                         uint64_t *scratch)
{
    const struct attention a = describe(o, n);
    uint64_t keys = (uint64_t)a.kv_heads * a.pages * a.dim * PAGE;
    uint64_t values = a.wide == a.value_dim ? 0 : (uint64_t)a.kv_heads * a.key_count * a.wide;
    *floats = worker_floats(a.queries_a_tile, a.dim, a.wide);
    *scratch = (keys + values) * sizeof(float);
}

// ---- keys and values as kernels want them
// --------------------------------------------------------

static void prepare_page(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    const struct attention *a = arg;
    size_t head = i / a->pages, first = i % a->pages * PAGE;
    size_t count = a->key_count - first < PAGE ? a->key_count - first : PAGE;
    const float *keys = a->keys + head * a->head_step[1] + first * a->row_step[1];
    float *turned = a->turned_keys + i * a->dim * PAGE;
    for (size_t d = 0; d < a->dim; d++, turned += PAGE) {
        for (size_t p = 0; p < count; p++) {
            turned[p] = keys[p * a->row_step[1] + d];
        }
        for (size_t p = count; p < PAGE; p++) {
            turned[p] = 0;
        }
    }
    const float *values = a->values + head * a->head_step[2] + first * a->row_step[2];
    if (a->wide == a->value_dim) {
        return;
    }
    float *wide = a->wide_values + (head * a->key_count + first) * a->wide;
    for (size_t p = 0; p < count; p++, wide += a->wide) {
        memcpy(wide, values + p * a->row_step[2], a->value_dim * sizeof *wide);
        memset(wide + a->value_dim, 0, (a->wide - a->value_dim) * sizeof *wide);
    }
}

// ---- one tile
// ------------------------------------------------------------------------------------

// Queries of one kv head: pairs of a row and one of the heads that share it, row * group + head.
struct tile {
    const struct attention *a;
    size_t head, first, count;
    // [count][dim], [count][SCORE_STRIDE], this split's mix and the mix so far [count][wide].
    float *queries, *scores, *mixed, *sum;
    size_t from[MOST_QUERIES], to[MOST_QUERIES];       // keys that each query sees
    float greatest[MOST_QUERIES], total[MOST_QUERIES]; // so far
};

static size_t place_of(const struct tile *t, size_t i, int which)
{
    const struct attention *a = t->a;
    size_t pair = t->first + i;
    return pair / a->group * a->row_step[which] +
           (t->head * a->group + pair % a->group) * a->head_step[which];
}

static void begin_tile(struct tile *t, const struct attention *a, size_t index, unsigned worker)
{
    *t = (struct tile){.a = a,
                       .head = index / a->tiles_a_head,
                       .first = index % a->tiles_a_head * a->queries_a_tile};
    t->count = a->rows * a->group - t->first;
    t->count = t->count < a->queries_a_tile ? t->count : a->queries_a_tile;
    t->queries = a->o->worker_floats[worker];
    t->scores = t->queries + t->count * a->dim;
    t->mixed = t->scores + t->count * SCORE_STRIDE;
    t->sum = t->mixed + t->count * a->wide;
    for (size_t i = 0; i < t->count; i++) {
        memcpy(t->queries + i * a->dim, a->queries + place_of(t, i, 0),
               a->dim * sizeof *t->queries);
        // At most as many rows as keys, where it matters.
        size_t end = a->key_count + (t->first + i) / a->group + 1 - a->rows;
        t->to[i] = a->causal ? end : a->key_count;
        t->from[i] = a->window && end > a->window ? end - a->window : 0;
        t->greatest[i] = -__builtin_inff();
        t->total[i] = 0;
    }
    memset(t->sum, 0, t->count * a->wide * sizeof *t->sum);
}

// Queries [*first, *last) see something of keys [from, to).
static bool who_sees(const struct tile *t, size_t from, size_t to, size_t *first, size_t *last)
{
    size_t a = 0, b = t->count;
    while (a < b && t->to[a] <= from) {
        a++;
    }
    while (b > a && t->from[b - 1] >= to) {
        b--;
    }
    *first = a;
    *last = b;
    return a < b;
}

static void score_page(const struct tile *t, size_t page, size_t begin)
{
    const struct attention *a = t->a;
    size_t first, last;
    if (!who_sees(t, page * PAGE, (page + 1) * PAGE, &first, &last)) {
        return;
    }
    a->o->x.row_kernels->block_product(&(struct tn_block_product){
        .a = t->queries + first * a->dim,
        .a_stride = a->dim,
        .b = a->turned_keys + (t->head * a->pages + page) * a->dim * PAGE,
        .b_stride = PAGE,
        .c = t->scores + first * SCORE_STRIDE + (page * PAGE - begin),
        .c_stride = SCORE_STRIDE,
        .rows = last - first,
        .depth = a->dim,
        .columns = PAGE,
    });
}

static void mix_page(const struct tile *t, size_t page, size_t begin)
{
    const struct attention *a = t->a;
    size_t first, last, from = page * PAGE, to = from + PAGE;
    if (!who_sees(t, from, to, &first, &last)) {
        return;
    }
    to = t->to[last - 1] < to ? t->to[last - 1] : to;
    const bool wide = a->wide != a->value_dim;
    const size_t step = wide ? a->wide : a->row_step[2];
    const float *values = wide ? a->wide_values + (t->head * a->key_count + from) * step
                               : a->values + t->head * a->head_step[2] + from * step;
    a->o->x.row_kernels->block_product(&(struct tn_block_product){
        .a = t->scores + first * SCORE_STRIDE + (from - begin),
        .a_stride = SCORE_STRIDE,
        .b = values,
        .b_stride = step,
        .c = t->mixed + first * a->wide,
        .c_stride = a->wide,
        .rows = last - first,
        .depth = to - from,
        .columns = a->wide,
        .add = true,
    });
}

static size_t within(size_t key, size_t begin)
{
    return key <= begin ? 0 : key - begin < SPLIT ? key - begin : SPLIT;
}

// Takes in what query i made of a split.
static void take_in(struct tile *t, size_t i, float greatest, float total)
{
    const struct tn_row_kernels *k = t->a->o->x.row_kernels;
    if (greatest == -__builtin_inff()) {
        return; // the query sees none of it
    }
    float next = t->greatest[i] > greatest ? t->greatest[i] : greatest;
    float old = k->exponential(t->greatest[i] - next), new = k->exponential(greatest - next);
    t->total[i] = t->total[i] * old + total * new;
    t->greatest[i] = next;
    k->combine(t->sum + i * t->a->wide, old, t->mixed + i * t->a->wide, new, t->a->wide);
}

static void run_split(struct tile *t, size_t split)
{
    const struct attention *a = t->a;
    const struct tn_row_kernels *k = a->o->x.row_kernels;
    size_t begin = split * SPLIT, end = begin + SPLIT;
    size_t from = t->from[0] > begin ? t->from[0] : begin;
    size_t to = t->to[t->count - 1] < end ? t->to[t->count - 1] : end;
    for (size_t page = from / PAGE; page * PAGE < to; page++) {
        score_page(t, page, begin);
    }
    size_t first = (from - begin) / PAGE * PAGE, last = (to - begin + 15) & ~(size_t)15;
    float greatest[MOST_QUERIES], total[MOST_QUERIES];
    for (size_t i = 0; i < t->count; i++) {
        greatest[i] =
            k->weigh(t->scores + i * SCORE_STRIDE, first, last, within(t->from[i], begin),
                     within(t->to[i], begin), a->n->number[0], a->n->number[1], &total[i]);
        // Up to the end of the last page nothing has a weight.
        size_t padded = (last + PAGE - 1) / PAGE * PAGE;
        memset(t->scores + i * SCORE_STRIDE + last, 0, (padded - last) * sizeof *t->scores);
    }
    memset(t->mixed, 0, t->count * a->wide * sizeof *t->mixed);
    for (size_t page = from / PAGE; page * PAGE < to; page++) {
        mix_page(t, page, begin);
    }
    for (size_t i = 0; i < t->count; i++) {
        take_in(t, i, greatest[i], total[i]);
    }
}

static void run_tile(void *arg, size_t index, unsigned worker)
{
    const struct attention *a = arg;
    struct tile t;
    // begin_tile fills them, for at least one query, which not every compiler sees.
    memset(t.from, 0, sizeof t.from);
    memset(t.to, 0, sizeof t.to);
    begin_tile(&t, a, a->tiles_a_head * a->kv_heads - 1 - index, worker); // the longest first
    size_t splits = (t.to[t.count - 1] + SPLIT - 1) / SPLIT;
    for (size_t s = t.from[0] / SPLIT; s < splits && !ops_stopped(a->o); s++) {
        run_split(&t, s);
    }
    for (size_t i = 0; i < t.count; i++) {
        a->o->x.row_kernels->divide(a->out + place_of(&t, i, 3), t.sum + i * a->wide, t.total[i],
                                    a->value_dim);
    }
}

void ops_run_attention(struct tn_ops *o, const struct tn_ops_node *n)
{
    struct attention a = describe(o, n);
    a.o = o;
    a.queries = ops_data(o, n->in[0]);
    a.keys = ops_data(o, n->in[1]);
    a.values = ops_data(o, n->in[2]);
    a.out = ops_data(o, n->out);
    a.turned_keys = (float *)(void *)o->scratch;
    a.wide_values = a.turned_keys + a.kv_heads * a.pages * a.dim * PAGE;
    o->pool.run(&o->pool, prepare_page, &a, a.kv_heads * a.pages);
    if (!ops_stopped(o)) {
        o->pool.run(&o->pool, run_tile, &a, a.tiles_a_head * a.kv_heads);
    }
}
