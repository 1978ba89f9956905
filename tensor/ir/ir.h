// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The intermediate representation of one step of a model: values of shape [rows][columns], where
// the number of rows is bound at each step (all tokens, or only those whose logits are wanted), and
// whole operations over them. Built once a model: a model file calls the ir_ functions in the
// order of its equations, ir_finish checks, fuses and plans memory; an executor only reads it.
#ifndef TENSOR_IR_H
#define TENSOR_IR_H

#include "tensor/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t ir_value; // 0: none

enum ir_rows { IR_TOKENS, IR_OUTPUTS };

enum ir_kind {
    IR_EMBED,        // out = rows of matrix[0] by token id, times number
    IR_ADD_POSITION, // out = in[0] + the rows of matrix[0] by position
    IR_ADD_VECTOR,   // out = in[0] + vector[0]
    IR_RMS_NORM,     // out = in[0] / rms(in[0]) * vector[0], over each of `heads` equal parts
    IR_LAYER_NORM,   // out = (in[0] - mean) / sqrt(variance + number) * vector[0] + vector[1]
    IR_MATMUL,       // out = activation(in[0] matrix[0]^T + vector[0]) + residual
    IR_ADD,          // out = in[0] + in[1]
    IR_ACTIVATE,     // out = activation(in[0])
    IR_GATE,         // out = activation(in[0]) * in[1]
    IR_GATED,   // out = activation(in[0] matrix[0]^T + vector[0]) * (in[0] matrix[1]^T + vector[1])
    IR_EXPERTS, // out = mixture of experts of in[0], chosen by the router's in[1]: op->experts
    IR_ROPE,    // out = in[0], each of `heads` heads turned by its position
    IR_KV_STORE,     // K = in[0], V = in[1] of the layer, at the tokens' positions
    IR_ATTENTION,    // out = attention of the queries in[0] over the layer's KV: op->attention
                     // Both: in[0] first through the norm of its heads by vector[0] and number,
                     // and turned by rope, each unless NULL
    IR_TAKE_OUTPUTS, // out = the rows of in[0] whose logits are wanted
    IR_LOGITS,       // softcap(in[0] matrix[0]^T + vector[0]), written to the callers' rows
    IR_POOL,         // in[0] pooled over each sequence, written to the callers' embeddings
    IR_REMOVED,
    IR_KIND_COUNT = IR_REMOVED
};

enum ir_activation {
    IR_NONE,
    IR_SILU,      // x / (1 + exp(-x))
    IR_GELU,      // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
    IR_GELU_ERF,  // 0.5 x (1 + erf(x / sqrt 2))
    IR_SWIGLU_OAI // gates only: g = min(g, 7), u = clamp(u, -7, 7): g / (1 + exp(-1.702 g)) (u + 1)
};

// A weight matrix in the file: `rows` rows (outputs) of `columns` values (inputs).
struct ir_matrix {
    const uint8_t *data;
    uint32_t type, rows, columns;
    size_t row_bytes;
};

struct ir_rope {
    bool split_halves;       // NEOX: pairs (i, i + rotated/2); otherwise neighbours (2i, 2i + 1)
    uint32_t rotated;        // dimensions of each head that turn
    double magnitude;        // of cosine and sine (YaRN, longrope); 1: none
    const double *frequency; // [rotated / 2], radians a position
    // Longrope: other frequencies where sequences may grow beyond `long_from` positions (the
    // executor's context decides, not the length so far). NULL: none.
    const double *frequency_long;
    uint32_t long_from;
    uint32_t place; // where its turns begin in a row of the table of turns, in floats
};

// What a model that embeds makes of its rows. Values are GGUF's.
enum ir_pooling { IR_POOL_NONE, IR_POOL_MEAN, IR_POOL_FIRST, IR_POOL_LAST };

struct ir_attention {
    float scale;        // of the scores
    float softcap;      // scores become softcap * tanh(score / softcap); 0: none
    uint32_t window;    // keys at positions > query - window only; 0: all
    bool everywhere;    // not causal: a query sees its sequence's whole step (and what is stored)
    const float *sinks; // [heads]: one more score of each head that takes part in the softmax's sum
};

// Chosen experts' feed-forward networks, mixed: a single operation.
struct ir_experts {
    // Experts one after the other: [expert][rows][columns]; `rows` is one expert's.
    struct ir_matrix gate, up, down;
    const float *gate_bias, *up_bias, *down_bias; // [expert][rows]; NULL: none
    uint32_t count, used;                         // experts, and how many a token takes
    bool sigmoid;             // router scores by sigmoid, otherwise by softmax over all
    bool softmax_chosen;      // softmax over the chosen scores only (gpt-oss)
    bool normalised;          // chosen weights divided by their sum
    float weight_scale;       // on the weights; 1: none
    const float *choice_bias; // [count], added for choosing only; NULL: none
    enum ir_activation activation;
};

struct ir_op {
    enum ir_kind kind;
    ir_value out, in[2], residual;
    struct ir_matrix matrix[2];
    const float *vector[2]; // norm weight or biases; NULL: none
    uint32_t layer, heads;
    float number; // epsilon, scale of an embedding, soft cap of logits (0: none)
    enum ir_activation activation;
    enum ir_pooling pooling;
    const struct ir_rope *rope;
    // Products of quantised weights: the norm that in[0] first goes through; NULL: none.
    const struct ir_op *norm; // owned by the graph
    struct ir_attention attention;
    const struct ir_experts *experts; // owned by the graph
};

struct ir_shape {
    enum ir_rows rows;
    uint32_t columns;
    // Plan: where the value stands, in floats times the step's maximum of rows.
    uint32_t offset;
    uint32_t first, last; // operations that make it and use it last
};

// The frequencies for sequences of up to `context` positions.
static inline const double *ir_rope_frequency(const struct ir_rope *r, uint32_t context)
{
    return r->frequency_long && context > r->long_from ? r->frequency_long : r->frequency;
}

enum { IR_MOST_ROPES = 4 };

struct ir_graph {
    const struct gguf *source;
    struct ir_op *ops;
    struct ir_shape *values; // [0] is unused
    uint32_t op_count, op_space, value_count, value_space;
    uint32_t vocabulary, embedding, layers, heads, kv_heads, head_dim, context;
    // The different ropes, each once. An executor's table of turns has one row a token, and in it
    // the cosine and sine of each pair of each rope.
    const struct ir_rope *ropes[IR_MOST_ROPES];
    uint32_t rope_count, turn_floats;
    void **owned; // what ir_own gave, freed with the graph
    uint32_t owned_count, owned_space;
    // Plan.
    uint32_t floats_per_row;         // of the value memory
    uint32_t most_columns;           // of any matrix
    uint32_t most_quantised_columns; // of any matrix with integer products, 0: none
    // The first thing that went wrong; later calls do nothing.
    int error;
    char *message;
    size_t message_bytes;
};

// Errors are collected in the graph and written to `message`.
void ir_begin(struct ir_graph *g, const struct gguf *source, char *message, size_t bytes);
void ir_end(struct ir_graph *g); // frees
void ir_fail(struct ir_graph *g, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Cleared memory that lives as long as the graph. NULL: no memory (recorded).
void *ir_own(struct ir_graph *g, size_t count, size_t size);

// ---- weights (weights.c) -----------------------------------------------------------------------
// By name, printf style. Shape and type are checked; a missing one is an error, unless it is
// optional: then data / the pointer is NULL.
struct ir_matrix ir_matrix(struct ir_graph *g, uint32_t columns, uint32_t rows, const char *name,
                           ...) __attribute__((format(printf, 4, 5)));
// Rows [first, first + rows) of a matrix: one part of a fused one.
struct ir_matrix ir_matrix_rows(struct ir_graph *g, struct ir_matrix m, uint32_t first,
                                uint32_t rows);
// [count][rows][columns]; `rows` of the result is one's.
struct ir_matrix ir_matrices(struct ir_graph *g, uint32_t columns, uint32_t rows, uint32_t count,
                             const char *name, ...) __attribute__((format(printf, 5, 6)));
bool ir_has(const struct ir_graph *g, const char *name, ...) __attribute__((format(printf, 2, 3)));
const float *ir_vector(struct ir_graph *g, uint32_t length, const char *name, ...)
    __attribute__((format(printf, 3, 4)));
const float *ir_vector_optional(struct ir_graph *g, uint32_t length, const char *name, ...)
    __attribute__((format(printf, 3, 4)));
// [count][length] of F32.
const float *ir_vectors(struct ir_graph *g, uint32_t length, uint32_t count, const char *name, ...)
    __attribute__((format(printf, 4, 5)));

// ---- operations (build.c), in the order of the equations ---------------------------------------
ir_value ir_embed(struct ir_graph *g, struct ir_matrix table, float scale);
ir_value ir_add_position(struct ir_graph *g, ir_value x, struct ir_matrix table);
ir_value ir_add_vector(struct ir_graph *g, ir_value x, const float *vector);
ir_value ir_rms_norm(struct ir_graph *g, ir_value x, const float *weight, float epsilon);
// Each of `heads` equal parts of x by itself; the weight has a part's length.
ir_value ir_head_norm(struct ir_graph *g, ir_value x, uint32_t heads, const float *weight,
                      float epsilon);
ir_value ir_layer_norm(struct ir_graph *g, ir_value x, const float *weight, const float *bias,
                       float epsilon);
ir_value ir_matmul(struct ir_graph *g, ir_value x, struct ir_matrix w, const float *bias);
ir_value ir_add(struct ir_graph *g, ir_value a, ir_value b);
ir_value ir_activate(struct ir_graph *g, ir_value x, enum ir_activation activation);
ir_value ir_gate(struct ir_graph *g, ir_value gate, ir_value up, enum ir_activation activation);
// x through the experts that the router's scores choose.
ir_value ir_experts(struct ir_graph *g, ir_value x, ir_value router, const struct ir_experts *e);
// A rope of the graph: the same one if it is there already. `frequency` must be the graph's own.
const struct ir_rope *ir_rope_of(struct ir_graph *g, const struct ir_rope *rope);
ir_value ir_rope(struct ir_graph *g, ir_value x, uint32_t heads, const struct ir_rope *rope);
void ir_kv_store(struct ir_graph *g, uint32_t layer, ir_value k, ir_value v);
ir_value ir_attention(struct ir_graph *g, uint32_t layer, ir_value q, struct ir_attention a);
ir_value ir_take_outputs(struct ir_graph *g, ir_value x);
void ir_logits(struct ir_graph *g, ir_value x, struct ir_matrix w, const float *bias,
               float softcap);
void ir_pool(struct ir_graph *g, ir_value x, enum ir_pooling pooling);

// Narrows, fuses, plans memory. Returns the error, or 0.
int ir_finish(struct ir_graph *g);
void ir_narrow(struct ir_graph *g);
void ir_fuse(struct ir_graph *g);
void ir_plan(struct ir_graph *g);

#endif
