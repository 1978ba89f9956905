// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Libs: -lmbedcrypto
#include "hypercall/host/base/error.h"
#include "hypercall/host/base/files.h"
#include "hypercall/host/base/folders.h"
#include "hypercall/host/base/hex.h"
#include "hypercall/host/base/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

// ---- hex ---------------------------------------------------------------------------------------

static void test_hex_goes_there_and_back(void **state)
{
    uint8_t bytes[256], again[256];
    char text[513];
    (void)state;
    for (int i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
    }
    hex_write(bytes, sizeof bytes, text);
    assert_int_equal(strlen(text), 512);
    assert_memory_equal(text, "000102", 6);
    assert_string_equal(text + 506, "fdfeff");
    assert_true(hex_read(text, again, sizeof again));
    assert_memory_equal(again, bytes, sizeof bytes);
}

static void test_hex_takes_small_digits_only_and_stops_at_the_end(void **state)
{
    static const char *const bad[] = {"0G", "g0", "0A", "A0", "0", "", " 1", "+1", "0x"};
    uint8_t out[2] = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(hex_read(bad[i], out, 1));
    }
    assert_false(hex_read("0102", out, 3)); // reads the NUL, nothing after it
    assert_true(hex_read("a9zz", out, 1));
    assert_int_equal(out[0], 0xa9);
}

// ---- SHA-256 -----------------------------------------------------------------------------------

// FIPS 180-2, appendix B.1.
static const char of_abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

static void test_sha256_is_the_standards(void **state)
{
    char text[SHA256_TEXT];
    (void)state;
    assert_int_equal(sha256_bytes_text("abc", 3, text), 0);
    assert_string_equal(text, of_abc);
    assert_int_equal(sha256_bytes_text("", 0, text), 0);
    assert_string_equal(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void count_bytes(void *context, uint64_t done)
{
    uint64_t *last = context;
    assert_true(done > *last);
    *last = done;
}

static void test_sha256_of_a_file_is_that_of_its_first_bytes(void **state)
{
    enum { BYTES = (9 << 20) + 5 }; // some steps and a rest
    uint8_t *data = malloc(BYTES), found[SHA256_BYTES], wanted[SHA256_BYTES];
    uint64_t done = 0;
    int fd = memfd_create("sha256", 0);
    (void)state;
    assert_non_null(data);
    assert_true(fd >= 0);
    for (size_t i = 0; i < BYTES; i++) {
        data[i] = (uint8_t)(i * i >> 7);
    }
    for (size_t at = 0; at < BYTES;) {
        ssize_t n = write(fd, data + at, BYTES - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
    assert_int_equal(sha256_bytes(data, BYTES - 100, wanted), 0);
    assert_int_equal(sha256_file(fd, BYTES - 100, count_bytes, &done, found), 0);
    assert_memory_equal(found, wanted, sizeof wanted);
    assert_int_equal(done, BYTES - 100);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), BYTES); // its offset stayed
    assert_int_equal(sha256_bytes(data, BYTES, wanted), 0);
    assert_int_equal(sha256_file(fd, SHA256_WHOLE_FILE, NULL, NULL, found), 0);
    assert_memory_equal(found, wanted, sizeof wanted);
    assert_int_equal(sha256_file(fd, BYTES + 1ull, NULL, NULL, found), -ESTALE);
    assert_int_equal(sha256_file(-1, 1, NULL, NULL, found), -EBADF);
    close(fd);
    free(data);
}

// ---- messages ----------------------------------------------------------------------------------

static void test_a_message_is_cut_and_its_errno_returned(void **state)
{
    char error[8];
    (void)state;
    assert_int_equal(error_say(error, sizeof error, -EPERM, "%s %d", "abcdef", 12), -EPERM);
    assert_string_equal(error, "abcdef ");
}

// ---- files -------------------------------------------------------------------------------------

static char folder[] = "/tmp/tessera-base-test.XXXXXX";

static int make_place(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_place(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static const char *in_place(const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return path;
}

static void assert_holds(const char *path, const char *wanted, size_t wanted_bytes)
{
    char *text;
    size_t bytes;
    assert_int_equal(file_load(path, wanted_bytes, &text, &bytes), 0);
    assert_int_equal(bytes, wanted_bytes);
    assert_memory_equal(text, wanted, bytes);
    assert_int_equal(text[bytes], 0);
    free(text);
}

static void test_a_file_is_loaded_whole_or_not_at_all(void **state)
{
    static const size_t sizes[] = {0, 1, 4094, 4095, 4096, 4097, 100000};
    char *data = malloc(100000), *text;
    size_t bytes;
    (void)state;
    memset(data, 'x', 100000);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const char *path = in_place("loaded");
        assert_int_equal(file_replace(path, NULL, data, sizes[i], 0600, false), 0);
        assert_holds(path, data, sizes[i]);
        if (sizes[i]) {
            assert_int_equal(file_load(path, sizes[i] - 1, &text, &bytes), -EFBIG);
        }
    }
    assert_int_equal(file_load("/dev/zero", 100000, &text, &bytes), -EFBIG);    // has no end
    assert_int_equal(file_load("/proc/self/status", 100000, &text, &bytes), 0); // tells no size
    assert_true(bytes > 100 && strlen(text) == bytes);
    free(text);
    assert_int_equal(file_load(in_place("missing"), 10, &text, &bytes), -ENOENT);
    assert_int_equal(file_load(folder, 10, &text, &bytes), -EISDIR);
    assert_int_equal(mkfifo(in_place("pipe"), 0600), 0);
    assert_int_equal(file_load(in_place("pipe"), 10, &text, &bytes),
                     0); // nobody writes: no waiting
    free(text);
    free(data);
}

static void test_what_comes_by_a_pipe_is_loaded_to_its_end(void **state)
{
    int ends[2];
    char data[9000], *text;
    size_t bytes;
    (void)state;
    memset(data, 'y', sizeof data);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(file_write_all(ends[1], data, sizeof data), 0);
    close(ends[1]);
    assert_int_equal(file_load_open(ends[0], sizeof data, &text, &bytes), 0);
    assert_int_equal(bytes, sizeof data);
    assert_memory_equal(text, data, bytes);
    free(text);
    close(ends[0]);
    assert_int_equal(file_write_all(-1, "x", 1), -EBADF);
}

static void test_a_file_is_replaced_or_stays_as_it_was(void **state)
{
    struct stat s;
    char part[PATH_MAX];
    const char *path = in_place("replaced");
    (void)state;
    snprintf(part, sizeof part, "%s", in_place("replaced.part"));
    umask(0);
    assert_int_equal(file_replace(path, part, "one", 3, 0644, true), 0);
    assert_holds(path, "one", 3);
    assert_true(stat(path, &s) == 0 && (s.st_mode & 07777) == 0644);
    assert_int_equal(access(part, F_OK), -1);
    // What a killed run left is no obstacle, and where a link there leads is not written to.
    assert_int_equal(symlink(path, part), 0);
    assert_int_equal(file_replace(path, part, "second", 6, 0600, false), 0);
    assert_holds(path, "second", 6);
    assert_true(lstat(path, &s) == 0 && S_ISREG(s.st_mode) && (s.st_mode & 07777) == 0600);
    // It cannot be put there: nothing is left over.
    assert_int_equal(mkdir(in_place("occupied"), 0700), 0);
    assert_int_equal(file_replace(in_place("occupied"), part, "x", 1, 0600, true), -EISDIR);
    assert_int_equal(access(part, F_OK), -1);
    assert_int_equal(file_replace(in_place("none/x"), NULL, "x", 1, 0600, true), -ENOENT);
    assert_int_equal(file_sync_folder(in_place("none/x")), -ENOENT);
    assert_int_equal(file_sync_folder("/x"), 0);
    assert_int_equal(file_sync_folder("x"), 0);
}

// ---- folders -----------------------------------------------------------------------------------

static void test_folders_are_the_specifications(void **state)
{
    static const char *const variables[] = {"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
                                            "XDG_STATE_HOME"};
    static const char *const defaults[] = {"/h/.cache", "/h/.config", "/h/.local/share",
                                           "/h/.local/state"};
    char out[PATH_MAX], wanted[PATH_MAX];
    (void)state;
    setenv("HOME", "/h", 1);
    for (int i = 0; i < 4; i++) {
        unsetenv(variables[i]);
        assert_int_equal(folder_of_user((enum folder)i, out, sizeof out), 0);
        assert_string_equal(out, defaults[i]);
        setenv(variables[i], "relative", 1);
        assert_int_equal(folder_of_user((enum folder)i, out, sizeof out), 0);
        assert_string_equal(out, defaults[i]);
        setenv(variables[i], "/set", 1);
        assert_int_equal(folder_of_user((enum folder)i, out, sizeof out), 0);
        assert_string_equal(out, "/set");
        assert_int_equal(folder_of_user((enum folder)i, out, 4), -ENAMETOOLONG);
        assert_int_equal(folder_of_user((enum folder)i, out, 5), 0);
        unsetenv(variables[i]);
    }
    // Without HOME, what the user's database says.
    const struct passwd *user = getpwuid(getuid());
    unsetenv("HOME");
    if (user) {
        snprintf(wanted, sizeof wanted, "%s/.cache", user->pw_dir);
        assert_int_equal(folder_of_user(FOLDER_CACHE, out, sizeof out), 0);
        assert_string_equal(out, wanted);
    }
}

static void test_the_folder_of_sockets(void **state)
{
    char out[PATH_MAX], wanted[64];
    (void)state;
    setenv("XDG_RUNTIME_DIR", "/run/x", 1);
    assert_int_equal(folder_of_sockets(out, sizeof out), 0);
    assert_string_equal(out, "/run/x/tessera");
    assert_int_equal(folder_of_sockets(out, 10), -ENAMETOOLONG);
    unsetenv("XDG_RUNTIME_DIR");
    snprintf(wanted, sizeof wanted, geteuid() ? "/tmp/tessera-%u" : "/run/tessera-%u", getuid());
    assert_int_equal(folder_of_sockets(out, sizeof out), 0);
    assert_string_equal(out, wanted);
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1); // a login's: root's guests are not its user's
    assert_int_equal(folder_of_sockets(out, sizeof out), 0);
    assert_string_equal(out, geteuid() ? "/run/user/7/tessera" : wanted);
}

static void test_roots_folders_are_the_systems(void **state)
{
    char out[PATH_MAX];
    (void)state;
    setenv("HOME", "/h", 1);
    setenv("XDG_STATE_HOME", "/s", 1);
    assert_int_equal(folder_of_tessera(FOLDER_STATE, out, sizeof out), 0);
    assert_string_equal(out, "/s/tessera");
    assert_int_equal(folder_of_tessera(FOLDER_STATE, out, 10), -ENAMETOOLONG);
    unsetenv("XDG_STATE_HOME");
    assert_int_equal(folder_of_tessera(FOLDER_STATE, out, sizeof out), 0);
    assert_string_equal(out, geteuid() ? "/h/.local/state/tessera" : "/var/lib/tessera/state");
}

static void test_folders_are_made_with_those_above(void **state)
{
    struct stat s;
    (void)state;
    umask(0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(folder_make(in_place("a/b/c"), 0750), 0);
        assert_true(stat(in_place("a/b/c"), &s) == 0 && (s.st_mode & 07777) == 0750);
        assert_true(stat(in_place("a"), &s) == 0 && (s.st_mode & 07777) == 0750);
    }
    assert_int_equal(file_replace(in_place("file"), NULL, "", 0, 0600, false), 0);
    assert_int_equal(folder_make(in_place("file/x"), 0700), -ENOTDIR);
}

static void test_a_folder_of_ones_own_is_closed_to_others(void **state)
{
    const char *path = in_place("own");
    struct stat s;
    (void)state;
    assert_int_equal(folder_make_own(path, 077), 0);
    assert_true(stat(path, &s) == 0 && (s.st_mode & 07777) == 0700);
    assert_int_equal(folder_make_own(path, 077), 0);
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(folder_make_own(path, 077), -EPERM);
    assert_int_equal(folder_make_own(path, 022), 0);
    assert_int_equal(symlink(path, in_place("link")), 0);
    assert_int_equal(folder_make_own(in_place("link"), 022), -EPERM);
    assert_int_equal(folder_make_own(in_place("none/x"), 022), -ENOENT);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 1, 1), 0);
        assert_int_equal(folder_make_own(path, 022), -EPERM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hex_goes_there_and_back),
        cmocka_unit_test(test_hex_takes_small_digits_only_and_stops_at_the_end),
        cmocka_unit_test(test_sha256_is_the_standards),
        cmocka_unit_test(test_sha256_of_a_file_is_that_of_its_first_bytes),
        cmocka_unit_test(test_a_message_is_cut_and_its_errno_returned),
        cmocka_unit_test(test_a_file_is_loaded_whole_or_not_at_all),
        cmocka_unit_test(test_what_comes_by_a_pipe_is_loaded_to_its_end),
        cmocka_unit_test(test_a_file_is_replaced_or_stays_as_it_was),
        cmocka_unit_test(test_folders_are_the_specifications),
        cmocka_unit_test(test_the_folder_of_sockets),
        cmocka_unit_test(test_roots_folders_are_the_systems),
        cmocka_unit_test(test_folders_are_made_with_those_above),
        cmocka_unit_test(test_a_folder_of_ones_own_is_closed_to_others),
    };
    return cmocka_run_group_tests(tests, make_place, remove_place);
}
