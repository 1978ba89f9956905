// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Handles of tensors: pieces of a guest's buffers, and weights by name, which are read-only.
#include "hypercall/host/tensord/calls_ops.h"

#include "tensor/gguf.h"

#include <string.h>

struct tensor_handle *tensor_of(struct guest *g, uint64_t handle)
{
    uint32_t i = handle_index((uint32_t)handle);
    if (!g->ops || handle > UINT32_MAX || i >= HC_MOST_TENSORS || !g->ops->tensors[i].used ||
        (uint32_t)handle != handle_make(i, g->ops->tensors[i].serial)) {
        return NULL;
    }
    return &g->ops->tensors[i];
}

static int add(struct guest *g, const struct tensor_handle *t, uint64_t *handle)
{
    for (uint32_t i = 0; i < HC_MOST_TENSORS; i++) {
        struct tensor_handle *h = &g->ops->tensors[i];
        if (!h->used) {
            uint32_t serial = h->serial + 1;
            *h = *t;
            h->serial = serial;
            h->used = true;
            g->ops->tensor_count++;
            *handle = handle_make(i, serial);
            return HC_OK;
        }
    }
    return HC_NO_MEMORY;
}

// Bytes of a tensor, 0: there cannot be one like that. No product here overflows.
static uint64_t bytes_of(uint32_t type, uint32_t dims, const uint64_t shape[4])
{
    if (type >= TN_TYPE_LIMIT || !tn_type_info(type)->name || dims < 1 || dims > 4) {
        return 0;
    }
    uint64_t values = 1;
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t n = i < dims ? shape[i] : 1;
        if (n == 0 || (i >= dims && shape[i] > 1) || n > TN_OPS_VALUES_MOST / values) {
            return 0;
        }
        values *= n;
    }
    uint64_t row = tn_row_bytes(type, shape[0]);
    return row * (values / shape[0]);
}

int tensor_create(struct guest *g, const struct hc_submission *s, uint64_t value[2])
{
    const struct hc_span span = {.buffer = (uint32_t)s->argument[0], .offset = s->argument[1]};
    struct hc_tensor c;
    uint64_t offset;
    int status = s->argument[0] > UINT32_MAX
                     ? HC_BAD_HANDLE
                     : arena_resolve(&g->arena, &span, sizeof c, 8, &offset);
    if (status) {
        return status;
    }
    hc_copy(&c, g->region + offset, sizeof c);
    struct tensor_handle t = {.type = c.type, .dims = c.dims};
    memcpy(t.shape, c.shape, sizeof t.shape);
    t.bytes = bytes_of(c.type, c.dims, c.shape);
    if (t.bytes == 0) {
        return HC_BAD_VALUE;
    }
    status = arena_resolve(&g->arena, &c.span, t.bytes, HC_ALIGN, &offset);
    if (status) {
        return status;
    }
    t.data = g->region + offset;
    return add(g, &t, &value[0]);
}

int tensor_free(struct guest *g, uint64_t handle)
{
    struct tensor_handle *t = tensor_of(g, handle);
    if (!t) {
        return HC_BAD_HANDLE;
    }
    t->used = false;
    g->ops->tensor_count--;
    return HC_OK;
}

int tensor_weight(struct guest *g, const struct hc_submission *s, uint64_t value[2])
{
    char name[HC_MOST_NAME + 1];
    const struct hc_span span = {.buffer = (uint32_t)s->argument[1], .offset = s->argument[2]};
    uint64_t offset, bytes = s->argument[3];
    struct engine *e =
        s->argument[0] <= UINT32_MAX ? guest_engine(g, (uint32_t)s->argument[0]) : NULL;
    if (!e || s->argument[1] > UINT32_MAX) {
        return HC_BAD_HANDLE;
    }
    if (bytes == 0 || bytes > HC_MOST_NAME) {
        return HC_BAD_VALUE;
    }
    int status = arena_resolve(&g->arena, &span, bytes, 1, &offset);
    if (status) {
        return status;
    }
    hc_copy(name, g->region + offset, bytes);
    name[bytes] = 0;
    const struct gguf_tensor *w = gguf_find(tn_model_gguf(e->weights->model), name);
    if (!w) {
        return HC_NOT_FOUND;
    }
    struct tensor_handle t = {.read_only = true,
                              .type = w->type,
                              .dims = w->dims,
                              .bytes = w->bytes,
                              .data = (void *)(uintptr_t)w->data};
    memcpy(t.shape, w->shape, sizeof t.shape);
    value[1] = w->type;
    return add(g, &t, &value[0]);
}
