// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Inside of registered graphs: what opening found out, and what runs use.
#ifndef TENSOR_OPS_PRIVATE_H
#define TENSOR_OPS_PRIVATE_H

#include "tensor/cpu/product.h"
#include "tensor/ops.h"
#include "tensor/ops/elements.h"

#include <stdatomic.h>

enum { OPS_REMOVED = 0, OPS_WORKERS_MOST = 256, OPS_TILE_FLOATS = 16384 };

struct ops_tensor {
    uint32_t type, role;
    uint64_t shape[4];     // all four, 1 beyond dims
    uint64_t rows, values; // of the last three dimensions; of all
    uint64_t row_bytes, bytes;
    uint32_t writer;        // TN_OPS_NONE: none
    uint32_t readers, last; // how many, and the last of them
    bool used;              // an output depends on it
    uint64_t offset;        // temporaries: where in o->temporaries
};

struct tn_ops {
    struct ops_tensor *tensors;
    struct tn_ops_node *nodes; // fused ones with what they took over, others OPS_REMOVED
    uint32_t tensor_count, node_count;
    uint64_t memory_most, work;
    struct tn_pool *under; // the caller's pool
    struct tn_pool pool;   // over it: asks whether to stop before each tile
    const struct ops_kernels *kernels;
    // Of products alone: kernels, input, workers. Everything else in it is empty.
    struct tn_executor x;
    void *block; // all that follows lies in it
    size_t block_bytes;
    uint64_t temporary_bytes;
    uint8_t *temporaries;
    float *ones; // a norm's weight where there is none
    size_t one_count;
    uint8_t *scratch; // of the node that runs
    size_t scratch_bytes;
    float **worker_floats; // scratch of each worker
    size_t worker_float_count;

    // The run under way.
    void *const *bindings;
    uint32_t prepared; // whose rows x.input holds, TN_OPS_NONE: nobody's
    bool (*stop)(void *arg);
    void *stop_arg;
    atomic_bool stopped; // relaxed: a pool's end of job orders what tiles wrote
};

// ---- opening: 0 or a negative errno with a message
// -----------------------------------------------
struct ops_message {
    char *text;
    size_t bytes;
};
int ops_fail(const struct ops_message *m, const char *format, ...)
    __attribute__((format(printf, 2, 3))); // always -EINVAL
const char *ops_kind_name(uint32_t kind);
int ops_check(struct tn_ops *o, const struct ops_message *m); // check.c, check_nodes.c
int ops_check_node(const struct tn_ops *o, uint32_t node, const struct ops_message *m);
void ops_simplify(struct tn_ops *o); // fuse.c: drops what no output needs, fuses
void ops_plan(struct tn_ops *o);     // plan.c: places temporaries
uint64_t ops_node_work(const struct tn_ops *o, const struct tn_ops_node *n);
// What a kind of node needs at most: floats for each worker, bytes of scratch.
void ops_attention_needs(const struct tn_ops *o, const struct tn_ops_node *n, size_t *floats,
                         uint64_t *scratch);
// Rows of in[0] that one pass of a product takes.
size_t ops_matmul_together(uint64_t rows, uint64_t k);

// ---- running
// -------------------------------------------------------------------------------------
bool ops_stopped(struct tn_ops *o);
void *ops_data(const struct tn_ops *o, uint32_t tensor);

// Rows in pieces of at most `piece` values, several short rows a tile.
struct ops_sweep {
    struct tn_ops *o;
    const struct tn_ops_node *node;
    const void *arg; // what else `run` wants
    void (*run)(const struct ops_sweep *s, uint64_t row, uint64_t from, uint64_t count,
                unsigned worker);
    uint64_t rows, length, piece;
    uint64_t pieces, rows_a_tile; // filled in by ops_sweep
};
// `cost`: how much longer a value takes than one of a sum.
void ops_sweep(struct ops_sweep *s, uint64_t cost);
// n ids copied into o->scratch, then checked: 0 or -EINVAL.
int ops_copy_ids(struct tn_ops *o, const int32_t *ids, uint64_t n, uint64_t limit);

void ops_run_matmul(struct tn_ops *o, const struct tn_ops_node *n);
void ops_run_attention(struct tn_ops *o, const struct tn_ops_node *n);
void ops_run_values(struct tn_ops *o, const struct tn_ops_node *n); // values.c
void ops_run_rows(struct tn_ops *o, const struct tn_ops_node *n);   // rows.c
void ops_run_move(struct tn_ops *o, const struct tn_ops_node *n);   // move.c
void ops_run_cast(struct tn_ops *o, const struct tn_ops_node *n);
int ops_run_embed(struct tn_ops *o, const struct tn_ops_node *n); // lookup.c
int ops_run_rope(struct tn_ops *o, const struct tn_ops_node *n);

#endif
