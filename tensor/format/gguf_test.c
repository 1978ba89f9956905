// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Tests of the GGUF reader: values and tensors as written, and every way a file can lie.
// Links: tensor/format/gguf.c tensor/format/gguf_values.c tensor/quant/types.c
#include "tensor/format/test_gguf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static char error[400];

static int open_bytes(const struct maker *m, size_t bytes, struct gguf **g)
{
    uint8_t *copy = make_exact(m, bytes);
    int rc = gguf_open(copy, bytes, g, error, sizeof error);
    if (rc)
        free(copy);
    return rc;
}

// Opens, expects `code` and `what` in the message, and frees the maker.
static void refused(struct maker *m, int code, const char *what)
{
    struct gguf *g = NULL;
    int rc = open_bytes(m, m->bytes, &g);
    if (rc != code || !strstr(error, what))
        fail_msg("got %d '%s', wanted %d '%s'", rc, error, code, what);
    assert_null(g);
    free(m->data);
}

static void one_of_each(struct maker *m)
{
    static const uint64_t a[] = {8, 2}, b[] = {64};
    int8_t i8 = -5;
    int16_t i16 = -300;
    uint64_t u64 = UINT64_MAX;
    double f64 = 0.1;
    make_header(m, 3, 2, 12);
    make_key(m, "i8", GGUF_I8);
    make_bytes(m, &i8, 1);
    make_key(m, "i16", GGUF_I16);
    make_bytes(m, &i16, 2);
    make_key_u32(m, "u32", 7);
    make_key(m, "u64", GGUF_U64);
    make_u64(m, u64);
    make_key_f32(m, "f32", 1.5f);
    make_key(m, "f64", GGUF_F64);
    make_bytes(m, &f64, 8);
    make_key_bool(m, "yes", true);
    make_key_string(m, "text", "h\xc3\xa9");
    make_key_array(m, "numbers", GGUF_I32, 3);
    make_u32(m, 1);
    make_u32(m, (uint32_t)-2);
    make_u32(m, 3);
    make_key_array(m, "words", GGUF_STRING, 3);
    make_string(m, "one");
    make_string(m, "");
    make_string(m, "three");
    make_key_array(m, "nested", GGUF_ARRAY, 2);
    for (uint32_t i = 0; i < 2; i++) {
        make_u32(m, GGUF_U8);
        make_u64(m, 1);
        make_bytes(m, "x", 1);
    }
    make_key_u32(m, "general.alignment", 64);
    make_tensor(m, "z.weight", 2, a, TN_F32, 0);
    make_tensor(m, "a.weight", 1, b, TN_Q8_0, 64);
    make_align(m, 64);
    for (int i = 0; i < 16; i++)
        make_f32(m, (float)i);
    for (int i = 0; i < 68; i++)
        make_bytes(m, "q", 1);
}

static void values_come_back_as_written(void **state)
{
    (void)state;
    struct maker m;
    struct gguf *g;
    uint64_t u;
    int64_t i;
    double d;
    bool b;
    struct gguf_string s;
    struct gguf_array array;
    one_of_each(&m);
    assert_int_equal(gguf_open(m.data, m.bytes, &g, error, sizeof error), 0);
    assert_int_equal(gguf_key_count(g), 12);
    assert_int_equal(gguf_u64(g, "u32", &u), 0);
    assert_int_equal(u, 7);
    assert_int_equal(gguf_u64(g, "u64", &u), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(gguf_u64(g, "i8", &u), -EINVAL); // negative
    assert_int_equal(gguf_u64(g, "f32", &u), -EINVAL);
    assert_int_equal(gguf_u64(g, "no", &u), -ENOENT);
    assert_int_equal(gguf_f64(g, "i16", &d), 0);
    assert_true(d == -300);
    assert_int_equal(gguf_f64(g, "u64", &d), 0);
    assert_true(d > 1e19);
    assert_int_equal(gguf_f64(g, "f64", &d), 0);
    assert_true(d == 0.1);
    assert_int_equal(gguf_bool(g, "yes", &b), 0);
    assert_true(b);
    assert_int_equal(gguf_bool(g, "u32", &b), -EINVAL);
    assert_int_equal(gguf_str(g, "text", &s), 0);
    assert_int_equal(s.bytes, 3);
    assert_int_equal(gguf_str(g, "u32", &s), -EINVAL);
    assert_int_equal(gguf_arr(g, "numbers", &array), 0);
    assert_int_equal(array.count, 3);
    assert_int_equal(gguf_arr_i64(g, "numbers", 1, &i), 0);
    assert_int_equal(i, -2);
    assert_int_equal(gguf_arr_i64(g, "numbers", 3, &i), -EINVAL);
    assert_int_equal(gguf_arr_f64(g, "numbers", 2, &d), 0);
    assert_true(d == 3);
    assert_int_equal(gguf_arr_str(g, "words", 2, &s), 0);
    assert_int_equal(s.bytes, 5);
    assert_memory_equal(s.data, "three", 5);
    assert_int_equal(gguf_arr_str(g, "words", 1, &s), 0);
    assert_int_equal(s.bytes, 0);
    assert_int_equal(gguf_arr_str(g, "words", 3, &s), -EINVAL);
    assert_int_equal(gguf_arr_str(g, "numbers", 0, &s), -EINVAL);
    assert_int_equal(gguf_arr(g, "nested", &array), 0);
    assert_int_equal(array.count, 2);
    gguf_close(g);
    free(m.data);
}

static void tensors_are_found_by_name(void **state)
{
    (void)state;
    struct maker m;
    struct gguf *g;
    one_of_each(&m);
    make_bytes(&m, "padding after the data is fine", 30);
    assert_int_equal(gguf_open(m.data, m.bytes, &g, error, sizeof error), 0);
    assert_int_equal(gguf_tensor_count(g), 2);
    const struct gguf_tensor *z = gguf_find(g, "z.weight"), *a = gguf_find(g, "a.weight");
    assert_non_null(z);
    assert_non_null(a);
    assert_null(gguf_find(g, "b.weight"));
    assert_null(gguf_find(g, "a.weigh"));
    assert_int_equal(z->bytes, 64);
    assert_int_equal(z->shape[0], 8);
    assert_int_equal(z->shape[1], 2);
    assert_int_equal(z->shape[2], 1);
    assert_true(((const float *)z->data)[3] == 3);
    assert_int_equal(a->bytes, 68);
    assert_int_equal(*(const char *)a->data, 'q');
    assert_int_equal(gguf_used_bytes(g), m.bytes - 30);
    assert_ptr_equal(gguf_tensor_at(g, 0), z);
    assert_null(gguf_tensor_at(g, 2));
    gguf_close(g);
    free(m.data);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct maker m;
    one_of_each(&m);
    for (size_t n = 0; n < m.bytes; n++) {
        struct gguf *g;
        if (open_bytes(&m, n, &g) != -EINVAL)
            fail_msg("%zu of %zu bytes were taken", n, m.bytes);
        assert_true(strstr(error, "GGUF") != NULL);
    }
    free(m.data);
}

static void the_extent_is_known_from_the_header(void **state)
{
    (void)state;
    struct maker m;
    uint64_t used = 0;
    one_of_each(&m);
    size_t header = 0;
    for (; header < m.bytes; header++) {
        int rc = gguf_extent(m.data, header, 1u << 20, &used, error, sizeof error);
        if (!rc)
            break;
        assert_int_equal(rc, -EAGAIN);
    }
    assert_true(header < m.bytes - 64);
    assert_int_equal(used, m.bytes);
    // A disk that is too small for what the header promises will not get better.
    assert_int_equal(gguf_extent(m.data, header, m.bytes - 1, &used, error, sizeof error), -EINVAL);
    assert_non_null(strstr(error, "truncated"));
    assert_int_equal(gguf_extent("nonsense", 8, 1u << 20, &used, error, sizeof error), -EINVAL);
    free(m.data);
}

static void wrong_beginnings_are_named(void **state)
{
    (void)state;
    struct maker m;
    make_header(&m, 1, 0, 0);
    refused(&m, -ENOTSUP, "version 1");
    make_header(&m, 4, 0, 0);
    refused(&m, -ENOTSUP, "version 4");
    make_header(&m, 0x03000000, 0, 0);
    refused(&m, -ENOTSUP, "big-endian");
    make_header(&m, 3, 0, 0);
    m.data[0] = 'g';
    refused(&m, -EINVAL, "no GGUF file");
    make_header(&m, 2, 0, 0);
    struct gguf *g;
    assert_int_equal(gguf_open(m.data, m.bytes, &g, error, sizeof error), 0);
    gguf_close(g);
    free(m.data);
}

static void hostile_counts_are_refused_before_memory_is_taken(void **state)
{
    (void)state;
    struct maker m;
    make_header(&m, 3, 0, UINT64_MAX);
    refused(&m, -EINVAL, "keys");
    make_header(&m, 3, 1ull << 60, 0);
    refused(&m, -EINVAL, "tensors");
    make_header(&m, 3, 0, 1);
    make_u64(&m, UINT64_MAX); // the key's length
    make_bytes(&m, "keykeykeykey", 12);
    refused(&m, -EINVAL, "claims 18446744073709551615 bytes");
    make_header(&m, 3, 0, 1);
    make_key_array(&m, "k", GGUF_F64, 1ull << 61);
    refused(&m, -EINVAL, "'k'");
    make_header(&m, 3, 0, 1);
    make_key_array(&m, "k", GGUF_STRING, 2);
    make_string(&m, "ok");
    make_u64(&m, UINT64_MAX - 3);
    refused(&m, -EINVAL, "string 1");
    make_header(&m, 3, 0, 1);
    make_string(&m, "k");
    for (int i = 0; i < 6; i++) { // an array of an array of …
        make_u32(&m, GGUF_ARRAY);
        make_u32(&m, GGUF_ARRAY);
        make_u64(&m, 1);
    }
    make_u64(&m, 0);
    m.data[24 + 9 + 4] = GGUF_ARRAY;
    struct gguf *g;
    assert_int_equal(open_bytes(&m, m.bytes, &g), -EINVAL);
    free(m.data);
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    struct maker m;
    make_header(&m, 3, 0, 1);
    make_key(&m, "k", GGUF_ARRAY);
    for (int i = 0; i < 5; i++) {
        make_u32(&m, GGUF_ARRAY);
        make_u64(&m, 1);
    }
    make_u32(&m, GGUF_U8);
    make_u64(&m, 1);
    make_u64(&m, 0);
    refused(&m, -EINVAL, "nest");
}

static void wrong_keys_are_named(void **state)
{
    (void)state;
    struct maker m;
    make_header(&m, 3, 0, 2);
    make_key_u32(&m, "same", 1);
    make_key_u32(&m, "same", 2);
    refused(&m, -EINVAL, "key 'same': it stands in the file twice");
    make_header(&m, 3, 0, 1);
    make_key(&m, "odd", 13);
    make_u64(&m, 0);
    refused(&m, -EINVAL, "unknown value type 13");
    make_header(&m, 3, 0, 1);
    make_key(&m, "maybe", GGUF_BOOL);
    make_bytes(&m, "\2", 1);
    refused(&m, -EINVAL, "boolean");
    make_header(&m, 3, 0, 1);
    make_key_u32(&m, "general.alignment", 48);
    refused(&m, -EINVAL, "general.alignment");
    make_header(&m, 3, 0, 1);
    make_key_u32(&m, "split.count", 3);
    refused(&m, -ENOTSUP, "one of 3 files");
    make_header(&m, 3, 0, 1);
    make_key(&m, "bad\nkey\x1b[31m", 77);
    make_u64(&m, 0);
    refused(&m, -EINVAL, "key 'bad?key?[31m'");
}

static void with_tensor(struct maker *m, uint32_t dims, uint64_t a, uint64_t b, uint32_t type,
                        uint64_t offset)
{
    const uint64_t shape[] = {a, b, 1, 1, 1};
    make_header(m, 3, 1, 0);
    make_tensor(m, "w", dims, shape, type, offset);
    make_align(m, 32);
    for (int i = 0; i < 64; i++)
        make_u64(m, 0);
}

static void wrong_tensors_are_named(void **state)
{
    (void)state;
    struct maker m;
    with_tensor(&m, 5, 1, 1, TN_F32, 0);
    refused(&m, -EINVAL, "5 dimensions");
    with_tensor(&m, 2, 4, 0, TN_F32, 0);
    refused(&m, -EINVAL, "dimension 1 is 0");
    with_tensor(&m, 2, 1ull << 40, 1ull << 40, TN_F32, 0);
    refused(&m, -EINVAL, "overflow");
    with_tensor(&m, 1, 1ull << 62, 1, TN_F32, 0);
    refused(&m, -EINVAL, "overflow");
    with_tensor(&m, 1, 4, 1, 99, 0);
    refused(&m, -ENOTSUP, "tensor 'w': type 99 is unknown");
    with_tensor(&m, 1, 31, 1, TN_Q8_0, 0);
    refused(&m, -EINVAL, "whole blocks of 32");
    with_tensor(&m, 1, 4, 1, TN_F32, 16);
    refused(&m, -EINVAL, "not aligned to 32");
    with_tensor(&m, 1, 4, 1, TN_F32, 1ull << 63);
    refused(&m, -EINVAL, "past the end");
    with_tensor(&m, 1, 129, 1, TN_F32, 0);
    refused(&m, -EINVAL, "past the end");
}

static void packed_matrices_take_whole_sixteens_of_rows(void **state)
{
    (void)state;
    struct maker m;
    struct gguf *g;
    with_tensor(&m, 2, 8, 3, TN_F32 | TN_PACKED, 0);
    assert_int_equal(gguf_open(m.data, m.bytes, &g, error, sizeof error), 0);
    assert_int_equal(gguf_tensor_at(g, 0)->bytes, 8 * 16 * 4);
    assert_int_equal(gguf_tensor_at(g, 0)->type, TN_F32 | TN_PACKED);
    gguf_close(g);
    free(m.data);
    with_tensor(&m, 2, 9, 3, TN_F32 | TN_PACKED, 0);
    refused(&m, -EINVAL, "past the end");
    with_tensor(&m, 2, 1ull << 58, 1, TN_F32 | TN_PACKED, 0);
    refused(&m, -EINVAL, "overflow");
    with_tensor(&m, 2, 4, 4, TN_I32 | TN_PACKED, 0);
    refused(&m, -ENOTSUP, "is unknown");
}

static void two_tensors(struct maker *m, const char *other, uint64_t offset)
{
    static const uint64_t shape[] = {16};
    make_header(m, 3, 2, 0);
    make_tensor(m, "w", 1, shape, TN_F32, 32);
    make_tensor(m, other, 1, shape, TN_F32, offset);
    make_align(m, 32);
    for (int i = 0; i < 64; i++)
        make_u64(m, 0);
}

static void tensors_must_not_share_bytes_or_names(void **state)
{
    (void)state;
    struct maker m;
    two_tensors(&m, "v", 64);
    refused(&m, -EINVAL, "overlaps");
    two_tensors(&m, "v", 0);
    refused(&m, -EINVAL, "overlaps");
    two_tensors(&m, "v", 32);
    refused(&m, -EINVAL, "overlaps");
    two_tensors(&m, "w", 128);
    refused(&m, -EINVAL, "tensor 'w': it stands in the file twice");
    two_tensors(&m, "v", 96);
    struct gguf *g;
    assert_int_equal(gguf_open(m.data, m.bytes, &g, error, sizeof error), 0);
    gguf_close(g);
    free(m.data);
}

static void opening_takes_n_log_n_whatever_the_names(void **state)
{
    (void)state;
    struct maker m;
    char key[16];
    make_header(&m, 3, 0, 60000);
    for (unsigned i = 0; i < 60000; i++) { // descending: the sort has to work
        snprintf(key, sizeof key, "k%08u", 59999 - i);
        make_key_u32(&m, key, i);
    }
    struct gguf *g;
    uint64_t v;
    assert_int_equal(gguf_open(m.data, m.bytes, &g, error, sizeof error), 0);
    assert_int_equal(gguf_u64(g, "k00012345", &v), 0);
    assert_int_equal(v, 59999 - 12345);
    gguf_close(g);
    free(m.data);
}

static void reads_a_real_file(void **state)
{
    (void)state;
    const char *folder = getenv("TESSERA_TEST_DATA");
    char path[512];
    snprintf(path, sizeof path, "%s/stories260K.gguf", folder ? folder : "../shared/data");
    FILE *f = fopen(path, "rb");
    if (!f)
        skip();
    static uint8_t data[2 << 20];
    size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    struct gguf *g;
    uint64_t v;
    assert_int_equal(gguf_open(data, n, &g, error, sizeof error), 0);
    assert_int_equal(gguf_u64(g, "llama.context_length", &v), 0);
    assert_int_equal(v, 512);
    const struct gguf_tensor *t = gguf_find(g, "token_embd.weight");
    assert_non_null(t);
    assert_int_equal(t->shape[0], 64);
    assert_int_equal(t->shape[1], 512);
    assert_int_equal(gguf_used_bytes(g), n);
    gguf_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back_as_written),
        cmocka_unit_test(tensors_are_found_by_name),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(the_extent_is_known_from_the_header),
        cmocka_unit_test(wrong_beginnings_are_named),
        cmocka_unit_test(hostile_counts_are_refused_before_memory_is_taken),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(wrong_keys_are_named),
        cmocka_unit_test(wrong_tensors_are_named),
        cmocka_unit_test(packed_matrices_take_whole_sixteens_of_rows),
        cmocka_unit_test(tensors_must_not_share_bytes_or_names),
        cmocka_unit_test(opening_takes_n_log_n_whatever_the_names),
        cmocka_unit_test(reads_a_real_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
