// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What is asked for becomes a plan, or is refused with the reason; without libvirt.
//
// Links: hypercall/host/guest/request.c hypercall/host/guest/host.c hypercall/host/guest/seat.c
// Links: hypercall/host/guest/reader.c hypercall/host/hardware/permission.c
// Links: hypercall/host/guest/create.c hypercall/host/guest/existing.c
// Links: hypercall/host/guest/variant.c hypercall/host/guest/image.c
// Links: hypercall/host/guest/firmware.c hypercall/host/guest/devices.c
// Links: hypercall/host/guest/lock.c hypercall/host/hardware/cpu.c
// Links: hypercall/host/hardware/devices.c hypercall/host/hardware/files.c
// Links: hypercall/host/hardware/image.c hypercall/host/hardware/memory.c
// Links: hypercall/host/hardware/nvml.c hypercall/host/hardware/pci.c
// Links: hypercall/host/hardware/wishes.c hypercall/host/machine/xml.c
// Links: hypercall/host/machine/xml_machine.c hypercall/host/machine/xml_cpu.c
// Links: hypercall/host/machine/xml_devices.c hypercall/host/machine/xml_qemu.c
// Links: hypercall/host/machine/values.c hypercall/host/machine/text.c
// Links: hypercall/host/machine/size.c hypercall/host/machine/facts.c
// Links: hypercall/host/machine/host.c hypercall/host/machine/watch.c
// Links: hypercall/host/machine/console.c hypercall/host/machine/endpoint.c
// Links: hypercall/host/machine/tensord.c hypercall/host/machine/tensord_answer.c
// Links: hypercall/host/store/cache.c hypercall/host/store/content.c
// Links: hypercall/host/store/identity.c hypercall/host/store/mappable.c
// Links: hypercall/host/store/progress.c hypercall/host/store/text.c
// Links: hypercall/host/packages/copy.c hypercall/host/packages/download.c
// Links: hypercall/host/packages/entry.c hypercall/host/packages/fetch.c
// Links: hypercall/host/packages/files.c hypercall/host/packages/index.c
// Links: hypercall/host/packages/indexes.c hypercall/host/packages/install.c
// Links: hypercall/host/packages/lock.c hypercall/host/packages/make_index.c
// Links: hypercall/host/packages/model.c hypercall/host/packages/partial.c
// Links: hypercall/host/packages/remove.c hypercall/host/packages/source.c
// Links: hypercall/host/packages/store.c hypercall/host/packages/text.c
// Links: hypercall/host/guest/snapshot.c hypercall/host/guest/wait.c
// Links: hypercall/host/machine/hostdev.c
// Links: hypercall/host/machine/record.c hypercall/host/machine/record_files.c
// Links: hypercall/host/machine/record_take.c hypercall/host/machine/record_times.c
// Links: hypercall/host/image/open.c hypercall/host/image/source.c hypercall/host/image/qcow2.c
// Links: hypercall/host/image/elf.c hypercall/host/image/pe.c hypercall/host/image/payload.c
// Links: hypercall/host/image/record.c hypercall/host/image/rope.c
// Links: hypercall/host/image/disk_read.c hypercall/host/image/manifest.c
// Links: hypercall/host/image/program.c
// Links: tensor/format/files_host.c @tensor
// Links: hypercall/host/guest/remote.c hypercall/host/remote/pool.c hypercall/host/remote/send.c
// Links: hypercall/host/guest/key.c hypercall/host/machine/key.c hypercall/host/remote/key.c
// Links: hypercall/host/remote/state.c hypercall/host/remote/volume.c hypercall/host/remote/where.c
// Links: hypercall/host/remote/sizes.c hypercall/host/remote/file.c
// Links: hypercall/host/remote/options.c hypercall/host/remote/devices.c
// Links: hypercall/host/guest/remote_variant.c
// Links: hypercall/host/store/copies.c
// Libs: -lvirt -lcurl -lmbedcrypto -lfdt
#include "hypercall/host/guest/private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char model[] = "images/default-model/tessera-demo.gguf", image[] = "/proc/self/exe";
static char error[900], home[] = "/tmp/tessera-request-test.XXXXXX";

static int set_up(void **unused)
{
    (void)unused;
    if (!mkdtemp(home)) {
        return -1;
    }
    setenv("XDG_CACHE_HOME", home, 1);
    setenv("XDG_STATE_HOME", home, 1);
    return 0;
}

static int tear_down(void **unused)
{
    char command[100];
    (void)unused;
    snprintf(command, sizeof command, "rm -rf %s", home);
    return system(command);
}

static struct guest_request request(void)
{
    return (struct guest_request){.model = model, .image = image, .accel = "tcg"};
}

static int plan(const struct guest_request *q, struct guest *g)
{
    struct guest_host h = {0};
    error[0] = 0;
    assert_int_equal(guest_host_open(&h, "qemu:///session", true, error, sizeof error), 0);
    int rc = guest_plan(&h, q, g, error, sizeof error);
    return rc ? rc : guest_choose_free_name(&h, q, g, error, sizeof error);
}

static void refused(const struct guest_request *q, int wanted, const char *part)
{
    struct guest g;
    struct guest_host h = {0};
    int rc = plan(q, &g);
    guest_free(&h, &g);
    if (rc != wanted || !strstr(error, part)) {
        fail_msg("%d '%s' (wanted %d '%s')", rc, error, wanted, part);
    }
}

static void the_model_and_the_host_choose_what_is_left_open(void **unused)
{
    (void)unused;
    struct guest_host h = {0};
    struct guest_request q = request();
    struct guest g;
    q.first_port = 20500;
    if (plan(&q, &g) != 0) {
        fail_msg("%s", error);
    }
    assert_string_equal(g.plan.name, "tessera-demo");
    assert_int_equal(g.plan.memory_mb, 64);
    assert_in_range(g.plan.vcpus, 1, 255);
    assert_in_range(g.plan.port, 20500, 65535);
    assert_false(g.plan.kvm);
    assert_true(g.plan.mapped_bytes > 0 && g.plan.mapped_bytes % (2 << 20) == 0);
    assert_int_equal(strncmp(g.identity, "sha256:", 7), 0);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u", g.plan.port);
    assert_string_equal(g.url, url);
    guest_free(&h, &g);
}

static void what_is_asked_for_is_kept(void **unused)
{
    (void)unused;
    struct guest_host h = {0};
    struct guest_request q = request();
    struct guest g;
    q.name = "a";
    q.vcpus = 3;
    q.memory_mb = 100;
    q.network = "bridge=br0";
    q.key = "k";
    q.fleet = "shop";
    q.offload = "off";
    if (plan(&q, &g) != 0) {
        fail_msg("%s", error);
    }
    assert_string_equal(g.plan.name, "a");
    assert_int_equal(g.plan.vcpus, 3);
    assert_int_equal(g.plan.memory_mb, 100);
    assert_string_equal(g.plan.network, "bridge=br0");
    assert_string_equal(g.plan.fleet, "shop");
    assert_null(g.plan.offload);
    assert_int_equal(g.plan.port, 0);
    assert_string_equal(g.url, ""); // it gets an address when it runs
    guest_free(&h, &g);
}

static void a_taken_port_is_refused_with_the_next_one(void **unused)
{
    (void)unused;
    struct guest_request q = request();
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 1) == 0 &&
                getsockname(fd, (struct sockaddr *)&a, &bytes) == 0);
    q.port = ntohs(a.sin_port);
    refused(&q, -EADDRINUSE, "is in use on this machine; the next free one is");
    close(fd);
}

static void what_can_never_work_is_wrong_usage(void **unused)
{
    (void)unused;
    struct guest_request q = request();
    q.listen = "0.0.0.0";
    refused(&q, -EINVAL, "without a key");
    q.listen = "192.0.2.1";
    refused(&q, -EINVAL, "without a key");
    q.listen = "127.1";
    refused(&q, -EINVAL, "no IPv4 address");
    q = request();
    q.network = "default";
    refused(&q, -EINVAL, "without a key");
    q.insecure = true;
    q.port = 80;
    refused(&q, -EINVAL, "address of its own");
    q = request();
    q.network = "bridge=";
    refused(&q, -EINVAL, "bridge=BRIDGE");
    q = request();
    q.name = "-a";
    refused(&q, -EINVAL, "--name");
    q = request();
    q.key = "a b";
    refused(&q, -EINVAL, "--key");
    q = request();
    q.offload = "gpu";
    refused(&q, -EINVAL, "none of auto, host");
    q = request();
    q.region_mb = 100;
    refused(&q, -EINVAL, "power of two");
    q = request();
    q.vcpus = 256;
    refused(&q, -EINVAL, "--vcpus");
    q = request();
    q.accel = "xen";
    refused(&q, -EINVAL, "none of auto, kvm, tcg");
}

static void files_that_are_none_are_named(void **unused)
{
    (void)unused;
    struct guest_request q = request();
    q.model = "/nonexistent.gguf";
    refused(&q, -ENOENT, "/nonexistent.gguf: No such file");
    q.model = "/etc/passwd";
    refused(&q, -ENOEXEC, "/etc/passwd");
    q = request();
    q.image = "/nonexistent.elf";
    refused(&q, -ENOENT, "/nonexistent.elf: No such file");
    q.image = model;
    refused(&q, -ENOEXEC, "no ELF file");
    q = request();
    q.memory_mb = 4u << 20;
    refused(&q, -ENOMEM, "this machine has");
}

static void a_machine_is_chosen(void **unused)
{
    (void)unused;
    struct guest_host h = {0};
    struct guest_request q = request();
    struct guest g;
    q.pin = "1-3";
    q.hugepages = "2M";
    q.memory_mb = 65;
    q.nested = true;
    if (plan(&q, &g) != 0) {
        fail_msg("%s", error);
    }
    assert_int_equal(g.plan.vcpus, 3); // as many as were named
    assert_int_equal(g.plan.memory_mb, 66);
    assert_string_equal(g.plan.nested, "svm"); // what is emulated
    guest_free(&h, &g);
    q = request();
    q.numa = "0,5";
    q.memory_mb = 65;
    if (plan(&q, &g) != 0) {
        fail_msg("%s", error);
    }
    assert_true(g.plan.vcpus >= 2);
    assert_int_equal(g.plan.memory_mb, 66);
    assert_int_equal(g.plan.cells[1].node, 5);
    guest_free(&h, &g);
    q = request();
    q.machine = "microvm";
    q.weights = "disk";
    if (plan(&q, &g) != 0) {
        fail_msg("%s", error);
    }
    // The file as it is, and room to read it into.
    assert_string_equal(g.plan.mapped, g.plan.model);
    assert_true(g.plan.memory_mb > machine_memory_mb(g.plan.mapped_bytes));
    guest_free(&h, &g);
    q = request();
    q.device_count = 2;
    q.devices[0] = "pci:65:00.0,nic:0001:66:00.1";
    q.devices[1] = "gpu:0000:b3:00.0";
    if (plan(&q, &g) != 0) {
        fail_msg("%s", error);
    }
    assert_int_equal(g.plan.device_count, 3);
    assert_string_equal(g.plan.devices[0], "0000:65:00.0");
    assert_string_equal(g.plan.devices[2], "0000:b3:00.0");
    guest_free(&h, &g);
}

static void a_model_that_is_an_image_boots_by_itself(void **unused)
{
    (void)unused;
    struct guest_host h = {0};
    struct guest_request q = {.model = "/proc/self/exe", .accel = "tcg"};
    struct guest g;
    if (plan(&q, &g) != 0) {
        fail_msg("%s", error);
    }
    assert_int_equal(g.plan.weights, MACHINE_WEIGHTS_NONE);
    assert_string_equal(g.plan.image, g.plan.model);
    assert_null(g.plan.mapped);
    guest_free(&h, &g);
    q.image = image;
    refused(&q, -EINVAL, "boots with its own model");
    q.image = NULL;
    q.offload = "host";
    refused(&q, -EINVAL, "boots with its own model");
    q.offload = NULL;
    q.boot = "uefi";
    refused(&q, -EINVAL, "is no image for UEFI");
}

static void machines_that_cannot_be_are_refused(void **unused)
{
    (void)unused;
    struct guest_request q = request();
    q.machine = "pc";
    refused(&q, -EINVAL, "none of q35, microvm");
    q.machine = "microvm";
    q.iommu = true;
    refused(&q, -EINVAL, "microvm has no --iommu");
    q.iommu = false;
    q.secure_boot = "ms";
    refused(&q, -EINVAL, "microvm has no UEFI");
    q = request();
    q.secure_boot = "mine";
    refused(&q, -EINVAL, "none of ms, snakeoil");
    q = request();
    q.cpu = "host";
    refused(&q, -EINVAL, "needs hardware KVM");
    q = request();
    q.numa = "0-8";
    refused(&q, -EINVAL, "at most 8 nodes");
    q.numa = "0,1";
    q.vcpus = 1;
    refused(&q, -EINVAL, "need as many CPUs");
    q = request();
    q.boot = "uefi";
    refused(&q, -ENOEXEC, "no PE file"); // the image is ELF
    q = request();
    q.device_count = 1;
    q.devices[0] = "tpu:0";
    refused(&q, -EINVAL, "tpu:0");
}

// Root's guests with devices: libvirt labels the image and knows nothing of the key.
static void a_guest_that_libvirt_labels_has_its_own_files(void **unused)
{
    (void)unused;
    struct guest g = {.name = "demo",
                      .qemu = {.name = "other", .uid = 12345, .groups = {12345}, .group_count = 1},
                      .qemu_is_other = true,
                      .reader_group = 12345,
                      .plan = {.user_id = 12345, .group_id = 12346, .keeps_owners = true}};
    char key[128];
    struct stat s;
    if (geteuid() != 0) {
        return; // may give nothing away
    }
    snprintf(key, sizeof key, "%s/key", home);
    FILE *f = fopen(key, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(chmod(home, 0711), 0);
    assert_int_equal(chmod(key, 0600), 0);
    assert_int_equal(guest_give(&g, key, error, sizeof error), 0);
    assert_int_equal(stat(key, &s), 0);
    assert_int_equal(s.st_uid, 12345);
    assert_int_equal(s.st_gid, 12346);
    assert_int_equal(s.st_mode & 0777, 0600);
    g.plan.image = key;
    assert_int_equal(guest_own_image(&g, error, sizeof error), 0);
    assert_string_not_equal(g.plan.image, key);
    assert_string_equal(g.plan.image, g.image_path);
    assert_non_null(strstr(g.image_path, "-demo.copy"));
    assert_int_equal(stat(g.image_path, &s), 0);
    assert_int_equal(s.st_gid, 12345);
    free(g.image_path);
    // Where libvirt labels nothing, guests share it.
    g.image_path = NULL;
    g.plan.image = key;
    g.plan.keeps_owners = false;
    assert_int_equal(guest_own_image(&g, error, sizeof error), 0);
    assert_ptr_equal(g.plan.image, key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_and_the_host_choose_what_is_left_open),
        cmocka_unit_test(what_is_asked_for_is_kept),
        cmocka_unit_test(a_taken_port_is_refused_with_the_next_one),
        cmocka_unit_test(what_can_never_work_is_wrong_usage),
        cmocka_unit_test(files_that_are_none_are_named),
        cmocka_unit_test(a_machine_is_chosen),
        cmocka_unit_test(a_model_that_is_an_image_boots_by_itself),
        cmocka_unit_test(machines_that_cannot_be_are_refused),
        cmocka_unit_test(a_guest_that_libvirt_labels_has_its_own_files),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
