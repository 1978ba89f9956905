// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The graph, operation by operation: what each launches. The device's addresses are typed as what
// lies there; the host never follows them.
#include "tensor/cuda/executor.h"

#include <errno.h>
#include <string.h>

static float *floats_at(cuda_address address)
{
    return (float *)(uintptr_t)address;
}

static float *value_of(const struct tn_cuda_executor *x, ir_value v)
{
    return v ? floats_at(x->values) + (size_t)x->graph->values[v].offset * x->options.max_tokens
             : NULL;
}

static const struct cuda_row *rows_of(const struct tn_cuda_executor *x)
{
    return (const struct cuda_row *)(uintptr_t)x->tables;
}

static const uint32_t *pages_of(const struct tn_cuda_executor *x)
{
    return (const uint32_t *)(uintptr_t)(x->tables + x->at.pages);
}

static uint32_t row_count(const struct tn_cuda_executor *x, ir_value v)
{
    return x->graph->values[v].rows == IR_TOKENS ? x->row_count : x->output_count;
}

static uint32_t ceiling(uint64_t a, uint32_t b)
{
    return (uint32_t)((a + b - 1) / b);
}

static void launch(struct tn_cuda_executor *x, int kernel, uint32_t grid_x, uint32_t grid_y,
                   void *parameters)
{
    struct tn_cuda_device *d = x->model->device;
    void *all[] = {parameters};
    if (!x->error && grid_x && grid_y) {
        cuda_failed(x,
                    d->driver.launch(d->kernels[kernel], grid_x, grid_y, 1, CUDA_BLOCK_THREADS, 1,
                                     1, 0, x->stream, all, NULL),
                    cuda_kernel_names[kernel]);
    }
}

// ---- rows --------------------------------------------------------------------------------------

static void run_embed(struct tn_cuda_executor *x, const struct ir_op *op, const struct cuda_op *w)
{
    const struct ir_matrix *m = &op->matrix[0];
    struct cuda_embed p = {.out = value_of(x, op->out),
                           .in = value_of(x, op->in[0]),
                           .weights = w->matrix[0],
                           .rows = rows_of(x),
                           .row_bytes = m->row_bytes,
                           .columns = m->columns,
                           .type = m->type & ~(uint32_t)TN_PACKED,
                           .by_position = op->kind == IR_ADD_POSITION,
                           .number = op->number};
    launch(x, CUDA_KERNEL_embed, ceiling(m->columns, CUDA_BLOCK_THREADS * 8), x->row_count, &p);
}

static void run_norm(struct tn_cuda_executor *x, const struct ir_op *op, ir_value in,
                     const float *const vector[2], float *out)
{
    uint32_t parts = op->kind == IR_RMS_NORM && op->heads ? op->heads : 1;
    struct cuda_norm p = {.out = out,
                          .in = value_of(x, in),
                          .weight = vector[0],
                          .bias = vector[1],
                          .parts = parts,
                          .length = x->graph->values[in].columns / parts,
                          .centred = op->kind == IR_LAYER_NORM,
                          .epsilon = op->number};
    launch(x, CUDA_KERNEL_norm, parts, row_count(x, in), &p);
}

static void run_elements(struct tn_cuda_executor *x, enum cuda_element operation,
                         enum ir_activation activation, ir_value out, const float *a,
                         const float *b)
{
    uint32_t columns = x->graph->values[out].columns;
    struct cuda_elements p = {.out = value_of(x, out),
                              .a = a,
                              .b = b,
                              .count = columns * row_count(x, out),
                              .columns = columns,
                              .operation = operation,
                              .activation = activation};
    launch(x, CUDA_KERNEL_elements, ceiling(p.count, CUDA_BLOCK_THREADS), 1, &p);
}

static void run_take(struct tn_cuda_executor *x, const struct ir_op *op)
{
    struct cuda_take p = {.out = value_of(x, op->out),
                          .in = value_of(x, op->in[0]),
                          .rows = (const uint32_t *)(uintptr_t)(x->tables + x->at.outputs),
                          .columns = x->graph->values[op->out].columns};
    launch(x, CUDA_KERNEL_take, ceiling(p.columns, CUDA_BLOCK_THREADS), x->output_count, &p);
}

// Heads of a value, normed and turned as the operation says; where they are then.
static const float *turned(struct tn_cuda_executor *x, const struct ir_op *op, uint32_t heads,
                           const float *weight, float *out)
{
    const float *in = value_of(x, op->in[0]);
    if (!op->rope && !weight) {
        return in;
    }
    const float *turns = floats_at(x->tables + x->at.turns);
    struct cuda_turn p = {.out = out,
                          .in = in,
                          .weight = weight,
                          .turns = turns + (op->rope ? op->rope->place : 0),
                          .heads = heads,
                          .dim = x->graph->values[op->in[0]].columns / heads,
                          .pairs = op->rope ? op->rope->rotated / 2 : 0,
                          .turn_stride = x->graph->turn_floats,
                          .split_halves = op->rope && op->rope->split_halves,
                          .epsilon = op->number};
    launch(x, CUDA_KERNEL_turn, heads, x->row_count, &p);
    return out;
}

// ---- attention ---------------------------------------------------------------------------------

static uint8_t *kv_layer(const struct tn_cuda_executor *x, uint32_t layer)
{
    return (uint8_t *)(uintptr_t)x->kv + (size_t)layer * x->options.pages * x->page_bytes;
}

static void run_kv_store(struct tn_cuda_executor *x, const struct ir_op *op,
                         const struct cuda_op *w)
{
    const struct ir_graph *g = x->graph;
    size_t row = (size_t)2 * g->kv_heads * g->head_dim * x->kv_element;
    struct cuda_kv_store p = {
        .keys = turned(x, op, g->kv_heads, w->vector[0], floats_at(x->turned)),
        .values = value_of(x, op->in[1]),
        .kv = kv_layer(x, op->layer),
        .fresh = (uint8_t *)(uintptr_t)x->fresh + op->layer * x->row_count * row,
        .pages = pages_of(x),
        .rows = rows_of(x),
        .page_bytes = x->page_bytes,
        .kv_type = x->options.kv_type,
        .dim = g->head_dim,
        .kv_heads = g->kv_heads};
    launch(x, CUDA_KERNEL_kv_store, g->kv_heads, x->row_count, &p);
}

static void run_attention(struct tn_cuda_executor *x, const struct ir_op *op,
                          const struct cuda_op *w)
{
    const struct ir_graph *g = x->graph;
    struct cuda_attention p = {.out = value_of(x, op->out),
                               .queries =
                                   turned(x, op, g->heads, w->vector[0], floats_at(x->turned)),
                               .kv = kv_layer(x, op->layer),
                               .pages = pages_of(x),
                               .rows = rows_of(x),
                               .sinks = w->sinks,
                               .page_bytes = x->page_bytes,
                               .kv_type = x->options.kv_type,
                               .dim = g->head_dim,
                               .kv_heads = g->kv_heads,
                               .group = g->heads / g->kv_heads,
                               .window = op->attention.window,
                               .scale = op->attention.scale,
                               .softcap = op->attention.softcap};
    launch(x, CUDA_KERNEL_attention, g->kv_heads * ceiling(p.group, CUDA_HEADS_AT_ONCE),
           x->row_count, &p);
}

// ---- products ----------------------------------------------------------------------------------

// The product's input: in[0], through the norm that goes along with it.
static const float *input_of(struct tn_cuda_executor *x, const struct ir_op *op,
                             const struct cuda_op *w)
{
    if (!op->norm) {
        return value_of(x, op->in[0]);
    }
    if (x->normed_by != op->norm || x->normed_value != op->in[0]) {
        run_norm(x, op->norm, op->in[0], w->norm, floats_at(x->normed));
        x->normed_by = op->norm;
        x->normed_value = op->in[0];
    }
    return floats_at(x->normed);
}

static void run_product(struct tn_cuda_executor *x, uint32_t type, struct cuda_product *p)
{
    type &= ~(uint32_t)TN_PACKED;
    launch(x, cuda_product_kernel(type, p->rows), ceiling(p->outputs, CUDA_PRODUCT_ROWS),
           p->rows > 1 ? ceiling(p->rows, CUDA_PRODUCT_COLUMNS) : p->rows, p);
}

static struct cuda_product product_of(const struct ir_op *op, const struct cuda_op *w, int i,
                                      const float *in, uint32_t rows, float *out)
{
    return (struct cuda_product){.out = out,
                                 .in = in,
                                 .bias = w->vector[i],
                                 .weights = w->matrix[i],
                                 .row_bytes = op->matrix[i].row_bytes,
                                 .columns = op->matrix[i].columns,
                                 .outputs = op->matrix[i].rows,
                                 .rows = rows};
}

static void run_matmul(struct tn_cuda_executor *x, const struct ir_op *op, const struct cuda_op *w)
{
    struct cuda_product p =
        product_of(op, w, 0, input_of(x, op, w), row_count(x, op->out), value_of(x, op->out));
    p.residual = value_of(x, op->residual);
    p.activation = op->activation;
    run_product(x, op->matrix[0].type, &p);
}

static void run_gated(struct tn_cuda_executor *x, const struct ir_op *op, const struct cuda_op *w)
{
    const float *in = input_of(x, op, w);
    uint32_t rows = row_count(x, op->out);
    float *part[2] = {floats_at(x->gated), floats_at(x->gated) + (size_t)rows * op->matrix[0].rows};
    for (int i = 0; i < 2; i++) {
        struct cuda_product p = product_of(op, w, i, in, rows, part[i]);
        run_product(x, op->matrix[i].type, &p);
    }
    run_elements(x, CUDA_GATE, op->activation, op->out, part[0], part[1]);
}

// A few rows at a time to the device's buffer, over to ours, and into the callers' rows.
static void run_logits(struct tn_cuda_executor *x, const struct ir_op *op, const struct cuda_op *w)
{
    const struct cuda_driver *f = &x->model->device->driver;
    size_t vocabulary = op->matrix[0].rows;
    const float *in = x->output_count ? input_of(x, op, w) : NULL;
    for (uint32_t first = 0, some; first < x->output_count && !x->error; first += some) {
        uint32_t left = x->output_count - first;
        some = left < CUDA_LOGIT_ROWS ? left : CUDA_LOGIT_ROWS;
        struct cuda_product p = product_of(op, w, 0, in + (size_t)first * op->matrix[0].columns,
                                           some, floats_at(x->logits));
        p.softcap = op->number;
        run_product(x, op->matrix[0].type, &p);
        size_t bytes = some * vocabulary * sizeof(float);
        if (!x->error) {
            cuda_failed(x, f->copy_out_later(x->host_logits, x->logits, bytes, x->stream),
                        "copying logits");
        }
        if (cuda_failed(x, f->stream_wait(x->stream), "computing")) {
            return;
        }
        for (uint32_t i = 0; i < some; i++) {
            memcpy(x->logit_rows[first + i], x->host_logits + i * vocabulary,
                   vocabulary * sizeof(float));
        }
    }
}

// ---- all ---------------------------------------------------------------------------------------

static void run_op(struct tn_cuda_executor *x, const struct ir_op *op, const struct cuda_op *w)
{
    const float *a = value_of(x, op->in[0]), *b = value_of(x, op->in[1]);
    switch (op->kind) {
    case IR_EMBED:
    case IR_ADD_POSITION:
        run_embed(x, op, w);
        break;
    case IR_RMS_NORM:
    case IR_LAYER_NORM:
        run_norm(x, op, op->in[0], w->vector, value_of(x, op->out));
        break;
    case IR_MATMUL:
        run_matmul(x, op, w);
        break;
    case IR_GATED:
        run_gated(x, op, w);
        break;
    case IR_ADD:
        run_elements(x, CUDA_ADD, IR_NONE, op->out, a, b);
        break;
    case IR_ADD_VECTOR:
        run_elements(x, CUDA_ADD_VECTOR, IR_NONE, op->out, a, w->vector[0]);
        break;
    case IR_ACTIVATE:
        run_elements(x, CUDA_ACTIVATE, op->activation, op->out, a, NULL);
        break;
    case IR_GATE:
        run_elements(x, CUDA_GATE, op->activation, op->out, a, b);
        break;
    case IR_ROPE:
        turned(x, op, op->heads, NULL, value_of(x, op->out));
        break;
    case IR_KV_STORE:
        run_kv_store(x, op, w);
        break;
    case IR_ATTENTION:
        run_attention(x, op, w);
        break;
    case IR_TAKE_OUTPUTS:
        run_take(x, op);
        break;
    case IR_LOGITS:
        run_logits(x, op, w);
        break;
    case IR_EXPERTS:
    case IR_POOL:
    case IR_REMOVED:
        break; // refused at opening; not in a finished graph
    }
}

int cuda_walk(struct tn_cuda_executor *x)
{
    for (uint32_t i = 0; i < x->graph->op_count && !x->error; i++) {
        run_op(x, &x->graph->ops[i], &x->model->ops[i]);
    }
    return x->error ? -EIO : 0;
}
