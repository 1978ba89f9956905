// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Memory plan: each value gets a place for its lifetime, first fit; places are in floats a row, so
// that the plan holds for any number of rows.
#include "tensor/ir/ir.h"

#include <errno.h>
#include <stdlib.h>

enum { PLACE_ALIGN = 16 }; // floats: a cache line when multiplied by any number of rows

static void lifetimes(struct ir_graph *g)
{
    for (uint32_t i = 0; i < g->op_count; i++) {
        const struct ir_op *op = &g->ops[i];
        const ir_value used[3] = {op->in[0], op->in[1], op->residual};
        for (int j = 0; j < 3; j++) {
            if (used[j]) {
                g->values[used[j]].last = i;
            }
        }
        if (op->out) {
            g->values[op->out].first = i;
            g->values[op->out].last = i;
        }
    }
}

// An operand whose place the result may take over: read element by element before it is written,
// and not needed afterwards.
static ir_value takes_over(const struct ir_graph *g, uint32_t i)
{
    const struct ir_op *op = &g->ops[i];
    ir_value v = 0;
    switch (op->kind) {
    case IR_ADD_POSITION:
    case IR_ADD_VECTOR:
    case IR_ADD:
    case IR_ACTIVATE:
    case IR_GATE:
    case IR_ROPE:
        v = op->in[0];
        break;
    case IR_MATMUL:
        v = op->residual != op->in[0] ? op->residual : 0;
        break;
    default:
        break;
    }
    return v && g->values[v].last == i && g->values[v].columns == g->values[op->out].columns ? v
                                                                                             : 0;
}

static bool overlaps(const struct ir_shape *a, const struct ir_shape *b, uint32_t offset)
{
    bool in_time = a->first <= b->last && b->first <= a->last;
    return in_time && offset < b->offset + b->columns && b->offset < offset + a->columns;
}

// The lowest place that no value placed so far holds at the same time.
static uint32_t lowest_place(const struct ir_graph *g, const bool *placed, ir_value v)
{
    uint32_t offset = 0;
    for (ir_value o = 1; o < g->value_count; o++) {
        if (placed[o] && overlaps(&g->values[v], &g->values[o], offset)) {
            uint32_t end = g->values[o].offset + g->values[o].columns;
            offset = (end + PLACE_ALIGN - 1) / PLACE_ALIGN * PLACE_ALIGN;
            o = 0; // again from the first
        }
    }
    return offset;
}

static void measure_matrix(struct ir_graph *g, const struct ir_matrix *m)
{
    bool integers = m->type != TN_F32 && m->type != TN_F16 && m->type != TN_BF16;
    if (m->columns > g->most_columns) {
        g->most_columns = m->columns;
    }
    if (integers && m->columns > g->most_quantised_columns) {
        g->most_quantised_columns = m->columns;
    }
}

static void measure_matrices(struct ir_graph *g, const struct ir_op *op)
{
    if (op->kind == IR_EMBED || op->kind == IR_ADD_POSITION) {
        return; // rows are only looked up
    }
    measure_matrix(g, &op->matrix[0]);
    measure_matrix(g, &op->matrix[1]);
    if (op->experts) {
        measure_matrix(g, &op->experts->gate);
        measure_matrix(g, &op->experts->up);
        measure_matrix(g, &op->experts->down);
    }
}

void ir_plan(struct ir_graph *g)
{
    bool *placed = calloc(g->value_count, sizeof *placed);
    if (!placed) {
        ir_fail(g, -ENOMEM, "no memory to plan the model's graph");
        return;
    }
    lifetimes(g);
    for (uint32_t i = 0; i < g->op_count; i++) {
        const struct ir_op *op = &g->ops[i];
        measure_matrices(g, op);
        if (!op->out) {
            continue;
        }
        struct ir_shape *out = &g->values[op->out];
        ir_value over = takes_over(g, i);
        out->offset = over ? g->values[over].offset : lowest_place(g, placed, op->out);
        placed[op->out] = true;
        uint32_t end = (out->offset + out->columns + PLACE_ALIGN - 1) / PLACE_ALIGN * PLACE_ALIGN;
        if (end > g->floats_per_row) {
            g->floats_per_row = end;
        }
    }
    free(placed);
}
