// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Registered graphs: a caller describes tensors and operations over them once, gets a handle that
// has been checked, fused and given all its memory, and runs it as often as it likes on tensors
// that it binds.
//
// Who may be hostile: whoever wrote the description, and whoever can write to bound memory while a
// graph runs. Neither can make a run read or write anything but the bound tensors' bytes (sizes are
// tn_ops_bytes), take memory, or run for longer than tn_ops_work says: what decides an address or
// control flow is copied once and then checked. Changed values change results, nothing else.
//
// Results are batch-invariant (DESIGN decision 11): a row of an output depends on what it is
// computed from and on the ISA level, never on the number of rows, workers, or on fusion. MATMUL
// has the bits of the model executor's products, ATTENTION those of its attention over F32 KV.
#ifndef TENSOR_OPS_H
#define TENSOR_OPS_H

#include "tensor/exec.h"
#include "tensor/pool.h"
#include "tensor/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TN_OPS_NONE UINT32_MAX // no tensor

enum {
    TN_OPS_NODES_MOST = 1024,
    TN_OPS_TENSORS_MOST = 2048,
    TN_OPS_DEPTH_MOST = 1 << 18, // values of a row that MATMUL sums over
    TN_OPS_HEAD_MOST = 1 << 12,  // values of a head; heads that ROPE turns
    TN_OPS_ROW_MOST = 1 << 22,   // values of a row that is normed, reduced or turned to weights
    TN_OPS_POSITION_MOST = 1 << 24
};
#define TN_OPS_VALUES_MOST ((uint64_t)1 << 40) // of one tensor

// Numbers of roles, kinds, activations and flags go over the wire: they are never given again.
enum tn_ops_role {
    TN_OPS_INPUT = 0,     // bound, only read
    TN_OPS_OUTPUT = 1,    // bound, written by one node; later nodes may read it
    TN_OPS_CONSTANT = 2,  // bound, only read: weights
    TN_OPS_TEMPORARY = 3, // the graph's own
};

// Shapes are GGUF's, the fastest dimension first; "F32 [n, ...]" is a tensor of any shape with
// rows of n values. Unless it says otherwise tensors are F32 and `out` has the shape of in[0].
enum tn_ops_kind {
    // out [m, ...] = act(in[0] [k, ...] times in[1] [k, m] transposed + in[2] [m]) + in[3].
    // in[1]: any type that the engine multiplies by, packed ones too. in[2], a bias, and in[3], of
    // the shape of out, may be missing. integer[0]: activation, no gate.
    TN_OPS_MATMUL = 1,
    // out [v, rows, heads] = attention of queries in[0] [d, rows, heads] over keys in[1]
    // [d, keys, kv heads] and values in[2] [v, keys, kv heads]; consecutive queries' heads share a
    // kv head. number[0]: scale of the scores; number[1]: soft cap, 0 for none. integer[0]: flags;
    // integer[1]: a query sees so many positions only, itself the last; 0: all. The last query is
    // at the last key's position.
    TN_OPS_ATTENTION = 2,
    TN_OPS_SOFTMAX = 3,    // of each row of in[0] * number[0]
    TN_OPS_RMS_NORM = 4,   // in[0] / sqrt(mean(in[0]^2) + number[0]) * in[1] [n] (may be missing)
    TN_OPS_LAYER_NORM = 5, // (in[0] - mean) / sqrt(variance + number[0]) * in[1] + in[2], as above
    // Each dimension of in[1] is as long as that of in[0], or 1: then it is repeated.
    TN_OPS_ADD = 6,
    TN_OPS_SUB = 7,
    TN_OPS_MUL = 8,
    TN_OPS_DIV = 9,
    TN_OPS_SCALE = 10, // in[0] * number[0] + number[1]
    TN_OPS_SILU = 11,
    TN_OPS_GELU = 12, // by tanh
    TN_OPS_GELU_ERF = 13,
    TN_OPS_RELU = 14,
    TN_OPS_SIGMOID = 15,
    TN_OPS_TANH = 16,
    TN_OPS_GATE = 17, // act(in[0]) * in[1], of one shape; integer[0]: activation
    // Heads of in[0] [d, rows, heads] turned by their row's position in[1], I32 [rows] of 0 to
    // TN_OPS_POSITION_MOST. Pair p turns by position * number[0]^(-2p / rotated) / in[2][p] /
    // number[1] radians; in[2] [rotated / 2] may be missing. number[0]: base, at least 1;
    // number[1]: at least 1, 0 means 1; number[2]: factor on the turned values, 0 means 1.
    // integer[0]: flags; integer[1]: values of a head that turn, even, 0 means all.
    TN_OPS_ROPE = 18,
    // out [n, a, b, c] = rows of in[0] [n, rows] by in[1], I32 [a, b, c]. in[0]: as MATMUL's in[1].
    TN_OPS_EMBED = 19,
    // F32, F16, BF16 or I32, in and out alike, for these four.
    TN_OPS_TRANSPOSE = 20, // dimension i of out is dimension integer[i] of in[0]
    TN_OPS_RESHAPE = 21,   // as many values, in the same order
    TN_OPS_CONCAT = 22,    // in[0] to in[3], as many as there are, along dimension integer[0]
    TN_OPS_SLICE = 23,     // along dimension integer[0], from integer[1] on, as many as out has
    // Any type that the engine multiplies by, not packed, to F32, F16 or BF16.
    TN_OPS_CAST = 24,
    // out [1, ...] of each row of in[0].
    TN_OPS_REDUCE_SUM = 25,
    TN_OPS_REDUCE_MEAN = 26,
    TN_OPS_REDUCE_MAX = 27, // what is not a number is left out
    TN_OPS_KIND_LIMIT
};

enum tn_ops_activation {
    TN_OPS_ACT_NONE = 0,
    TN_OPS_ACT_SILU = 1,
    TN_OPS_ACT_GELU = 2,
    TN_OPS_ACT_GELU_ERF = 3,
    TN_OPS_ACT_RELU = 4,
    TN_OPS_ACT_SIGMOID = 5,
    TN_OPS_ACT_TANH = 6,
    TN_OPS_ACT_SWIGLU_OAI = 7, // GATE only: g = min(in[0], 7), u = clamp(in[1], -7, 7):
                               // g / (1 + exp(-1.702 g)) (u + 1)
    TN_OPS_ACT_LIMIT
};

enum tn_ops_flag {
    TN_OPS_CAUSAL = 1, // ATTENTION: a query sees keys up to its own position; rows <= keys
    // ATTENTION, ROPE: all tensors are [d, heads, rows], as products leave them, not
    // [d, rows, heads].
    TN_OPS_ROWS_OUTER = 2,
    TN_OPS_HALVES = 4, // ROPE: pairs are (p, p + rotated / 2), otherwise (2p, 2p + 1)
};

struct tn_ops_tensor {
    uint32_t type, dims; // enum tn_type; 1 to 4
    uint64_t shape[4];   // beyond dims: 0 or 1
    uint32_t role;
};

struct tn_ops_node {
    uint32_t kind;
    uint32_t in[4], out; // tensors; TN_OPS_NONE where a kind has no input
    float number[4];     // finite
    uint32_t integer[4];
};

struct tn_ops_graph {
    const struct tn_ops_tensor *tensors;
    // In an order in which they can run: each reads inputs, constants, and what earlier ones wrote.
    const struct tn_ops_node *nodes;
    uint32_t tensor_count, node_count;
    uint64_t memory_most; // bytes that temporaries and scratch may take
};

struct tn_ops;
// The description is copied first, then checked; nothing of it is needed afterwards. `pool` and the
// level must stay usable until tn_ops_close. 0; -EINVAL (what is wrong is in `error`, naming node
// and tensor), -ENOMEM (so too: more than memory_most, or none to be had). Bounded by the limits on
// nodes and tensors.
int tn_ops_open(const struct tn_ops_graph *description, struct tn_pool *pool, enum tn_isa isa,
                struct tn_ops **out, char *error, size_t error_bytes);
void tn_ops_close(struct tn_ops *o); // NULL: nothing

// Runs it. The array of bindings is the caller's own and stays as it is; bindings[i] is tensor i's
// memory, for inputs, outputs and constants, at a multiple of its element's size (blocks:
// anywhere). Temporaries' are not read, nor are those of tensors that no output depends on. Outputs
// should overlap nothing else that is bound, otherwise values are not as described. 0; -EINVAL: a
// binding is missing or not aligned, an id or position out of range, a factor of in[2] of ROPE not
// usable; -ECANCELED: stopped. After an error outputs hold anything. One run at a time for each
// handle, and for each pool; takes no memory.
int tn_ops_run(struct tn_ops *o, void *const *bindings);
// Bytes that a binding has; 0: no such tensor.
uint64_t tn_ops_bytes(const struct tn_ops *o, uint32_t tensor);
// Multiply-adds and the like of one run, an estimate that ends at UINT64_MAX.
uint64_t tn_ops_work(const struct tn_ops *o);
// Bytes of memory the handle takes.
size_t tn_ops_memory(const struct tn_ops *o);
// Asked between nodes and tiles, by any worker at any time: true ends the run. NULL: never.
void tn_ops_set_stop(struct tn_ops *o, bool (*stop)(void *arg), void *arg);

#endif
