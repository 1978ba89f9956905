// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Copies for another reader, and which copies nobody needs any more.
//
// Links: hypercall/host/store/text.c hypercall/host/store/content.c hypercall/host/store/identity.c
// Links: hypercall/host/store/cache.c hypercall/host/store/mappable.c
// Links: hypercall/host/store/copies.c
// Links: tensor/format/gguf.c tensor/format/gguf_values.c tensor/quant/types.c
// Libs: -lmbedcrypto
#include "hypercall/host/store/private.h"
#include "tensor/format/test_gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], model[96], error[600];

// A model of one tensor; `value` fills it.
static void make_model(int value)
{
    static const uint64_t shape[] = {16};
    uint8_t data[64];
    struct maker m = {0};
    memset(data, value, sizeof data);
    make_header(&m, 3, 1, 1);
    make_key_string(&m, "general.architecture", "llama");
    make_tensor(&m, "a.weight", 1, shape, TN_F32, 0);
    make_align(&m, 32);
    make_bytes(&m, data, sizeof data);
    FILE *f = fopen(model, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(m.data, 1, m.bytes, f), m.bytes);
    fclose(f);
    free(m.data);
    usleep(60000); // what is fresh is not remembered
}

static int begin(void **unused)
{
    (void)unused;
    snprintf(folder, sizeof folder, "/tmp/tessera-copies.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(model, sizeof model, "%s/model.gguf", folder);
    make_model(0x5a);
    return setenv("XDG_CACHE_HOME", folder, 1);
}

static int end(void **unused)
{
    char command[128];
    (void)unused;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

// As if nobody had started anything from it for an hour.
static void age(const char *copy)
{
    char from[PATH_MAX];
    struct timespec hour_ago[2];
    clock_gettime(CLOCK_REALTIME, &hour_ago[0]);
    hour_ago[0].tv_sec -= 3600;
    hour_ago[1] = hour_ago[0];
    snprintf(from, sizeof from, "%.*s.from", (int)(strrchr(copy, '.') - copy), copy);
    assert_int_equal(utimensat(AT_FDCWD, from, hour_ago, 0), 0);
}

static const char *needed; // by a guest

static int in_use(void *context, const char *path, char *who, size_t who_bytes)
{
    assert_ptr_equal(context, &needed);
    snprintf(who, who_bytes, "a guest");
    return needed && strcmp(needed, path) == 0 ? -EBUSY : 0;
}

static size_t prune(bool really)
{
    struct weights_unneeded out;
    assert_int_equal(weights_copies_prune(really, in_use, &needed, &out, error, sizeof error), 0);
    assert_true((out.bytes > 0) == (out.count > 0));
    return out.count;
}

static char *map_it(void)
{
    char *copy;
    uint64_t bytes;
    assert_int_equal(weights_mappable(model, NULL, &copy, &bytes, error, sizeof error), 0);
    return copy;
}

static void a_copy_whose_source_stays_is_kept(void **unused)
{
    (void)unused;
    char *copy = map_it();
    age(copy);
    assert_int_equal(prune(true), 0);
    assert_int_equal(access(copy, R_OK), 0);
    free(copy);
}

static void one_whose_source_is_gone_goes(void **unused)
{
    (void)unused;
    char *copy = map_it();
    unlink(model);
    assert_int_equal(prune(true), 0); // a run may be about to define its guest
    age(copy);
    needed = copy;
    assert_int_equal(prune(true), 0); // a guest needs it
    needed = NULL;
    assert_int_equal(prune(false), 1); // counted only
    assert_int_equal(access(copy, R_OK), 0);
    assert_int_equal(prune(true), 1);
    assert_int_equal(access(copy, F_OK), -1);
    assert_int_equal(prune(true), 0);
    free(copy);
}

static void one_whose_source_has_changed_goes(void **unused)
{
    (void)unused;
    char *copy = map_it();
    make_model(0x11);
    age(copy);
    char *newer = map_it();
    assert_string_not_equal(copy, newer);
    assert_int_equal(prune(true), 1);
    assert_int_equal(access(copy, F_OK), -1);
    assert_int_equal(access(newer, R_OK), 0);
    free(copy);
    free(newer);
}

static void one_that_is_used_again_is_kept_for_a_while(void **unused)
{
    (void)unused;
    char *copy = map_it(), lock[PATH_MAX];
    age(copy);
    free(map_it());
    unlink(model);
    assert_int_equal(prune(true), 0);
    age(copy);
    // And while it is made or looked at by another run.
    snprintf(lock, sizeof lock, "%.*s.lock", (int)(strrchr(copy, '.') - copy), copy);
    int fd = open(lock, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(prune(true), 0);
    close(fd);
    assert_int_equal(prune(true), 1);
    free(copy);
}

static unsigned mode_of(const char *path, uint32_t *group)
{
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    *group = s.st_gid;
    return s.st_mode & 0777;
}

static void a_readers_copy_is_his_groups_alone(void **unused)
{
    (void)unused;
    // Where this test may give a file away; else its own group.
    uint32_t group, other = geteuid() == 0 ? 12345 : getegid();
    struct weights_reader reader = {.group = other, .cannot = true};
    char *copy;
    uint64_t bytes;
    assert_int_equal(truncate(model, WEIGHTS_MULTIPLE), 0); // would be mapped itself
    assert_int_equal(
        weights_mappable_for(model, false, &reader, NULL, &copy, &bytes, error, sizeof error), 0);
    assert_string_not_equal(copy, model);
    assert_int_equal(mode_of(copy, &group), 0440);
    assert_int_equal(group, other);
    free(copy);
    reader.cannot = false;
    assert_int_equal(
        weights_mappable_for(model, false, &reader, NULL, &copy, &bytes, error, sizeof error), 0);
    assert_string_equal(copy, model);
    free(copy);
    if (geteuid() != 0) {
        return;
    }
    // A copy of before is given to whoever reads now.
    reader = (struct weights_reader){.group = 12346, .cannot = true};
    assert_int_equal(
        weights_mappable_for(model, false, &reader, NULL, &copy, &bytes, error, sizeof error), 0);
    assert_int_equal(mode_of(copy, &group), 0440);
    assert_int_equal(group, 12346);
    free(copy);
}

static void any_file_is_copied_once_as_it_is(void **unused)
{
    (void)unused;
    uint32_t group;
    struct weights_reader reader = {.group = getegid()};
    struct stat first, again;
    char image[96], *copy, *second;
    snprintf(image, sizeof image, "%s/image", folder);
    assert_int_equal(rename(model, image), 0);
    assert_int_equal(weights_copy_for(image, &reader, &copy, error, sizeof error), 0);
    assert_int_equal(mode_of(copy, &group), 0440);
    assert_int_equal(stat(copy, &first), 0);
    assert_int_equal(weights_copy_for(image, &reader, &second, error, sizeof error), 0);
    assert_string_equal(copy, second);
    assert_int_equal(stat(copy, &again), 0);
    assert_int_equal(first.st_ino, again.st_ino);
    free(second);
    age(copy);
    assert_int_equal(prune(true), 0);
    snprintf(model, sizeof model, "%s", image);
    make_model(0x22); // it changes: another copy, and the first is not needed
    assert_int_equal(weights_copy_for(image, &reader, &second, error, sizeof error), 0);
    assert_string_not_equal(copy, second);
    assert_int_equal(prune(true), 1);
    assert_int_equal(access(copy, F_OK), -1);
    free(copy);
    free(second);
    assert_int_equal(weights_copy_for("/nonexistent", &reader, &copy, error, sizeof error),
                     -ENOENT);
    assert_non_null(strstr(error, "/nonexistent"));
}

static void a_guests_own_copy_is_needed_by_it_alone(void **unused)
{
    (void)unused;
    struct weights_reader shared = {.group = getegid()}, one = shared;
    struct stat first, again;
    char *common, *own, *anew;
    one.name = "demo.2";
    assert_int_equal(weights_copy_for(model, &shared, &common, error, sizeof error), 0);
    assert_int_equal(weights_copy_for(model, &one, &own, error, sizeof error), 0);
    assert_string_not_equal(common, own);
    assert_non_null(strstr(own, "-demo.2.copy"));
    assert_int_equal(stat(own, &first), 0);
    assert_int_equal(stat(common, &again), 0);
    assert_int_not_equal(first.st_ino, again.st_ino);
    // QEMU's user owned it: what he may have written there is not booted by the next guest.
    assert_int_equal(chmod(own, 0600), 0);
    FILE *f = fopen(own, "r+b");
    assert_int_equal(fputc('!', f), '!');
    fclose(f);
    assert_int_equal(weights_copy_for(model, &one, &anew, error, sizeof error), 0);
    assert_string_equal(own, anew);
    f = fopen(own, "rb");
    assert_int_equal(fgetc(f), 'G');
    fclose(f);
    age(common);
    age(own);
    needed = own;
    assert_int_equal(prune(true), 0);
    needed = NULL;
    assert_int_equal(prune(true), 1); // the source stays, the guest is gone
    assert_int_equal(access(own, F_OK), -1);
    assert_int_equal(access(common, R_OK), 0);
    free(common);
    free(own);
    free(anew);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(a_copy_whose_source_stays_is_kept),
        TEST(one_whose_source_is_gone_goes),
        TEST(one_whose_source_has_changed_goes),
        TEST(one_that_is_used_again_is_kept_for_a_while),
        TEST(a_readers_copy_is_his_groups_alone),
        TEST(any_file_is_copied_once_as_it_is),
        TEST(a_guests_own_copy_is_needed_by_it_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
