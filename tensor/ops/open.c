// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Opening a registered graph: copied, checked, simplified, planned, then one block of memory.
#include "tensor/ops/ops_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int ops_fail(const struct ops_message *m, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(m->text, m->bytes, format, list);
    va_end(list);
    return -EINVAL;
}

// ---- the copy
// ------------------------------------------------------------------------------------

static void copy_tensor(struct ops_tensor *t, const struct tn_ops_tensor *from)
{
    *t = (struct ops_tensor){.type = from->type, .role = from->role, .writer = TN_OPS_NONE};
    // Too many dimensions show as none, for the check.
    for (uint32_t i = 0; from->dims && from->dims <= 4 && i < 4; i++) {
        t->shape[i] = i >= from->dims && from->shape[i] == 0 ? 1 : from->shape[i];
    }
    for (uint32_t i = from->dims; i < 4; i++) {
        t->shape[i] = t->shape[i] == 1 ? 1 : 0;
    }
}

static int copy_description(struct tn_ops **out, const struct tn_ops_graph *g,
                            const struct ops_message *m)
{
    if (g->tensor_count == 0 || g->tensor_count > TN_OPS_TENSORS_MOST) {
        return ops_fail(m, "ops: %u tensors, expected 1 to %d", g->tensor_count,
                        TN_OPS_TENSORS_MOST);
    }
    if (g->node_count == 0 || g->node_count > TN_OPS_NODES_MOST) {
        return ops_fail(m, "ops: %u nodes, expected 1 to %d", g->node_count, TN_OPS_NODES_MOST);
    }
    size_t nodes = g->node_count * sizeof(struct tn_ops_node);
    size_t tensors = g->tensor_count * sizeof(struct ops_tensor);
    struct tn_ops *o = calloc(1, sizeof *o + tensors + nodes);
    if (!o) {
        ops_fail(m, "ops: no memory for a description of %u nodes", g->node_count);
        return -ENOMEM;
    }
    o->tensors = (struct ops_tensor *)(o + 1);
    o->nodes = (struct tn_ops_node *)(o->tensors + g->tensor_count);
    o->tensor_count = g->tensor_count;
    o->node_count = g->node_count;
    o->memory_most = g->memory_most;
    memcpy(o->nodes, g->nodes, nodes);
    for (uint32_t i = 0; i < o->tensor_count; i++) {
        struct tn_ops_tensor t;
        memcpy(&t, &g->tensors[i], sizeof t);
        copy_tensor(&o->tensors[i], &t);
    }
    *out = o;
    return 0;
}

// ---- memory
// --------------------------------------------------------------------------------------

// What all nodes need at most; they run one after the other and share it.
struct needs {
    size_t floats, integers; // values of one pass of a product's rows
    size_t worker_floats, ones;
    uint64_t scratch;
    bool products;
};

static void widen(size_t *most, uint64_t n)
{
    *most = n > *most ? (size_t)n : *most;
}

static void need_product(const struct tn_ops *o, const struct tn_ops_node *n, struct needs *needs)
{
    const struct ops_tensor *x = &o->tensors[n->in[0]], *w = &o->tensors[n->in[1]];
    uint64_t k = x->shape[0], values = k * ops_matmul_together(x->rows, k);
    bool plain = tn_columns_kind_of(w->type) == TN_COLUMNS_FLOAT;
    needs->products = true;
    // As if it were one column; its blocks of 256 are whole.
    widen(plain ? &needs->floats : &needs->integers, (values + 255) & ~(uint64_t)255);
}

static struct needs find_needs(const struct tn_ops *o)
{
    struct needs needs = {0};
    for (uint32_t i = 0; i < o->node_count; i++) {
        const struct tn_ops_node *n = &o->nodes[i];
        size_t floats = 0;
        uint64_t scratch = 0;
        switch (n->kind) {
        case TN_OPS_MATMUL:
            need_product(o, n, &needs);
            break;
        case TN_OPS_RMS_NORM:
        case TN_OPS_LAYER_NORM:
            if (n->in[1] == TN_OPS_NONE) {
                widen(&needs.ones, o->tensors[n->out].shape[0]);
            }
            break;
        case TN_OPS_ATTENTION:
            ops_attention_needs(o, n, &floats, &scratch);
            break;
        case TN_OPS_EMBED:
            scratch = o->tensors[n->in[1]].bytes;
            if (o->tensors[n->in[0]].type & TN_PACKED) { // a row of its own
                floats = (size_t)(o->tensors[n->in[0]].row_bytes / sizeof(float) + 1);
            }
            break;
        case TN_OPS_ROPE: // positions; frequencies; a worker's cosines and sines, each twice
            floats = 2 * (size_t)o->tensors[n->in[0]].shape[0];
            scratch = tn_align_up(o->tensors[n->in[1]].bytes) +
                      o->tensors[n->in[0]].shape[0] / 2 * sizeof(double);
            break;
        default:
            break;
        }
        widen(&needs.worker_floats, floats);
        needs.scratch = scratch > needs.scratch ? scratch : needs.scratch;
    }
    return needs;
}

// Takes all memory from the arena; with an empty one it only measures.
static void carve(struct tn_ops *o, const struct needs *needs, struct tn_arena *a)
{
    unsigned width = o->pool.width;
    o->temporaries = tn_arena_take(a, o->temporary_bytes);
    o->ones = tn_arena_take(a, needs->ones * sizeof(float));
    o->scratch = tn_arena_take(a, needs->scratch);
    o->worker_floats = tn_arena_take(a, width * sizeof *o->worker_floats);
    if (needs->products) {
        o->x.workers = tn_arena_take(a, width * sizeof *o->x.workers);
        tn_input_carve(&o->x, a, 1, needs->floats, needs->integers);
    }
    for (unsigned i = 0; i < width; i++) {
        float *floats = tn_arena_take(a, needs->worker_floats * sizeof(float));
        struct tn_worker w = {0};
        if (needs->products) {
            tn_worker_carve(&w, a);
        }
        if (a->base) {
            o->worker_floats[i] = floats;
            if (needs->products) {
                o->x.workers[i] = w;
            }
        }
    }
}

static int take_memory(struct tn_ops *o, const struct ops_message *m)
{
    struct needs needs = find_needs(o);
    struct tn_arena a = {0};
    // These two may be beyond all numbers that the rest has room for.
    uint64_t large = o->temporary_bytes + needs.scratch;
    if (large <= o->memory_most) {
        carve(o, &needs, &a);
        large = a.used;
    }
    if (large > o->memory_most) {
        ops_fail(m, "ops: temporaries and scratch take %llu bytes, %llu are allowed",
                 (unsigned long long)large, (unsigned long long)o->memory_most);
        return -ENOMEM;
    }
    a = (struct tn_arena){.size = tn_align_up(a.used)};
    o->block = a.base = a.size ? aligned_alloc(TN_ALIGN, a.size) : NULL;
    if (!a.base) {
        ops_fail(m, "ops: no memory: %zu bytes", a.size);
        return -ENOMEM;
    }
    // Nothing of other graphs in it; and no page is first touched in a run.
    memset(o->block, 0, a.size);
    o->block_bytes = a.size;
    carve(o, &needs, &a);
    o->scratch_bytes = needs.scratch;
    o->worker_float_count = needs.worker_floats;
    for (size_t i = 0; i < needs.ones; i++) {
        o->ones[i] = 1;
    }
    return 0;
}

// ---- the interface
// -------------------------------------------------------------------------------

// Tiles of whatever runs on o->pool: none begins after a stop.
struct guarded {
    struct tn_ops *o;
    void (*tile)(void *arg, size_t i, unsigned worker);
    void *arg;
};

static void guarded_tile(void *arg, size_t i, unsigned worker)
{
    const struct guarded *g = arg;
    if (!ops_stopped(g->o)) {
        g->tile(g->arg, i, worker);
    }
}

static void guarded_run(struct tn_pool *p, void (*tile)(void *arg, size_t i, unsigned worker),
                        void *arg, size_t count)
{
    struct tn_ops *o = p->ctx;
    struct guarded g = {o, tile, arg};
    o->under->run(o->under, guarded_tile, &g, count);
}

static void choose_kernels(struct tn_ops *o, struct tn_pool *pool, enum tn_isa isa)
{
    o->under = pool;
    o->pool = (struct tn_pool){.width = pool->width, .ctx = o, .run = guarded_run};
    o->kernels = ops_kernels_of(isa);
    o->x.integers = tn_integer_kernels_of(isa);
    o->x.floats = tn_float_kernels_of(isa);
    o->x.row_kernels = tn_row_kernels_of(isa);
    o->x.options.isa = isa;
    o->x.options.pool = &o->pool;
    o->prepared = TN_OPS_NONE;
}

int tn_ops_open(const struct tn_ops_graph *description, struct tn_pool *pool, enum tn_isa isa,
                struct tn_ops **out, char *error, size_t error_bytes)
{
    const struct ops_message m = {error, error_bytes};
    if (!pool || pool->width == 0 || pool->width > OPS_WORKERS_MOST) {
        return ops_fail(&m, "ops: the pool must have 1 to %d workers", OPS_WORKERS_MOST);
    }
    if ((unsigned)isa > (unsigned)tn_isa_best()) {
        return ops_fail(&m, "ops: this machine cannot run %s", tn_isa_name(isa));
    }
    struct tn_ops_graph copy; // counts that change meanwhile must not count
    memcpy(&copy, description, sizeof copy);
    struct tn_ops *o = NULL;
    int rc = copy_description(&o, &copy, &m);
    if (rc) {
        return rc;
    }
    choose_kernels(o, pool, isa);
    rc = ops_check(o, &m);
    if (!rc) {
        ops_simplify(o);
        ops_plan(o);
        rc = take_memory(o, &m);
    }
    if (rc) {
        tn_ops_close(o);
        return rc;
    }
    for (uint32_t i = 0; i < o->node_count; i++) {
        uint64_t work = o->nodes[i].kind == OPS_REMOVED ? 0 : ops_node_work(o, &o->nodes[i]);
        o->work = o->work + work < work ? UINT64_MAX : o->work + work;
    }
    *out = o;
    return 0;
}

void tn_ops_close(struct tn_ops *o)
{
    if (o) {
        free(o->block);
        free(o);
    }
}

uint64_t tn_ops_bytes(const struct tn_ops *o, uint32_t tensor)
{
    return tensor < o->tensor_count ? o->tensors[tensor].bytes : 0;
}

uint64_t tn_ops_work(const struct tn_ops *o)
{
    return o->work;
}

size_t tn_ops_memory(const struct tn_ops *o)
{
    return sizeof *o + o->tensor_count * sizeof *o->tensors + o->node_count * sizeof *o->nodes +
           o->block_bytes;
}

void tn_ops_set_stop(struct tn_ops *o, bool (*stop)(void *arg), void *arg)
{
    o->stop = stop;
    o->stop_arg = arg;
}
