// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What is asked for becomes a plan, or is refused with the reason; without libvirt.
//
// Links: hypercall/host/guest/request.c hypercall/host/guest/host.c hypercall/host/guest/seat.c
// Links: hypercall/host/guest/create.c hypercall/host/guest/existing.c
// Links: hypercall/host/machine/xml.c hypercall/host/machine/text.c hypercall/host/machine/size.c
// Links: hypercall/host/machine/facts.c hypercall/host/machine/host.c
// Links: hypercall/host/machine/watch.c hypercall/host/machine/console.c
// Links: hypercall/host/machine/endpoint.c hypercall/host/machine/tensord.c
// Links: hypercall/host/machine/tensord_answer.c hypercall/host/store/cache.c
// Links: hypercall/host/store/content.c hypercall/host/store/identity.c
// Links: hypercall/host/store/mappable.c hypercall/host/store/progress.c
// Links: hypercall/host/store/text.c tensor/format/files_host.c @tensor
// Libs: -lvirt -lcurl -lmbedcrypto
#include "hypercall/host/guest/guest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_and_the_host_choose_what_is_left_open),
        cmocka_unit_test(what_is_asked_for_is_kept),
        cmocka_unit_test(a_taken_port_is_refused_with_the_next_one),
        cmocka_unit_test(what_can_never_work_is_wrong_usage),
        cmocka_unit_test(files_that_are_none_are_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
