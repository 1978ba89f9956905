// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests of registered graphs: descriptions built line by line, with memory of exactly the
// tensors' sizes, so that the sanitizer sees every byte too many.
#ifndef TENSOR_OPS_TEST_OPS_H
#define TENSOR_OPS_TEST_OPS_H

#include "tensor/cpu/kernels.h"
#include "tensor/cpu/test_weights.h"
#include "tensor/ops.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NONE       TN_OPS_NONE
#define EACH_LEVEL for (enum tn_isa isa = TN_ISA_SCALAR; isa <= tn_isa_best(); isa++)

enum { TEST_MOST = 256 };

struct test_graph {
    struct tn_ops_tensor tensors[TEST_MOST];
    struct tn_ops_node nodes[TEST_MOST];
    void *memory[TEST_MOST];
    uint64_t values[TEST_MOST];
    struct tn_ops_graph graph;
    char error[200];
};

static inline struct test_graph *new_graph(void)
{
    struct test_graph *g = calloc(1, sizeof *g);
    assert_non_null(g);
    g->graph = (struct tn_ops_graph){
        .tensors = g->tensors, .nodes = g->nodes, .memory_most = (uint64_t)64 << 20};
    return g;
}

static inline void free_graph(struct test_graph *g)
{
    for (int i = 0; i < TEST_MOST; i++) {
        free(g->memory[i]);
    }
    free(g);
}

static inline void fill_random(uint32_t type, void *memory, uint64_t values)
{
    uint8_t *at = memory;
    if (type == TN_I32) {
        memset(memory, 0, values * 4);
    } else if (tn_type_info(type)->block_values > 1) {
        random_rows(type, at, 1, values);
    } else {
        for (uint64_t i = 0; i < values; i++) {
            float f = random_float() * 2;
            uint16_t h = type == TN_F16 ? tn_f32_to_f16(f) : tn_f32_to_bf16(f);
            size_t bytes = type == TN_F32 ? 4 : 2;
            memcpy(at + i * bytes, type == TN_F32 ? (void *)&f : (void *)&h, bytes);
        }
    }
}

// Shapes end at the first 0.
static inline uint32_t tensor_of(struct test_graph *g, enum tn_ops_role role, uint32_t type,
                                 uint64_t s0, uint64_t s1, uint64_t s2, uint64_t s3)
{
    uint32_t index = g->graph.tensor_count++;
    assert_true(index < TEST_MOST);
    uint64_t values = s0 * (s1 ? s1 : 1) * (s2 ? s2 : 1) * (s3 ? s3 : 1);
    g->tensors[index] = (struct tn_ops_tensor){.type = type,
                                               .dims = s3   ? 4
                                                       : s2 ? 3
                                                       : s1 ? 2
                                                            : 1,
                                               .shape = {s0, s1, s2, s3},
                                               .role = role};
    g->values[index] = values;
    if (role != TN_OPS_TEMPORARY) {
        g->memory[index] = malloc(tn_row_bytes(type, values));
        assert_non_null(g->memory[index]);
        fill_random(type, g->memory[index], values);
    }
    return index;
}

static inline uint32_t floats_of(struct test_graph *g, enum tn_ops_role role, uint64_t s0,
                                 uint64_t s1, uint64_t s2)
{
    return tensor_of(g, role, TN_F32, s0, s1, s2, 0);
}

static inline struct tn_ops_node *add_node(struct test_graph *g, enum tn_ops_kind kind,
                                           uint32_t out, uint32_t a, uint32_t b, uint32_t c)
{
    struct tn_ops_node *n = &g->nodes[g->graph.node_count++];
    *n = (struct tn_ops_node){.kind = kind, .in = {a, b, c, NONE}, .out = out};
    return n;
}

static inline float *floats(const struct test_graph *g, uint32_t tensor)
{
    return g->memory[tensor];
}

static inline int try_open(struct test_graph *g, struct tn_pool *pool, enum tn_isa isa,
                           struct tn_ops **out)
{
    *out = NULL;
    return tn_ops_open(&g->graph, pool, isa, out, g->error, sizeof g->error);
}

static inline void run_graph_on(struct test_graph *g, struct tn_pool *pool, enum tn_isa isa)
{
    struct tn_ops *o;
    int rc = try_open(g, pool, isa, &o);
    if (rc) {
        fail_msg("%s", g->error);
    }
    assert_int_equal(tn_ops_run(o, g->memory), 0);
    tn_ops_close(o);
}

static inline void run_graph(struct test_graph *g, enum tn_isa isa)
{
    run_graph_on(g, &tn_pool_single, isa);
}

static inline void assert_near(double is, double right, double error)
{
    if (!(fabs(is - right) <= error)) {
        fail_msg("%.9g, expected %.9g within %.3g", is, right, error);
    }
}

#endif
