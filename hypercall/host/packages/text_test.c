// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Texts that others wrote: names, indexes, entries, notes of what a killed run left.
//
// Links: hypercall/host/packages/store.c hypercall/host/packages/files.c
// Links: hypercall/host/packages/text.c hypercall/host/packages/entry.c
// Links: hypercall/host/packages/index.c hypercall/host/packages/indexes.c
// Links: hypercall/host/packages/lock.c hypercall/host/packages/partial.c
// Links: hypercall/host/packages/fetch.c hypercall/host/store/text.c
// Libs: -lmbedcrypto -ljansson -lcurl
#include "hypercall/host/base/files.h"
#include "hypercall/host/packages/private.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static struct packages store;
static const char hash_a[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static int begin(void **unused)
{
    char path[128];
    (void)unused;
    snprintf(folder, sizeof folder, "/tmp/tessera-packages.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/store", folder);
    assert_int_equal(setenv("TESSERA_STORE", path, 1), 0);
    assert_int_equal(setenv("XDG_CACHE_HOME", folder, 1), 0);
    assert_int_equal(unsetenv("TESSERA_INDEX"), 0);
    assert_int_equal(setenv("XDG_CONFIG_HOME", folder, 1), 0);
    store = (struct packages){0};
    return packages_open(&store, true);
}

static int end(void **unused)
{
    char command[128];
    (void)unused;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

// ---- texts -------------------------------------------------------------------------------------

static void names_are_plain_words(void **unused)
{
    (void)unused;
    static const char *const good[] = {"a", "7b", "Phi-3.5_mini", "x.y"};
    static const char *const bad[] = {"",    ".",   "..",       ".lock", "-a",
                                      "a/b", "a b", "\xc3\xa4", "a\n"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(packages_name_is_valid(good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(packages_name_is_valid(bad[i]));
    }
    char name[PACKAGES_NAME + 1];
    memset(name, 'a', PACKAGES_NAME);
    name[PACKAGES_NAME] = 0;
    assert_false(packages_name_is_valid(name));
    name[PACKAGES_NAME - 1] = 0;
    assert_true(packages_name_is_valid(name));
}

static void names_come_from_places(void **unused)
{
    (void)unused;
    static const char *const cases[][2] = {
        {"/a/phi 3.gguf", "phi-3"},
        {"https://h/x/Phi.GGUF?download=true", "Phi"},
        {"http://h/", "h"},
        {"/a/b/", "b"},
        {"..", "model"},
        {"/x/\xff\xfe.gguf", "model"},
        {"what?.gguf", "what"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[PACKAGES_NAME];
        pk_name_of(cases[i][0], name);
        assert_string_equal(name, cases[i][1]);
        assert_true(packages_name_is_valid(name));
    }
}

static void terminals_get_nothing_to_obey(void **unused)
{
    (void)unused;
    char out[64];
    pk_plain(out, sizeof out,
             "a\033[2Jb\x7f\xc2\x9b"
             "c\xc3\xa9\xed\xa0\x80");
    assert_string_equal(out, "a?[2Jb???c\xc3\xa9???");
    pk_plain(out, 4, "ab\xc3\xa9"); // a character is not cut
    assert_string_equal(out, "ab");
}

static void ranges_are_read_exactly(void **unused)
{
    (void)unused;
    uint64_t first, last, total;
    assert_int_equal(pk_content_range_parse("bytes 5-9/10", &first, &last, &total), 0);
    assert_true(first == 5 && last == 9 && total == 10);
    static const char *const bad[] = {"",
                                      "bytes",
                                      "bytes 5-9/*",
                                      "bytes */10",
                                      "bytes 9-5/10",
                                      "bytes 5-10/10",
                                      "bytes 5-9/10 ",
                                      "bytes -9/10",
                                      "bytes 5-9/99999999999999999999",
                                      "items 5-9/10"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(pk_content_range_parse(bad[i], &first, &last, &total), -EINVAL);
    }
}

// ---- indexes -----------------------------------------------------------------------------------

static void index_refused(const char *text, const char *why)
{
    struct packages_model *models = NULL;
    size_t count;
    char error[300];
    if (pk_index_parse(text, strlen(text), &models, &count, error, sizeof error) != -EINVAL ||
        !strstr(error, why)) {
        fail_msg("'%s' for %s", error, text);
    }
}

static void indexes_are_read_with_distrust(void **unused)
{
    (void)unused;
    char text[1024], error[300];
    struct packages_model *models;
    size_t count;
    snprintf(text, sizeof text,
             "{\"models\":[{\"name\":\"a\",\"file\":\"a.gguf\",\"sha256\":\"%s\",\"size\":7,"
             "\"description\":\"one\\u001b[2J\",\"new\":1}]}",
             hash_a);
    assert_int_equal(pk_index_parse(text, strlen(text), &models, &count, error, sizeof error), 0);
    assert_int_equal(count, 1);
    assert_string_equal(models[0].description, "one?[2J");
    assert_int_equal(models[0].size, 7);
    free(models);
    index_refused("", "line");
    index_refused("{}", "models: is no list");
    index_refused("{\"models\":{}}", "models: is no list");
    index_refused("{\"models\":[1]}", "model 1: is no object");
    index_refused("{\"models\":[{\"name\":\"../a\"}]}", "name");
    index_refused("{\"models\":[{\"name\":\"a\"}]}", "model 1, a: file");
    index_refused("{\"models\":[{\"name\":\"a\",\"file\":\"x\"}]}", "model 1, a: sha256");
    snprintf(text, sizeof text,
             "{\"models\":[{\"name\":\"a\",\"file\":\"x\",\"sha256\":\"%s\",\"size\":-1}]}",
             hash_a);
    index_refused(text, "size");
    snprintf(text, sizeof text,
             "{\"models\":[{\"name\":\"a\",\"file\":\"x\\ny\",\"sha256\":\"%s\"}]}", hash_a);
    index_refused(text, "file");
}

static void placed(const char *index, const char *file, const char *wanted)
{
    struct packages_model m = {.name = "a"};
    strcpy(m.file, file);
    int rc = pk_index_place(&store, index, &m);
    if (wanted ? rc != 0 || strcmp(m.place, wanted) != 0 : rc == 0) {
        fail_msg("%s, %s: %d '%s' %s", index, file, rc, m.place, store.error);
    }
}

static void files_are_found_beside_their_index(void **unused)
{
    (void)unused;
    placed("/m/index.json", "a.gguf", "/m/a.gguf");
    placed("/m/index.json", "b/a.gguf", "/m/b/a.gguf");
    placed("index.json", "a.gguf", "a.gguf");
    placed("/m/index.json", "https://h/a.gguf", "https://h/a.gguf");
    placed("https://h/m/index.json", "a.gguf", "https://h/m/a.gguf");
    placed("https://h/m/index.json?x=1", "/a.gguf", "https://h/a.gguf");
    placed("https://h/m/", "http://i/a.gguf", "http://i/a.gguf");
    placed("/m/index.json", "/etc/passwd", NULL);
    placed("/m/index.json", "../a.gguf", NULL);
    placed("/m/index.json", "b/../../a.gguf", NULL);
    placed("/m/index.json", "file:///etc/passwd", NULL);
    placed("https://h/m/index.json", "file:///etc/passwd", NULL);
    placed("https://h/m/index.json", "ftp://h/a.gguf", NULL);
    placed("https://h/m/index.json", "https://me:word@h/a.gguf", NULL);
}

static int collect(void *context, const char *place)
{
    strcat(context, place);
    strcat(context, "|");
    return 0;
}

static void configured_indexes_are_lines_or_words(void **unused)
{
    (void)unused;
    char seen[200] = "", path[128];
    assert_int_equal(packages_index_places(&store, collect, seen), 0);
    assert_string_equal(seen, "");
    snprintf(path, sizeof path, "%s/tessera", folder);
    (void)mkdir(path, 0700);
    strcat(path, "/indexes");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("# mine\n\n  /a b \r\nhttps://h/\n", f);
    fclose(f);
    assert_int_equal(packages_index_places(&store, collect, seen), 0);
    assert_string_equal(seen, "/a b|https://h/|");
    seen[0] = 0;
    setenv("TESSERA_INDEX", "/x /y", 1);
    assert_int_equal(packages_index_places(&store, collect, seen), 0);
    assert_string_equal(seen, "/x|/y|");
}

// ---- entries and notes -------------------------------------------------------------------------

static struct packages_entry an_entry(void)
{
    struct packages_entry e = {.name = "a",
                               .identity.packed_version = 1,
                               .bytes = 5,
                               .type = "Q4_0",
                               .source = "/m/\"a\".gguf",
                               .source_bytes = 9,
                               .converted = "Q4_0",
                               .packed = true,
                               .installed = "2026-01-31T00:00:00Z"};
    strcpy(e.blob, hash_a);
    strcpy(e.source_sha256, hash_a);
    return e;
}

static void entries_are_read_back(void **unused)
{
    (void)unused;
    struct packages_entry e = an_entry(), again;
    char error[200], *text = pk_entry_text(&e);
    assert_non_null(text);
    assert_int_equal(pk_entry_parse(text, strlen(text), &again, error, sizeof error), 0);
    char *twice = pk_entry_text(&again);
    assert_string_equal(text, twice);
    free(twice);
    // Each field cut off is missed.
    static const char *const fields[] = {"\"version\"", "\"name\"",  "\"identity\"",  "\"blob\"",
                                         "\"bytes\"",   "\"type\"",  "\"installed\"", "\"source\"",
                                         "\"from\"",    "\"sha256\""};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char *at = strstr(text, fields[i]);
        assert_non_null(at);
        at[1] ^= 1;
        assert_int_equal(pk_entry_parse(text, strlen(text), &again, error, sizeof error), -EINVAL);
        at[1] ^= 1;
    }
    free(text);
}

static void notes_without_this_boot_are_told(void **unused)
{
    (void)unused;
    struct partial part;
    char *text;
    size_t bytes;
    bool same_boot;
    assert_int_equal(pk_partial_open(&store, "/somewhere", &part), 0);
    strcpy(part.etag, "\"x\"");
    part.total = 10;
    part.synced = 4;
    assert_int_equal(pk_partial_note(&store, &part), 0);
    assert_int_equal(file_load(part.note, ENTRY_MOST_BYTES, &text, &bytes), 0);
    pk_partial_forget(&part);
    assert_int_equal(pk_note_parse(text, bytes, &part, &same_boot), 0);
    assert_true(same_boot && part.total == 10 && part.synced == 4);
    assert_string_equal(part.etag, "\"x\"");
    free(text);
    static const char other[] = "{\"etag\":\"a\",\"total\":9,\"synced\":3,\"boot\":\"another\"}";
    assert_int_equal(pk_note_parse(other, strlen(other), &part, &same_boot), 0);
    assert_false(same_boot);
    // Goes into a request's header.
    static const char evil[] = "{\"etag\":\"a\\r\\nX: y\",\"total\":9,\"synced\":3,\"boot\":\"b\"}";
    assert_int_equal(pk_note_parse(evil, strlen(evil), &part, &same_boot), -EINVAL);
    assert_true(part.etag[0] == 0 && part.total == 0);
    pk_partial_close(&store, &part, true);
}

// After a power cut only what was synced counts.
static void a_part_of_another_boot_is_cut(void **unused)
{
    (void)unused;
    struct partial part;
    struct stat s;
    static const char note[] = "{\"etag\":\"a\",\"total\":100,\"synced\":3,\"boot\":\"another\"}";
    assert_int_equal(pk_partial_open(&store, "/somewhere", &part), 0);
    FILE *f = fopen(part.part, "w"), *n = fopen(part.note, "w");
    assert_non_null(f);
    assert_non_null(n);
    fputs("0123456789", f);
    fputs(note, n);
    fclose(f);
    fclose(n);
    pk_partial_close(&store, &part, false);
    assert_int_equal(pk_partial_open(&store, "/somewhere", &part), 0);
    assert_int_equal(stat(part.part, &s), 0);
    assert_int_equal(s.st_size, 3);
    pk_partial_close(&store, &part, true);
    assert_int_not_equal(stat(part.part, &s), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_plain_words),
        cmocka_unit_test(names_come_from_places),
        cmocka_unit_test(terminals_get_nothing_to_obey),
        cmocka_unit_test(ranges_are_read_exactly),
        cmocka_unit_test(indexes_are_read_with_distrust),
        cmocka_unit_test_setup_teardown(files_are_found_beside_their_index, begin, end),
        cmocka_unit_test_setup_teardown(configured_indexes_are_lines_or_words, begin, end),
        cmocka_unit_test(entries_are_read_back),
        cmocka_unit_test_setup_teardown(notes_without_this_boot_are_told, begin, end),
        cmocka_unit_test_setup_teardown(a_part_of_another_boot_is_cut, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
