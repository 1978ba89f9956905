// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A model in several files is the same as in one, whatever their order; files that do not belong
// together are refused. And places in messages.
//
// Links: tensor/format/gguf.c tensor/format/gguf_values.c tensor/format/gguf_shards.c
// Links: tensor/quant/types.c
#include "tensor/format/test_gguf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static char error[400];

struct shard {
    uint32_t number, count, total;
    const char *tensors[3];
    bool without_keys;
};

// Each tensor holds 8 floats, the first is the first letter of its name.
static struct maker make_shard(struct shard s)
{
    static const uint64_t shape[] = {8};
    struct maker m;
    uint64_t tensors = 0;
    while (tensors < 3 && s.tensors[tensors])
        tensors++;
    make_header(&m, 3, tensors, s.without_keys ? 0 : 3 + (s.number == 0));
    if (!s.without_keys) {
        make_key(&m, "split.no", GGUF_U16);
        make_bytes(&m, &s.number, 2);
        make_key(&m, "split.count", GGUF_U16);
        make_bytes(&m, &s.count, 2);
        make_key_u32(&m, "split.tensors.count", s.total);
        if (s.number == 0)
            make_key_string(&m, "general.name", "all of it");
    }
    for (uint64_t i = 0; i < tensors; i++)
        make_tensor(&m, s.tensors[i], 1, shape, TN_F32, i * 32);
    make_align(&m, 32);
    for (uint64_t i = 0; i < tensors; i++) {
        make_f32(&m, (float)s.tensors[i][0]);
        for (int k = 1; k < 8; k++)
            make_f32(&m, 0);
    }
    return m;
}

static int open_all(const struct shard *shards, size_t count, struct gguf **g)
{
    struct gguf_block blocks[4] = {{NULL, 0}};
    for (size_t i = 0; i < count; i++) {
        struct maker m = make_shard(shards[i]);
        blocks[i] = (struct gguf_block){make_exact(&m, m.bytes), m.bytes};
        free(m.data);
    }
    int rc = gguf_open_shards(blocks, count, g, error, sizeof error);
    if (!rc) { // what there is to see, seen while the blocks are there
        struct gguf_string name;
        assert_int_equal(gguf_str(*g, "general.name", &name), 0);
        assert_int_equal(name.bytes, 9);
        for (uint64_t i = 0; i < gguf_tensor_count(*g); i++) {
            const struct gguf_tensor *t = gguf_tensor_at(*g, i);
            assert_true(*(const float *)t->data == (float)t->name.data[0]);
        }
        assert_non_null(gguf_find(*g, "a"));
        assert_non_null(gguf_find(*g, "e"));
        assert_null(gguf_find(*g, "f"));
        char message[80] = "e: is wrong";
        gguf_say_where(*g, message, sizeof message);
        assert_non_null(strstr(message, "(at byte "));
        gguf_close(*g);
    }
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)blocks[i].data);
    return rc;
}

static void files_in_any_order_are_one_model(void **state)
{
    (void)state;
    struct gguf *g;
    const struct shard shards[] = {
        {0, 3, 5, {"a", "b"}, 0}, {1, 3, 5, {"c"}, 0}, {2, 3, 5, {"d", "e"}, 0}};
    static const int orders[][3] = {{0, 1, 2}, {2, 0, 1}, {1, 2, 0}};
    for (int i = 0; i < 3; i++) {
        struct shard order[] = {shards[orders[i][0]], shards[orders[i][1]], shards[orders[i][2]]};
        if (open_all(order, 3, &g))
            fail_msg("%s", error);
    }
    // The first file may hold the keys alone.
    const struct shard bare[] = {{0, 2, 2, {0}, 0}, {1, 2, 2, {"a", "e"}, 0}};
    if (open_all(bare, 2, &g))
        fail_msg("%s", error);
}

static void refused(const struct shard *shards, size_t count, const char *message)
{
    struct gguf *g;
    int rc = open_all(shards, count, &g);
    if (rc != -EINVAL || !strstr(error, message))
        fail_msg("got %d '%s', wanted '%s'", rc, error, message);
    assert_null(g);
}

static void files_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    const struct shard twice[] = {{0, 2, 2, {"a"}, 0}, {0, 2, 2, {"b"}, 0}};
    const struct shard more[] = {{0, 3, 2, {"a"}, 0}, {1, 3, 2, {"b"}, 0}};
    const struct shard beyond[] = {{0, 2, 2, {"a"}, 0}, {2, 2, 2, {"b"}, 0}};
    const struct shard total[] = {{0, 2, 3, {"a"}, 0}, {1, 2, 3, {"b"}, 0}};
    const struct shard same[] = {{0, 2, 2, {"a"}, 0}, {1, 2, 2, {"a"}, 0}};
    const struct shard stranger[] = {{0, 2, 2, {"a"}, 0}, {1, 2, 2, {"b"}, true}};
    refused(twice, 2, "another file has number 0");
    refused(more, 2, "is 3, but 2 files are here");
    refused(beyond, 2, "'split.no': is 2 of 2");
    refused(total, 2, "'split.tensors.count'");
    refused(same, 2, "tensor 'a': stands in two");
    refused(stranger, 2, "file 2 of 2: key 'split.count'");
    struct gguf *g;
    assert_int_equal(gguf_open_shards(NULL, 0, &g, error, sizeof error), -EINVAL);
    struct maker m = make_shard(twice[0]);
    assert_int_equal(gguf_open(m.data, m.bytes, &g, error, sizeof error), -ENOTSUP);
    assert_non_null(strstr(error, "one of 2 files"));
    struct gguf_block cut[] = {{m.data, m.bytes}, {m.data, m.bytes - 8}};
    assert_int_equal(gguf_open_shards(cut, 2, &g, error, sizeof error), -EINVAL);
    assert_non_null(strstr(error, "file 2 of 2: GGUF: tensor 'a'"));
    free(m.data);
}

static void a_message_gets_its_place(void **state)
{
    (void)state;
    struct gguf *g;
    struct maker m;
    static const uint64_t shape[] = {8};
    make_header(&m, 3, 1, 2);
    make_key_u32(&m, "llama.block_count", 0);
    make_key_u32(&m, "other.key", 0);
    size_t keys_end = m.bytes - 8;
    make_tensor(&m, "output.weight", 1, shape, TN_F32, 0);
    make_align(&m, 32);
    for (int i = 0; i < 8; i++)
        make_f32(&m, 0);
    assert_int_equal(gguf_open(m.data, m.bytes, &g, error, sizeof error), 0);
    char wanted[96], key[128] = "llama.block_count: is 0", tensor[128] = "output.weight: is odd";
    char absent[128] = "llama.context_length: is missing", told[128] = "x.y: is (at byte 7 of 9)";
    char plain[128] = "no memory", tiny[12] = "other.key: ";
    gguf_say_where(g, key, sizeof key);
    snprintf(wanted, sizeof wanted, "llama.block_count: is 0 (at byte 32 of %zu)", m.bytes);
    assert_string_equal(key, wanted);
    gguf_say_where(g, tensor, sizeof tensor);
    snprintf(wanted, sizeof wanted, "output.weight: is odd (at byte %zu of %zu)", keys_end + 16,
             m.bytes);
    assert_string_equal(tensor, wanted);
    gguf_say_where(g, absent, sizeof absent);
    snprintf(wanted, sizeof wanted,
             "llama.context_length: is missing (the keys end at byte %zu of %zu)", keys_end,
             m.bytes);
    assert_string_equal(absent, wanted);
    gguf_say_where(g, told, sizeof told);
    assert_string_equal(told, "x.y: is (at byte 7 of 9)");
    gguf_say_where(g, plain, sizeof plain);
    assert_string_equal(plain, "no memory");
    gguf_say_where(g, tiny, sizeof tiny); // no room: nothing breaks
    gguf_close(g);
    free(m.data);
}

static void bytes_after_the_tensors_must_be_padding(void **state)
{
    (void)state;
    struct gguf *g;
    const struct shard alone = {0, 1, 1, {"a"}, 0};
    struct maker m = make_shard(alone);
    assert_int_equal(gguf_open(m.data, m.bytes, &g, error, sizeof error), 0);
    gguf_close(g);
    assert_int_equal(m.data[m.bytes - 33], 0); // the last byte before the data
    m.data[m.bytes - 33] = 1;
    assert_int_equal(gguf_open(m.data, m.bytes, &g, error, sizeof error), -EINVAL);
    assert_non_null(strstr(error, "no padding"));
    free(m.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_in_any_order_are_one_model),
        cmocka_unit_test(files_that_do_not_fit_are_refused),
        cmocka_unit_test(a_message_gets_its_place),
        cmocka_unit_test(bytes_after_the_tensors_must_be_padding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
