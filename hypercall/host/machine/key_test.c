// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Keys in files: for their owner alone, whole, and only where the tool itself puts them.
// Links: hypercall/host/machine/key.c hypercall/host/machine/console.c
// Links: hypercall/host/machine/size.c
#include "hypercall/host/machine/key.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/tessera-key-test.XXXXXX";
static char path[PATH_MAX], error[300];

static int begin(void **state)
{
    (void)state;
    strcpy(folder + sizeof folder - 7, "XXXXXX");
    return mkdtemp(folder) && setenv("XDG_STATE_HOME", folder, 1) == 0 ? 0 : -1;
}

static int end(void **state)
{
    char command[200];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static void a_key_is_for_its_owner_alone_and_comes_back(void **state)
{
    struct stat s;
    struct machine_facts f = {0};
    (void)state;
    umask(0);
    assert_int_equal(key_path("phi", "qemu:///session", path, sizeof path, error, sizeof error), 0);
    assert_int_equal(key_write(path, "s3cret\n", error, sizeof error), 0);
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_mode & 07777, 0600);
    strcpy(f.key_file, path);
    key_take("phi", &f);
    assert_string_equal(f.key, "s3cret");
    *strrchr(path, '/') = 0;
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_mode & 07777, 0700);
    strcpy(path, f.key_file);
    // Anew: what is there stays no longer, whatever its mode was.
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(key_write(path, "other", error, sizeof error), 0);
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_mode & 07777, 0600);
    key_take("phi", &f);
    assert_string_equal(f.key, "other");
    key_forget(path, "phi");
    assert_int_equal(access(path, F_OK), -1);
}

static void each_connection_has_its_own(void **state)
{
    char other[PATH_MAX];
    (void)state;
    assert_int_equal(key_path("phi", "qemu:///session", path, sizeof path, error, sizeof error), 0);
    assert_int_equal(key_path("phi", "qemu:///system", other, sizeof other, error, sizeof error),
                     0);
    assert_string_not_equal(path, other);
    assert_true(key_path_is_of(path, "phi"));
    assert_true(key_path_is_of(other, "phi"));
    assert_int_equal(key_path("phi-2", "qemu:///session", path, sizeof path, error, sizeof error),
                     0);
    assert_false(key_path_is_of(path, "phi"));
}

static void paths_that_are_no_keys_of_the_guest_are_left_alone(void **state)
{
    static const char *const bad[] = {"",
                                      "/",
                                      "phi-0123abcd.key",
                                      "tessera/keys/phi-0123abcd.key",
                                      "/etc/shadow",
                                      "/tessera/keys/phi-0123abcd",
                                      "/tessera/keys/phi-0123abc.key",
                                      "/tessera/keys/phi-0123abcg.key",
                                      "/tessera/keys/phi-0123abcd.key.part",
                                      "/tessera/keys/phi-0123abcd.key/",
                                      "/tessera/keys/psi-0123abcd.key",
                                      "/tessera/key/phi-0123abcd.key",
                                      "/var/lib/tessera/state/phi-0123abcd.key",
                                      "/x/var/lib/tessera/state/keys/phi-0123abcd.key",
                                      "/var/lib/tessera/images/psi.api.key",
                                      "/var/lib/tessera/images/phi.key",
                                      "/images/phi.api.key",
                                      "/x/../tessera/keys/phi-0123abcd.key"};
    char text[20] = "before";
    (void)state;
    assert_true(key_path_is_of("/var/lib/tessera/state/keys/phi-0123abcd.key", "phi"));
    assert_true(key_path_is_of("/var/lib/tessera/images/phi.api.key", "phi"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(key_path_is_of(bad[i], "phi"));
        assert_int_equal(key_read(bad[i], "phi", text, sizeof text), -EPERM);
        assert_string_equal(text, "");
    }
    snprintf(path, sizeof path, "%s/precious", folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    key_forget(path, "phi");
    assert_int_equal(access(path, F_OK), 0);
}

static void what_is_no_key_is_none(void **state)
{
    static const char *const bad[] = {"", "\n", "two words", "two\nlines\n", "quo\"te", "\t"};
    struct machine_facts f = {0};
    char text[200];
    (void)state;
    assert_int_equal(key_path("phi", "u", f.key_file, sizeof f.key_file, error, sizeof error), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(key_write(f.key_file, bad[i], error, sizeof error), 0);
        key_take("phi", &f);
        assert_string_equal(f.key, "");
    }
    memset(text, 'k', sizeof text);
    text[MACHINE_KEY] = 0;
    assert_int_equal(key_write(f.key_file, text, error, sizeof error), 0);
    key_take("phi", &f); // one longer than guests take
    assert_string_equal(f.key, "");
    text[MACHINE_KEY - 1] = '\n';
    assert_int_equal(key_write(f.key_file, text, error, sizeof error), 0);
    key_take("phi", &f);
    assert_int_equal(strlen(f.key), MACHINE_KEY - 1);
    assert_int_equal(key_read(f.key_file, "phi", text, MACHINE_KEY), -EFBIG);
    assert_string_equal(text, "");
}

static void a_link_is_not_followed(void **state)
{
    struct machine_facts f = {0};
    (void)state;
    assert_int_equal(key_path("phi", "u", path, sizeof path, error, sizeof error), 0);
    assert_int_equal(key_write(path, "theirs", error, sizeof error), 0);
    assert_int_equal(key_path("psi", "u", f.key_file, sizeof f.key_file, error, sizeof error), 0);
    assert_int_equal(symlink(path, f.key_file), 0);
    key_take("psi", &f);
    assert_string_equal(f.key, "");
    assert_int_equal(key_write(f.key_file, "mine", error, sizeof error), 0);
    key_take("psi", &f);
    assert_string_equal(f.key, "mine");
    strcpy(f.key_file, path);
    key_take("phi", &f);
    assert_string_equal(f.key, "theirs");
}

static void a_folder_that_cannot_be_made_is_told(void **state)
{
    (void)state;
    assert_int_equal(setenv("XDG_STATE_HOME", "/proc/nowhere", 1), 0);
    assert_int_equal(key_path("phi", "u", path, sizeof path, error, sizeof error), 0);
    assert_true(key_write(path, "s3cret", error, sizeof error) < 0);
    assert_non_null(strstr(error, "/proc/nowhere/tessera/keys/phi-"));
    assert_null(strstr(error, "s3cret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_key_is_for_its_owner_alone_and_comes_back, begin, end),
        cmocka_unit_test_setup_teardown(each_connection_has_its_own, begin, end),
        cmocka_unit_test_setup_teardown(paths_that_are_no_keys_of_the_guest_are_left_alone, begin,
                                        end),
        cmocka_unit_test_setup_teardown(what_is_no_key_is_none, begin, end),
        cmocka_unit_test_setup_teardown(a_link_is_not_followed, begin, end),
        cmocka_unit_test_setup_teardown(a_folder_that_cannot_be_made_is_told, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
