// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Bytes to descriptions, near to what is right or far from it, opened and run on memory of exactly
// the tensors' sizes. A run that succeeds gives the same bits again.
//
// Links: @tensor tensor/core/pool_host.c
#include "tensor/ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { MOST = 64, MOST_BYTES = 1 << 20, MOST_WORK = 1 << 20 };

struct input {
    const uint8_t *data;
    size_t bytes;
};

static uint32_t take(struct input *in)
{
    if (in->bytes == 0) {
        return 0;
    }
    in->bytes--;
    return *in->data++;
}

struct description {
    struct tn_ops_tensor tensors[MOST];
    struct tn_ops_node nodes[MOST];
    uint32_t tensor_count, node_count;
};

static uint32_t add(struct description *d, uint32_t type, uint32_t role, const uint64_t shape[4])
{
    if (d->tensor_count == MOST) {
        return MOST - 1;
    }
    struct tn_ops_tensor *t = &d->tensors[d->tensor_count];
    *t = (struct tn_ops_tensor){.type = type, .dims = 4, .role = role};
    memcpy(t->shape, shape, sizeof t->shape);
    return d->tensor_count++;
}

// One whose blocks rows of n values are made of.
static uint32_t any_weight_type(struct input *in, uint64_t n)
{
    static const uint32_t types[] = {TN_F32,    TN_F16,   TN_BF16, TN_Q8_0,  TN_Q4_0, TN_Q4_1,
                                     TN_Q5_0,   TN_Q5_1,  TN_Q2_K, TN_Q3_K,  TN_Q4_K, TN_Q5_K,
                                     TN_IQ4_NL, TN_MXFP4, TN_Q6_K, TN_IQ4_XS};
    uint32_t choice = take(in);
    return types[choice % (n % 256 == 0 ? 16 : 3)] |
           (choice & 128 && choice & 64 ? (uint32_t)TN_PACKED : 0);
}

// The other sides of a node of in[0]'s shape, and the shape of its result.
static void complete(struct description *d, struct tn_ops_node *n, struct input *in, uint64_t s[4])
{
    uint32_t small = take(in);
    uint64_t vector[4] = {s[0], 1, 1, 1}, side[4];
    switch (n->kind) {
    case TN_OPS_MATMUL:
        memcpy(side, (uint64_t[4]){s[0], small % 40 + 1, 1, 1}, sizeof side);
        n->in[1] = add(d, any_weight_type(in, s[0]), TN_OPS_CONSTANT, side);
        s[0] = vector[0] = side[1];
        n->in[2] = small & 64 ? add(d, TN_F32, TN_OPS_CONSTANT, vector) : TN_OPS_NONE;
        n->integer[0] = take(in) % 7;
        break;
    case TN_OPS_ATTENTION:
        memcpy(side, (uint64_t[4]){s[0], s[1] + small % 40, s[2], 1}, sizeof side);
        n->in[1] = add(d, TN_F32, TN_OPS_INPUT, side);
        side[0] = s[0] = small % 33 + 1;
        n->in[2] = add(d, TN_F32, TN_OPS_INPUT, side);
        n->integer[0] = small & 1;
        n->integer[1] = take(in) % 64;
        break;
    case TN_OPS_RMS_NORM:
    case TN_OPS_LAYER_NORM:
        n->in[1] = small & 1 ? add(d, TN_F32, TN_OPS_CONSTANT, vector) : TN_OPS_NONE;
        break;
    case TN_OPS_ADD:
    case TN_OPS_SUB:
    case TN_OPS_MUL:
    case TN_OPS_DIV:
        for (int i = 0; i < 4; i++) {
            side[i] = small >> i & 1 ? s[i] : 1;
        }
        n->in[1] = add(d, TN_F32, TN_OPS_INPUT, side);
        break;
    case TN_OPS_GATE:
        n->in[1] = add(d, TN_F32, TN_OPS_INPUT, s);
        n->integer[0] = small % 8;
        break;
    case TN_OPS_ROPE:
        n->in[1] = add(d, TN_I32, TN_OPS_INPUT, (uint64_t[4]){s[1], 1, 1, 1});
        n->integer[0] = small & 4;
        n->number[0] = 100;
        break;
    case TN_OPS_EMBED:
        n->in[0] = add(d, any_weight_type(in, 256), TN_OPS_CONSTANT, (uint64_t[4]){256, 8, 1, 1});
        n->in[1] = add(d, TN_I32, TN_OPS_INPUT, (uint64_t[4]){small % 9 + 1, 1, 1, 1});
        memcpy(s, (uint64_t[4]){256, small % 9 + 1, 1, 1}, 4 * sizeof *s);
        break;
    case TN_OPS_TRANSPOSE:
        for (uint32_t i = 0; i < 4; i++) {
            n->integer[i] = (i + small) % 4;
            side[i] = s[n->integer[i]];
        }
        memcpy(s, side, sizeof side);
        break;
    case TN_OPS_RESHAPE:
        memcpy(s, (uint64_t[4]){s[0] * s[1], s[2] * s[3], 1, 1}, 4 * sizeof *s);
        break;
    case TN_OPS_CONCAT:
        n->in[1] = add(d, TN_F32, TN_OPS_INPUT, s);
        n->integer[0] = small % 4;
        s[small % 4] *= 2;
        break;
    case TN_OPS_SLICE:
        n->integer[0] = small % 4;
        n->integer[1] = small / 4 % (uint32_t)s[small % 4];
        s[small % 4] -= n->integer[1];
        break;
    case TN_OPS_REDUCE_SUM:
    case TN_OPS_REDUCE_MEAN:
    case TN_OPS_REDUCE_MAX:
        s[0] = 1;
        break;
    default:
        break;
    }
}

// Nodes that fit together.
static void make_sound(struct description *d, struct input *in)
{
    uint64_t shape[4] = {take(in) & 1 ? 256 : take(in) % 40 + 1, take(in) % 20 + 1,
                         take(in) % 3 + 1, 1};
    uint32_t last = add(d, TN_F32, TN_OPS_INPUT, shape), nodes = take(in) % 12 + 1;
    for (uint32_t i = 0; i < nodes; i++) {
        struct tn_ops_node n = {.kind = take(in) % (TN_OPS_KIND_LIMIT - 1) + 1,
                                .in = {last, TN_OPS_NONE, TN_OPS_NONE, TN_OPS_NONE},
                                .number = {(float)take(in) / 64}};
        uint32_t choice = take(in);
        if (choice & 2) { // something earlier
            n.in[0] = choice / 4 % d->tensor_count;
        }
        memcpy(shape, d->tensors[n.in[0]].shape, sizeof shape);
        complete(d, &n, in, shape);
        last = n.out = add(d, n.kind == TN_OPS_CAST && choice & 64 ? TN_F16 : TN_F32,
                           choice & 1 || i + 1 == nodes ? TN_OPS_OUTPUT : TN_OPS_TEMPORARY, shape);
        d->nodes[d->node_count++] = n;
    }
}

static void change_bytes(void *block, size_t bytes, struct input *in)
{
    uint32_t choice = take(in);
    for (uint32_t n = choice < 192 ? 0 : choice % 4; n > 0; n--) {
        size_t at = (take(in) << 8 | take(in)) % bytes;
        ((uint8_t *)block)[at] = (uint8_t)take(in);
    }
}

static bool stop(void *arg)
{
    uint32_t *left = arg;
    return *left && --*left == 0;
}

static void fill(const struct tn_ops_tensor *t, uint8_t *memory, uint64_t bytes, struct input *in)
{
    uint32_t seed = take(in) + 1;
    const bool wild = seed > 200;
    for (uint64_t i = 0; i < bytes; i++) {
        seed = seed * 1664525 + 1013904223;
        memory[i] = (uint8_t)(seed >> 24);
        if (t->type == TN_I32 && !wild) { // mostly in range
            memory[i] = i % 4 ? 0 : memory[i] & 7;
        } else if (t->type == TN_F32 && i % 4 == 3 && seed >> 8 & 15) { // mostly of ordinary size
            memory[i] = 0x3f | (memory[i] & 0x80);
        }
    }
}

static int run(struct tn_ops *o, const struct description *d, struct input *in, uint32_t stop_at,
               void **memory, void **again)
{
    for (uint32_t i = 0; i < d->tensor_count; i++) {
        uint64_t bytes = tn_ops_bytes(o, i);
        if (d->tensors[i].role != TN_OPS_TEMPORARY) {
            memory[i] = again[i] = malloc(bytes);
            fill(&d->tensors[i], memory[i], bytes, in);
        }
        if (d->tensors[i].role == TN_OPS_OUTPUT) {
            again[i] = malloc(bytes);
        }
    }
    uint32_t left = stop_at;
    tn_ops_set_stop(o, stop, &left);
    int rc = tn_ops_run(o, memory);
    if (rc != 0 && rc != -EINVAL && !(rc == -ECANCELED && stop_at)) {
        abort();
    }
    left = stop_at;
    return tn_ops_run(o, again) == rc ? rc : (abort(), 0);
}

static void open_and_run(const struct description *d, struct input *in)
{
    struct tn_ops_graph g = {d->tensors, d->nodes, d->tensor_count, d->node_count, 16 << 20};
    void *memory[MOST] = {NULL}, *again[MOST] = {NULL};
    char error[160] = "";
    struct tn_ops *o = NULL;
    uint32_t choice = take(in);
    enum tn_isa isa = choice & 1 ? tn_isa_best() : TN_ISA_SCALAR;
    if (tn_ops_open(&g, &tn_pool_single, isa, &o, error, sizeof error)) {
        if (o || !error[0]) {
            abort(); // a refusal says why
        }
        return;
    }
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < d->tensor_count && bytes <= MOST_BYTES; i++) {
        bytes += tn_ops_bytes(o, i);
    }
    if (bytes <= MOST_BYTES && tn_ops_work(o) <= MOST_WORK) {
        int rc = run(o, d, in, choice / 2 % 32, memory, again);
        for (uint32_t i = 0; i < d->tensor_count; i++) {
            // Outputs that nothing reached hold what they held.
            if (rc == 0 && d->tensors[i].role == TN_OPS_OUTPUT &&
                memcmp(memory[i], again[i], tn_ops_bytes(o, i))) {
                abort();
            }
            free(memory[i]);
            if (again[i] != memory[i]) {
                free(again[i]);
            }
        }
    }
    tn_ops_close(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input in = {data, bytes};
    struct description *d = calloc(1, sizeof *d);
    uint32_t choice = take(&in);
    if (choice & 1) {
        make_sound(d, &in);
        change_bytes(d->tensors, d->tensor_count * sizeof *d->tensors, &in);
        change_bytes(d->nodes, d->node_count * sizeof *d->nodes, &in);
    } else { // as they come
        d->tensor_count = choice / 2 % 8 + 1;
        d->node_count = take(&in) % 8 + 1;
        for (size_t i = 0; i < d->tensor_count * sizeof *d->tensors; i++) {
            ((uint8_t *)d->tensors)[i] = (uint8_t)take(&in);
        }
        for (size_t i = 0; i < d->node_count * sizeof *d->nodes; i++) {
            ((uint8_t *)d->nodes)[i] = (uint8_t)take(&in);
        }
    }
    open_and_run(d, &in);
    free(d);
    return 0;
}
