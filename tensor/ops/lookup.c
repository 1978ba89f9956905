// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Nodes that integers steer: rows of a matrix by id, and rotary positions. The integers are copied
// before they are checked and used (DESIGN decision 6).
#include "tensor/ops/ops_private.h"

#include "tensor/core/math.h"
#include "tensor/pack.h"

#include <errno.h>
#include <string.h>

// ---- EMBED
// ---------------------------------------------------------------------------------------

struct embed {
    const uint8_t *table;
    const int32_t *ids;
    float *out;
    uint32_t type, plain_type;
    uint64_t row_bytes;
};

static void run_embed(const struct ops_sweep *s, uint64_t row, uint64_t from, uint64_t count,
                      unsigned worker)
{
    (void)from;
    const struct embed *e = s->arg;
    uint64_t id = (uint64_t)e->ids[row];
    const uint8_t *values = e->table + id * e->row_bytes;
    if (e->type & TN_PACKED) { // a strip of sixteen rows
        uint8_t *own = (uint8_t *)s->o->worker_floats[worker];
        tn_unpack_row(e->plain_type, e->table + id / 16 * 16 * e->row_bytes, id % 16, count, own);
        values = own;
    }
    tn_dequantise_row(e->plain_type, values, count, e->out + row * count);
}

int ops_run_embed(struct tn_ops *o, const struct tn_ops_node *n)
{
    const struct ops_tensor *table = &o->tensors[n->in[0]], *ids = &o->tensors[n->in[1]];
    int rc = ops_copy_ids(o, ops_data(o, n->in[1]), ids->values, table->shape[1]);
    if (rc) {
        return rc;
    }
    struct embed e = {.table = ops_data(o, n->in[0]),
                      .ids = (const int32_t *)(const void *)o->scratch,
                      .out = ops_data(o, n->out),
                      .type = table->type,
                      .plain_type = table->type & ~(uint32_t)TN_PACKED,
                      .row_bytes = table->row_bytes};
    struct ops_sweep s = {.o = o,
                          .node = n,
                          .arg = &e,
                          .run = run_embed,
                          .rows = ids->values,
                          .length = table->shape[0],
                          .piece = table->shape[0]};
    ops_sweep(&s, 4);
    return 0;
}

// ---- ROPE
// ----------------------------------------------------------------------------------------

struct rope {
    const float *in;
    float *out;
    const int32_t *positions;
    const double *frequencies; // [pairs]
    double magnitude;
    size_t dim, pairs;
    uint64_t heads, row_step, head_step; // in values
    bool halves;
};

static void fill_turns(const struct rope *r, int32_t position, float *turns)
{
    size_t pairs = r->pairs;
    for (size_t p = 0; p < pairs; p++) {
        double s, c;
        tn_sincos(position * r->frequencies[p], &s, &c);
        float sine = (float)(s * r->magnitude), cosine = (float)(c * r->magnitude);
        if (r->halves) {
            turns[p] = cosine;
            turns[pairs + p] = sine;
        } else {
            turns[2 * p] = turns[2 * p + 1] = cosine;
            turns[2 * (pairs + p)] = -sine;
            turns[2 * (pairs + p) + 1] = sine;
        }
    }
}

// All heads of one row.
static void run_rope(const struct ops_sweep *s, uint64_t row, uint64_t from, uint64_t count,
                     unsigned worker)
{
    (void)from, (void)count;
    const struct rope *r = s->arg;
    const struct tn_row_kernels *k = s->o->x.row_kernels;
    float *turns = s->o->worker_floats[worker];
    size_t turned = 2 * r->pairs;
    fill_turns(r, r->positions[row], turns);
    for (uint64_t h = 0; h < r->heads; h++) {
        uint64_t at = row * r->row_step + h * r->head_step;
        (r->halves ? k->turn_halves : k->turn_neighbours)(r->out + at, r->in + at, turns, r->pairs);
        memmove(r->out + at + turned, r->in + at + turned, (r->dim - turned) * sizeof *r->out);
    }
}

// base^(-2p / rotated), slower by the caller's factors: each read once. -EINVAL: angles would be
// beyond what can be reduced.
static int fill_frequencies(const struct tn_ops_node *n, size_t pairs, const float *slower,
                            double *out)
{
    const double most = 32; // times the greatest position: below 1e9
    double stretch = n->number[1] != 0 ? (double)n->number[1] : 1;
    for (size_t p = 0; p < pairs; p++) {
        double f = tn_pow((double)n->number[0], -2.0 * (double)p / (2.0 * (double)pairs));
        if (slower) {
            f /= (double)*(const volatile float *)&slower[p];
        }
        f /= stretch;
        if (!(f >= 0 && f <= most)) {
            return -EINVAL;
        }
        out[p] = f;
    }
    return 0;
}

int ops_run_rope(struct tn_ops *o, const struct tn_ops_node *n)
{
    const struct ops_tensor *x = &o->tensors[n->in[0]];
    const bool outer = n->integer[0] & TN_OPS_ROWS_OUTER;
    const uint64_t rows = x->shape[outer ? 2 : 1];
    struct rope r = {.in = ops_data(o, n->in[0]),
                     .out = ops_data(o, n->out),
                     .positions = (const int32_t *)(const void *)o->scratch,
                     .magnitude = n->number[2] != 0 ? (double)n->number[2] : 1,
                     .dim = x->shape[0],
                     .pairs = (n->integer[1] ? n->integer[1] : x->shape[0]) / 2,
                     .heads = x->shape[outer ? 1 : 2],
                     .halves = n->integer[0] & TN_OPS_HALVES};
    r.row_step = outer ? r.dim * r.heads : r.dim;
    r.head_step = outer ? r.dim : r.dim * rows;
    double *frequencies = (double *)(void *)(o->scratch + tn_align_up(rows * sizeof(int32_t)));
    r.frequencies = frequencies;
    int rc = ops_copy_ids(o, ops_data(o, n->in[1]), rows, (uint64_t)TN_OPS_POSITION_MOST + 1);
    rc = rc ? rc
            : fill_frequencies(n, r.pairs, n->in[2] == TN_OPS_NONE ? NULL : ops_data(o, n->in[2]),
                               frequencies);
    if (rc) {
        return rc;
    }
    struct ops_sweep s = {.o = o,
                          .node = n,
                          .arg = &r,
                          .run = run_rope,
                          .rows = rows,
                          .length = r.dim * r.heads,
                          .piece = r.dim * r.heads};
    ops_sweep(&s, 4);
    return 0;
}
