// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Fusion: a sum with a product becomes the product's residual, an activation of a product its
// epilogue, activation(x G) * (x U) one gated operation, norms part of quantising a product's
// input, and norms and turns of heads part of what takes them. What is fused is never stored and
// read back.
#include "tensor/ir/ir.h"

static uint32_t uses(const struct ir_graph *g, ir_value v)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->op_count; i++) {
        const struct ir_op *op = &g->ops[i];
        if (op->kind != IR_REMOVED) {
            n += (uint32_t)(op->in[0] == v) + (uint32_t)(op->in[1] == v) +
                 (uint32_t)(op->residual == v);
        }
    }
    return n;
}

// The operation that makes v; op_count if none.
static uint32_t maker(const struct ir_graph *g, ir_value v)
{
    uint32_t i = 0;
    while (i < g->op_count && (g->ops[i].kind == IR_REMOVED || g->ops[i].out != v)) {
        i++;
    }
    return i;
}

static void fuse_sum(struct ir_graph *g, struct ir_op *add)
{
    for (int side = 0; side < 2; side++) {
        uint32_t product = maker(g, add->in[side]), other = maker(g, add->in[1 - side]);
        struct ir_op *m = &g->ops[product];
        if (product < g->op_count && other < product && m->kind == IR_MATMUL && !m->residual &&
            uses(g, m->out) == 1) {
            m->residual = add->in[1 - side];
            m->out = add->out;
            add->kind = IR_REMOVED;
            return;
        }
    }
}

static void fuse_activation(struct ir_graph *g, struct ir_op *activate)
{
    uint32_t product = maker(g, activate->in[0]);
    struct ir_op *m = &g->ops[product];
    if (product < g->op_count && m->kind == IR_MATMUL && !m->residual && m->activation == IR_NONE &&
        uses(g, m->out) == 1) {
        m->activation = activate->activation;
        m->out = activate->out;
        activate->kind = IR_REMOVED;
    }
}

static void fuse_gate(struct ir_graph *g, struct ir_op *product)
{
    uint32_t a = maker(g, product->in[0]), b = maker(g, product->in[1]);
    if (a >= g->op_count || b >= g->op_count) {
        return;
    }
    struct ir_op *gate = &g->ops[a], *up = &g->ops[b];
    if (a == b || gate->kind != IR_MATMUL || up->kind != IR_MATMUL || gate->residual ||
        up->residual || gate->activation != IR_NONE || up->activation != IR_NONE ||
        gate->in[0] != up->in[0] || gate->matrix[0].type != up->matrix[0].type ||
        uses(g, gate->out) != 1 || uses(g, up->out) != 1) {
        return;
    }
    *product = (struct ir_op){.kind = IR_GATED,
                              .out = product->out,
                              .in = {gate->in[0]},
                              .activation = product->activation,
                              .matrix = {gate->matrix[0], up->matrix[0]},
                              .vector = {gate->vector[0], up->vector[0]}};
    gate->kind = IR_REMOVED;
    up->kind = IR_REMOVED;
}

// Norms of heads and turns go along with what stores keys or loads queries.
static void fuse_turn(struct ir_graph *g, struct ir_op *op)
{
    struct ir_op *turn = &g->ops[maker(g, op->in[0])];
    if (turn < &g->ops[g->op_count] && turn->kind == IR_ROPE && uses(g, turn->out) == 1) {
        op->rope = turn->rope;
        op->in[0] = turn->in[0];
        turn->kind = IR_REMOVED;
    }
    struct ir_op *norm = &g->ops[maker(g, op->in[0])];
    if (norm < &g->ops[g->op_count] && norm->kind == IR_RMS_NORM && uses(g, norm->out) == 1 &&
        g->values[norm->out].columns == norm->heads * g->head_dim) {
        op->vector[0] = norm->vector[0];
        op->number = norm->number;
        op->in[0] = norm->in[0];
        norm->kind = IR_REMOVED;
    }
}

static bool takes_normed(const struct ir_op *op)
{
    bool product = op->kind == IR_MATMUL || op->kind == IR_GATED || op->kind == IR_LOGITS;
    return product && tn_type_info(op->matrix[0].type & ~(uint32_t)TN_PACKED)->block_values > 1;
}

// A norm that only products of quantised weights read becomes part of quantising their input.
static void fuse_norm(struct ir_graph *g, struct ir_op *norm)
{
    enum { MOST_COLUMNS = 16384 }; // that executors have room for, a row at a time
    ir_value v = norm->out;
    uint32_t all = uses(g, v), products = 0;
    for (uint32_t i = 0; i < g->op_count; i++) {
        products += g->ops[i].in[0] == v && takes_normed(&g->ops[i]);
    }
    if (products == 0 || products != all || norm->heads > 1 ||
        g->values[v].columns > MOST_COLUMNS) {
        return;
    }
    struct ir_op *own = ir_own(g, 1, sizeof *own);
    if (!own) {
        return;
    }
    *own = *norm;
    for (uint32_t i = 0; i < g->op_count; i++) {
        struct ir_op *op = &g->ops[i];
        if (op->kind != IR_REMOVED && op->in[0] == v) {
            op->in[0] = norm->in[0];
            op->norm = own;
        }
    }
    norm->kind = IR_REMOVED;
}

void ir_fuse(struct ir_graph *g)
{
    for (uint32_t i = 0; i < g->op_count; i++) {
        if (g->ops[i].kind == IR_ADD) {
            fuse_sum(g, &g->ops[i]);
        } else if (g->ops[i].kind == IR_ACTIVATE) {
            fuse_activation(g, &g->ops[i]);
        } else if (g->ops[i].kind == IR_GATE) {
            fuse_gate(g, &g->ops[i]);
        } else if (g->ops[i].kind == IR_KV_STORE || g->ops[i].kind == IR_ATTENTION) {
            fuse_turn(g, &g->ops[i]);
        }
    }
    for (uint32_t i = 0; i < g->op_count; i++) {
        if (g->ops[i].kind == IR_RMS_NORM || g->ops[i].kind == IR_LAYER_NORM) {
            fuse_norm(g, &g->ops[i]);
        }
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < g->op_count; i++) {
        if (g->ops[i].kind != IR_REMOVED) {
            g->ops[kept++] = g->ops[i];
        }
    }
    g->op_count = kept;
}
