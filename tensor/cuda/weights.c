// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A model's weights on the device: every matrix and vector of the graph once, in the file's blocks;
// files of `tessera pack` are brought back into rows on the way. What there is no kernel for is
// refused by name.
#include "tensor/cuda/device.h"

#include "tensor/model/model_private.h"
#include "tensor/pack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

// What was copied from where: a tied matrix goes once.
struct cuda_copy {
    const void *from;
    size_t bytes;
    cuda_address at;
};

// ---- what there are kernels for ----------------------------------------------------------------

static int check_matrix(const struct ir_matrix *m, char *error, size_t bytes)
{
    uint32_t type = m->type & ~(uint32_t)TN_PACKED;
    if (m->data && cuda_product_kernel(type, 1) < 0) {
        const char *name = tn_type_info(type)->name;
        snprintf(error, bytes, "CUDA: no kernel for weights of type %s", name ? name : "unknown");
        return -ENOTSUP;
    }
    return 0;
}

static int check_op(const struct ir_op *op, char *error, size_t bytes)
{
    static const char *const missing[IR_KIND_COUNT] = {
        [IR_EXPERTS] = "mixtures of experts", [IR_POOL] = "pooling (models that embed)"};
    const char *what = missing[op->kind];
    if (op->kind == IR_ATTENTION && op->attention.everywhere) {
        what = "attention that is not causal";
    }
    if (what) {
        snprintf(error, bytes, "CUDA: no kernel for %s", what);
        return -ENOTSUP;
    }
    int rc = check_matrix(&op->matrix[0], error, bytes);
    return rc ? rc : check_matrix(&op->matrix[1], error, bytes);
}

static int check_graph(const struct ir_graph *g, char *error, size_t bytes)
{
    int rc = 0;
    if (g->head_dim > CUDA_MOST_DIM) {
        snprintf(error, bytes, "CUDA: heads of %u values, at most %d", g->head_dim, CUDA_MOST_DIM);
        return -ENOTSUP;
    }
    for (uint32_t i = 0; i < g->op_count && !rc; i++) {
        rc = check_op(&g->ops[i], error, bytes);
    }
    return rc;
}

// ---- copying -----------------------------------------------------------------------------------

struct upload {
    struct tn_cuda_model *m;
    char *error;
    size_t error_bytes;
    int rc; // of the first that went wrong
};

static int copy_in(struct upload *u, cuda_address to, const void *from, size_t bytes)
{
    cuda_result e = u->m->device->driver.copy_in(to, from, bytes);
    if (e) {
        char why[160];
        cuda_describe(&u->m->device->driver, e, why, sizeof why);
        snprintf(u->error, u->error_bytes, "CUDA: copying weights: %s", why);
        return -EIO;
    }
    return 0;
}

static int copy_packed(struct upload *u, cuda_address to, const struct ir_matrix *m)
{
    enum { AT_ONCE = 4 << 20 };
    size_t rows = AT_ONCE / m->row_bytes;
    rows = rows ? rows : 1;
    uint8_t *some = malloc(rows * m->row_bytes);
    int rc = some ? 0 : -ENOMEM;
    if (rc) {
        snprintf(u->error, u->error_bytes, "CUDA: no memory to unpack weights");
    }
    for (size_t row = 0; row < m->rows && !rc; row += rows) {
        size_t count = m->rows - row < rows ? m->rows - row : rows;
        for (size_t i = 0; i < count; i++) {
            const uint8_t *strip =
                m->data + (row + i) / TN_STRIP_ROWS * TN_STRIP_ROWS * m->row_bytes;
            tn_unpack_row(m->type & ~(uint32_t)TN_PACKED, strip, (row + i) % TN_STRIP_ROWS,
                          m->columns, some + i * m->row_bytes);
        }
        rc = copy_in(u, to + row * m->row_bytes, some, count * m->row_bytes);
    }
    free(some);
    return rc;
}

// The device's copy of `bytes` at `from`, made if there is none. `packed`: NULL: as it lies there.
static cuda_address copied(struct upload *u, const void *from, size_t bytes,
                           const struct ir_matrix *packed)
{
    struct tn_cuda_model *m = u->m;
    for (uint32_t i = 0; i < m->copy_count; i++) {
        if (m->copies[i].from == from && m->copies[i].bytes == bytes) {
            return m->copies[i].at;
        }
    }
    if (u->rc || m->copy_count == m->copy_space) {
        return 0;
    }
    struct cuda_copy *c = &m->copies[m->copy_count];
    *c = (struct cuda_copy){.from = from, .bytes = bytes};
    u->rc = cuda_take(m->device, bytes, &c->at, "weights", u->error, u->error_bytes);
    if (!u->rc) {
        m->copy_count++;
        m->bytes += bytes;
        u->rc = packed ? copy_packed(u, c->at, packed) : copy_in(u, c->at, from, bytes);
    }
    return c->at;
}

static const uint8_t *matrix(struct upload *u, const struct ir_matrix *m)
{
    bool packed = m->type & TN_PACKED;
    return m->data ? (const uint8_t *)copied(u, m->data, m->rows * m->row_bytes, packed ? m : NULL)
                   : NULL;
}

static const float *vector(struct upload *u, const float *v, size_t length)
{
    return v ? (const float *)copied(u, v, length * sizeof *v, NULL) : NULL;
}

// Values in the operation's first and second vector.
static void vector_lengths(const struct ir_graph *g, const struct ir_op *op, size_t length[2])
{
    length[0] = op->matrix[0].rows;
    length[1] = op->matrix[1].rows;
    if (op->kind == IR_RMS_NORM || op->kind == IR_LAYER_NORM || op->kind == IR_ADD_VECTOR) {
        length[0] = length[1] = g->values[op->in[0]].columns / (op->heads ? op->heads : 1);
    } else if (op->kind == IR_KV_STORE || op->kind == IR_ATTENTION) {
        length[0] = g->head_dim;
    }
}

static void upload_op(struct upload *u, const struct ir_op *op, struct cuda_op *to)
{
    const struct ir_graph *g = u->m->graph;
    size_t length[2];
    vector_lengths(g, op, length);
    for (int i = 0; i < 2; i++) {
        to->matrix[i] = matrix(u, &op->matrix[i]);
        to->vector[i] = vector(u, op->vector[i], length[i]);
    }
    to->sinks = vector(u, op->attention.sinks, g->heads);
    if (op->norm) {
        size_t columns = g->values[op->norm->in[0]].columns;
        to->norm[0] = vector(u, op->norm->vector[0], columns);
        to->norm[1] = vector(u, op->norm->vector[1], columns);
        u->m->most_norm = columns > u->m->most_norm ? (uint32_t)columns : u->m->most_norm;
    }
    if (op->kind == IR_GATED && op->matrix[0].rows > u->m->most_gated) {
        u->m->most_gated = op->matrix[0].rows;
    }
}

int tn_cuda_model_open(struct tn_cuda_device *d, const struct tn_model *model,
                       struct tn_cuda_model **out, char *error, size_t error_bytes)
{
    enum { COPIES_AN_OP = 7 };
    const struct ir_graph *g = &model->graph;
    int rc = check_graph(g, error, error_bytes);
    if (rc) {
        return rc;
    }
    struct tn_cuda_model *m = calloc(1, sizeof *m);
    if (m) {
        *m = (struct tn_cuda_model){
            .device = d,
            .graph = g,
            .copy_space = g->op_count * COPIES_AN_OP,
            .ops = calloc(g->op_count, sizeof *m->ops),
            .copies = calloc((size_t)g->op_count * COPIES_AN_OP, sizeof *m->copies)};
    }
    if (!m || !m->ops || !m->copies) {
        snprintf(error, error_bytes, "CUDA: no memory");
        tn_cuda_model_close(m);
        return -ENOMEM;
    }
    struct upload u = {.m = m, .error = error, .error_bytes = error_bytes};
    cuda_result e = cuda_enter(d);
    if (e) {
        snprintf(error, error_bytes, "CUDA: the device is not there any more (%d)", e);
        u.rc = -EIO;
    }
    for (uint32_t i = 0; i < g->op_count && !u.rc; i++) {
        upload_op(&u, &g->ops[i], &m->ops[i]);
    }
    if (!u.rc) {
        // Copies out of ordinary memory return when they are on their way, and steps do not wait
        // for the default stream.
        e = d->driver.stream_wait(NULL);
        u.rc = e ? -EIO : 0;
        if (e) {
            snprintf(error, error_bytes, "CUDA: copying weights failed (%d)", e);
        }
    }
    if (u.rc) {
        tn_cuda_model_close(m);
        return u.rc;
    }
    *out = m;
    return 0;
}

void tn_cuda_model_close(struct tn_cuda_model *m)
{
    if (!m) {
        return;
    }
    if (m->copy_count && cuda_enter(m->device) == 0) {
        m->device->driver.stream_wait(NULL); // one that went wrong may have copies on their way
        for (uint32_t i = 0; i < m->copy_count; i++) {
            cuda_give_back(m->device, m->copies[i].at);
        }
    }
    free(m->copies);
    free(m->ops);
    free(m);
}
