// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Identities of weights and their copies in whole pages: what counts as content, what the cache may
// answer, and that nothing alters the user's file.
//
// Links: hypercall/host/store/text.c hypercall/host/store/content.c hypercall/host/store/identity.c
// Links: hypercall/host/store/cache.c hypercall/host/store/mappable.c
// Links: hypercall/host/store/copies.c
// Links: tensor/format/gguf.c tensor/format/gguf_values.c tensor/quant/types.c
// Libs: -lmbedcrypto
#include "hypercall/host/store/private.h"
#include "tensor/format/test_gguf.h"

#include <dirent.h>
#include <errno.h>
#include <mbedtls/sha256.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], error[600];

static int begin(void **unused)
{
    (void)unused;
    snprintf(folder, sizeof folder, "/tmp/tessera-store.XXXXXX");
    assert_non_null(mkdtemp(folder));
    return setenv("XDG_CACHE_HOME", folder, 1);
}

static int end(void **unused)
{
    char command[128];
    (void)unused;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

// One tensor of 40 bytes, so that the content's aligned end lies past the file's: 40 is no multiple
// of
// 32. `extra`: bytes after it.
static void make_model(struct maker *m, uint32_t packed, const char *source, size_t extra)
{
    static const uint64_t shape[] = {10};
    static const uint8_t zeros[64];
    uint8_t data[40];
    memset(data, 0x5a, sizeof data);
    make_header(m, 3, 1, 1u + (packed != 0) + (source != NULL));
    make_key_string(m, "general.architecture", "llama");
    if (packed) {
        make_key_u32(m, "tessera.packed.version", packed);
    }
    if (source) {
        make_key_string(m, "tessera.packed.source_sha256", source);
    }
    make_tensor(m, "a.weight", 1, shape, TN_F32, 0);
    make_align(m, 32);
    make_bytes(m, data, sizeof data);
    for (size_t i = 0; i < extra; i += sizeof zeros) {
        make_bytes(m, zeros, extra - i < sizeof zeros ? extra - i : sizeof zeros);
    }
}

static char *save(const char *name, const struct maker *m)
{
    static char paths[4][128];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, 128, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(m->data, 1, m->bytes, f), m->bytes);
    fclose(f);
    return path;
}

static void hash_of(const void *data, size_t bytes, uint8_t out[32])
{
    assert_int_equal(mbedtls_sha256_ret(data, bytes, out, 0), 0);
}

static struct weights_identity identity_of(const char *path)
{
    struct weights_identity id;
    if (weights_identity(path, NULL, &id, error, sizeof error) != 0) {
        fail_msg("%s", error);
    }
    return id;
}

static void refused(const char *path, int code, const char *what)
{
    struct weights_identity id;
    char *mapped;
    uint64_t bytes;
    for (int i = 0; i < 2; i++) {
        int rc = i ? weights_mappable(path, NULL, &mapped, &bytes, error, sizeof error)
                   : weights_identity(path, NULL, &id, error, sizeof error);
        if (rc != code || !strstr(error, what) || !strstr(error, path)) {
            fail_msg("got %d '%s', wanted %d '%s'", rc, error, code, what);
        }
    }
}

static void texts_are_read_back(void **unused)
{
    (void)unused;
    struct weights_identity a = {.packed_version = 0}, b;
    char text[WEIGHTS_TEXT], longer[WEIGHTS_TEXT + 8];
    for (unsigned i = 0; i < 32; i++) {
        a.sha256[i] = (uint8_t)(i * 37 + 9);
    }
    static const uint32_t versions[] = {0, 1, 10, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        a.packed_version = versions[i];
        weights_identity_text(&a, text);
        assert_int_equal(weights_identity_parse(text, &b), 0);
        assert_true(weights_identity_equal(&a, &b));
        b.packed_version ^= 1;
        assert_false(weights_identity_equal(&a, &b));
        for (size_t cut = 0; cut < 71; cut++) { // the hash alone is 71 characters
            memcpy(longer, text, cut);
            longer[cut] = 0;
            assert_int_equal(weights_identity_parse(longer, &b), -EINVAL);
        }
    }
    static const char *const ends[] = {
        "+packed",   "+packed0", "+packed01",          "+packed4294967296",
        "+packed1x", " ",        "+packed99999999999", "+Packed1"};
    a.packed_version = 0;
    weights_identity_text(&a, text);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(longer, sizeof longer, "%s%s", text, ends[i]);
        assert_int_equal(weights_identity_parse(longer, &b), -EINVAL);
    }
    text[20] = 'A';
    assert_int_equal(weights_identity_parse(text, &b), -EINVAL);
}

static void an_ordinary_file_has_its_sha256(void **unused)
{
    (void)unused;
    struct maker m;
    uint8_t hash[32];
    make_model(&m, 0, NULL, 0);
    hash_of(m.data, m.bytes, hash);
    assert_memory_equal(identity_of(save("a.gguf", &m)).sha256, hash, 32);
    free(m.data);
    make_model(&m, 0, NULL, 24); // as writers end files: aligned
    hash_of(m.data, m.bytes, hash);
    assert_memory_equal(identity_of(save("b.gguf", &m)).sha256, hash, 32);
    // Zeros after the aligned end do not count.
    for (int i = 0; i < 1000; i++) {
        make_u32(&m, 0);
    }
    assert_memory_equal(identity_of(save("c.gguf", &m)).sha256, hash, 32);
    m.data[m.bytes - 4024]++; // the last byte of the padding up to 32
    struct weights_identity id = identity_of(save("d.gguf", &m));
    assert_memory_not_equal(id.sha256, hash, 32);
    free(m.data);
}

static void a_packed_file_has_its_sources_identity(void **unused)
{
    (void)unused;
    struct maker m;
    uint8_t hash[32];
    char hex[65], text[WEIGHTS_TEXT], want[WEIGHTS_TEXT];
    memset(hash, 0xc3, sizeof hash);
    hex_write(hash, 32, hex);
    make_model(&m, 1, hex, 0);
    struct weights_identity id = identity_of(save("packed.gguf", &m));
    free(m.data);
    weights_identity_text(&id, text);
    snprintf(want, sizeof want, "sha256:%s+packed1", hex);
    assert_string_equal(text, want);
    // One that does not name its source, or not by a hash, is known by its own.
    static const char *const sources[] = {NULL, "", "c3c3",
                                          "X3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3"
                                          "c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3"};
    for (size_t i = 0; i < 4; i++) {
        make_model(&m, 1, sources[i], 0);
        hash_of(m.data, m.bytes, hash);
        id = identity_of(save("old.gguf", &m));
        assert_int_equal(id.packed_version, 0);
        assert_memory_equal(id.sha256, hash, 32);
        free(m.data);
    }
}

static void put(const char *path, const char *bytes, size_t count)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    fclose(f);
}

static void what_is_no_model_is_refused(void **unused)
{
    (void)unused;
    struct maker m;
    char missing[128];
    snprintf(missing, sizeof missing, "%s/none.gguf", folder);
    refused(missing, -ENOENT, "No such file");
    refused(folder, -EINVAL, "is no file but a folder");
    refused("/dev/null", -EINVAL, "is no file");
    m = (struct maker){0};
    snprintf(missing, sizeof missing, "%s/empty.gguf", folder);
    put(missing, "", 0);
    refused(missing, -EINVAL, "the file is empty");
    make_bytes(&m, "not a model at all, really not", 30);
    refused(save("text.gguf", &m), -EINVAL, "");
    free(m.data);
    make_header(&m, 3, 0, 1);
    make_key_u32(&m, "split.count", 3);
    refused(save("shard.gguf", &m), -ENOTSUP, "is one of 3 files of a model");
    free(m.data);
}

static bool the_only_entry(char out[512])
{
    char path[128];
    snprintf(path, sizeof path, "%s/tessera/hashes", folder);
    DIR *d = opendir(path);
    bool found = false;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] != '.') {
            assert_false(found);
            snprintf(out, 512, "%s/%s", path, e->d_name);
            found = true;
        }
    }
    if (d) {
        closedir(d);
    }
    return found;
}

static void the_cache_answers_only_for_the_same_file(void **unused)
{
    (void)unused;
    struct maker m;
    uint8_t hash[32];
    char entry[512], text[STORE_ENTRY];
    make_model(&m, 0, NULL, 0);
    hash_of(m.data, m.bytes, hash);
    char *path = save("a.gguf", &m);
    identity_of(path);
    // So new that another write would show no other time; a busy machine may need another try.
    for (int i = 0; i < 10 && the_only_entry(entry); i++) {
        unlink(entry);
        path = save("a.gguf", &m);
        identity_of(path);
    }
    assert_false(the_only_entry(entry));
    usleep(2100000); // the longest tick
    identity_of(path);
    assert_true(the_only_entry(entry));
    FILE *f = fopen(entry, "rb");
    size_t n = f ? fread(text, 1, sizeof text, f) : 0;
    assert_true(n > 66 && n < sizeof text);
    fclose(f);
    // It is believed: another hash in it comes out.
    text[n - 2] = text[n - 2] == '0' ? '1' : '0';
    put(entry, text, n);
    assert_memory_not_equal(identity_of(path).sha256, hash, 32);
    // Broken in any way it is none.
    char bad[STORE_ENTRY];
    for (size_t i = 0; i < n; i++) {
        memcpy(bad, text, n);
        bad[i] = (char)(bad[i] ^ 0x20); // also makes capitals of the hash's letters
        if (bad[i] >= '0' && bad[i] <= '9') {
            continue;
        }
        put(entry, bad, n);
        assert_memory_equal(identity_of(path).sha256, hash, 32);
        put(entry, text, i);
        assert_memory_equal(identity_of(path).sha256, hash, 32);
    }
    put(entry, text, n);
    // A file changed in place, of the same size.
    m.data[m.bytes - 1] ^= 1;
    hash_of(m.data, m.bytes, hash);
    save("a.gguf", &m);
    assert_memory_equal(identity_of(path).sha256, hash, 32);
    free(m.data);
}

static char *mappable(const char *path, uint64_t *bytes)
{
    char *out = NULL;
    if (weights_mappable(path, NULL, &out, bytes, error, sizeof error) != 0) {
        fail_msg("%s", error);
    }
    return out;
}

static void a_file_of_whole_pages_is_used_as_it_is(void **unused)
{
    (void)unused;
    struct maker m;
    uint64_t bytes;
    make_model(&m, 0, NULL, 0);
    char *path = save("a.gguf", &m), link[128];
    assert_int_equal(truncate(path, 2 * WEIGHTS_MULTIPLE), 0);
    snprintf(link, sizeof link, "%s/link.gguf", folder);
    assert_int_equal(symlink(path, link), 0);
    char *mapped = mappable(link, &bytes);
    assert_string_equal(mapped, path);
    assert_int_equal(bytes, 2 * WEIGHTS_MULTIPLE);
    free(mapped);
    free(m.data);
}

// A model of 5 MB that is almost all hole: whole pages are 6 MB, a power of two is 8.
static void a_power_of_two_has_a_copy_of_its_own(void **unused)
{
    (void)unused;
    static const uint64_t shape[] = {5 << 18};
    struct maker m;
    struct stat status;
    uint64_t bytes;
    char *out = NULL;
    make_header(&m, 3, 1, 1);
    make_key_string(&m, "general.architecture", "llama");
    make_tensor(&m, "a.weight", 1, shape, TN_F32, 0);
    make_align(&m, 32);
    char *path = save("power.gguf", &m);
    assert_int_equal(truncate(path, (off_t)m.bytes + (5 << 20)), 0);
    char *pages = mappable(path, &bytes);
    assert_int_equal(bytes, 3 * WEIGHTS_MULTIPLE);
    for (int i = 0; i < 2; i++) { // the second time it is there
        assert_int_equal(weights_mappable_power(path, NULL, &out, &bytes, error, sizeof error), 0);
        assert_int_equal(bytes, 4 * WEIGHTS_MULTIPLE);
        assert_string_not_equal(out, pages);
        assert_int_equal(stat(out, &status), 0);
        assert_int_equal(status.st_size, bytes);
        struct weights_identity a = identity_of(path), b = identity_of(out);
        assert_true(weights_identity_equal(&a, &b));
        free(out);
    }
    // A copy of whole pages that is no power of two is no good; one that is needs no other.
    assert_int_equal(weights_mappable_power(pages, NULL, &out, &bytes, error, sizeof error), 0);
    assert_string_not_equal(out, pages);
    assert_int_equal(bytes, 4 * WEIGHTS_MULTIPLE);
    char *same = mappable(out, &bytes);
    assert_string_equal(same, out);
    free(same);
    free(out);
    free(pages);
    free(m.data);
}

// What a killed run leaves behind.
static void leave_a_part(const struct weights_identity *id)
{
    enum { BYTES = WEIGHTS_MULTIPLE / 2 };
    char models[128], path[300], hex[65], *bytes = malloc(BYTES);
    assert_non_null(bytes);
    memset(bytes, 'x', BYTES);
    assert_int_equal(weights_cache_folder("models", models, sizeof models, error, sizeof error), 0);
    hex_write(id->sha256, 32, hex);
    snprintf(path, sizeof path, "%s/%s.part", models, hex);
    put(path, bytes, BYTES);
    free(bytes);
}

static void another_is_copied_once(void **unused)
{
    (void)unused;
    struct maker m;
    struct stat before, after, copy, again;
    uint64_t bytes;
    make_model(&m, 0, NULL, 24);
    size_t content = m.bytes;
    make_bytes(&m, "not of the model", 16); // past the content, and not copied
    char *path = save("a.gguf", &m);
    stat(path, &before);
    struct weights_identity id = identity_of(path);
    leave_a_part(&id);
    char *mapped = mappable(path, &bytes);
    assert_string_not_equal(mapped, path);
    stat(path, &after);
    assert_int_equal(before.st_size, after.st_size);
    assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    assert_int_equal(stat(mapped, &copy), 0);
    assert_int_equal(copy.st_size, WEIGHTS_MULTIPLE);
    assert_int_equal(bytes, WEIGHTS_MULTIPLE);
    assert_int_equal(copy.st_mode & 0222, 0);
    FILE *f = fopen(mapped, "rb");
    uint8_t data[512];
    assert_non_null(f);
    assert_true(m.bytes < sizeof data);
    assert_int_equal(fread(data, 1, m.bytes, f), m.bytes);
    fclose(f);
    assert_memory_equal(data, m.data, content);
    for (size_t i = content; i < m.bytes; i++) {
        assert_int_equal(data[i], 0);
    }
    struct weights_identity of_copy = identity_of(mapped);
    assert_true(weights_identity_equal(&id, &of_copy));
    char *second = mappable(path, &bytes);
    assert_string_equal(second, mapped);
    stat(mapped, &again);
    assert_int_equal(copy.st_ino, again.st_ino);
    assert_int_equal(copy.st_mtim.tv_nsec, again.st_mtim.tv_nsec);
    // Somebody wrote into the copy: it is made again.
    chmod(mapped, 0600);
    f = fopen(mapped, "r+b");
    assert_non_null(f);
    fseek(f, (long)content - 1, SEEK_SET);
    fputc('!', f);
    fclose(f);
    free(second);
    second = mappable(path, &bytes);
    of_copy = identity_of(second);
    assert_true(weights_identity_equal(&id, &of_copy));
    free(second);
    free(mapped);
    free(m.data);
}

static void many_at_once_make_one_copy(void **unused)
{
    (void)unused;
    struct maker m;
    enum { RUNS = 8 };
    pid_t run[RUNS];
    make_model(&m, 0, NULL, 0);
    char *path = save("a.gguf", &m);
    for (int i = 0; i < RUNS; i++) {
        run[i] = fork();
        if (run[i] == 0) {
            char *out;
            uint64_t bytes;
            int rc = weights_mappable(path, NULL, &out, &bytes, error, sizeof error);
            struct weights_identity of_copy;
            rc = rc ? rc : weights_identity(out, NULL, &of_copy, error, sizeof error);
            _exit(rc != 0);
        }
    }
    for (int i = 0; i < RUNS; i++) {
        int status;
        assert_int_equal(waitpid(run[i], &status, 0), run[i]);
        assert_int_equal(status, 0);
    }
    char models[128];
    int whole = 0, parts = 0;
    snprintf(models, sizeof models, "%s/tessera/models", folder);
    DIR *d = opendir(models);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        whole += strstr(e->d_name, ".gguf") != NULL;
        parts += strstr(e->d_name, ".part") != NULL;
    }
    closedir(d);
    assert_int_equal(whole, 1);
    assert_int_equal(parts, 0);
    free(m.data);
}

static void no_place_for_the_copy_is_said(void **unused)
{
    (void)unused;
    struct maker m;
    char *out;
    uint64_t bytes;
    make_model(&m, 0, NULL, 0);
    char *path = save("a.gguf", &m);
    setenv("XDG_CACHE_HOME", path, 1); // a file where the folder should be
    identity_of(path);                 // works without a cache
    assert_int_equal(weights_mappable(path, NULL, &out, &bytes, error, sizeof error), -ENOTDIR);
    assert_non_null(strstr(error, "XDG_CACHE_HOME names another"));
    free(m.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_read_back),
        cmocka_unit_test_setup_teardown(an_ordinary_file_has_its_sha256, begin, end),
        cmocka_unit_test_setup_teardown(a_packed_file_has_its_sources_identity, begin, end),
        cmocka_unit_test_setup_teardown(what_is_no_model_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(the_cache_answers_only_for_the_same_file, begin, end),
        cmocka_unit_test_setup_teardown(a_file_of_whole_pages_is_used_as_it_is, begin, end),
        cmocka_unit_test_setup_teardown(another_is_copied_once, begin, end),
        cmocka_unit_test_setup_teardown(many_at_once_make_one_copy, begin, end),
        cmocka_unit_test_setup_teardown(no_place_for_the_copy_is_said, begin, end),
        cmocka_unit_test_setup_teardown(a_power_of_two_has_a_copy_of_its_own, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
