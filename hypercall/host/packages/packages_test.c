// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The model store: one blob for many names, removal, what kills leave.
// Downloads are tested against a server in ci/functional/pkg.sh.
//
// Links: hypercall/host/packages/store.c hypercall/host/packages/files.c
// Links: hypercall/host/packages/text.c hypercall/host/packages/entry.c
// Links: hypercall/host/packages/index.c hypercall/host/packages/indexes.c
// Links: hypercall/host/packages/make_index.c hypercall/host/packages/model.c
// Links: hypercall/host/packages/lock.c hypercall/host/packages/partial.c
// Links: hypercall/host/packages/fetch.c hypercall/host/packages/download.c
// Links: hypercall/host/packages/copy.c hypercall/host/packages/source.c
// Links: hypercall/host/packages/install.c hypercall/host/packages/remove.c
// Links: hypercall/host/store/text.c hypercall/host/store/content.c hypercall/host/store/identity.c
// Links: hypercall/host/store/folders.c
// Links: hypercall/host/store/cache.c
// Links: tensor/format/gguf.c tensor/format/gguf_values.c tensor/quant/types.c
// Libs: -lmbedcrypto -ljansson -lcurl
#include "hypercall/host/packages/private.h"
#include "tensor/format/test_gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

// ---- installing --------------------------------------------------------------------------------

// A model whose weights are `fill`; `extra` bytes after its content.
static char *save_model(const char *name, uint8_t fill, size_t extra)
{
    static char paths[4][128];
    static unsigned turn;
    static const uint64_t shape[] = {16};
    char *path = paths[turn++ % 4];
    uint8_t data[64];
    struct maker m = {0};
    memset(data, fill, sizeof data);
    make_header(&m, 3, 1, 1);
    make_key_string(&m, "general.architecture", "llama");
    make_tensor(&m, "a.weight", 1, shape, TN_F32, 0);
    make_align(&m, 32);
    make_bytes(&m, data, sizeof data);
    snprintf(path, 128, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(m.data, 1, m.bytes, f), m.bytes);
    for (size_t i = 0; i < extra; i++) {
        fputc('x', f);
    }
    fclose(f);
    free(m.data);
    return path;
}

static struct packages_entry install(const char *source, const char *name)
{
    struct packages_request q = {.source = source, .name = name};
    struct packages_entry e;
    bool existed;
    if (packages_install(&store, &q, &e, &existed) != 0) {
        fail_msg("%s", store.error);
    }
    return e;
}

static bool blob_exists(const char *blob)
{
    char path[PATH_MAX];
    struct stat s;
    return packages_blob_path(&store, blob, path) == 0 && stat(path, &s) == 0 &&
           s.st_size % WEIGHTS_MULTIPLE == 0 && (s.st_mode & 0777) == 0444;
}

static void names_share_a_blob(void **unused)
{
    (void)unused;
    uint64_t freed;
    char path[PATH_MAX], error[300];
    struct packages_entry a = install(save_model("a.gguf", 1, 0), NULL);
    struct packages_entry b = install(save_model("b.gguf", 1, 100), NULL); // the same content
    assert_string_equal(a.name, "a");
    assert_string_equal(a.type, "F32");
    assert_string_equal(a.blob, b.blob);
    assert_string_not_equal(a.source_sha256, b.source_sha256);
    assert_true(weights_identity_equal(&a.identity, &b.identity));
    assert_true(blob_exists(a.blob));
    assert_int_equal(packages_resolve("b", path, error, sizeof error), 0);
    assert_non_null(strstr(path, a.blob));
    assert_int_equal(packages_remove(&store, "a", false, &freed), 0);
    assert_int_equal(freed, 0);
    assert_true(blob_exists(a.blob));
    assert_int_equal(packages_remove(&store, "b", false, &freed), 0);
    assert_true(freed > 0);
    assert_false(blob_exists(a.blob));
    assert_int_equal(packages_resolve("b", path, error, sizeof error), -ENOENT);
}

static void what_is_wrong_leaves_nothing(void **unused)
{
    (void)unused;
    char *path = save_model("a.gguf", 2, 0);
    struct packages_entry e;
    struct packages_leftovers left;
    bool existed;
    struct packages_request q = {.source = path, .sha256 = hash_a};
    assert_int_equal(packages_install(&store, &q, &e, &existed), -EBADMSG);
    assert_non_null(strstr(store.error, hash_a));
    q.sha256 = "12";
    assert_int_equal(packages_install(&store, &q, &e, &existed), -EINVAL);
    q.sha256 = NULL;
    assert_int_equal(truncate(path, 40), 0);
    assert_true(packages_install(&store, &q, &e, &existed) < 0);
    assert_non_null(strstr(store.error, path));
    q.type = "Q4_0"; // and no way to convert
    save_model("a.gguf", 2, 0);
    assert_int_equal(packages_install(&store, &q, &e, &existed), -EINVAL);
    assert_int_equal(packages_prune(&store, false, &left), 0);
    assert_true(left.blobs == 0 && left.parts == 0);
}

static void a_copy_goes_on_where_it_was(void **unused)
{
    (void)unused;
    char *path = save_model("a.gguf", 3, 0), real[PATH_MAX];
    struct partial part;
    struct stat s;
    assert_non_null(realpath(path, real));
    assert_int_equal(stat(path, &s), 0);
    // Half of it, and one byte of that is wrong; longer than the source, and wrong all over.
    for (int longer = 0; longer < 2; longer++) {
        assert_int_equal(pk_partial_open(&store, real, &part), 0);
        FILE *from = fopen(path, "rb"), *to = fopen(part.part, "wb");
        assert_non_null(from);
        assert_non_null(to);
        for (off_t i = 0; i < (longer ? 3 * s.st_size : s.st_size / 2); i++) {
            int c = longer ? 'x' : fgetc(from);
            fputc(i == 5 ? c ^ 1 : c, to);
        }
        fclose(from);
        fclose(to);
        pk_partial_close(&store, &part, false);
        struct packages_entry e = install(path, NULL);
        assert_int_equal(packages_verify(&store, &e), 0);
        assert_string_equal(e.blob, e.source_sha256);
        assert_int_not_equal(access(part.part, F_OK), 0);
        uint64_t freed;
        assert_int_equal(packages_remove(&store, "a", false, &freed), 0);
    }
}

static int in_use(void *context, const char *path, char *who, size_t who_bytes)
{
    const bool *used = context;
    assert_non_null(strstr(path, "/blobs/sha256-"));
    snprintf(who, who_bytes, "guest 'g'");
    return *used ? -EBUSY : 0;
}

static void what_is_in_use_stays(void **unused)
{
    (void)unused;
    uint64_t freed;
    bool used = true;
    struct packages_leftovers left;
    struct packages_entry e = install(save_model("a.gguf", 4, 0), NULL);
    store.in_use = in_use;
    store.in_use_context = &used;
    assert_int_equal(packages_remove(&store, "a", false, &freed), -EBUSY);
    assert_non_null(strstr(store.error, "guest 'g'"));
    assert_true(blob_exists(e.blob));
    install(save_model("b.gguf", 4, 0), NULL);
    assert_int_equal(packages_remove(&store, "b", false, &freed), 0); // the other name keeps it
    assert_int_equal(packages_remove(&store, "a", true, &freed), 0);
    assert_false(blob_exists(e.blob));
    // A replaced model's file waits for `prune` as long as it is used.
    e = install(save_model("a.gguf", 4, 0), NULL);
    struct packages_request q = {
        .source = save_model("b.gguf", 5, 0), .name = "a", .replace = true};
    struct packages_entry other;
    bool existed;
    assert_int_equal(packages_install(&store, &q, &other, &existed), 0);
    assert_true(blob_exists(e.blob) && blob_exists(other.blob));
    assert_int_equal(packages_prune(&store, true, &left), 0);
    assert_int_equal(left.blobs, 0);
    used = false;
    assert_int_equal(packages_prune(&store, true, &left), 0);
    assert_int_equal(left.blobs, 1);
    assert_false(blob_exists(e.blob));
    assert_true(blob_exists(other.blob));
}

static void a_mapping_is_seen(void **unused)
{
    (void)unused;
    char path[PATH_MAX], comm[32];
    int to[2];
    struct packages_entry e = install(save_model("a.gguf", 6, 0), NULL);
    assert_int_equal(packages_blob_path(&store, e.blob, path), 0);
    assert_int_equal(pk_mapped_by(path, comm), 0);
    assert_int_equal(pipe(to), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int fd = open(path, O_RDONLY);
        void *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
        char c = map == MAP_FAILED ? 'n' : 'y';
        (void)!write(to[1], &c, 1);
        pause();
        _exit(0);
    }
    char c = 0;
    assert_int_equal(read(to[0], &c, 1), 1);
    assert_int_equal(c, 'y');
    assert_int_equal(pk_mapped_by(path, comm), child);
    uint64_t freed;
    assert_int_equal(packages_remove(&store, "a", false, &freed), -EBUSY);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(to[0]);
    close(to[1]);
    assert_int_equal(packages_remove(&store, "a", false, &freed), 0);
}

static void a_source_being_installed_is_not_pruned(void **unused)
{
    (void)unused;
    struct partial part;
    struct packages_leftovers left;
    assert_int_equal(pk_partial_open(&store, "/somewhere", &part), 0);
    FILE *f = fopen(part.part, "w");
    assert_non_null(f);
    fputs("x", f);
    fclose(f);
    assert_int_equal(packages_prune(&store, true, &left), 0);
    assert_int_equal(left.parts, 0);
    assert_int_equal(access(part.part, F_OK), 0);
    pk_partial_close(&store, &part, false);
    assert_int_equal(packages_prune(&store, true, &left), 0);
    assert_int_equal(left.parts, 1);
    assert_int_not_equal(access(part.part, F_OK), 0);
}

static void a_broken_entry_can_be_removed(void **unused)
{
    (void)unused;
    char path[PATH_MAX];
    struct packages_entry e;
    uint64_t freed;
    assert_int_equal(pk_path(&store, path, "names/broken"), 0);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("{", f);
    fclose(f);
    assert_int_equal(packages_find(&store, "broken", &e), -EBADMSG);
    assert_non_null(strstr(store.error, path));
    assert_int_equal(packages_remove(&store, "broken", false, &freed), 0);
    assert_int_equal(packages_find(&store, "broken", &e), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_broken_entry_can_be_removed, begin, end),
        cmocka_unit_test_setup_teardown(names_share_a_blob, begin, end),
        cmocka_unit_test_setup_teardown(what_is_wrong_leaves_nothing, begin, end),
        cmocka_unit_test_setup_teardown(a_copy_goes_on_where_it_was, begin, end),
        cmocka_unit_test_setup_teardown(what_is_in_use_stays, begin, end),
        cmocka_unit_test_setup_teardown(a_mapping_is_seen, begin, end),
        cmocka_unit_test_setup_teardown(a_source_being_installed_is_not_pruned, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
