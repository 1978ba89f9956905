// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Opening models: what is wrong is named; and stories260K writes its recorded continuation.
//
// Links: @tensor tensor/core/pool_host.c tensor/model/synthetic_host.c
//
// Links: tensor/model/synthetic_vocabulary_host.c
#include "tensor/infer.h"
#include "tensor/model/model_private.h"
#include "tensor/model/synthetic.h"
#include "tensor/model/tiny_model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void refused(const struct tiny_options *o, int expected, const char *words)
{
    char error[256] = "";
    size_t bytes;
    void *file = tiny_gguf(o, &bytes);
    struct tn_model *m;
    int e = tn_model_open(file, bytes, &m, error, sizeof error);
    if (e != expected || !strstr(error, words)) {
        fail_msg("%d '%s', expected %d '%s'", e, error, expected, words);
    }
    free(file);
}

static void wrong_models_are_refused_by_name(void **unused)
{
    (void)unused;
    struct tiny_options o = tiny_default(TN_Q8_0);
    o.missing = "blk.1.ffn_up.weight";
    refused(&o, -ENOENT, "blk.1.ffn_up.weight: tensor is missing");
    o = tiny_default(TN_Q8_0), o.misshapen = "blk.1.attn_k.weight";
    refused(&o, -EINVAL, "blk.1.attn_k.weight: shape 64×33, expected 64×32");
    o = tiny_default(TN_Q8_0), o.wrong_type = "blk.0.attn_norm.weight";
    refused(&o, -ENOTSUP, "blk.0.attn_norm.weight: type F16 (1), expected F32");
    o = tiny_default(TN_Q8_0), o.architecture = "mamba";
    refused(&o, -ENOTSUP,
            "general.architecture: 'mamba' is not supported; supported are llama, qwen2, ");
    o = tiny_default(TN_Q8_0), o.rope_scaling = "dynamic";
    refused(&o, -ENOTSUP, "llama.rope.scaling.type: 'dynamic' is not supported (none, linear");
    o = tiny_default(TN_Q8_0), o.experts = 8;
    refused(&o, -EINVAL, "llama.expert_used_count: is missing or 0, but there are experts");
    o = tiny_default(TN_Q8_0), o.heads = 3, o.kv_heads = 2;
    refused(&o, -EINVAL, "attention.head_count");
    o = tiny_default(TN_Q8_0), o.missing = "token_embd.weight";
    refused(&o, -ENOENT, "token_embd.weight");
}

static void a_norm_that_is_not_finite_is_refused(void **unused)
{
    (void)unused;
    struct tiny_options o = tiny_default(TN_Q8_0);
    char error[256] = "";
    size_t bytes;
    uint8_t *file = tiny_gguf(&o, &bytes);
    struct tn_model *m;
    memset(file + bytes - 8, 0xff, 4); // output_norm.weight comes last
    assert_int_equal(tn_model_open(file, bytes, &m, error, sizeof error), -EINVAL);
    assert_non_null(strstr(error, "output_norm.weight: value 62 is not a finite number"));
    free(file);
}

static void every_truncation_is_refused(void **unused)
{
    (void)unused;
    struct tiny_options o = tiny_default(TN_Q4_0);
    char error[256];
    size_t bytes;
    uint8_t *file = tiny_gguf(&o, &bytes);
    for (size_t n = 0; n < bytes; n += 1 + bytes / 300) {
        uint8_t *part = malloc(n + 1);
        struct tn_model *m;
        memcpy(part, file, n);
        error[0] = 0;
        assert_true(tn_model_open(part, n, &m, error, sizeof error) < 0);
        assert_true(error[0] != 0);
        free(part);
    }
    free(file);
}

static void a_sound_model_tells_what_it_is(void **unused)
{
    (void)unused;
    struct tiny_options o = tiny_default(TN_Q8_0);
    char error[256] = "";
    size_t bytes;
    void *file = tiny_gguf(&o, &bytes);
    struct tn_model *m;
    struct tn_model_info i;
    assert_int_equal(tn_model_open(file, bytes, &m, error, sizeof error), 0);
    tn_model_info(m, &i);
    assert_string_equal(i.architecture, "llama");
    assert_string_equal(i.name, "llama");
    assert_int_equal(i.vocabulary, 288);
    assert_int_equal(i.head_dim, 16);
    assert_int_equal(i.kv_heads, 2);
    assert_int_equal(i.weight_type, TN_Q8_0);
    assert_int_equal(i.chat, CHAT_NONE);
    tn_model_close(m);
    free(file);
}

// Values that live at the same time must not share memory, and each is made before it is used.
// Returns the floats a row that all values would take side by side.
static uint32_t check_places(const struct ir_graph *g)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < g->op_count; i++) {
        const struct ir_op *op = &g->ops[i];
        const ir_value used[3] = {op->in[0], op->in[1], op->residual};
        for (int j = 0; j < 3; j++) {
            assert_true(!used[j] || g->values[used[j]].first < i);
        }
        bool by_element = op->kind == IR_ADD || op->kind == IR_ADD_VECTOR || op->kind == IR_ROPE ||
                          op->kind == IR_ADD_POSITION || op->kind == IR_ACTIVATE ||
                          op->kind == IR_GATE;
        sum += op->out ? g->values[op->out].columns : 0;
        for (ir_value v = 1; op->out && v < g->value_count; v++) {
            const struct ir_shape *a = &g->values[v], *b = &g->values[op->out];
            bool lives = a->first < i && a->last > i;
            bool read_here = a->last == i && a->first < i && v != op->residual &&
                             !(by_element && v == op->in[0]);
            if (v != op->out && a->last && (lives || read_here)) {
                assert_true(a->offset + a->columns <= b->offset ||
                            b->offset + b->columns <= a->offset);
            }
        }
    }
    return sum;
}

static void the_plan_keeps_living_values_apart(void **unused)
{
    (void)unused;
    for (size_t n = 0; synthetic_architectures[n]; n++) {
        for (uint32_t type = TN_F32; type <= TN_Q8_0; type += TN_Q8_0) {
            struct synthetic_options o;
            char error[256] = "";
            size_t bytes;
            struct tn_model *m;
            assert_true(synthetic_default(synthetic_architectures[n], type, &o));
            void *file = synthetic_model(&o, &bytes);
            assert_int_equal(tn_model_open(file, bytes, &m, error, sizeof error), 0);
            uint32_t sum = check_places(&m->graph);
            assert_true(m->graph.floats_per_row < sum / 2); // places are used again
            tn_model_close(m);
            free(file);
        }
    }
}

static uint32_t count_kind(const struct ir_graph *g, enum ir_kind kind)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->op_count; i++) {
        n += g->ops[i].kind == kind;
    }
    return n;
}

// Of llama's two layers nothing is left but what must be: sums, gates, turns and norms are part of
// products and attention, and what follows the last attention works on chosen rows.
static void operations_are_fused_and_narrowed(void **unused)
{
    (void)unused;
    struct tiny_options o = tiny_default(TN_Q8_0);
    char error[256] = "";
    size_t bytes;
    void *file = tiny_gguf(&o, &bytes);
    struct tn_model *m;
    assert_int_equal(tn_model_open(file, bytes, &m, error, sizeof error), 0);
    const struct ir_graph *g = &m->graph;
    assert_int_equal(count_kind(g, IR_ADD) + count_kind(g, IR_GATE) + count_kind(g, IR_ROPE), 0);
    assert_int_equal(count_kind(g, IR_RMS_NORM), 0);
    assert_int_equal(count_kind(g, IR_GATED), 2);
    assert_int_equal(count_kind(g, IR_MATMUL), 2 * 5);
    assert_int_equal(count_kind(g, IR_TAKE_OUTPUTS), 2); // of the attention, and of its input
    uint32_t attention = 0;
    for (uint32_t i = 0; i < g->op_count; i++) {
        attention += g->ops[i].kind == IR_ATTENTION;
        bool product = g->ops[i].kind == IR_MATMUL || g->ops[i].kind == IR_GATED;
        if (product && attention == 2) {
            assert_int_equal(g->values[g->ops[i].in[0]].rows, IR_OUTPUTS);
            assert_int_equal(g->values[g->ops[i].out].rows, IR_OUTPUTS);
        } else if (product) {
            assert_int_equal(g->values[g->ops[i].out].rows, IR_TOKENS);
        }
    }
    tn_model_close(m);
    free(file);
}

// A key may be a list of one number a layer, as long as they are all the same.
static void lists_of_equal_numbers_are_numbers(void **unused)
{
    (void)unused;
    struct synthetic_options o;
    char error[256] = "";
    size_t bytes;
    struct tn_model *m;
    assert_true(synthetic_default("llama", TN_F32, &o));
    o.listed = true;
    void *file = synthetic_model(&o, &bytes);
    assert_int_equal(tn_model_open(file, bytes, &m, error, sizeof error), 0);
    struct tn_model_info info;
    tn_model_info(m, &info);
    assert_int_equal(info.kv_heads, o.kv_heads);
    tn_model_close(m);
    free(file);
    o.listed_differ = true;
    file = synthetic_model(&o, &bytes);
    assert_int_equal(tn_model_open(file, bytes, &m, error, sizeof error), -ENOTSUP);
    assert_non_null(strstr(error, "llama.attention.head_count_kv: differs from layer to layer"));
    free(file);
}

// ---- stories260K -------------------------------------------------------------------------------

static const char recorded[] = ", there was a little girl named Lily. She loved to play outside in "
                               "the park. One day, she saw a "
                               "big, red ball. She wanted to play with it, but it was too "
                               "high.\nLily's mom said, \"Lily, let's "
                               "go to the park.\" Lily was sad and didn't know what to do. She "
                               "said, \"I want to play with your "
                               "ball, but";

static void *read_stories(size_t *bytes)
{
    const char *folder = getenv("TESSERA_TEST_DATA");
    char path[512];
    snprintf(path, sizeof path, "%s/stories260K.gguf", folder ? folder : "../shared/data");
    FILE *f = fopen(path, "rb");
    if (!f) {
        print_message("%s is not here (TESSERA_TEST_DATA names its folder)\n", path);
        return NULL;
    }
    fseek(f, 0, SEEK_END);
    *bytes = (size_t)ftell(f);
    rewind(f);
    void *data = aligned_alloc(64, (*bytes + 63) & ~(size_t)63);
    assert_int_equal(fread(data, 1, *bytes, f), *bytes);
    fclose(f);
    return data;
}

struct text {
    const struct tokenizer *t;
    char bytes[2048];
    size_t count;
    bool done;
};

static int add_piece(void *ctx, int32_t id)
{
    struct text *t = ctx;
    long n = tokenizer_piece(t->t, id, false, t->bytes + t->count, sizeof t->bytes - t->count);
    assert_true(n >= 0 && (size_t)n < sizeof t->bytes - t->count);
    t->count += (size_t)n;
    return t->count >= sizeof recorded - 1;
}

static void finished(void *ctx, enum infer_finish why, uint32_t prompt, uint32_t made)
{
    (void)why, (void)prompt, (void)made;
    ((struct text *)ctx)->done = true;
}

static void stories_write_the_recorded_continuation(void **unused)
{
    (void)unused;
    char error[256] = "";
    size_t bytes;
    void *data = read_stories(&bytes);
    if (!data) {
        skip();
    }
    struct tn_model *m;
    assert_int_equal(tn_model_open(data, bytes, &m, error, sizeof error), 0);
    for (int isa = 0; isa <= (int)tn_isa_best(); isa++) {
        for (unsigned threads = 1; threads <= 2; threads++) {
            struct tn_executor *x;
            struct infer_engine *e;
            struct tn_executor_options o = {.isa = (enum tn_isa)isa,
                                            .pool = tn_pool_threads(threads),
                                            .max_tokens = 16,
                                            .max_sequences = 1,
                                            .kv_page_total = 16,
                                            .kv_type = TN_F32};
            assert_int_equal(tn_executor_open(m, &o, &x, error, sizeof error), 0);
            struct infer_options i = {.slots = 1};
            assert_int_equal(infer_open(m, x, &i, &e), 0);
            struct text t = {.t = tn_model_tokenizer(m)};
            int32_t ids[16];
            long n = tokenizer_encode(t.t, "Once upon a time", 16, TOKENIZE_ADD_SPECIAL, ids, 16);
            assert_in_range(n, 1, 16);
            struct infer_request r = {.tokens = ids,
                                      .token_count = (size_t)n,
                                      .sampling = tn_sampling_default(),
                                      .on_token = add_piece,
                                      .on_finish = finished,
                                      .ctx = &t};
            r.sampling.temperature = 0;
            assert_int_equal(infer_submit(e, &r, NULL), 0);
            while (!t.done) {
                infer_step(e);
            }
            assert_memory_equal(t.bytes, recorded, sizeof recorded - 1);
            infer_close(e);
            tn_executor_close(x);
            tn_pool_free(o.pool);
        }
    }
    tn_model_close(m);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_models_are_refused_by_name),
        cmocka_unit_test(a_norm_that_is_not_finite_is_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(a_sound_model_tells_what_it_is),
        cmocka_unit_test(the_plan_keeps_living_values_apart),
        cmocka_unit_test(operations_are_fused_and_narrowed),
        cmocka_unit_test(lists_of_equal_numbers_are_numbers),
        cmocka_unit_test(stories_write_the_recorded_continuation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
