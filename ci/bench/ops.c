// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A product as a registered graph (tensor/ops.h) beside the model executor's own, in turn in one
// run: medians, their ratio, and whether the bits are the same.
// Use: ops [threads [rounds]]
#include "tensor/cpu/product.h"
#include "tensor/cpu/test_weights.h"
#include "tensor/ops.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { K = 4096, M = 4096, ROUNDS_MOST = 99 };

struct side {
    struct tn_ops *ops;
    void *bindings[3]; // x, weights, out
    struct tn_executor x;
    struct ir_graph graph;
    struct ir_shape values[3];
    struct ir_op op;
    struct tn_worker workers[64];
    void *memory; // the executor's
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *take(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    if (!p) {
        fprintf(stderr, "ops: no memory\n");
        exit(1);
    }
    return p;
}

static void open_ops(struct side *s, uint32_t type, uint32_t rows, struct tn_pool *pool)
{
    const struct tn_ops_tensor tensors[] = {{TN_F32, 2, {K, rows}, TN_OPS_INPUT},
                                            {type, 2, {K, M}, TN_OPS_CONSTANT},
                                            {TN_F32, 2, {M, rows}, TN_OPS_OUTPUT}};
    const struct tn_ops_node node = {
        .kind = TN_OPS_MATMUL, .in = {0, 1, TN_OPS_NONE, TN_OPS_NONE}, .out = 2};
    const struct tn_ops_graph g = {tensors, &node, 3, 1, (uint64_t)1 << 30};
    char error[200];
    if (tn_ops_open(&g, pool, tn_isa_best(), &s->ops, error, sizeof error)) {
        fprintf(stderr, "%s\n", error);
        exit(1);
    }
    s->bindings[0] = take(rows * K * sizeof(float));
    s->bindings[1] = take(tn_row_bytes(type, K) * M);
    s->bindings[2] = take(rows * M * sizeof(float));
    for (size_t i = 0; i < rows * K; i++) {
        ((float *)s->bindings[0])[i] = random_float();
    }
    if (tn_type_info(type)->block_values > 1) {
        random_rows(type, s->bindings[1], M, K);
    } else {
        memset(s->bindings[1], 0x11, tn_row_bytes(type, K) * M);
    }
}

static void open_executor(struct side *s, uint32_t type, uint32_t rows, struct tn_pool *pool)
{
    enum tn_isa isa = tn_isa_best();
    s->values[1] = (struct ir_shape){.columns = K};
    s->values[2] = (struct ir_shape){.columns = M, .offset = K};
    s->op = (struct ir_op){.kind = IR_MATMUL,
                           .in = {1},
                           .out = 2,
                           .matrix = {{.data = s->bindings[1],
                                       .type = type,
                                       .rows = M,
                                       .columns = K,
                                       .row_bytes = tn_row_bytes(type, K)}}};
    s->graph =
        (struct ir_graph){.ops = &s->op, .values = s->values, .op_count = 1, .value_count = 3};
    s->x = (struct tn_executor){.graph = &s->graph,
                                .integers = tn_integer_kernels_of(isa),
                                .floats = tn_float_kernels_of(isa),
                                .row_kernels = tn_row_kernels_of(isa),
                                .options = {.isa = isa, .pool = pool, .max_tokens = rows},
                                .workers = s->workers,
                                .row_count = rows};
    struct tn_arena a = {0};
    for (int pass = 0; pass < 2; pass++) {
        tn_products_carve(&s->x, &a);
        for (unsigned i = 0; i < pool->width; i++) {
            tn_worker_carve(&s->workers[i], &a);
        }
        if (pass == 0) {
            s->memory = take(a.used);
            a = (struct tn_arena){.base = s->memory, .size = a.used};
        }
    }
    s->x.values = take((size_t)rows * (K + M) * sizeof(float));
    memcpy(tn_value(&s->x, 1), s->bindings[0], rows * K * sizeof(float));
}

static double time_of(struct side *s, bool executor, unsigned times)
{
    double begin = now();
    for (unsigned i = 0; i < times; i++) {
        if (executor) {
            s->x.input_value = 0; // as in a new step
            tn_run_products(&s->x, &s->op, 1);
        } else if (tn_ops_run(s->ops, s->bindings)) {
            exit(1);
        }
    }
    return (now() - begin) / times;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void compare(uint32_t type, uint32_t rows, struct tn_pool *pool, unsigned rounds)
{
    static struct side s;
    double times[2][ROUNDS_MOST];
    open_ops(&s, type, rows, pool);
    open_executor(&s, type, rows, pool);
    for (unsigned r = 0; r < rounds; r++) {
        for (int side = 0; side < 2; side++) { // who begins changes
            times[(r + (unsigned)side) % 2][r] =
                time_of(&s, (r + (unsigned)side) % 2, 64 / rows + 1);
        }
    }
    for (int side = 0; side < 2; side++) {
        qsort(times[side], rounds, sizeof(double), ascending);
    }
    double ops = times[0][rounds / 2], executor = times[1][rounds / 2];
    bool same = !memcmp(s.bindings[2], tn_value(&s.x, 2), (size_t)rows * M * sizeof(float));
    printf("%-6s rows %3u  graph %8.3f ms  executor %8.3f ms  ratio %.3f  %6.1f GMAC/s  bits %s\n",
           tn_type_info(type)->name, rows, ops * 1e3, executor * 1e3, ops / executor,
           (double)rows * K * M / ops / 1e9, same ? "the same" : "DIFFER");
    tn_ops_close(s.ops);
    for (int i = 0; i < 3; i++) {
        free(s.bindings[i]);
    }
    free(s.x.values);
    free(s.memory);
}

int main(int argc, char **argv)
{
    static const uint32_t types[] = {TN_Q4_0, TN_Q8_0, TN_Q4_K, TN_F16, TN_F32},
                          rows[] = {1, 16, 128};
    unsigned threads = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 9;
    if (threads < 1 || threads > 64 || rounds < 1 || rounds > ROUNDS_MOST) {
        fprintf(stderr, "use: ops [threads, 1 to 64 [rounds, 1 to %d]]\n", ROUNDS_MOST);
        return 2;
    }
    struct tn_pool *pool = threads > 1 ? tn_pool_threads(threads) : &tn_pool_single;
    printf("%s, %u threads, %u rounds, %d x %d\n", tn_isa_name(tn_isa_best()), pool->width, rounds,
           M, K);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            compare(types[t], rows[r], pool, rounds);
        }
    }
    tn_pool_free(pool);
    return 0;
}
