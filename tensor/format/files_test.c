// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which files a name stands for: one GGUF, its shards, a folder with safetensors; what is missing
// is named.
//
// Links: tensor/format/files_host.c tensor/format/safetensors.c tensor/format/hf_config.c
// Links: tensor/format/hf_pattern.c tensor/format/hf_tensors.c tensor/format/hf_tokenizer.c
// Links: tensor/format/gguf.c tensor/format/gguf_values.c tensor/format/gguf_shards.c
// Links: tensor/format/gguf_write.c tensor/quant/types.c tensor/core/math.c
// Libs: -ljansson
#include "tensor/format/test_hf.h"

#include "tensor/files.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/files_test.XXXXXX";
static char error[600];

static const char *path_of(const char *name)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const struct maker *m)
{
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_true(!m->bytes || fwrite(m->data, 1, m->bytes, f) == m->bytes);
    fclose(f);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"config.json",
                                        "tokenizer.json",
                                        "model.safetensors",
                                        "model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors",
                                        "model.safetensors.index.json",
                                        "m-00001-of-00002.gguf",
                                        "m-00002-of-00002.gguf",
                                        "empty"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        remove(path_of(names[i]));
    return rmdir(folder);
}

static void opens(const char *name, uint64_t tensors)
{
    struct tn_files *files;
    struct gguf *g;
    if (tn_files_open(path_of(name), &files, &g, error, sizeof error) != 0)
        fail_msg("%s", error);
    assert_int_equal(gguf_tensor_count(g), tensors);
    assert_true(tn_files_bytes(files) >= tn_files_block(files, 0)->bytes);
    assert_null(tn_files_block(files, 100));
    gguf_close(g);
    tn_files_close(files);
}

static void refused(const char *name, int code, const char *message)
{
    struct tn_files *files;
    struct gguf *g;
    int rc = tn_files_open(path_of(name), &files, &g, error, sizeof error);
    if (rc != code || !strstr(error, message) || strncmp(error, folder, strlen(folder)) != 0)
        fail_msg("%s: got %d '%s', wanted %d '%s'", name, rc, error, code, message);
}

static struct maker shard(uint32_t number)
{
    static const uint64_t shape[] = {8};
    struct maker m;
    make_header(&m, 3, 1, 2);
    make_key_u32(&m, "split.no", number);
    make_key_u32(&m, "split.count", 2);
    make_tensor(&m, number ? "b" : "a", 1, shape, TN_F32, 0);
    make_align(&m, 32);
    for (int i = 0; i < 8; i++)
        make_f32(&m, (float)i);
    return m;
}

static void any_shard_stands_for_all(void **state)
{
    (void)state;
    struct maker first = shard(0), second = shard(1);
    put("m-00001-of-00002.gguf", &first);
    refused("m-00001-of-00002.gguf", -ENOENT,
            "m-00002-of-00002.gguf: file 2 of the model's 2 is missing");
    put("m-00002-of-00002.gguf", &second);
    opens("m-00001-of-00002.gguf", 2);
    opens("m-00002-of-00002.gguf", 2);
    put("m-00002-of-00002.gguf", &first);
    refused("m-00001-of-00002.gguf", -EINVAL, "another file has number 0");
    free(first.data);
    free(second.data);
}

static void a_folder_is_its_model(void **state)
{
    (void)state;
    struct hf_files f;
    struct maker part[2] = {{0}, {0}}, list = {0};
    refused("", -ENOENT, "no config.json");
    hf_make(&f, "qwen2", TN_F16, "");
    put("config.json", &f.config);
    refused("", -ENOENT, "tokenizer.json");
    put("tokenizer.json", &f.tokenizer);
    refused("", -ENOENT, "model.safetensors");
    put("model.safetensors", &f.weights);
    opens("", f.count);
    opens("model.safetensors", f.count);
    remove(path_of("model.safetensors"));
    hf_weights(&f, 0, 5, &part[0]);
    hf_weights(&f, 5, f.count, &part[1]);
    hf_text(&list, "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\","
                   "\"b\":\"model-00002-of-00002.safetensors\"}}");
    put("model.safetensors.index.json", &list);
    put("model-00001-of-00002.safetensors", &part[0]);
    refused("", -ENOENT, "model-00002-of-00002.safetensors");
    put("model-00002-of-00002.safetensors", &part[1]);
    opens("", f.count);
    opens("model-00002-of-00002.safetensors", f.count);
    free(part[0].data);
    free(part[1].data);
    free(list.data);
    hf_free(&f);
}

static void what_is_no_model_is_named(void **state)
{
    (void)state;
    struct maker nothing = {0};
    refused("absent.gguf", -ENOENT, "No such file");
    put("empty", &nothing);
    refused("empty", -EINVAL, "is empty (at byte 0 of 0)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_shard_stands_for_all),
        cmocka_unit_test(a_folder_is_its_model),
        cmocka_unit_test(what_is_no_model_is_named),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
