// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What descriptions are refused, and by what words; what memory a graph takes; what a run refuses;
// stops; and callers that change memory while a graph runs.
//
// Links: @tensor tensor/core/pool_host.c
#include "tensor/ops/test_ops.h"

// x -> RELU -> middle -> RELU -> out.
struct chain {
    struct test_graph *g;
    uint32_t x, middle, out;
};

static struct chain make_chain(void)
{
    struct chain c = {.g = new_graph()};
    c.x = floats_of(c.g, TN_OPS_INPUT, 100, 3, 0);
    c.middle = floats_of(c.g, TN_OPS_TEMPORARY, 100, 3, 0);
    c.out = floats_of(c.g, TN_OPS_OUTPUT, 100, 3, 0);
    add_node(c.g, TN_OPS_RELU, c.middle, c.x, NONE, NONE);
    add_node(c.g, TN_OPS_RELU, c.out, c.middle, NONE, NONE);
    return c;
}

static void refused_with(struct test_graph *g, int error, const char *words)
{
    struct tn_ops *o;
    assert_int_equal(try_open(g, &tn_pool_single, TN_ISA_SCALAR, &o), error);
    assert_null(o);
    if (!strstr(g->error, words)) {
        fail_msg("\"%s\" does not say \"%s\"", g->error, words);
    }
    free_graph(g);
}

static void refused(struct test_graph *g, const char *words)
{
    refused_with(g, -EINVAL, words);
}

#define REFUSED(CHANGE, WORDS)                                                                     \
    do {                                                                                           \
        struct chain c = make_chain();                                                             \
        struct tn_ops_tensor *tensors = c.g->tensors;                                              \
        struct tn_ops_node *nodes = c.g->nodes;                                                    \
        (void)tensors, (void)nodes;                                                                \
        CHANGE;                                                                                    \
        refused(c.g, WORDS);                                                                       \
    } while (0)

static void what_is_no_tensor_is_refused(void **unused)
{
    (void)unused;
    REFUSED(tensors[1].type = TN_Q8_1, "tensor 1: type 9 is not supported");
    REFUSED(tensors[1].type = 4711, "tensor 1: type 4711");
    REFUSED(tensors[1].type = TN_I32 | TN_PACKED, "tensor 1: type");
    REFUSED(tensors[2].role = 4, "tensor 2: no role 4");
    REFUSED(tensors[0].dims = 0, "tensor 0: 1 to 4 dimensions");
    REFUSED(tensors[0].dims = 5, "tensor 0: 1 to 4 dimensions");
    REFUSED(tensors[0].shape[0] = 0, "tensor 0: 1 to 4 dimensions");
    REFUSED(tensors[0].shape[3] = 2, "tensor 0: 1 to 4 dimensions");
    REFUSED(tensors[0].shape[1] = (uint64_t)1 << 40, "tensor 0: 1 to 4 dimensions");
    REFUSED((tensors[0].shape[0] = UINT64_MAX, tensors[0].shape[1] = UINT64_MAX), "tensor 0");
    REFUSED(tensors[0].type = TN_Q8_0, "tensor 0: rows of 100 values are no whole blocks of Q8_0");
    REFUSED((tensors[0].type = TN_F16 | TN_PACKED, tensors[0].dims = 3, tensors[0].shape[2] = 2),
            "tensor 0: packed tensors have two dimensions");
    REFUSED(c.g->graph.tensor_count = 0, "0 tensors");
    REFUSED(c.g->graph.tensor_count = TN_OPS_TENSORS_MOST + 1, "2049 tensors");
    REFUSED(c.g->graph.node_count = TN_OPS_NODES_MOST + 1, "1025 nodes");
    REFUSED(c.g->graph.node_count = 0, "0 nodes");
}

static void what_cannot_run_in_order_is_refused(void **unused)
{
    (void)unused;
    REFUSED(nodes[0].kind = 0, "node 0: there is no kind 0");
    REFUSED(nodes[1].kind = TN_OPS_KIND_LIMIT, "node 1: there is no kind");
    REFUSED(nodes[1].in[0] = NONE, "node 1 (RELU): in[0] is missing");
    REFUSED(nodes[1].in[1] = 0, "node 1 (RELU): in[1] must be none");
    REFUSED(nodes[1].in[0] = 3, "node 1 (RELU): in[0]: there is no tensor 3");
    REFUSED(nodes[1].out = NONE, "node 1 (RELU): out: there is no tensor");
    REFUSED(nodes[1].out = 0, "node 1 (RELU) writes tensor 0, which is an input");
    REFUSED(nodes[1].out = 1, "node 1 (RELU) writes tensor 1, which node 0 writes already");
    REFUSED(nodes[0].in[0] = 1, "node 0 (RELU) reads tensor 1, which no earlier node writes");
    REFUSED(nodes[0].in[0] = 2, "node 0 (RELU) reads tensor 2, which no earlier node writes");
    REFUSED(nodes[0].number[3] = NAN, "node 0 (RELU): number[3] is not finite");
    REFUSED(c.g->graph.node_count = 1, "tensor 2 is an output, and no node writes it");
    REFUSED(tensors[2].role = TN_OPS_TEMPORARY, "no tensor is an output");
}

static void shapes_and_types_must_fit(void **unused)
{
    (void)unused;
    REFUSED(tensors[1].shape[0]++, "node 0 (RELU): tensor 1 is [101, 3, 1, 1], expected [100, 3");
    REFUSED(tensors[1].type = TN_F16, "node 0 (RELU): tensor 1 is F16, expected F32");
    REFUSED((nodes[1].kind = TN_OPS_REDUCE_SUM), "tensor 2 is [100, 3, 1, 1], expected [1, 3");
    REFUSED((nodes[1].kind = TN_OPS_ADD, nodes[1].in[1] = 0, tensors[0].shape[1] = 1,
             nodes[0].kind = TN_OPS_RESHAPE),
            "out must have as many values");
    REFUSED((nodes[1].kind = TN_OPS_TRANSPOSE, nodes[1].integer[0] = 4), "no order of the four");
    REFUSED(nodes[1].kind = TN_OPS_TRANSPOSE, "no order of the four");
    REFUSED((nodes[1].kind = TN_OPS_SLICE, nodes[1].integer[1] = 1), "ends beyond");
    REFUSED((nodes[1].kind = TN_OPS_SLICE, nodes[1].integer[1] = UINT32_MAX), "ends beyond");
    REFUSED((nodes[1].kind = TN_OPS_SLICE, nodes[1].integer[0] = 4), "no dimension");
    REFUSED((nodes[1].kind = TN_OPS_CONCAT, nodes[1].in[2] = 0), "left out before in");
    REFUSED((nodes[1].kind = TN_OPS_CONCAT, nodes[1].in[1] = 0), "expected [200");
    REFUSED((nodes[1].kind = TN_OPS_GATE, nodes[1].in[1] = 0, nodes[1].integer[0] = 99),
            "node 1 (GATE): integer[0] is no activation");
    REFUSED((nodes[1].kind = TN_OPS_RMS_NORM, nodes[1].number[0] = -1), "epsilon");
    REFUSED((nodes[1].kind = TN_OPS_EMBED, nodes[1].in[1] = 0), "tensor 0 is F32, expected I32");
    REFUSED((nodes[1].kind = TN_OPS_MATMUL, nodes[1].in[1] = 0, nodes[1].integer[0] = 7),
            "expected [3, 3");
    REFUSED((tensors[2].type = TN_I32, nodes[1].kind = TN_OPS_CAST), "out is not F32, F16 or BF16");
}

static void attention_and_positions_are_checked(void **unused)
{
    (void)unused;
    for (int wrong = 0; wrong < 7; wrong++) {
        struct test_graph *g = new_graph();
        uint32_t q = floats_of(g, TN_OPS_INPUT, 8, 4, 6), k = floats_of(g, TN_OPS_INPUT, 8, 9, 2);
        uint32_t v = floats_of(g, TN_OPS_INPUT, 8, 9, 2),
                 out = floats_of(g, TN_OPS_OUTPUT, 8, 4, 6);
        struct tn_ops_node *n = add_node(g, TN_OPS_ATTENTION, out, q, k, v);
        n->integer[0] = TN_OPS_CAUSAL;
        const char *words[] = {
            "unknown flags", "soft cap",        "kv heads", "more rows than keys",
            "expected [8",   "expected [8, 9,", "fourth"};
        n->integer[0] |= wrong == 0 ? 8 : 0;
        n->number[1] = wrong == 1 ? -1 : 0;
        g->tensors[k].shape[2] = g->tensors[v].shape[2] = wrong == 2 ? 4 : 2;
        g->tensors[k].shape[1] = g->tensors[v].shape[1] = wrong == 3 ? 3 : 9;
        g->tensors[k].shape[0] = wrong == 4 ? 9 : 8;
        g->tensors[v].shape[1] += wrong == 5;
        g->tensors[q].dims += wrong == 6;
        g->tensors[q].shape[3] = wrong == 6 ? 2 : 0;
        refused(g, words[wrong]);
    }
    for (int wrong = 0; wrong < 5; wrong++) {
        struct test_graph *g = new_graph();
        uint32_t x = floats_of(g, TN_OPS_INPUT, 8, 4, 6);
        uint32_t p = tensor_of(g, TN_OPS_INPUT, TN_I32, 4, 0, 0, 0);
        uint32_t out = floats_of(g, TN_OPS_OUTPUT, 8, 4, 6);
        struct tn_ops_node *n = add_node(g, TN_OPS_ROPE, out, x, p, NONE);
        const char *words[] = {"the base", "must be even", "must be even", "unknown flags",
                               "expected [6"};
        n->number[0] = wrong == 0 ? 0.5f : 10000;
        n->integer[1] = wrong == 1 ? 7 : wrong == 2 ? 10 : 0;
        n->integer[0] = wrong == 3 ? TN_OPS_CAUSAL : wrong == 4 ? TN_OPS_ROWS_OUTER : 0;
        refused(g, words[wrong]);
    }
}

static void pool_and_level_are_checked(void **unused)
{
    (void)unused;
    struct chain c = make_chain();
    struct tn_ops *o;
    struct tn_pool none = {.width = 0};
    assert_int_equal(try_open(c.g, &none, TN_ISA_SCALAR, &o), -EINVAL);
    assert_int_equal(try_open(c.g, NULL, TN_ISA_SCALAR, &o), -EINVAL);
    assert_int_equal(try_open(c.g, &tn_pool_single, TN_ISA_COUNT, &o), -EINVAL);
    free_graph(c.g);
}

// ---- memory
// --------------------------------------------------------------------------------------

static struct test_graph *long_chain(void)
{
    struct test_graph *g = new_graph();
    uint32_t last = floats_of(g, TN_OPS_INPUT, 1000, 0, 0);
    for (int i = 0; i < 200; i++) {
        uint32_t next = floats_of(g, i == 199 ? TN_OPS_OUTPUT : TN_OPS_TEMPORARY, 1000, 0, 0);
        add_node(g, TN_OPS_SCALE, next, last, NONE, NONE)->number[0] = i % 2 ? 2 : 0.5f;
        last = next;
    }
    return g;
}

static void temporaries_share_memory(void **unused)
{
    (void)unused;
    struct test_graph *g = long_chain();
    struct tn_ops *o;
    g->graph.memory_most = 2 * 4032 + 64; // two of them, and a worker
    assert_int_equal(try_open(g, &tn_pool_single, TN_ISA_SCALAR, &o), 0);
    assert_int_equal(tn_ops_work(o), 200 * 1000);
    assert_int_equal(tn_ops_run(o, g->memory), 0);
    assert_memory_equal(floats(g, 0), floats(g, 200), 4000);
    tn_ops_close(o);
    free_graph(g);
}

// Two values that are wanted at the same time never stand in one place: a sum of many.
static void what_is_still_wanted_stays(void **unused)
{
    (void)unused;
    struct test_graph *g = new_graph();
    enum { PARTS = 60 };
    uint32_t x = floats_of(g, TN_OPS_INPUT, 77, 0, 0), part[PARTS], sum;
    for (uint32_t i = 0; i < PARTS; i++) {
        part[i] = floats_of(g, TN_OPS_TEMPORARY, 77, 0, 0);
        add_node(g, TN_OPS_SCALE, part[i], x, NONE, NONE)->number[0] = (float)(1u << i % 12);
    }
    sum = part[0];
    for (uint32_t i = 1; i < PARTS; i++) {
        uint32_t next = floats_of(g, i == PARTS - 1 ? TN_OPS_OUTPUT : TN_OPS_TEMPORARY, 77, 0, 0);
        add_node(g, TN_OPS_ADD, next, sum, part[i], NONE);
        sum = next;
    }
    for (int i = 0; i < 77; i++) {
        floats(g, x)[i] = (float)i;
    }
    run_graph(g, TN_ISA_SCALAR);
    for (int i = 0; i < 77; i++) {
        assert_true(floats(g, sum)[i] == (float)(i * 5 * 4095));
    }
    free_graph(g);
}

static void memory_is_bounded(void **unused)
{
    (void)unused;
    struct test_graph *g = long_chain();
    g->graph.memory_most = 4096;
    refused_with(g, -ENOMEM, "4096 are allowed");
    struct chain c = make_chain(); // far more than there is
    for (int i = 0; i < 3; i++) {
        c.g->tensors[i].shape[1] = (uint64_t)1 << 32;
    }
    refused_with(c.g, -ENOMEM, "take 1717986918400 bytes");
}

static void work_is_counted_without_wrapping(void **unused)
{
    (void)unused;
    struct test_graph *g = new_graph();
    uint32_t x = floats_of(g, TN_OPS_INPUT, 1, 0, 0), w = floats_of(g, TN_OPS_CONSTANT, 1, 0, 0);
    uint32_t out = floats_of(g, TN_OPS_OUTPUT, 1, 0, 0);
    g->tensors[x] = (struct tn_ops_tensor){TN_F32, 2, {1 << 18, 1 << 22}, TN_OPS_INPUT};
    g->tensors[w] = (struct tn_ops_tensor){TN_F32, 2, {1 << 18, 1 << 18}, TN_OPS_CONSTANT};
    g->tensors[out] = (struct tn_ops_tensor){TN_F32, 2, {1 << 18, 1 << 22}, TN_OPS_OUTPUT};
    g->graph.memory_most = (uint64_t)1 << 30;
    add_node(g, TN_OPS_MATMUL, out, x, w, NONE);
    struct tn_ops *o;
    assert_int_equal(try_open(g, &tn_pool_single, TN_ISA_SCALAR, &o), 0);
    assert_true(tn_ops_work(o) == (uint64_t)1 << 58);
    assert_true(tn_ops_bytes(o, out) == (uint64_t)1 << 42);
    assert_int_equal(tn_ops_bytes(o, 3), 0);
    tn_ops_close(o);
    free_graph(g);
}

// ---- runs
// ----------------------------------------------------------------------------------------

static void bindings_are_checked(void **unused)
{
    (void)unused;
    struct chain c = make_chain();
    struct tn_ops *o;
    assert_int_equal(try_open(c.g, &tn_pool_single, TN_ISA_SCALAR, &o), 0);
    void *memory[3];
    memcpy(memory, c.g->memory, sizeof memory);
    memory[c.out] = NULL;
    assert_int_equal(tn_ops_run(o, memory), -EINVAL);
    memory[c.out] = c.g->memory[c.out];
    memory[c.x] = (char *)memory[c.x] + 2;
    assert_int_equal(tn_ops_run(o, memory), -EINVAL);
    assert_int_equal(tn_ops_run(o, c.g->memory), 0);
    tn_ops_close(o);
    free_graph(c.g);
}

static void what_no_output_needs_does_not_run(void **unused)
{
    (void)unused;
    struct chain c = make_chain();
    uint32_t ids = tensor_of(c.g, TN_OPS_INPUT, TN_I32, 2, 0, 0, 0);
    uint32_t rows = floats_of(c.g, TN_OPS_TEMPORARY, 100, 2, 0);
    add_node(c.g, TN_OPS_EMBED, rows, c.x, ids, NONE);
    ((int32_t *)c.g->memory[ids])[0] = 99;
    run_graph(c.g, TN_ISA_SCALAR);
    free(c.g->memory[ids]);
    c.g->memory[ids] = NULL;
    run_graph(c.g, TN_ISA_SCALAR);
    c.g->tensors[rows].role = TN_OPS_OUTPUT; // but now it does
    c.g->memory[rows] = malloc(800);
    c.g->memory[ids] = calloc(2, 4);
    ((int32_t *)c.g->memory[ids])[1] = 3;
    struct tn_ops *o;
    assert_int_equal(try_open(c.g, &tn_pool_single, TN_ISA_SCALAR, &o), 0);
    assert_int_equal(tn_ops_run(o, c.g->memory), -EINVAL);
    tn_ops_close(o);
    free_graph(c.g);
}

static void ids_and_positions_out_of_range_are_refused(void **unused)
{
    (void)unused;
    static const int32_t bad[] = {-1, 10, INT32_MAX, INT32_MIN};
    struct test_graph *g = new_graph();
    uint32_t table = floats_of(g, TN_OPS_CONSTANT, 4, 10, 0);
    uint32_t ids = tensor_of(g, TN_OPS_INPUT, TN_I32, 5, 0, 0, 0);
    uint32_t places = tensor_of(g, TN_OPS_INPUT, TN_I32, 5, 0, 0, 0);
    uint32_t slower = floats_of(g, TN_OPS_CONSTANT, 2, 0, 0);
    uint32_t rows = floats_of(g, TN_OPS_TEMPORARY, 4, 5, 0);
    uint32_t out = floats_of(g, TN_OPS_OUTPUT, 4, 5, 0);
    add_node(g, TN_OPS_EMBED, rows, table, ids, NONE);
    add_node(g, TN_OPS_ROPE, out, rows, places, slower)->number[0] = 100;
    floats(g, slower)[0] = floats(g, slower)[1] = 1;
    struct tn_ops *o;
    assert_int_equal(try_open(g, &tn_pool_single, TN_ISA_SCALAR, &o), 0);
    assert_int_equal(tn_ops_run(o, g->memory), 0);
    for (int i = 0; i < 4; i++) {
        int32_t *id = g->memory[ids], *place = g->memory[places];
        id[4] = bad[i];
        assert_int_equal(tn_ops_run(o, g->memory), -EINVAL);
        id[4] = 9;
        place[2] = bad[i] == 10 ? TN_OPS_POSITION_MOST + 1 : bad[i];
        assert_int_equal(tn_ops_run(o, g->memory), -EINVAL);
        place[2] = TN_OPS_POSITION_MOST;
        assert_int_equal(tn_ops_run(o, g->memory), 0);
    }
    static const float unusable[] = {0, NAN, -1, 1e-3f};
    for (int i = 0; i < 4; i++) {
        floats(g, slower)[1] = unusable[i] * (i == 3 ? 1e-3f : 1);
        assert_int_equal(tn_ops_run(o, g->memory), -EINVAL);
    }
    floats(g, slower)[1] = 8;
    assert_int_equal(tn_ops_run(o, g->memory), 0);
    tn_ops_close(o);
    free_graph(g);
}

// ---- stops, and hostile callers -----------------------------------------------------------------

struct counter {
    int left;
    int32_t *ids;
};

static bool stop_after(void *arg)
{
    struct counter *c = arg;
    return c->left-- <= 0;
}

static void a_run_can_be_stopped_anywhere(void **unused)
{
    (void)unused;
    struct test_graph *g = new_graph();
    uint32_t x = floats_of(g, TN_OPS_INPUT, 256, 300, 0);
    uint32_t w = tensor_of(g, TN_OPS_CONSTANT, TN_Q4_K, 256, 64, 0, 0);
    uint32_t y = floats_of(g, TN_OPS_TEMPORARY, 64, 300, 0);
    uint32_t z = floats_of(g, TN_OPS_TEMPORARY, 64, 300, 0);
    uint32_t out = floats_of(g, TN_OPS_OUTPUT, 64, 300, 0);
    add_node(g, TN_OPS_MATMUL, y, x, w, NONE);
    add_node(g, TN_OPS_SOFTMAX, z, y, NONE, NONE)->number[0] = 1;
    add_node(g, TN_OPS_ATTENTION, out, y, z, z)->number[0] = 1;
    struct tn_ops *o;
    assert_int_equal(try_open(g, &tn_pool_single, tn_isa_best(), &o), 0);
    int at = 0, rc = -ECANCELED;
    for (; rc == -ECANCELED && at < 10000; at++) {
        struct counter c = {.left = at};
        tn_ops_set_stop(o, stop_after, &c);
        memset(floats(g, out), 0x55, g->values[out] * 4);
        rc = tn_ops_run(o, g->memory);
        assert_true(rc == 0 || rc == -ECANCELED);
    }
    assert_true(at > 20); // it is asked between tiles, not only between nodes
    float *copy = malloc(g->values[out] * 4);
    memcpy(copy, floats(g, out), g->values[out] * 4);
    tn_ops_set_stop(o, NULL, NULL);
    assert_int_equal(tn_ops_run(o, g->memory), 0);
    assert_memory_equal(copy, floats(g, out), g->values[out] * 4);
    free(copy);
    tn_ops_close(o);
    free_graph(g);
}

// Makes ids wild as soon as they have been looked at.
static bool change_ids(void *arg)
{
    struct counter *c = arg;
    if (c->left-- <= 0) {
        for (int i = 0; i < 3000; i++) {
            c->ids[i] = 0x7ffffff0;
        }
    }
    return false;
}

static void ids_that_change_after_the_check_lead_nowhere(void **unused)
{
    (void)unused;
    struct test_graph *g = new_graph();
    uint32_t table = floats_of(g, TN_OPS_CONSTANT, 64, 50, 0);
    uint32_t ids = tensor_of(g, TN_OPS_INPUT, TN_I32, 3000, 0, 0, 0);
    uint32_t rows = floats_of(g, TN_OPS_OUTPUT, 64, 3000, 0);
    uint32_t out = floats_of(g, TN_OPS_OUTPUT, 64, 3000, 0);
    add_node(g, TN_OPS_EMBED, rows, table, ids, NONE);
    add_node(g, TN_OPS_ROPE, out, rows, ids, NONE)->number[0] = 100;
    struct tn_ops *o;
    assert_int_equal(try_open(g, &tn_pool_single, TN_ISA_SCALAR, &o), 0);
    for (int at = 0; at < 60; at++) {
        struct counter c = {.left = at, .ids = g->memory[ids]};
        for (int i = 0; i < 3000; i++) {
            c.ids[i] = i % 50;
        }
        tn_ops_set_stop(o, change_ids, &c);
        int rc = tn_ops_run(o, g->memory);
        // The first question comes before the first copy; the second, after it.
        assert_true(rc == -EINVAL || (at > 0 && rc == 0));
        for (int i = 0; i < 3000 && at > 0; i++) {
            assert_memory_equal(floats(g, rows) + 64 * i, floats(g, table) + 64 * (i % 50), 256);
        }
    }
    tn_ops_close(o);
    free_graph(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_tensor_is_refused),
        cmocka_unit_test(what_cannot_run_in_order_is_refused),
        cmocka_unit_test(shapes_and_types_must_fit),
        cmocka_unit_test(attention_and_positions_are_checked),
        cmocka_unit_test(pool_and_level_are_checked),
        cmocka_unit_test(temporaries_share_memory),
        cmocka_unit_test(what_is_still_wanted_stays),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(work_is_counted_without_wrapping),
        cmocka_unit_test(bindings_are_checked),
        cmocka_unit_test(what_no_output_needs_does_not_run),
        cmocka_unit_test(ids_and_positions_out_of_range_are_refused),
        cmocka_unit_test(a_run_can_be_stopped_anywhere),
        cmocka_unit_test(ids_that_change_after_the_check_lead_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
