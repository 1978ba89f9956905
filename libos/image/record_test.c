// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A sealed image's record, and a model held against it.
// Links: libos/image/record.c libos/image/sha256.c libos/image/sha256_x86.c
// Libs: -lfdt
#include "libos/image.h"
#include "libos/sha256.h"

#include <errno.h>
#include <libfdt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static _Alignas(8) char tree[2048];
static char error[300];
static struct image_record r;

static void build(const char *compatible, int hash_bytes, uint64_t model_bytes)
{
    uint8_t hash[64] = {1, 2, 3};
    assert_int_equal(fdt_create_empty_tree(tree, sizeof tree), 0);
    assert_int_equal(fdt_setprop(tree, 0, "compatible", compatible, (int)strlen(compatible) + 1),
                     0);
    assert_int_equal(fdt_setprop(tree, 0, "manifest-sha256", hash, 32), 0);
    assert_int_equal(fdt_setprop(tree, 0, "model-sha256", hash, hash_bytes), 0);
    assert_int_equal(fdt_setprop_u64(tree, 0, "model-bytes", model_bytes), 0);
}

static int parse(size_t bytes)
{
    return image_record_parse(tree, bytes, &r, error, sizeof error);
}

static void a_record_is_read(void **state)
{
    (void)state;
    build("tessera,image-1", 32, 5ull << 32);
    assert_int_equal(parse(fdt_totalsize(tree)), 0);
    assert_true(r.model_bytes == 5ull << 32);
    assert_int_equal(r.manifest_sha256[2], 3);
    assert_int_equal(r.model_sha256[1], 2);
}

static void a_wrong_record_is_refused(void **state)
{
    (void)state;
    build("tessera,manifest-1", 32, 1);
    assert_int_equal(parse(fdt_totalsize(tree)), -EINVAL);
    assert_non_null(strstr(error, "tessera,image-1"));
    build("tessera,image-1", 31, 1);
    assert_int_equal(parse(fdt_totalsize(tree)), -EINVAL);
    assert_non_null(strstr(error, "model-sha256"));
    build("tessera,image-1", 32, 1);
    assert_int_equal(parse(60), -EINVAL);
    assert_int_equal(parse(4), -EINVAL);
    fdt_set_version(tree, 3);
    assert_int_equal(parse(fdt_totalsize(tree)), -EINVAL);
}

static int check(const void *data, size_t bytes, size_t *content)
{
    return image_check_model(&r, data, bytes, content, error, sizeof error);
}

static void a_model_is_taken_as_sealed_and_no_longer(void **state)
{
    (void)state;
    char model[300];
    size_t content = 0;
    memset(model, 'm', sizeof model);
    r.model_bytes = 200;
    sha256(model, 200, r.model_sha256);
    assert_int_equal(check(model, 200, &content), 0);
    assert_int_equal(content, 200);
    content = 0;
    assert_int_equal(check(model, 300, &content), 0); // a mapped file that is filled up
    assert_int_equal(content, 200);
    model[250] = 0; // not covered, not used
    assert_int_equal(check(model, 300, &content), 0);
    for (size_t i = 0; i < 200; i++) {
        model[i] ^= 1;
        assert_int_equal(check(model, 300, &content), -EKEYREJECTED);
        model[i] ^= 1;
    }
    assert_non_null(strstr(error, "sealed with"));
    assert_int_equal(check(model, 199, &content), -EKEYREJECTED);
    r.model_bytes = 0;
    assert_int_equal(check(model, 300, &content), -EKEYREJECTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_read),
        cmocka_unit_test(a_wrong_record_is_refused),
        cmocka_unit_test(a_model_is_taken_as_sealed_and_no_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
