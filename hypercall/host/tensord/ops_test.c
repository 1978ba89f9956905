// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Calls on tensors through the daemon: single operations, weights by name, registered graphs, and
// what is refused.
//
// Links: @tensor tensor/core/pool_host.c tensor/model/synthetic_host.c
// Links: tensor/model/synthetic_vocabulary_host.c @tensord hypercall/host/tensord/play_host.c
// Links: hypercall/guest/client.c hypercall/guest/client_names.c hypercall/guest/connect_host.c
// Libs: -lmbedcrypto -lseccomp -lmicrohttpd
#include "hypercall/host/tensord/play_host.h"
#include "tensor/ops.h"
#include "tensor/quant.h"

#include <math.h>
#include <stdio.h>

enum { ROWS = 5, TENSOR_AT = 512 << 10, STEP = 64 << 10 };

// Tensor number i: its memory is at a place of its own among the arguments.
static float *memory(struct play_guest *g, unsigned i)
{
    return (void *)(g->client.region + g->arguments_at + TENSOR_AT + i * STEP);
}

static uint64_t tensor(struct play_guest *g, unsigned i, uint64_t columns, uint64_t rows)
{
    struct hc_tensor *t = (void *)(g->client.region + g->arguments_at);
    *t = (struct hc_tensor){.span = {.buffer = g->arguments, .offset = TENSOR_AT + i * STEP},
                            .type = TN_F32,
                            .dims = 2,
                            .shape = {columns, rows, 1, 1}};
    struct hc_completion c = play_call(g, HC_TENSOR, g->arguments, 0, 0);
    assert_int_equal(c.status, 0);
    return c.value[0];
}

static int call6(struct play_guest *g, uint16_t call, const uint64_t a[6], uint64_t *value)
{
    struct hc_completion out;
    assert_int_equal(hc_call(&g->client, call, a, 10000, &out), 0);
    if (value) {
        *value = out.value[0];
    }
    return -out.status;
}

static uint64_t weight(struct play_guest *g, const char *name, int *status)
{
    uint64_t value, a[6] = {g->model, g->arguments, 256, strlen(name)};
    memcpy(g->client.region + g->arguments_at + 256, name, strlen(name));
    *status = call6(g, HC_WEIGHT, a, &value);
    return value;
}

static void fill(float *x, size_t n, int seed)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = sinf((float)(i * 13 + (size_t)seed) * 0.7f);
    }
}

static void a_product_by_a_weight_is_what_doubles_say(void **unused)
{
    (void)unused;
    struct play_daemon d;
    struct play_guest g;
    int status;
    play_start(&d, NULL);
    play_join(&d, &g, "a", "");
    const struct gguf_tensor *w = gguf_find(tn_model_gguf(d.tensor_model), "blk.0.attn_q.weight");
    assert_non_null(w);
    size_t k = w->shape[0], m = w->shape[1];
    uint64_t matrix = weight(&g, "blk.0.attn_q.weight", &status);
    assert_int_equal(status, 0);
    uint64_t in = tensor(&g, 0, k, ROWS), out = tensor(&g, 1, m, ROWS);
    fill(memory(&g, 0), k * ROWS, 1);
    uint64_t a[6] = {out, in, matrix, 0};
    assert_int_equal(call6(&g, HC_MATMUL, a, NULL), 0);
    float *row = malloc(k * sizeof *row);
    for (size_t r = 0; r < m; r++) {
        tn_quant_decode(w->type, (const uint8_t *)w->data + r * tn_row_bytes(w->type, k), k, row);
        for (size_t i = 0; i < ROWS; i++) {
            double sum = 0, size = 0;
            for (size_t j = 0; j < k; j++) {
                sum += (double)row[j] * (double)memory(&g, 0)[i * k + j];
                size += fabs((double)row[j] * (double)memory(&g, 0)[i * k + j]);
            }
            assert_true(fabs(sum - (double)memory(&g, 1)[i * m + r]) < 0.02 * size + 1e-6);
        }
    }
    free(row);
    // Weights are only read; shapes must fit; a handle given back is none.
    uint64_t bad[6] = {matrix, in, matrix, 0};
    assert_int_equal(call6(&g, HC_MATMUL, bad, NULL), HC_BAD_VALUE);
    uint64_t wrong[6] = {in, out, matrix, 0};
    assert_int_equal(call6(&g, HC_MATMUL, wrong, NULL), k == m ? 0 : HC_BAD_VALUE);
    assert_int_equal(play_call(&g, HC_TENSOR_FREE, out, 0, 0).status, 0);
    assert_int_equal(call6(&g, HC_MATMUL, a, NULL), HC_BAD_HANDLE);
    (void)weight(&g, "no.such.weight", &status);
    assert_int_equal(status, HC_NOT_FOUND);
    play_leave(&g);
    play_stop(&d);
}

static uint64_t bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static void single_operations(void **unused)
{
    (void)unused;
    struct play_daemon d;
    struct play_guest g;
    play_start(&d, NULL);
    play_join(&d, &g, "a", "");
    uint64_t in = tensor(&g, 0, 16, ROWS), out = tensor(&g, 1, 16, ROWS),
             one = tensor(&g, 2, 16, 1);
    fill(memory(&g, 0), 16 * ROWS, 3);
    uint64_t softmax[6] = {out, in, bits(2)};
    assert_int_equal(call6(&g, HC_SOFTMAX, softmax, NULL), 0);
    for (int r = 0; r < ROWS; r++) {
        double sum = 0, best = 0;
        for (int i = 0; i < 16; i++) {
            sum += (double)memory(&g, 1)[r * 16 + i];
            best += exp(2 * (double)memory(&g, 0)[r * 16 + i]);
        }
        assert_true(fabs(sum - 1) < 1e-5);
        assert_true(fabs((double)memory(&g, 1)[r * 16] -
                         exp(2 * (double)memory(&g, 0)[r * 16]) / best) < 1e-5);
    }
    for (int i = 0; i < 16; i++) {
        memory(&g, 2)[i] = 3;
    }
    struct hc_tensor *t = (void *)(g.client.region + g.arguments_at);
    *t = (struct hc_tensor){.span = {.buffer = g.arguments, .offset = TENSOR_AT + 2 * STEP},
                            .dims = 1,
                            .shape = {16, 0, 0, 0}};
    struct hc_completion c = play_call(&g, HC_TENSOR, g.arguments, 0, 0);
    assert_int_equal(c.status, 0);
    uint64_t norm[6] = {out, in, c.value[0], 0, bits(1e-6f)};
    assert_int_equal(call6(&g, HC_NORM, norm, NULL), 0);
    double squares = 0;
    for (int i = 0; i < 16; i++) {
        squares += pow((double)memory(&g, 0)[i], 2);
    }
    assert_true(fabs((double)memory(&g, 1)[0] -
                     3 * (double)memory(&g, 0)[0] / sqrt(squares / 16 + 1e-6)) < 1e-4);
    uint64_t transfer[6] = {out, in};
    assert_int_equal(call6(&g, HC_TRANSFER, transfer, NULL), 0);
    assert_memory_equal(memory(&g, 0), memory(&g, 1), 16 * ROWS * sizeof(float));
    uint64_t uneven[6] = {out, one};
    assert_int_equal(call6(&g, HC_TRANSFER, uneven, NULL), HC_BAD_VALUE);
    play_leave(&g);
    play_stop(&d);
}

// out = silu(in) * in + in, submitted once, run twice by handle.
static void a_graph_is_submitted_once_and_run_by_handle(void **unused)
{
    (void)unused;
    struct play_daemon d;
    struct play_guest g;
    play_start(&d, NULL);
    play_join(&d, &g, "a", "");
    uint64_t in = tensor(&g, 0, 16, ROWS), out = tensor(&g, 1, 16, ROWS), graph;
    struct {
        struct hc_graph head;
        struct hc_graph_tensor tensors[3];
        struct hc_graph_node nodes[2];
    } *s = (void *)(g.client.region + g.arguments_at + 4096);
    memset(s, 0, sizeof *s);
    s->head = (struct hc_graph){3, 2};
    for (uint32_t i = 0; i < 3; i++) {
        s->tensors[i] = (struct hc_graph_tensor){.dims = 2, .shape = {16, ROWS, 1, 1}};
        s->tensors[i].role = i == 0 ? TN_OPS_INPUT : i == 1 ? TN_OPS_OUTPUT : TN_OPS_TEMPORARY;
    }
    const uint32_t none = TN_OPS_NONE;
    s->nodes[0] = (struct hc_graph_node){
        .kind = TN_OPS_GATE, .out = 2, .in = {0, 0, none, none}, .integer = {TN_OPS_ACT_SILU}};
    s->nodes[1] = (struct hc_graph_node){.kind = TN_OPS_ADD, .out = 1, .in = {2, 0, none, none}};
    uint64_t open[6] = {g.arguments, 4096, sizeof *s};
    assert_int_equal(call6(&g, HC_GRAPH, open, &graph), 0);
    uint32_t *bound = (void *)(g.client.region + g.arguments_at + 8192);
    bound[0] = (uint32_t)in;
    bound[1] = (uint32_t)out;
    bound[2] = 12345; // temporaries are not looked at
    uint64_t run[6] = {graph, g.arguments, 8192, 3};
    for (int round = 0; round < 2; round++) {
        fill(memory(&g, 0), 16 * ROWS, round);
        assert_int_equal(call6(&g, HC_GRAPH_RUN, run, NULL), 0);
        for (int i = 0; i < 16 * ROWS; i++) {
            double x = (double)memory(&g, 0)[i];
            assert_true(fabs(x * x / (1 + exp(-x)) + x - (double)memory(&g, 1)[i]) < 1e-5);
        }
    }
    bound[1] = (uint32_t)tensor(&g, 2, 16, ROWS - 1);
    assert_int_equal(call6(&g, HC_GRAPH_RUN, run, NULL), HC_BAD_VALUE);
    s->nodes[1].in[0] = 7; // no such tensor
    assert_int_equal(call6(&g, HC_GRAPH, open, NULL), HC_BAD_VALUE);
    open[2]--;
    assert_int_equal(call6(&g, HC_GRAPH, open, NULL), HC_BAD_VALUE);
    assert_int_equal(play_call(&g, HC_GRAPH_FREE, graph, 0, 0).status, 0);
    assert_int_equal(call6(&g, HC_GRAPH_RUN, run, NULL), HC_BAD_HANDLE);
    struct hc_statistics *t = (void *)(g.client.region + g.arguments_at);
    assert_int_equal(play_call(&g, HC_STATISTICS, g.arguments, 0, sizeof *t).status, 0);
    assert_int_equal(t->tensors, 3);
    assert_int_equal(t->graphs, 0);
    assert_true(t->compute_ns > 0);
    play_leave(&g);
    play_stop(&d);
}

// A tiny model learns a fixed batch, the same way each time.
static void a_model_is_trained_by_calls(void **unused)
{
    (void)unused;
    enum { CONTEXT = 8, SEQUENCES = 4 };
    struct play_daemon d;
    struct play_guest g;
    float first[2] = {0, 0}, last[2];
    play_start(&d, NULL);
    play_join(&d, &g, "a", "");
    for (int round = 0; round < 2; round++) {
        struct hc_train_open *o = (void *)(g.client.region + g.arguments_at);
        *o = (struct hc_train_open){.vocabulary = 32,
                                    .context = CONTEXT,
                                    .embedding = 16,
                                    .layers = 1,
                                    .heads = 2,
                                    .kv_heads = 2,
                                    .feed_forward = 32,
                                    .sequences = SEQUENCES,
                                    .learning_rate = 0.01f,
                                    .clip = 1,
                                    .seed = 5};
        struct hc_completion c = play_call(&g, HC_TRAIN_OPEN, g.arguments, 0, 0);
        assert_int_equal(c.status, 0);
        uint64_t session = c.value[0], parameters = c.value[1];
        assert_true(parameters > 32 * 16);
        int32_t *ids = (void *)(g.client.region + g.arguments_at + 4096);
        for (int i = 0; i < SEQUENCES * (CONTEXT + 1); i++) {
            ids[i] = i * 7 % 32;
        }
        struct hc_train_step *s = (void *)(g.client.region + g.arguments_at + 2048);
        *s = (struct hc_train_step){.session = (uint32_t)session,
                                    .tokens = {.buffer = g.arguments, .offset = 4096}};
        for (int step = 0; step < 40; step++) {
            c = play_call(&g, HC_TRAIN_STEP, g.arguments, 2048, 0);
            assert_int_equal(c.status, 0);
            float loss;
            memcpy(&loss, &c.value[0], sizeof loss);
            first[round] = step ? first[round] : loss;
            last[round] = loss;
        }
        assert_true(last[round] < 0.7f * first[round]);
        uint64_t t = tensor(&g, 0, parameters, 1);
        assert_int_equal(play_call(&g, HC_TRAIN_READ, session, t, 0).status, 0);
        assert_true(memory(&g, 0)[0] != 0 && isfinite(memory(&g, 0)[parameters - 1]));
        ids[3] = 32; // beyond the vocabulary
        assert_int_equal(play_call(&g, HC_TRAIN_STEP, g.arguments, 2048, 0).status, -HC_BAD_VALUE);
        assert_int_equal(play_call(&g, HC_TRAIN_CLOSE, session, 0, 0).status, 0);
        assert_int_equal(play_call(&g, HC_TRAIN_STEP, g.arguments, 2048, 0).status, -HC_BAD_HANDLE);
    }
    assert_true(first[0] == first[1] && last[0] == last[1]);
    play_leave(&g);
    play_stop(&d);
}

static int tests(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(a_product_by_a_weight_is_what_doubles_say),
        cmocka_unit_test(single_operations),
        cmocka_unit_test(a_model_is_trained_by_calls),
        cmocka_unit_test(a_graph_is_submitted_once_and_run_by_handle),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}

int main(int argc, char **argv)
{
    return play_main(argc, argv, tests);
}
