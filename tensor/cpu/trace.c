// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a step's time went into, added up by kind of operation and type of its weights.
#include "tensor/cpu/executor.h"

#include <string.h>

static const char *const names[IR_KIND_COUNT] = {
    [IR_EMBED] = "embed",
    [IR_ADD_POSITION] = "add position",
    [IR_ADD_VECTOR] = "add vector",
    [IR_RMS_NORM] = "rms norm",
    [IR_LAYER_NORM] = "layer norm",
    [IR_MATMUL] = "matmul",
    [IR_ADD] = "add",
    [IR_ACTIVATE] = "activate",
    [IR_GATE] = "gate",
    [IR_GATED] = "gated matmul",
    [IR_EXPERTS] = "experts",
    [IR_ROPE] = "rope",
    [IR_KV_STORE] = "kv store",
    [IR_ATTENTION] = "attention",
    [IR_TAKE_OUTPUTS] = "take outputs",
    [IR_LOGITS] = "logits",
    [IR_POOL] = "pool",
};

static const char *weight_type(const struct ir_op *op)
{
    uint32_t type = op->experts ? op->experts->gate.type : op->matrix[0].type;
    bool weighs = op->kind == IR_MATMUL || op->kind == IR_GATED || op->kind == IR_EXPERTS ||
                  op->kind == IR_LOGITS;
    const char *name = tn_type_info(type & ~(uint32_t)TN_PACKED)->name;
    return weighs && name ? name : "";
}

static double matrix_work(const struct ir_matrix *m)
{
    return (double)m->rows * m->columns;
}

// Scores and sums over what each query sees.
static double attention_work(const struct tn_executor *x, const struct ir_op *op)
{
    double seen = 0;
    for (uint32_t r = 0; r < x->row_count; r++) {
        uint32_t all = x->rows[r].position + 1, window = op->attention.window;
        seen += window && window < all ? window : all;
    }
    return seen * 2 * x->graph->heads * x->graph->head_dim;
}

static double work_of(const struct tn_executor *x, const struct ir_op *op, uint32_t rows)
{
    switch (op->kind) {
    case IR_MATMUL:
    case IR_GATED:
    case IR_LOGITS:
        return rows * (matrix_work(&op->matrix[0]) + matrix_work(&op->matrix[1]));
    case IR_EXPERTS:
        return (double)rows * op->experts->used *
               (matrix_work(&op->experts->gate) + matrix_work(&op->experts->up) +
                matrix_work(&op->experts->down));
    case IR_ATTENTION:
        return attention_work(x, op);
    default:
        return 0;
    }
}

static struct tn_trace_row *find_row(struct tn_trace *t, const char *operation, const char *type)
{
    for (uint32_t i = 0; i < t->row_count; i++) {
        if (strcmp(t->rows[i].operation, operation) == 0 && strcmp(t->rows[i].type, type) == 0) {
            return &t->rows[i];
        }
    }
    if (t->row_count == TN_TRACE_ROWS) {
        return &t->rows[TN_TRACE_ROWS - 1]; // more than there are kinds and types in any model
    }
    t->rows[t->row_count] = (struct tn_trace_row){.operation = operation, .type = type};
    return &t->rows[t->row_count++];
}

void tn_trace_add(struct tn_executor *x, const struct ir_op *ops, uint32_t count, uint64_t ns)
{
    struct tn_trace_row *r = find_row(x->options.trace, names[ops->kind], weight_type(ops));
    ir_value shaped = ops->in[0] ? ops->in[0] : ops->out;
    uint32_t rows = tn_rows_of(x, x->graph->values[shaped].rows);
    r->ns += ns;
    for (uint32_t i = 0; i < count; i++) {
        r->count++;
        r->rows += rows;
        r->work += work_of(x, &ops[i], rows);
    }
}
