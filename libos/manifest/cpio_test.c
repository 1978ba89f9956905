// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Archives and bare modules: what becomes a file, under which name, and what damage does.
// Links: libos/manifest/cpio.c libos/manifest/collect.c
#include "libos/manifest/collect.h"
#include "libos/manifest/cpio.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static char archive[8192];
static size_t used;
static struct boot_files files;
static char error[160];

static int setup(void **state)
{
    (void)state;
    memset(archive, 0, sizeof(archive));
    memset(&files, 0, sizeof(files));
    used = 0;
    return 0;
}

static void add(const char *name, unsigned mode, const char *data, size_t bytes)
{
    size_t name_bytes = strlen(name) + 1;
    used += (size_t)sprintf(archive + used,
                            "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08zX%08X", 1, mode,
                            0, 0, 1, 0, (unsigned)bytes, 0, 0, 0, 0, name_bytes, 0);
    memcpy(archive + used, name, name_bytes);
    used = (used + name_bytes + 3) & ~3ul;
    memcpy(archive + used, data, bytes);
    used = (used + bytes + 3) & ~3ul;
}

static int collect(void)
{
    return boot_files_add(&files, archive, used, BOOT_FILE_MODULE, error, sizeof(error));
}

static void members_become_files_with_their_kind(void **state)
{
    (void)state;
    add(".", 040755, "", 0);
    add("./manifest.dtb", 0100644, "\xd0\x0d\xfe\xedrest", 8);
    add("/models/small.gguf", 0100644, "GGUF\3\0\0\0!", 9);
    add("link", 0120777, "target", 6);
    add("notes.txt", 0100644, "", 0);
    add("TRAILER!!!", 0, "", 0);
    assert_int_equal(collect(), 0);
    assert_int_equal(files.count, 3);
    assert_string_equal(files.file[0].name, "manifest.dtb");
    assert_int_equal(files.file[0].kind, BOOT_FILE_DTB);
    assert_string_equal(files.file[1].name, "models/small.gguf");
    assert_int_equal(files.file[1].kind, BOOT_FILE_GGUF);
    assert_int_equal(files.file[1].bytes, 9);
    assert_memory_equal(files.file[1].data, "GGUF\3\0\0\0!", 9);
    assert_int_equal(files.file[2].kind, BOOT_FILE_OTHER);
}

static void an_archive_cut_anywhere_is_reported_and_never_read_past(void **state)
{
    (void)state;
    add("a", 0100644, "0123456789", 10);
    add("b", 0100644, "xyz", 3);
    add("TRAILER!!!", 0, "", 0);
    size_t whole = used;
    for (size_t cut = 6; cut < whole - 1; cut++) {
        char *copy = malloc(cut); // at its exact size, so that the sanitizer sees a step too far
        memcpy(copy, archive, cut);
        memset(&files, 0, sizeof(files));
        int result = boot_files_add(&files, copy, cut, BOOT_FILE_MODULE, error, sizeof(error));
        // Only the padding behind the trailer's name may be missing.
        if (result == 0) {
            assert_true(cut >= whole - 3);
        } else {
            assert_int_equal(result, -EINVAL);
            assert_non_null(strstr(error, "damaged at byte"));
        }
        free(copy);
    }
}

static void wrong_fields_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        const char *text, *says;
    } cases[] = {{14, "0000Z000", "hexadecimal"},
                 {54, "FFFFFFFF", "past the end"},
                 {94, "00000000", "name length"},
                 {94, "FFFFFFFF", "name length"},
                 {94, "00000001", "terminated"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        setup(NULL);
        add("a", 0100644, "0123456789", 10);
        add("TRAILER!!!", 0, "", 0);
        memcpy(archive + cases[i].at, cases[i].text, 8);
        assert_int_equal(collect(), -EINVAL);
        if (!strstr(error, cases[i].says)) {
            fail_msg("\"%s\" lacks \"%s\"", error, cases[i].says);
        }
        assert_int_equal(files.count, 0);
    }
}

static void bare_modules_are_named_by_content(void **state)
{
    (void)state;
    boot_files_add(&files, "GGUF....", 8, BOOT_FILE_MODULE, error, sizeof(error));
    boot_files_add(&files, "\xd0\x0d\xfe\xed", 4, BOOT_FILE_MODULE, error, sizeof(error));
    boot_files_add(&files, "GGUF", 4, BOOT_FILE_LINKED, error, sizeof(error));
    boot_files_add(&files, "GGU", 3, BOOT_FILE_MODULE, error, sizeof(error));
    assert_int_equal(files.count, 4);
    assert_string_equal(files.file[0].name, "model.gguf");
    assert_string_equal(files.file[1].name, "manifest.dtb");
    assert_string_equal(files.file[2].name, "model-2.gguf");
    assert_int_equal(files.file[2].origin, BOOT_FILE_LINKED);
    assert_string_equal(files.file[3].name, "module");
    assert_int_equal(files.file[3].kind, BOOT_FILE_OTHER);
}

static void compressed_modules_are_refused_in_words(void **state)
{
    (void)state;
    assert_int_equal(
        boot_files_add(&files, "\x1f\x8b\x08", 3, BOOT_FILE_MODULE, error, sizeof(error)), -EINVAL);
    assert_non_null(strstr(error, "compressed"));
}

static void more_files_than_fit_and_long_names_are_errors(void **state)
{
    (void)state;
    char name[300];
    memset(name, 'n', sizeof(name));
    name[200] = '\0';
    add(name, 0100644, "", 0);
    assert_int_equal(collect(), -EINVAL);
    assert_non_null(strstr(error, "longer"));
    for (unsigned i = 0; i < BOOT_MAX_FILES; i++) {
        assert_int_equal(boot_files_add(&files, "x", 1, BOOT_FILE_MODULE, error, sizeof(error)), 0);
    }
    assert_int_equal(boot_files_add(&files, "x", 1, BOOT_FILE_MODULE, error, sizeof(error)),
                     -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(members_become_files_with_their_kind, setup),
        cmocka_unit_test_setup(an_archive_cut_anywhere_is_reported_and_never_read_past, setup),
        cmocka_unit_test_setup(wrong_fields_are_refused, setup),
        cmocka_unit_test_setup(bare_modules_are_named_by_content, setup),
        cmocka_unit_test_setup(compressed_modules_are_refused_in_words, setup),
        cmocka_unit_test_setup(more_files_than_fit_and_long_names_are_errors, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
