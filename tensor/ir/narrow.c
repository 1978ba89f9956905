// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Narrowing: what is computed row by row and only leads to rows whose logits are wanted is computed
// for those rows alone. The choice of rows moves up the graph, from before the last norm to behind
// the last attention, so that a prompt's other rows skip the last layer's feed-forward.
#include "tensor/ir/ir.h"

#include <errno.h>
#include <stdlib.h>

static bool works_by_rows(const struct ir_op *op)
{
    switch (op->kind) {
    case IR_ADD_VECTOR:
    case IR_RMS_NORM:
    case IR_LAYER_NORM:
    case IR_MATMUL:
    case IR_ADD:
    case IR_ACTIVATE:
    case IR_GATE:
    case IR_EXPERTS:
        return true;
    default:
        return false;
    }
}

// Marks the values that need chosen rows only: made row by row, and used by nothing but choices of
// rows and operations of which the same is true.
static void find_narrow(const struct ir_graph *g, bool *narrow)
{
    for (ir_value v = 1; v < g->value_count; v++) {
        narrow[v] = g->values[v].rows == IR_TOKENS;
    }
    for (uint32_t i = g->op_count; i-- > 0;) {
        const struct ir_op *op = &g->ops[i];
        narrow[op->out] = narrow[op->out] && works_by_rows(op); // all its uses were seen
        bool chooses = op->kind == IR_TAKE_OUTPUTS || (op->out && narrow[op->out]);
        for (int j = 0; j < 2 && !chooses; j++) {
            narrow[op->in[j]] = false;
        }
    }
}

// The operations with the choices of rows moved: each value that a narrow one reads and that has
// all rows is chosen from as soon as it is made, so that sums can still become residuals of the
// products between. `chosen[v]` is the value that has v's rows.
static uint32_t rewrite(struct ir_graph *g, const bool *narrow, const bool *read_narrow,
                        ir_value *chosen, struct ir_op *to)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < g->op_count; i++) {
        struct ir_op op = g->ops[i];
        if (op.kind == IR_TAKE_OUTPUTS && narrow[op.in[0]]) {
            chosen[op.out] = op.in[0];
            continue;
        }
        for (int j = 0; j < 2; j++) {
            ir_value v = op.in[j];
            bool chooses = narrow[op.out] || (v && g->values[v].rows == IR_OUTPUTS);
            op.in[j] = v && chosen[v] && chooses ? chosen[v] : v;
        }
        to[count++] = op;
        if (read_narrow[op.out] && !narrow[op.out] && g->values[op.out].rows == IR_TOKENS) {
            struct ir_op take = {.kind = IR_TAKE_OUTPUTS, .in = {op.out}, .out = g->value_count++};
            g->values[take.out] =
                (struct ir_shape){.rows = IR_OUTPUTS, .columns = g->values[op.out].columns};
            to[count++] = take;
            chosen[op.out] = take.out;
        }
    }
    return count;
}

void ir_narrow(struct ir_graph *g)
{
    uint32_t values = g->value_count * 2; // at most one choice more a value
    bool *narrow = calloc(values, sizeof *narrow);
    bool *read_narrow = calloc(values, sizeof *read_narrow);
    ir_value *chosen = calloc(values, sizeof *chosen);
    struct ir_op *ops = calloc(g->op_count + g->value_count, sizeof *ops);
    void *shapes = realloc(g->values, values * sizeof *g->values);
    g->values = shapes ? shapes : g->values;
    if (!narrow || !read_narrow || !chosen || !ops || !shapes) {
        ir_fail(g, -ENOMEM, "no memory for the model's graph");
        free(ops);
    } else {
        g->value_space = values;
        find_narrow(g, narrow);
        uint32_t before = g->value_count, space = g->op_count + before;
        for (uint32_t i = 0; i < g->op_count; i++) {
            const struct ir_op *op = &g->ops[i];
            read_narrow[op->in[0]] |= narrow[op->out];
            read_narrow[op->in[1]] |= narrow[op->out];
        }
        read_narrow[0] = false;
        g->op_count = rewrite(g, narrow, read_narrow, chosen, ops);
        for (ir_value v = 1; v < before; v++) {
            if (narrow[v]) {
                g->values[v].rows = IR_OUTPUTS;
            }
        }
        free(g->ops);
        g->ops = ops;
        g->op_space = space;
    }
    free(chosen);
    free(read_narrow);
    free(narrow);
}
