// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Images built from sample kernels and recognised again; what is in them, byte for byte, and what
// is refused. Real kernels, firmware and signatures: ci/functional/images.sh.
// Links: hypercall/host/image/open.c hypercall/host/image/source.c hypercall/host/image/qcow2.c
// Links: hypercall/host/image/elf.c hypercall/host/image/pe.c hypercall/host/image/payload.c
// Links: hypercall/host/image/record.c hypercall/host/image/rope.c
// Links: hypercall/host/image/disk_read.c hypercall/host/image/disk_make.c
// Links: hypercall/host/image/manifest.c hypercall/host/image/build.c
// Links: hypercall/host/image/manifest_text.c hypercall/host/image/program.c
// Links: hypercall/host/image/sign.c hypercall/host/image/check.c hypercall/host/store/cache.c
// Links: hypercall/host/store/content.c hypercall/host/store/identity.c
// Links: hypercall/host/store/copies.c
// Links: hypercall/host/store/mappable.c hypercall/host/store/text.c libos/image/record.c
// Links: libos/image/sha256.c libos/image/sha256_x86.c tensor/format/gguf.c
// Links: tensor/format/gguf_values.c tensor/quant/types.c
// Libs: -lfdt -ljansson -lmbedcrypto
#include "hypercall/host/image/disk.h"
#include "hypercall/host/image/sample_host.h"
#include "libos/image.h"
#include "libos/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define MODEL "images/default-model/tessera-demo.gguf"

static char folder[] = "/tmp/tessera-image-test.XXXXXX", error[900];

static const char *path(const char *name)
{
    static char paths[8][300];
    static int next;
    char *p = paths[next++ % 8];
    snprintf(p, sizeof paths[0], "%s/%s", folder, name);
    return p;
}

static void write_file(const char *name, const void *data, size_t bytes)
{
    FILE *f = fopen(path(name), "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

static uint8_t *read_file(const char *name, size_t *bytes)
{
    struct stat s;
    int fd = open(name, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &s), 0);
    uint8_t *data = malloc((size_t)s.st_size + 1);
    assert_int_equal(read(fd, data, (size_t)s.st_size), s.st_size);
    close(fd);
    *bytes = (size_t)s.st_size;
    return data;
}

static int make(enum image_kind kind, const char *out, bool outside)
{
    static const char *const settings[] = {"http.port=8081", "name=alpha"};
    struct image_plan plan = {.kind = kind,
                              .kernel = path(kind == IMAGE_PVH ? "kernel" : "application"),
                              .model = MODEL,
                              .settings = settings,
                              .setting_count = 2,
                              .model_outside = outside,
                              .out = path(out)};
    return image_build(&plan, error, sizeof error);
}

static int prepare(void **state)
{
    uint8_t k[SAMPLE_KERNEL], a[SAMPLE_APPLICATION];
    (void)state;
    if (!mkdtemp(folder)) {
        return -1;
    }
    sample_kernel(k);
    sample_application(a);
    write_file("kernel", k, sizeof k);
    write_file("application", a, sizeof a);
    return 0;
}

static int clean(void **state)
{
    char command[400];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static void expect_facts(const char *name, enum image_kind kind, bool model)
{
    struct image_facts f;
    if (image_recognise(path(name), &f, error, sizeof error) != 0) {
        fail_msg("%s", error);
    }
    assert_int_equal(f.kind, kind);
    assert_true(f.sealed);
    assert_int_equal(f.has_model, model);
    assert_true(f.has_manifest);
    assert_false(f.is_signed);
    assert_int_equal(f.http_port, 8081);
    assert_false(f.has_key);
    assert_string_equal(f.guest_name, "alpha");
    assert_string_equal(f.kernel_name, "sample");
    assert_string_equal(f.kernel_version, "1.2");
    assert_string_equal(f.build_id, "abababababababababababababababababababab");
    assert_string_equal(f.sbom, SAMPLE_SBOM);
    assert_int_equal(strncmp(f.model_identity, "sha256:", 7), 0);
    uint8_t hash[32];
    sha256(f.manifest, f.manifest_bytes, hash);
    assert_memory_equal(hash, f.manifest_sha256, 32);
    image_facts_free(&f);
    assert_int_equal(image_check_manifest(path(name), NULL, error, sizeof error), 0);
    assert_int_equal(image_check_model_file(path(name), model ? NULL : MODEL, error, sizeof error),
                     0);
}

static void every_kind_is_built_and_recognised(void **state)
{
    (void)state;
    assert_int_equal(make(IMAGE_PVH, "pvh", false), 0);
    expect_facts("pvh", IMAGE_PVH, true);
    assert_int_equal(make(IMAGE_UEFI, "uefi", false), 0);
    expect_facts("uefi", IMAGE_UEFI, true);
    assert_int_equal(make(IMAGE_RAW, "raw", false), 0);
    expect_facts("raw", IMAGE_RAW, true);
    assert_int_equal(make(IMAGE_PVH, "pvh-outside", true), 0);
    expect_facts("pvh-outside", IMAGE_PVH, false);
    assert_int_equal(make(IMAGE_RAW, "raw-outside", true), 0);
    expect_facts("raw-outside", IMAGE_RAW, false);
    assert_int_equal(image_check_model_file(path("raw-outside"), NULL, error, sizeof error),
                     -ENOENT);
}

static void the_payload_is_a_segment_of_its_own_behind_the_kernel(void **state)
{
    (void)state;
    size_t bytes, content;
    struct image_record r;
    assert_int_equal(make(IMAGE_PVH, "pvh", false), 0);
    uint8_t *image = read_file(path("pvh"), &bytes);
    Elf64_Phdr h;
    memcpy(&h, image + 64 + 3 * 56, sizeof h);
    assert_int_equal(h.p_type, PT_LOAD);
    assert_int_equal(h.p_flags, PF_R);
    assert_int_equal(h.p_vaddr, 0x400000); // the kernel ends at 0x309000
    assert_int_equal(h.p_paddr, 0x600000);
    assert_true(h.p_offset + h.p_filesz == bytes);
    assert_int_equal(h.p_offset % 4096, 0);
    const uint8_t *note = image + 64 + 4 * 56 + 20;
    assert_int_equal(get64(note + 8), h.p_paddr);
    assert_int_equal(get64(note + 16), h.p_filesz);
    // The model where a guest reads it: at a page, and as the guest's own check wants it.
    size_t model_at = (size_t)((uint8_t *)memmem(image, bytes, "GGUF", 4) - image);
    const uint8_t *model = image + model_at;
    assert_non_null(model);
    assert_int_equal((model_at - h.p_offset) % 4096, 0);
    const uint8_t *record = memmem(image + h.p_offset, 4096, "\xd0\x0d\xfe\xed", 4);
    assert_int_equal(
        image_record_parse(record, (size_t)record[6] << 8 | record[7], &r, error, sizeof error), 0);
    assert_int_equal(image_check_model(&r, model, bytes - model_at, &content, error, sizeof error),
                     0);
    free(image);
}

static void equal_inputs_give_equal_bytes(void **state)
{
    (void)state;
    static const char *const names[] = {"pvh", "uefi", "raw"};
    for (int kind = IMAGE_PVH; kind <= IMAGE_RAW; kind++) {
        size_t one_bytes, two_bytes;
        assert_int_equal(make((enum image_kind)kind, names[kind], false), 0);
        uint8_t *one = read_file(path(names[kind]), &one_bytes);
        assert_int_equal(make((enum image_kind)kind, "again", false), 0);
        uint8_t *two = read_file(path("again"), &two_bytes);
        assert_int_equal(one_bytes, two_bytes);
        assert_int_equal(memcmp(one, two, one_bytes), 0);
        free(one);
        free(two);
    }
}

static void a_changed_byte_is_found(void **state)
{
    (void)state;
    static const char *const names[] = {"pvh", "uefi", "raw"};
    for (int kind = IMAGE_PVH; kind <= IMAGE_RAW; kind++) {
        size_t bytes;
        assert_int_equal(make((enum image_kind)kind, names[kind], false), 0);
        uint8_t *image = read_file(path(names[kind]), &bytes);
        uint8_t *model = memmem(image, bytes, "GGUF", 4), *name = memmem(image, bytes, "alpha", 5);
        assert_non_null(name);
        model[100000] ^= 1;
        write_file("changed", image, bytes);
        assert_int_equal(image_check_model_file(path("changed"), NULL, error, sizeof error),
                         -EKEYREJECTED);
        assert_int_equal(image_check_manifest(path("changed"), NULL, error, sizeof error), 0);
        *name ^= 1;
        write_file("changed", image, bytes);
        assert_int_equal(image_check_manifest(path("changed"), NULL, error, sizeof error),
                         -EKEYREJECTED);
        free(image);
    }
}

static void the_disk_has_both_partition_tables_with_their_sums(void **state)
{
    (void)state;
    size_t bytes;
    assert_int_equal(make(IMAGE_RAW, "raw", false), 0);
    uint8_t *disk = read_file(path("raw"), &bytes);
    assert_int_equal(crc32_of("123456789", 9), 0xcbf43926);
    uint64_t last = bytes / SECTOR - 1;
    for (int i = 0; i < 2; i++) {
        uint8_t *h = disk + (i ? last : 1) * SECTOR, copy[92];
        memcpy(copy, h, sizeof copy);
        put32(copy + 16, 0);
        assert_memory_equal(h, "EFI PART", 8);
        assert_int_equal(get32(h + 16), crc32_of(copy, sizeof copy));
        assert_int_equal(get64(h + 24), i ? last : 1);
        assert_int_equal(get64(h + 32), i ? 1 : last);
        assert_int_equal(get32(h + 88), crc32_of(disk + get64(h + 72) * SECTOR, 128 * 128));
    }
    free(disk);
}

static int refused(const char *name)
{
    struct image_facts f;
    error[0] = 0;
    int rc = image_recognise(name, &f, error, sizeof error);
    assert_null(f.manifest);
    assert_true(rc == 0 || error[0]);
    return rc;
}

static void what_is_no_image_is_told(void **state)
{
    (void)state;
    char q[600] = "QFI\xfb\0\0\0\3";
    assert_int_equal(refused(MODEL), -ENOEXEC);
    assert_non_null(strstr(error, "is a model"));
    assert_int_equal(refused("/proc/self/exe"), -ENOEXEC);
    assert_int_equal(refused(folder), -EINVAL);
    assert_int_equal(refused(path("none")), -ENOENT);
    q[15] = 1; // where a backing file's name would be
    write_file("hostile", q, sizeof q);
    assert_int_equal(refused(path("hostile")), -ENOEXEC);
    assert_non_null(strstr(error, "backing file"));
}

static void cut_and_doubled_files_are_refused(void **state)
{
    (void)state;
    size_t bytes;
    assert_int_equal(make(IMAGE_UEFI, "uefi", false), 0);
    uint8_t *image = read_file(path("uefi"), &bytes);
    for (size_t cut = 512; cut < bytes - 512; cut += bytes / 97) {
        write_file("cut", image, cut);
        assert_int_not_equal(refused(path("cut")), 0);
    }
    // A second payload that the firmware would take and we would not, or the other way round.
    memcpy(image + 64 + 24 + 240 + 40, ".tessera", 8);
    write_file("twice", image, bytes);
    assert_int_equal(refused(path("twice")), -EINVAL);
    free(image);
}

static void what_cannot_be_built_leaves_nothing(void **state)
{
    (void)state;
    struct image_plan plan = {.kernel = path("kernel"), .model = "Makefile", .out = path("not")};
    assert_int_not_equal(image_build(&plan, error, sizeof error), 0);
    plan.model = MODEL;
    plan.kind = IMAGE_UEFI; // from a PVH kernel
    assert_int_equal(image_build(&plan, error, sizeof error), -EINVAL);
    assert_non_null(strstr(error, "llm.efi"));
    assert_int_equal(make(IMAGE_PVH, "pvh", false), 0);
    plan.kind = IMAGE_PVH;
    plan.kernel = path("pvh");
    assert_int_equal(image_build(&plan, error, sizeof error), -EINVAL);
    assert_non_null(strstr(error, "sealed"));
    plan.kernel = path("kernel");
    plan.manifest = MODEL;
    assert_int_not_equal(image_build(&plan, error, sizeof error), 0);
    assert_int_equal(access(plan.out, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_built_and_recognised),
        cmocka_unit_test(the_payload_is_a_segment_of_its_own_behind_the_kernel),
        cmocka_unit_test(equal_inputs_give_equal_bytes),
        cmocka_unit_test(a_changed_byte_is_found),
        cmocka_unit_test(the_disk_has_both_partition_tables_with_their_sums),
        cmocka_unit_test(what_is_no_image_is_told),
        cmocka_unit_test(cut_and_doubled_files_are_refused),
        cmocka_unit_test(what_cannot_be_built_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, prepare, clean);
}
