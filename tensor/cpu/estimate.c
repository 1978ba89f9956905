// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The estimate of tensor/estimate.h: decoding reads every weight once a token, so time goes with
// bytes; how fast bytes go depends on the machine and on the weights' type, so they are tried.
#include "tensor/estimate.h"

#include "tensor/cpu/product.h"

#include <errno.h>
#include <stdlib.h>

enum { PLACES = 8 }; // operations over the whole model of which slices are tried

static bool is_product(const struct ir_op *op)
{
    return op->kind == IR_MATMUL || op->kind == IR_GATED || op->kind == IR_LOGITS;
}

static uint64_t matrix_bytes(const struct ir_matrix *m)
{
    return (uint64_t)m->rows * m->row_bytes;
}

// Of all products that one token takes.
static uint64_t bytes_a_token(const struct ir_graph *g, uint32_t *products)
{
    uint64_t bytes = 0;
    *products = 0;
    for (uint32_t i = 0; i < g->op_count; i++) {
        const struct ir_op *op = &g->ops[i];
        if (is_product(op)) {
            bytes += matrix_bytes(&op->matrix[0]);
            bytes += op->kind == IR_GATED ? matrix_bytes(&op->matrix[1]) : 0;
            ++*products;
        } else if (op->kind == IR_EXPERTS) {
            const struct ir_experts *e = op->experts;
            bytes +=
                e->used * (matrix_bytes(&e->gate) + matrix_bytes(&e->up) + matrix_bytes(&e->down));
        }
    }
    return bytes;
}

static const struct ir_matrix *product_number(const struct ir_graph *g, uint32_t n)
{
    for (uint32_t i = 0; i < g->op_count; i++) {
        if (is_product(&g->ops[i]) && n-- == 0) {
            return &g->ops[i].matrix[0];
        }
    }
    return NULL;
}

// Tiles of one matrix, until the time is over. Returns the bytes.
static uint64_t try_matrix(struct tn_executor *x, const struct ir_matrix *m, const float *in,
                           uint64_t (*now_ns)(void), uint64_t until)
{
    size_t step = tn_rows_per_tile(x, m->rows);
    uint64_t bytes = 0;
    tn_prepare_input(x, NULL, in, NULL, 1, m->columns, m->type);
    for (size_t row = 0; row < m->rows; row += step) {
        size_t rows = m->rows - row < step ? m->rows - row : step;
        struct tn_tile t = {.matrix = m,
                            .row = row,
                            .rows = rows,
                            .columns = 1,
                            .out = x->workers[0].tile[0],
                            .stride = step};
        tn_multiply_tile(x, 0, &t);
        bytes += rows * m->row_bytes;
        if (now_ns() >= until) {
            break;
        }
    }
    return bytes;
}

int tn_estimate_token(struct tn_executor *x, uint64_t (*now_ns)(void), uint64_t budget_ns,
                      uint64_t *token_ns)
{
    const struct ir_graph *g = x->graph;
    uint32_t products;
    uint64_t all = bytes_a_token(g, &products), tried = 0, spent = 0;
    if (products == 0) {
        return -ENOTSUP;
    }
    float *in = malloc(g->most_columns * sizeof *in);
    if (!in) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < g->most_columns; i++) {
        in[i] = (float)(i % 17) - 8.0f;
    }
    // Code that runs for the first time says nothing, on emulated CPUs least of all.
    try_matrix(x, product_number(g, 0), in, now_ns, 0);
    try_matrix(x, product_number(g, products - 1), in, now_ns, 0);
    for (uint32_t i = 0; i < PLACES && spent < budget_ns; i++) {
        const struct ir_matrix *m =
            product_number(g, (uint32_t)((uint64_t)products * (2 * i + 1) / (2 * PLACES)));
        uint64_t begun = now_ns();
        tried += try_matrix(x, m, in, now_ns, begun + budget_ns / PLACES);
        spent += now_ns() - begun;
    }
    free(in);
    x->input_value = 0; // what it holds is nobody's
    *token_ns = (uint64_t)((double)spent * (double)all / (double)tried / x->options.pool->width);
    return 0;
}
