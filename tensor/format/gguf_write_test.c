// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A written GGUF file, byte by byte, and files written in steps.
//
// Links: tensor/format/gguf_write.c tensor/format/gguf_write_host.c tensor/format/gguf.c
// Links: tensor/format/gguf_values.c tensor/quant/types.c
#include "tensor/gguf_write.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/gguf_write_test.XXXXXX";

static int make_path(void **state)
{
    const int fd = mkstemp(path);

    (void)state;
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return remove(path);
}

static size_t read_back(unsigned char *bytes, size_t capacity)
{
    FILE *file = fopen(path, "rb");
    size_t length;

    assert_non_null(file);
    length = fread(bytes, 1, capacity, file);
    fclose(file);
    return length;
}

static void a_small_file_has_exactly_these_bytes(void **state)
{
    static const unsigned char expected[] =
        "GGUF\3\0\0\0"
        "\2\0\0\0\0\0\0\0" /* tensors */
        "\2\0\0\0\0\0\0\0" /* pairs */
        "\1\0\0\0\0\0\0\0a\4\0\0\0\7\0\0\0"
        "\1\0\0\0\0\0\0\0b\11\0\0\0\10\0\0\0\2\0\0\0\0\0\0\0"
        "\1\0\0\0\0\0\0\0x\2\0\0\0\0\0\0\0yz"
        "\1\0\0\0\0\0\0\0t\2\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
        "\1\0\0\0\0\0\0\0u\1\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\40\0\0\0\0\0\0\0";
    const size_t head = sizeof expected - 1, data = (head + 31) / 32 * 32;
    const char *const strings[] = {"x", "yz"};
    const uint64_t dims[] = {2, 1};
    const float pair[] = {1, 2}, one[] = {3};
    unsigned char bytes[4096];
    struct tn_gguf_writer *w = tn_gguf_writer_new();

    (void)state;
    assert_non_null(w);
    tn_gguf_put_u32(w, "a", 7);
    tn_gguf_put_strings(w, "b", strings, 2);
    tn_gguf_put_tensor(w, "t", TN_F32, dims, 2, pair, sizeof pair);
    tn_gguf_put_tensor(w, "u", TN_F32, dims + 1, 1, one, sizeof one);
    assert_int_equal(tn_gguf_save(w, path, 1), 0);
    tn_gguf_writer_free(w);
    assert_int_equal(read_back(bytes, sizeof bytes), data + 64);
    assert_memory_equal(bytes, expected, head);
    assert_memory_equal(bytes + data, pair, sizeof pair);
    assert_memory_equal(bytes + data + 32, one, sizeof one);
}

static void the_length_is_filled_up(void **state)
{
    unsigned char bytes[8192];
    struct tn_gguf_writer *w = tn_gguf_writer_new();

    (void)state;
    assert_non_null(w);
    tn_gguf_put_string(w, "key", "value");
    assert_int_equal(tn_gguf_save(w, path, 4096), 0);
    tn_gguf_writer_free(w);
    assert_int_equal(read_back(bytes, sizeof bytes), 4096);
    assert_int_equal(bytes[4095], 0);
}

static void a_folder_that_is_missing_is_an_error(void **state)
{
    struct tn_gguf_writer *w = tn_gguf_writer_new();

    (void)state;
    assert_non_null(w);
    assert_int_equal(tn_gguf_save(w, "/nonexistent/folder/file", 1), -ENOENT);
    tn_gguf_writer_free(w);
}

static void write_in_steps(struct tn_gguf_writer *w, const float *data)
{
    const uint64_t dims[] = {3, 40};
    struct tn_gguf_file *file;

    tn_gguf_put_tensor(w, "t", TN_F32, dims, 1, NULL, 12);
    tn_gguf_put_tensor(w, "u", TN_F32, dims + 1, 1, NULL, 160);
    assert_int_equal(tn_gguf_begin(w, path, &file), 0);
    // Pieces that cross the border between the tensors.
    assert_int_equal(tn_gguf_write_data(file, data, 8), 0);
    assert_int_equal(tn_gguf_write_data(file, (const char *)data + 8, 20), 0);
    assert_int_equal(tn_gguf_write_data(file, (const char *)data + 28, 43 * 4 - 28), 0);
    assert_int_equal(access(tn_gguf_part_name(file), F_OK), 0);
    assert_int_equal(tn_gguf_finish(file, 1), 0);
}

static void a_file_in_steps_reads_back(void **state)
{
    float data[43];
    unsigned char bytes[4096];
    char error[200];
    struct gguf *g, *copy;
    struct tn_gguf_writer *w = tn_gguf_writer_new(), *second;
    const char *const words[] = {"one", "", "three"};
    void *head;
    size_t head_bytes;
    struct gguf_string text;
    uint64_t number;

    (void)state;
    for (int i = 0; i < 43; i++)
        data[i] = (float)i;
    tn_gguf_set_alignment(w, 256);
    tn_gguf_put_strings(w, "words", words, 3);
    tn_gguf_put_text(w, "text", (struct gguf_string){"a\0b", 3});
    write_in_steps(w, data);
    tn_gguf_writer_free(w);
    size_t length = read_back(bytes, sizeof bytes);
    assert_int_equal(gguf_open(bytes, length, &g, error, sizeof error), 0);
    const struct gguf_tensor *t = gguf_find(g, "t"), *u = gguf_find(g, "u");
    assert_int_equal(((const unsigned char *)t->data - bytes) % 256, 0);
    assert_int_equal(((const unsigned char *)u->data - bytes) % 256, 0);
    assert_memory_equal(t->data, data, 12);
    assert_memory_equal(u->data, data + 3, 160);

    second = tn_gguf_writer_new();
    for (uint64_t i = 0; i < gguf_key_count(g); i++)
        tn_gguf_copy_key(second, g, i);
    assert_int_equal(tn_gguf_head(second, &head, &head_bytes), 0);
    assert_int_equal(gguf_open(head, head_bytes, &copy, error, sizeof error), 0);
    assert_int_equal(gguf_key_count(copy), 3);
    assert_int_equal(gguf_u64(copy, "general.alignment", &number), 0);
    assert_int_equal(number, 256);
    assert_int_equal(gguf_arr_str(copy, "words", 2, &text), 0);
    assert_int_equal(text.bytes, 5);
    assert_int_equal(gguf_str(copy, "text", &text), 0);
    assert_int_equal(text.bytes, 3);
    gguf_close(copy);
    gguf_close(g);
    free(head);
    tn_gguf_writer_free(second);
}

static void a_file_without_all_its_data_leaves_nothing(void **state)
{
    const uint64_t dims[] = {4};
    struct tn_gguf_writer *w = tn_gguf_writer_new();
    struct tn_gguf_file *file;
    char part[sizeof path + 8], wide[64] = {0};

    (void)state;
    tn_gguf_put_tensor(w, "t", TN_F32, dims, 1, NULL, 16);
    assert_int_equal(tn_gguf_begin(w, path, &file), 0);
    snprintf(part, sizeof part, "%s", tn_gguf_part_name(file));
    assert_int_equal(tn_gguf_write_data(file, wide, 12), 0);
    assert_int_equal(tn_gguf_finish(file, 1), -EINVAL);
    assert_int_equal(access(part, F_OK), -1);
    assert_int_equal(tn_gguf_begin(w, path, &file), 0);
    assert_int_equal(tn_gguf_write_data(file, wide, 17), -EINVAL); // too much
    tn_gguf_drop(file);
    assert_int_equal(access(part, F_OK), -1);
    tn_gguf_writer_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_file_has_exactly_these_bytes),
        cmocka_unit_test(the_length_is_filled_up),
        cmocka_unit_test(a_folder_that_is_missing_is_an_error),
        cmocka_unit_test(a_file_in_steps_reads_back),
        cmocka_unit_test(a_file_without_all_its_data_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, make_path, remove_path);
}
