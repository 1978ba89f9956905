// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Hugging Face models read natively give what the same model gives as GGUF; what is damaged or not
// supported is refused by name.
//
// Links: @tensor
#include "tensor/format/test_hf.h"

#include "tensor/exec.h"
#include "tensor/model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static char error[512];

static int open_files(const struct hf_files *f, struct gguf **out)
{
    struct safetensors_source weights = hf_source("model.safetensors", &f->weights);
    struct safetensors_model m = {.shards = &weights,
                                  .shard_count = 1,
                                  .config = hf_source("config.json", &f->config),
                                  .tokenizer = hf_source("tokenizer.json", &f->tokenizer)};
    if (f->settings.bytes)
        m.tokenizer_config = hf_source("tokenizer_config.json", &f->settings);
    return safetensors_open(&m, out, error, sizeof error);
}

static void run(const struct tn_model *m, const int32_t *ids, uint32_t count, float *logits)
{
    struct tn_executor *x;
    static const uint32_t pages[] = {0, 1};
    struct tn_executor_options o = {.isa = tn_isa_best(),
                                    .pool = &tn_pool_single,
                                    .max_tokens = 32,
                                    .max_sequences = 1,
                                    .kv_page_total = 2,
                                    .kv_type = TN_F32};
    struct tn_step_sequence s = {.tokens = ids,
                                 .token_count = count,
                                 .kv_pages = pages,
                                 .kv_page_count = 2,
                                 .logits = logits};
    assert_int_equal(tn_executor_open(m, &o, &x, error, sizeof error), 0);
    assert_int_equal(tn_step(x, &s, 1), 0);
    tn_executor_close(x);
}

static void same_logits(const char *architecture, uint32_t type, const char *more)
{
    static const int32_t ids[] = {5, 17, 260, 9, 44, 103, 2, 265, 31, 8};
    enum { COUNT = sizeof ids / sizeof *ids };
    struct hf_files f;
    struct gguf *index;
    struct maker file;
    struct tn_model *native, *converted;
    hf_make(&f, architecture, type, more);
    if (open_files(&f, &index) != 0)
        fail_msg("%s", error);
    hf_as_gguf(&f, index, &file);
    if (tn_model_open_index(index, &native, error, sizeof error) != 0)
        fail_msg("native: %s", error);
    if (tn_model_open(file.data, file.bytes, &converted, error, sizeof error) != 0)
        fail_msg("converted: %s", error);
    float *a = malloc(COUNT * f.vocabulary * sizeof *a),
          *b = malloc(COUNT * f.vocabulary * sizeof *b);
    run(native, ids, COUNT, a);
    run(converted, ids, COUNT, b);
    double most = 0, scale = 0;
    for (size_t i = 0; i < COUNT * f.vocabulary; i++) {
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        scale = fmax(scale, fabs((double)b[i]));
    }
    if (!(scale > 0.5) || !(most <= 1e-5 * scale))
        fail_msg("%s: logits of %g differ by %g", architecture, scale, most);
    free(a);
    free(b);
    tn_model_close(native);
    tn_model_close(converted);
    free(file.data);
    hf_free(&f);
}

static void logits_are_those_of_the_same_gguf(void **state)
{
    (void)state;
    static const uint32_t types[] = {TN_F32, TN_F16, TN_BF16};
    for (int i = 0; i < 3; i++) {
        same_logits("llama", types[i], "");
        same_logits("qwen2", types[i], "");
        same_logits("qwen3", types[i], "");
        same_logits("gpt2", types[i], "");
    }
}

static void text_becomes_the_expected_tokens(void **state)
{
    (void)state;
    static const struct {
        const char *architecture, *text;
        int32_t ids[8];
        long count;
    } cases[] = {{"gpt2", "hello world", {260, 261, 262, 'l', 'd'}, 5},
                 {"qwen2", "hello w12", {260, 261, '1', '2'}, 4},
                 {"llama", "hello", {1, 271, 263}, 3},
                 {"llama", "hell\xc3\xa9", {1, 271, 3 + 0xc3, 3 + 0xa9}, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hf_files f;
        struct gguf *index;
        struct tokenizer *t;
        int32_t ids[16];
        hf_make(&f, cases[i].architecture, TN_F32, "");
        if (open_files(&f, &index) != 0 || tokenizer_open(index, &t, error, sizeof error) != 0)
            fail_msg("%s", error);
        long n = tokenizer_encode(t, cases[i].text, strlen(cases[i].text), TOKENIZE_ADD_SPECIAL,
                                  ids, 16);
        assert_int_equal(n, cases[i].count);
        for (long k = 0; k < n; k++)
            assert_int_equal(ids[k], cases[i].ids[k]);
        assert_int_equal(tokenizer_size(t), f.vocabulary); // padded
        tokenizer_close(t);
        gguf_close(index);
        hf_free(&f);
    }
}

static void shards_are_one_model(void **state)
{
    (void)state;
    struct hf_files f;
    struct maker part[2] = {{0}, {0}};
    struct gguf *one, *two;
    hf_make(&f, "llama", TN_BF16, "");
    hf_weights(&f, 0, 7, &part[0]);
    hf_weights(&f, 7, f.count, &part[1]);
    struct safetensors_source sources[] = {hf_source("a.safetensors", &part[0]),
                                           hf_source("b.safetensors", &part[1])};
    struct safetensors_model m = {.shards = sources,
                                  .shard_count = 2,
                                  .config = hf_source("config.json", &f.config),
                                  .tokenizer = hf_source("tokenizer.json", &f.tokenizer)};
    assert_int_equal(open_files(&f, &one), 0);
    if (safetensors_open(&m, &two, error, sizeof error) != 0)
        fail_msg("%s", error);
    assert_int_equal(gguf_tensor_count(one), gguf_tensor_count(two));
    for (uint64_t i = 0; i < gguf_tensor_count(one); i++) {
        const struct gguf_tensor *a = gguf_tensor_at(one, i), *b;
        b = gguf_find(two, a->name.data);
        assert_non_null(b);
        assert_int_equal(a->bytes, b->bytes);
        assert_memory_equal(a->data, b->data, a->bytes);
    }
    gguf_close(two);
    m.shard_count = 1; // the second one is missing
    assert_int_equal(safetensors_open(&m, &two, error, sizeof error), -ENOENT);
    assert_non_null(strstr(error, "model.norm.weight"));
    static const char list[] = "{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\","
                               "\"z\":\"a.safetensors\"}}";
    static const char outside[] = "{\"weight_map\":{\"x\":\"../a.safetensors\"}}";
    struct safetensors_source json = {"i.json", list, sizeof list - 1};
    char **names;
    size_t count;
    assert_int_equal(safetensors_index(&json, &names, &count, error, sizeof error), 0);
    assert_int_equal(count, 2);
    assert_string_equal(names[1], "b.safetensors");
    free(names[0]);
    free(names[1]);
    free(names);
    json = (struct safetensors_source){"i.json", outside, sizeof outside - 1};
    assert_int_equal(safetensors_index(&json, &names, &count, error, sizeof error), -EINVAL);
    gguf_close(one);
    free(part[0].data);
    free(part[1].data);
    hf_free(&f);
}

// ---- what is refused ----------------------------------------------------------------------------

static void replace(struct maker *m, const char *from, const char *to)
{
    char *at = memmem(m->data, m->bytes, from, strlen(from));
    struct maker out = {0};
    assert_non_null(at);
    make_bytes(&out, m->data, (size_t)(at - (char *)m->data));
    hf_text(&out, to);
    make_bytes(&out, at + strlen(from), m->bytes - (size_t)(at - (char *)m->data) - strlen(from));
    free(m->data);
    *m = out;
}

// In config.json, tokenizer.json or the tensors' header `from` becomes `to` (of the same length in
// the header).
static void refused(const char *architecture, int file, const char *from, const char *to, int code,
                    const char *message)
{
    struct hf_files f;
    struct gguf *index;
    hf_make(&f, architecture, TN_F32, "");
    replace(file == 0 ? &f.config : file == 1 ? &f.tokenizer : &f.weights, from, to);
    // Copies that end where their block ends, for the sanitizer.
    struct maker *all[] = {&f.config, &f.tokenizer, &f.weights};
    for (int i = 0; i < 3; i++) {
        uint8_t *exact = make_exact(all[i], all[i]->bytes);
        free(all[i]->data);
        all[i]->data = exact;
    }
    int rc = open_files(&f, &index);
    if (rc != code || !strstr(error, message))
        fail_msg("'%s' to '%s': got %d '%s', wanted %d '%s'", from, to, rc, error, code, message);
    assert_null(index);
    hf_free(&f);
}

static void damaged_tensors_are_refused_by_name(void **state)
{
    (void)state;
    refused("llama", 2, "\"F32\"", "\"F64\"", -ENOTSUP, "'model.embed_tokens.weight': dtype 'F64'");
    refused("llama", 2, "[280,64]", "[280,63]", -EINVAL, "do not fit its shape");
    refused("llama", 2, "[280,64]", "[280,-4]", -EINVAL, "its shape");
    refused("llama", 2, "[280,64]", "[28e1,6]", -EINVAL, "its shape");
    refused("llama", 2, "[0,71680]", "[71680,0]", -EINVAL, "growing numbers");
    refused("llama", 2, "[0,71680]", "[4,71684]", -EINVAL, "overlaps");
    refused("llama", 2, "model.norm", "model.morn", -ENOTSUP, "'model.morn.weight'");
    refused("llama", 2, "layers.1.mlp.up", "layers.7.mlp.up", -ENOTSUP, "layers.7");
    refused("llama", 2, "layers.1.mlp.up", "layers.0.mlp.up", -EINVAL, "duplicate");
    refused("llama", 2, "lm_head.weight", "lm_head.bias  ", -ENOTSUP, "lm_head");
    refused("llama", 2, "__metadata__", "__metadata_x", -EINVAL, "__metadata_x");
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct hf_files f;
    struct gguf *index;
    hf_make(&f, "qwen2", TN_F16, "");
    size_t whole = f.weights.bytes;
    for (size_t n = 0; n < whole; n += n < 64 || n > whole - 64 ? 1 : 997) {
        struct maker cut = f.weights;
        f.weights.data = make_exact(&cut, n);
        f.weights.bytes = n;
        int rc = open_files(&f, &index);
        free(f.weights.data);
        f.weights = cut;
        if (rc >= 0 || !strstr(error, "model.safetensors"))
            fail_msg("%zu of %zu bytes: %d '%s'", n, whole, rc, error);
    }
    hf_free(&f);
}

static void unknown_settings_are_refused_by_name(void **state)
{
    (void)state;
    refused("llama", 0, "LlamaForCausalLM", "PhiForCausalLM", -ENOTSUP, "'PhiForCausalLM'");
    refused("llama", 0, "\"silu\"", "\"relu\"", -ENOTSUP, "hidden_act: 'relu'");
    refused("llama", 0, "\"hidden_size\":64", "\"hidden_size\":-1", -EINVAL, "hidden_size");
    refused("llama", 0, "\"hidden_size\"", "\"hidden_sighs\"", -ENOENT, "hidden_size");
    refused("llama", 0, "\"num_attention_heads\":4", "\"num_attention_heads\":0", -EINVAL,
            "num_attention_heads");
    refused("llama", 0, "\"rope_scaling\":null", "\"rope_scaling\":{\"type\":\"dynamic\"}",
            -ENOTSUP, "'dynamic'");
    refused("llama", 0, "\"rope_scaling\":null", "\"rope_scaling\":{\"rope_type\":\"llama3\"}",
            -ENOENT, "factor");
    refused("llama", 0, "\"rope_scaling\":null", "\"quantization_config\":{}", -ENOTSUP,
            "quantization_config");
    refused("llama", 0, "}", "", -EINVAL, "at byte");
    refused("gpt2", 0, "gelu_new", "gelu_old", -ENOTSUP, "gelu_old");
    refused("gpt2", 1, "\"type\":\"BPE\"", "\"type\":\"WordPiece\"", -ENOTSUP, "'WordPiece'");
    refused("gpt2", 1, "\"type\":\"ByteLevel\",\"add", "\"type\":\"Whitespace\",\"add", -ENOTSUP,
            "'Whitespace'");
    refused("qwen2", 1, "\\\\p{N}|", "\\\\p{N}{1,9}|", -ENOTSUP, "the pattern '");
    refused("qwen2", 1, "\"normalizer\":null", "\"normalizer\":{\"type\":\"NFKC\"}", -ENOTSUP,
            "'NFKC'");
    refused("qwen2", 1, "\"!\":33", "\"!\":333333", -EINVAL, "token '!'");
    refused("qwen2", 1, "\"!\":33", "\"!\":34", -EINVAL, "its id 34");
    refused("qwen2", 1, "[\"h\",\"e\"]", "[\"he\"]", -EINVAL, "merges: number 0");
    refused("llama", 1, "\"merges\":[\"l l", "\"merges\":[\"l e", -EINVAL, "makes no token");
}

static void settings_reach_the_keys(void **state)
{
    (void)state;
    struct hf_files f;
    struct gguf *index;
    uint64_t u;
    double d;
    bool b;
    struct gguf_string s;
    hf_make(&f, "llama", TN_F32,
            ",\"sliding_window\":48,\"rope_parameters\":{\"rope_theta\":5e5,\"rope_type\":"
            "\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
            "\"original_max_position_embeddings\":32}");
    hf_text(&f.settings, "{\"add_bos_token\":false,\"eos_token\":{\"content\":\"<s>\"},"
                         "\"chat_template\":[{\"name\":\"x\",\"template\":\"no\"},{\"name\":"
                         "\"default\",\"template\":\"yes\"}]}");
    if (open_files(&f, &index) != 0)
        fail_msg("%s", error);
    assert_int_equal(gguf_u64(index, "llama.context_length", &u), 0);
    assert_int_equal(u, 48); // within the window attention is full
    assert_int_equal(gguf_f64(index, "llama.rope.freq_base", &d), 0);
    assert_true(d == 5e5);
    assert_int_equal(gguf_bool(index, "tessera.rope.split_halves", &b), 0);
    assert_true(b);
    assert_int_equal(gguf_bool(index, "tokenizer.ggml.add_bos_token", &b), 0);
    assert_false(b);
    assert_int_equal(gguf_u64(index, "tokenizer.ggml.eos_token_id", &u), 0);
    assert_int_equal(u, 1);
    assert_int_equal(gguf_str(index, "tokenizer.chat_template", &s), 0);
    assert_memory_equal(s.data, "yes", 3);
    const struct gguf_tensor *t = gguf_find(index, "rope_freqs.weight");
    assert_non_null(t);
    assert_int_equal(t->shape[0], HF_HEAD / 2);
    const float *factor = t->data;
    assert_true(factor[0] > 0.99f && factor[0] < 1.5f); // 32 positions hold five turns: kept
    assert_true(factor[7] == 8);                        // the slowest
    gguf_close(index);
    hf_free(&f);
}

static void pre_tokenizers_are_known_by_their_patterns(void **state)
{
    (void)state;
    static const char digits[] = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
                                 "\"individual_digits\":true},{\"type\":\"ByteLevel\"}]}";
    static const char whole[] = "\"type\":\"BPE\",\"ignore_merges\":true";
    static const struct {
        const char *architecture, *from[2], *to[2], *name;
    } cases[] = {
        {"gpt2", {"", ""}, {"", ""}, "gpt-2"},
        {"gpt2", {hf_gpt2_pre, ""}, {digits, ""}, "smollm"},
        {"qwen2", {"", ""}, {"", ""}, "qwen2"},
        {"qwen2", {"\\\\p{N}|", ""}, {"\\\\p{N}{1,3}|", ""}, "dbrx"},
        {"qwen2", {"\\\\p{N}|", "\"type\":\"BPE\""}, {"\\\\p{N}{1,3}|", whole}, "llama-bpe"},
        {"qwen2", {"\"type\":\"BPE\"", ""}, {whole, ""}, NULL}, // no name stands for this
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hf_files f;
        struct gguf *index;
        struct gguf_string name;
        hf_make(&f, cases[i].architecture, TN_F16, "");
        for (int k = 0; k < 2; k++) {
            if (cases[i].from[k][0])
                replace(&f.tokenizer, cases[i].from[k], cases[i].to[k]);
        }
        int rc = open_files(&f, &index);
        assert_int_equal(rc, cases[i].name ? 0 : -ENOTSUP);
        if (!rc) {
            assert_int_equal(gguf_str(index, "tokenizer.ggml.pre", &name), 0);
            assert_int_equal(name.bytes, strlen(cases[i].name));
            assert_memory_equal(name.data, cases[i].name, name.bytes);
            gguf_close(index);
        }
        hf_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_the_same_gguf),
        cmocka_unit_test(text_becomes_the_expected_tokens),
        cmocka_unit_test(shards_are_one_model),
        cmocka_unit_test(damaged_tensors_are_refused_by_name),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(unknown_settings_are_refused_by_name),
        cmocka_unit_test(settings_reach_the_keys),
        cmocka_unit_test(pre_tokenizers_are_known_by_their_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
