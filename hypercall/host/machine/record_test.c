// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Records of saved states: what differs is named, what cannot matter does not count, damage is no
// record; and which kind of start is chosen.
//
// Links: hypercall/host/machine/record.c hypercall/host/machine/record_files.c
// Links: hypercall/host/machine/record_take.c hypercall/host/machine/record_times.c
// Links: hypercall/host/machine/facts.c hypercall/host/machine/console.c
// Links: hypercall/host/machine/text.c hypercall/host/machine/host.c
// Links: hypercall/host/machine/watch.c
// Links: hypercall/host/hardware/permission.c
// Libs: -ljansson -lmbedcrypto -lvirt
#include "hypercall/host/base/files.h"
#include "hypercall/host/machine/record.h"
#include "hypercall/host/machine/record_private.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/tessera-record-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) && setenv("XDG_STATE_HOME", folder, 1) == 0 ? 0 : -1;
}

static struct record example(void)
{
    struct record r = {.uuid = "3ccda052-4f1a-40b3-8ba5-69d59b529c22",
                       .definition = "d1",
                       .identity = "sha256:00",
                       .image = {"/i/llm.elf", 1, 2, 3, 4, 5, "aa"},
                       .weights = {"/m/x.gguf", 1, 9, 2097152, 7, 8, ""},
                       .cpu = "c1",
                       .cpu_name = "Skylake-Server",
                       .qemu = 7002022};
    return r;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    char path[300], error[300] = "";
    struct record a = example(), b;
    snprintf(path, sizeof path, "%s/a.json", folder);
    assert_int_equal(record_read(path, &b, error, sizeof error), -ENOENT);
    assert_int_equal(record_write(path, &a, error, sizeof error), 0);
    assert_int_equal(record_read(path, &b, error, sizeof error), 0);
    assert_int_equal(record_compare(&a, &b, error, sizeof error), 0);
    assert_string_equal(b.image.sha256, "aa");
    assert_int_equal(b.weights.changed_ns, 8);
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
}

static void differs(const struct record *now, const char *what)
{
    char error[600] = "";
    struct record saved = example();
    assert_int_equal(record_compare(&saved, now, error, sizeof error), -ESTALE);
    if (!strstr(error, what)) {
        fail_msg("'%s' does not tell of '%s'", error, what);
    }
}

static void each_difference_is_named(void **state)
{
    (void)state;
    struct record r = example();
    strcpy(r.uuid, "other");
    differs(&r, "the guest (it was removed");
    r = example();
    strcpy(r.image.sha256, "bb");
    r.image.modified_ns++;
    differs(&r, "the image /i/llm.elf");
    r = example();
    r.image.bytes++;
    differs(&r, "the image /i/llm.elf");
    r = example();
    strcpy(r.identity, "sha256:01");
    differs(&r, "the model's weights /m/x.gguf");
    r = example();
    r.weights.inode++; // made anew; not read again to find out
    differs(&r, "the model's weights /m/x.gguf");
    r = example();
    strcpy(r.cpu, "c2");
    strcpy(r.cpu_name, "EPYC");
    differs(&r, "the host's CPU (Skylake-Server then, EPYC now)");
    r = example();
    r.qemu = 8001000;
    differs(&r, "QEMU (7.2 then, 8.1 now)");
    r = example();
    strcpy(r.definition, "d2");
    differs(&r, "the guest's definition");
    strcpy(r.cpu, "c2");
    differs(&r, "the host's CPU (Skylake-Server then, Skylake-Server now), the guest's definition");
}

static void an_image_made_again_of_the_same_bytes_is_the_same(void **state)
{
    (void)state;
    char error[300];
    struct record a = example(), b = example();
    b.image.inode = 99;
    b.image.modified_ns = b.image.changed_ns = 100;
    assert_int_equal(record_compare(&a, &b, error, sizeof error), 0);
    a.image.sha256[0] = b.image.sha256[0] = 0; // no hashes: nothing says so
    assert_int_equal(record_compare(&a, &b, error, sizeof error), -ESTALE);
}

static void a_damaged_record_is_none(void **state)
{
    (void)state;
    char path[300], error[300], *text;
    size_t bytes;
    struct record a = example(), b;
    snprintf(path, sizeof path, "%s/b.json", folder);
    assert_int_equal(record_write(path, &a, error, sizeof error), 0);
    assert_int_equal(file_load(path, 65536, &text, &bytes), 0);
    assert_int_equal(record_parse(text, bytes, &b), 0);
    for (size_t n = 0; n + 2 < bytes; n++) {
        assert_int_equal(record_parse(text, n, &b), -EBADMSG);
    }
    char *at = strstr(text, "/i/llm.elf"); // a terminal is shown it
    at[1] = '\x1b';
    assert_int_equal(record_parse(text, bytes, &b), -EBADMSG);
    free(text);
    assert_int_equal(record_parse("[]", 2, &b), -EBADMSG);
}

static void the_definition_counts_without_its_metadata(void **state)
{
    (void)state;
    char a[RECORD_HASH], b[RECORD_HASH];
    assert_int_equal(
        record_hash_definition("<domain><metadata><x>1</x></metadata><vcpu>1</vcpu></domain>", a),
        0);
    assert_int_equal(
        record_hash_definition("<domain><metadata><x>2</x></metadata><vcpu>1</vcpu></domain>", b),
        0);
    assert_string_equal(a, b);
    assert_int_equal(
        record_hash_definition("<domain><metadata><x>2</x></metadata><vcpu>2</vcpu></domain>", b),
        0);
    assert_string_not_equal(a, b);
    assert_int_equal(record_hash_definition("<domain><metadata>", b), 0);
}

static const char capabilities[] =
    "<capabilities>\n  <host>\n    <uuid>u</uuid>\n    <cpu>\n      <arch>x86_64</arch>\n"
    "      <model>EPYC-Rome</model>\n      <vendor>AMD</vendor>\n"
    "      <microcode version='%s'/>\n      <counter name='tsc' frequency='%s'/>\n"
    "      <feature name='%s'/>\n    </cpu>\n  </host>\n</capabilities>\n";

static void of_the_cpu_only_what_it_can_do_counts(void **state)
{
    (void)state;
    char xml[1000], a[RECORD_HASH], b[RECORD_HASH], name[64];
    snprintf(xml, sizeof xml, capabilities, "1", "2445400000", "avx2");
    assert_int_equal(record_hash_cpu(xml, a, name, sizeof name), 0);
    assert_string_equal(name, "EPYC-Rome");
    snprintf(xml, sizeof xml, capabilities, "2", "2445400001", "avx2");
    assert_int_equal(record_hash_cpu(xml, b, name, sizeof name), 0);
    assert_string_equal(a, b);
    snprintf(xml, sizeof xml, capabilities, "1", "2445400000", "avx512f");
    assert_int_equal(record_hash_cpu(xml, b, name, sizeof name), 0);
    assert_string_not_equal(a, b);
    assert_int_equal(record_hash_cpu("<host></host>", b, name, sizeof name), -EINVAL);
    assert_int_equal(record_hash_cpu("<host><cpu></cpu>", b, name, sizeof name), -EINVAL);
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void a_file_is_hashed_only_when_it_was_touched(void **state)
{
    (void)state;
    char path[300], error[300];
    struct record_file first, again;
    snprintf(path, sizeof path, "%s/image", folder);
    put(path, "one");
    assert_int_equal(record_look_at_file(path, NULL, true, &first, error, sizeof error), 0);
    assert_string_equal(first.sha256,
                        "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
    strcpy(first.sha256, "believed");
    assert_int_equal(record_look_at_file(path, &first, true, &again, error, sizeof error), 0);
    assert_string_equal(again.sha256, "believed");
    put(path, "two");
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[2]){{1, 0}, {1, 0}}, 0), 0);
    assert_int_equal(record_look_at_file(path, &first, true, &again, error, sizeof error), 0);
    assert_string_equal(again.sha256,
                        "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3");
    unlink(path);
    assert_int_equal(record_look_at_file(path, NULL, true, &again, error, sizeof error), -ENOENT);
}

static void the_faster_start_is_chosen_once_both_are_known(void **state)
{
    (void)state;
    char path[300], error[300];
    struct record_times t = {0}, read;
    assert_int_equal(record_times_choose(&t), RECORD_FROM_READY);
    record_times_add(&t, RECORD_FROM_READY, 10);
    assert_int_equal(record_times_choose(&t), RECORD_COLD);
    for (int i = 0; i < 3; i++) {
        record_times_add(&t, RECORD_COLD, 100);
        record_times_add(&t, RECORD_FROM_READY, 50 + i);
    }
    assert_int_equal(record_times_choose(&t), RECORD_FROM_READY);
    for (int i = 0; i < 10; i++) { // the latest count
        record_times_add(&t, RECORD_FROM_READY, 200 + i);
    }
    assert_int_equal(record_times_choose(&t), RECORD_COLD);
    snprintf(path, sizeof path, "%s/times", folder);
    assert_int_equal(record_times_write(path, &t, error, sizeof error), 0);
    record_times_read(path, &read);
    assert_int_equal(read.count[RECORD_FROM_READY], RECORD_TIMES_KEPT);
    assert_true(record_times_median(&read, RECORD_FROM_READY) == 206);
    assert_true(record_times_median(&read, RECORD_COLD) == 100);
    put(path, "{\"cold_ms\":[-1,\"x\",1e400],\"ready_ms\":7}");
    record_times_read(path, &read);
    assert_int_equal(read.count[RECORD_COLD] + read.count[RECORD_FROM_READY], 0);
}

static void a_guest_is_forgotten_wholly(void **state)
{
    (void)state;
    char path[400], error[300];
    for (int kind = 0; kind < RECORD_KINDS; kind++) {
        assert_int_equal(
            record_path("g", (enum record_kind)kind, true, path, sizeof path, error, sizeof error),
            0);
        put(path, "x");
    }
    record_forget("g");
    snprintf(path, sizeof path, "%s/tessera/states", folder);
    assert_int_equal(rmdir(path), 0); // empty
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(each_difference_is_named),
        cmocka_unit_test(an_image_made_again_of_the_same_bytes_is_the_same),
        cmocka_unit_test(a_damaged_record_is_none),
        cmocka_unit_test(the_definition_counts_without_its_metadata),
        cmocka_unit_test(of_the_cpu_only_what_it_can_do_counts),
        cmocka_unit_test(a_file_is_hashed_only_when_it_was_touched),
        cmocka_unit_test(the_faster_start_is_chosen_once_both_are_known),
        cmocka_unit_test(a_guest_is_forgotten_wholly),
    };
    return cmocka_run_group_tests(tests, make_folder, NULL);
}
