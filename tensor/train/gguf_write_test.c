/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * A written GGUF file, byte by byte.
 */
// Links: tensor/train/gguf_write.c
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
    tn_gguf_put_tensor(w, "t", TN_GGUF_F32, dims, 2, pair, sizeof pair);
    tn_gguf_put_tensor(w, "u", TN_GGUF_F32, dims + 1, 1, one, sizeof one);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_file_has_exactly_these_bytes),
        cmocka_unit_test(the_length_is_filled_up),
        cmocka_unit_test(a_folder_that_is_missing_is_an_error),
    };

    return cmocka_run_group_tests(tests, make_path, remove_path);
}
