// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// One run of a registered graph: bindings are checked, then nodes run one after the other.
#include "tensor/ops/ops_private.h"

#include <errno.h>
#include <string.h>

bool ops_stopped(struct tn_ops *o)
{
    if (atomic_load_explicit(&o->stopped, memory_order_relaxed)) {
        return true;
    }
    if (o->stop && o->stop(o->stop_arg)) {
        atomic_store_explicit(&o->stopped, true, memory_order_relaxed);
        return true;
    }
    return false;
}

void *ops_data(const struct tn_ops *o, uint32_t tensor)
{
    const struct ops_tensor *t = &o->tensors[tensor];
    return t->role == TN_OPS_TEMPORARY ? o->temporaries + t->offset : o->bindings[tensor];
}

// ---- sweeps
// --------------------------------------------------------------------------------------

static void sweep_tile(void *arg, size_t i, unsigned worker)
{
    const struct ops_sweep *s = arg;
    if (s->pieces > 1) {
        uint64_t from = i % s->pieces * s->piece, left = s->length - from;
        s->run(s, i / s->pieces, from, left < s->piece ? left : s->piece, worker);
        return;
    }
    uint64_t row = i * s->rows_a_tile, end = row + s->rows_a_tile;
    for (end = end < s->rows ? end : s->rows; row < end; row++) {
        s->run(s, row, 0, s->length, worker);
    }
}

void ops_sweep(struct ops_sweep *s, uint64_t cost)
{
    struct tn_pool *pool = &s->o->pool;
    s->pieces = (s->length + s->piece - 1) / s->piece;
    s->rows_a_tile = OPS_TILE_FLOATS / (s->length * cost);
    s->rows_a_tile = s->pieces == 1 && s->rows_a_tile > 1 ? s->rows_a_tile : 1;
    uint64_t tiles = s->pieces * ((s->rows + s->rows_a_tile - 1) / s->rows_a_tile);
    if (tiles > 1) {
        pool->run(pool, sweep_tile, s, tiles);
    } else {
        sweep_tile(s, 0, 0);
    }
}

int ops_copy_ids(struct tn_ops *o, const int32_t *ids, uint64_t n, uint64_t limit)
{
    int32_t *copy = (int32_t *)(void *)o->scratch;
    memcpy(copy, ids, n * sizeof *copy);
    __asm__ volatile("" ::: "memory"); // from here on the copy alone is read
    for (uint64_t i = 0; i < n; i++) {
        if ((uint64_t)copy[i] >= limit) { // negative ones, too
            return -EINVAL;
        }
    }
    return 0;
}

// ---- the run
// -------------------------------------------------------------------------------------

static int check_bindings(const struct tn_ops *o, void *const *bindings)
{
    for (uint32_t i = 0; i < o->tensor_count; i++) {
        const struct ops_tensor *t = &o->tensors[i];
        if (!t->used || t->role == TN_OPS_TEMPORARY) {
            continue;
        }
        const struct tn_type_info *info = tn_type_info(t->type);
        bool plain = info->block_values == 1 && !(t->type & TN_PACKED);
        if (!bindings[i] || (plain && (uintptr_t)bindings[i] % info->block_bytes)) {
            return -EINVAL;
        }
    }
    return 0;
}

static int run_node(struct tn_ops *o, const struct tn_ops_node *n)
{
    switch (n->kind) {
    case TN_OPS_MATMUL:
        ops_run_matmul(o, n);
        return 0;
    case TN_OPS_ATTENTION:
        ops_run_attention(o, n);
        return 0;
    case TN_OPS_SOFTMAX:
    case TN_OPS_RMS_NORM:
    case TN_OPS_LAYER_NORM:
    case TN_OPS_REDUCE_SUM:
    case TN_OPS_REDUCE_MEAN:
    case TN_OPS_REDUCE_MAX:
        ops_run_rows(o, n);
        return 0;
    case TN_OPS_ROPE:
        return ops_run_rope(o, n);
    case TN_OPS_EMBED:
        return ops_run_embed(o, n);
    case TN_OPS_TRANSPOSE:
    case TN_OPS_RESHAPE:
    case TN_OPS_CONCAT:
    case TN_OPS_SLICE:
        ops_run_move(o, n);
        return 0;
    case TN_OPS_CAST:
        ops_run_cast(o, n);
        return 0;
    default:
        ops_run_values(o, n);
        return 0;
    }
}

int tn_ops_run(struct tn_ops *o, void *const *bindings)
{
    int rc = check_bindings(o, bindings);
    o->bindings = bindings;
    o->prepared = TN_OPS_NONE;
    atomic_store_explicit(&o->stopped, false, memory_order_relaxed);
    for (uint32_t i = 0; i < o->node_count && !rc; i++) {
        if (o->nodes[i].kind == OPS_REMOVED) {
            continue;
        }
        rc = ops_stopped(o) ? -ECANCELED : run_node(o, &o->nodes[i]);
        // What a stop left undone no later node may read.
        if (!rc && atomic_load_explicit(&o->stopped, memory_order_relaxed)) {
            rc = -ECANCELED;
        }
    }
    return rc;
}
