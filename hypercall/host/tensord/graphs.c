// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Descriptions of graphs out of a guest's memory, single operations as graphs of one node, and what
// is bound to them. tensor/ops checks what a description means; here only sizes and handles.
#include "hypercall/host/tensord/calls_ops.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(TN_OPS_NONE == UINT32_MAX, "the same in struct hc_graph_node");

static struct graph_handle *graph_of(struct guest *g, uint64_t handle)
{
    uint32_t i = handle_index((uint32_t)handle);
    if (!g->ops || handle > UINT32_MAX || i >= HC_MOST_GRAPHS || !g->ops->graphs[i].graph ||
        (uint32_t)handle != handle_make(i, g->ops->graphs[i].serial)) {
        return NULL;
    }
    return &g->ops->graphs[i];
}

void graph_close(struct guest *g, struct graph *graph)
{
    tn_ops_close(graph->ops);
    g->memory -= graph->memory;
    free(graph->tensors);
    free(graph);
}

int graph_free(struct guest *g, uint64_t handle)
{
    struct graph_handle *h = graph_of(g, handle);
    if (!h) {
        return HC_BAD_HANDLE;
    }
    if (h->jobs) {
        return HC_BUSY;
    }
    graph_close(g, h->graph);
    h->graph = NULL;
    g->ops->graph_count--;
    return HC_OK;
}

// Room for a description and, if wanted, for bindings. 0 or HC_NO_MEMORY.
static int make_room(struct guest *g, struct job *j, uint32_t tensors, uint32_t nodes)
{
    size_t more = tensors * sizeof *j->tensors + nodes * sizeof *j->nodes +
                  tensors * (sizeof *j->bindings + sizeof *j->bytes);
    if (more > g->policy.memory_bytes - g->memory) {
        return HC_NO_MEMORY;
    }
    if (nodes) {
        j->tensors = calloc(tensors, sizeof *j->tensors);
        j->nodes = calloc(nodes, sizeof *j->nodes);
    }
    j->bindings = calloc(tensors, sizeof *j->bindings);
    j->bytes = calloc(tensors, sizeof *j->bytes);
    if ((nodes && (!j->tensors || !j->nodes)) || !j->bindings || !j->bytes) {
        return HC_NO_MEMORY;
    }
    j->memory += more;
    g->memory += more;
    j->description = (struct tn_ops_graph){.tensors = j->tensors,
                                           .nodes = j->nodes,
                                           .tensor_count = tensors,
                                           .node_count = nodes,
                                           .memory_most = g->policy.memory_bytes - g->memory};
    return HC_OK;
}

int graph_read(struct guest *g, const struct hc_submission *s, struct job *j)
{
    const struct hc_span span = {.buffer = (uint32_t)s->argument[0], .offset = s->argument[1]};
    struct hc_graph head;
    uint64_t offset, bytes = s->argument[2];
    int status = s->argument[0] > UINT32_MAX ? HC_BAD_HANDLE
                                             : arena_resolve(&g->arena, &span, bytes, 8, &offset);
    if (status) {
        return status;
    }
    if (bytes < sizeof head) {
        return HC_BAD_RANGE;
    }
    const uint8_t *from = g->region + offset;
    hc_copy(&head, from, sizeof head);
    if (head.tensor_count == 0 || head.tensor_count > TN_OPS_TENSORS_MOST || head.node_count == 0 ||
        head.node_count > TN_OPS_NODES_MOST ||
        bytes != sizeof head + head.tensor_count * sizeof(struct hc_graph_tensor) +
                     head.node_count * sizeof(struct hc_graph_node)) {
        return HC_BAD_VALUE;
    }
    status = make_room(g, j, head.tensor_count, head.node_count);
    from += sizeof head;
    for (uint32_t i = 0; !status && i < head.tensor_count; i++) {
        struct hc_graph_tensor t;
        hc_copy(&t, from, sizeof t);
        from += sizeof t;
        j->tensors[i] = (struct tn_ops_tensor){.type = t.type, .dims = t.dims, .role = t.role};
        memcpy(j->tensors[i].shape, t.shape, sizeof t.shape);
        status = t.zero ? HC_BAD_VALUE : HC_OK;
    }
    for (uint32_t i = 0; !status && i < head.node_count; i++) {
        struct hc_graph_node n;
        hc_copy(&n, from, sizeof n);
        from += sizeof n;
        j->nodes[i] = (struct tn_ops_node){.kind = n.kind, .out = n.out};
        memcpy(j->nodes[i].in, n.in, sizeof n.in);
        memcpy(j->nodes[i].number, n.number, sizeof n.number);
        memcpy(j->nodes[i].integer, n.integer, sizeof n.integer);
    }
    free(j->bindings); // nothing is run yet
    j->bindings = NULL;
    j->keep = true;
    return status;
}

// ---- what is bound -----------------------------------------------------------------------------

static bool fits(const struct tn_ops_tensor *wanted, const struct tensor_handle *t)
{
    bool same = wanted->type == t->type;
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t a = i < wanted->dims ? wanted->shape[i] : 1, b = i < t->dims ? t->shape[i] : 1;
        same &= a == b;
    }
    return same && !(t->read_only && wanted->role == TN_OPS_OUTPUT);
}

int graph_bind(struct guest *g, const struct hc_submission *s, struct job *j)
{
    const struct hc_span span = {.buffer = (uint32_t)s->argument[1], .offset = s->argument[2]};
    struct graph_handle *h = graph_of(g, s->argument[0]);
    uint64_t offset;
    if (!h || s->argument[1] > UINT32_MAX) {
        return HC_BAD_HANDLE;
    }
    const struct graph *graph = h->graph;
    if (s->argument[3] != graph->tensor_count) {
        return HC_BAD_VALUE;
    }
    int status =
        arena_resolve(&g->arena, &span, graph->tensor_count * sizeof(uint32_t), 4, &offset);
    if (!status) {
        status = make_room(g, j, graph->tensor_count, 0);
    }
    for (uint32_t i = 0; !status && i < graph->tensor_count; i++) {
        uint32_t handle;
        hc_copy(&handle, g->region + offset + i * sizeof handle, sizeof handle);
        if (graph->tensors[i].role == TN_OPS_TEMPORARY) {
            continue;
        }
        const struct tensor_handle *t = tensor_of(g, handle);
        status = !t ? HC_BAD_HANDLE : fits(&graph->tensors[i], t) ? HC_OK : HC_BAD_VALUE;
        if (!status) {
            j->bindings[i] = t->data;
            j->bytes[i] = t->bytes;
        }
    }
    if (!status) {
        j->handle = h;
        h->jobs++;
    }
    return status;
}

// ---- single operations -------------------------------------------------------------------------

static float float_of(uint64_t argument)
{
    uint32_t bits = (uint32_t)argument;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

int graph_single(struct guest *g, const struct hc_submission *s, struct job *j)
{
    static const struct {
        uint32_t kind, inputs, optional; // the last inputs that may be missing
    } shapes[] = {[HC_MATMUL] = {TN_OPS_MATMUL, 3, 1},
                  [HC_ATTENTION] = {TN_OPS_ATTENTION, 3, 0},
                  [HC_SOFTMAX] = {TN_OPS_SOFTMAX, 1, 0},
                  [HC_NORM] = {TN_OPS_LAYER_NORM, 3, 1}};
    uint32_t inputs = shapes[s->call].inputs;
    int status = make_room(g, j, 1 + inputs, 1);
    if (status) {
        return status;
    }
    struct tn_ops_node *n = &j->nodes[0];
    *n = (struct tn_ops_node){.kind = shapes[s->call].kind};
    memset(n->in, 0xff, sizeof n->in);
    uint32_t count = 0;
    for (uint32_t i = 0; i <= inputs; i++) {
        bool optional = i > inputs - shapes[s->call].optional;
        const struct tensor_handle *t = tensor_of(g, s->argument[i]);
        if (!t && !(optional && s->argument[i] == 0)) {
            return HC_BAD_HANDLE;
        }
        if (!t) {
            continue;
        }
        if (i == 0 && t->read_only) {
            return HC_BAD_VALUE;
        }
        j->tensors[count] = (struct tn_ops_tensor){
            .type = t->type, .dims = t->dims, .role = i == 0 ? TN_OPS_OUTPUT : TN_OPS_INPUT};
        memcpy(j->tensors[count].shape, t->shape, sizeof t->shape);
        if (t->read_only) {
            j->tensors[count].role = TN_OPS_CONSTANT;
        }
        j->bindings[count] = t->data;
        j->bytes[count] = t->bytes;
        if (i > 0) {
            n->in[i - 1] = count;
        }
        count++;
    }
    j->description.tensor_count = count;
    if (s->call == HC_ATTENTION) {
        n->number[0] = float_of(s->argument[4]);
        n->integer[0] = s->argument[5] ? TN_OPS_CAUSAL : 0;
    } else if (s->call == HC_SOFTMAX) {
        n->number[0] = float_of(s->argument[2]);
    } else if (s->call == HC_NORM) {
        n->number[0] = float_of(s->argument[4]);
        n->kind = s->argument[3] ? TN_OPS_LAYER_NORM : TN_OPS_RMS_NORM;
    }
    return HC_OK;
}
