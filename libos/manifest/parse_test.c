// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The manifest from device trees made with libfdt and from command lines: values, overriding,
// and that errors name the place.
// Links: libos/manifest/parse.c libos/manifest/keys.c libos/manifest/dtb.c libos/manifest/cmdline.c
// Links: libos/manifest/address.c
// Libs: -lfdt
#include "libos/manifest.h"

#include <errno.h>
#include <libfdt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static _Alignas(8) char tree[4096];
static struct manifest m;
static char error[256];

static int parse(const void *dtb, const char *cmdline)
{
    error[0] = '\0';
    return manifest_parse(dtb, dtb ? fdt_totalsize(dtb) : 0, cmdline, &m, error, sizeof(error));
}

static void begin(void)
{
    assert_int_equal(fdt_create_empty_tree(tree, sizeof(tree)), 0);
    assert_int_equal(fdt_setprop_string(tree, 0, "compatible", "tessera,manifest-1"), 0);
}

static int node(const char *name)
{
    int at = fdt_add_subnode(tree, 0, name);
    assert_true(at > 0);
    return at;
}

static void expect_error(int result, const char *place, const char *words)
{
    assert_int_equal(result, -EINVAL);
    if (!strstr(error, place) || !strstr(error, words)) {
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", error, place, words);
    }
}

static void defaults_hold_without_anything(void **state)
{
    (void)state;
    assert_int_equal(parse(NULL, ""), 0);
    assert_int_equal(m.http_port, 80);
    assert_true(m.net.dhcp);
    assert_null(m.net.address);
    assert_int_equal(m.model_source, MODEL_AUTO);
    assert_int_equal(m.log, LOG_INFO);
    assert_true(m.shell);
    assert_string_equal(m.http_key, "");
}

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void a_full_tree_is_read(void **state)
{
    (void)state;
    begin();
    assert_int_equal(fdt_setprop_string(tree, 0, "guest-name", "alpha-1"), 0);
    assert_int_equal(fdt_setprop_string(tree, 0, "log", "debug"), 0);
    assert_int_equal(fdt_setprop_string(tree, 0, "shell", "off"), 0);
    int n = node("net");
    assert_int_equal(fdt_setprop_string(tree, n, "address", "10.0.2.15/24"), 0);
    assert_int_equal(fdt_setprop_string(tree, n, "gateway", "10.0.2.2"), 0);
    assert_int_equal(fdt_setprop_string(tree, n, "dns", "fd00::3"), 0);
    assert_int_equal(fdt_setprop_string(tree, n, "address6", "fd00::2/64"), 0);
    n = node("http");
    assert_int_equal(fdt_setprop_u32(tree, n, "port", 8080), 0);
    assert_int_equal(fdt_setprop_string(tree, n, "key", "s3cret"), 0);
    n = node("model");
    assert_int_equal(fdt_setprop_string(tree, n, "source", "pmem"), 0);
    assert_int_equal(fdt_setprop_string(tree, n, "model-name", "Small World"), 0);
    assert_int_equal(fdt_setprop_string(tree, n, "identity", "sha256:" HEX "+packed2"), 0);
    n = node("offload");
    assert_int_equal(fdt_setprop_string(tree, n, "mode", "host"), 0);
    assert_int_equal(fdt_setprop_u32(tree, n, "spin", 7), 0);
    n = node("zone");
    assert_int_equal(fdt_setprop_u64(tree, n, "tensor", 5ull << 30), 0);
    assert_int_equal(fdt_setprop_string(tree, n, "model", "64M"), 0);
    assert_int_equal(fdt_setprop_string(tree, n, "kernel", "12M"), 0);
    n = node("sched");
    assert_int_equal(fdt_setprop_u32(tree, n, "cpus", 4), 0);
    n = node("engine");
    assert_int_equal(fdt_setprop_string(tree, n, "isa", "avx2"), 0);
    assert_int_equal(fdt_setprop_u32(tree, n, "context", 2048), 0);
    assert_int_equal(fdt_setprop_u32(tree, n, "slots", 8), 0);
    n = node("later-invention");
    assert_int_equal(fdt_setprop_string(tree, n, "anything", "goes"), 0);
    if (parse(tree, NULL) != 0) {
        fail_msg("%s", error);
    }
    assert_string_equal(m.name, "alpha-1");
    assert_string_equal(m.net.hostname, "alpha-1");
    assert_int_equal(m.log, LOG_DEBUG);
    assert_false(m.shell);
    assert_string_equal(m.net.address, "10.0.2.15/24");
    assert_string_equal(m.net.gateway, "10.0.2.2");
    assert_string_equal(m.net.dns, "fd00::3");
    assert_string_equal(m.net.address6, "fd00::2/64");
    assert_false(m.net.dhcp);
    assert_int_equal(m.http_port, 8080);
    assert_string_equal(m.http_key, "s3cret");
    assert_int_equal(m.model_source, MODEL_PMEM);
    assert_string_equal(m.model_name, "Small World");
    assert_true(m.zone_bytes[0] == 5ull << 30);
    assert_int_equal(m.zone_bytes[1], 64 << 20);
    assert_int_equal(m.zone_bytes[4], 12 << 20);
    assert_int_equal(m.cpus, 4);
    assert_string_equal(m.engine_isa, "avx2");
    assert_int_equal(m.engine_context, 2048);
    assert_int_equal(m.engine_slots, 8);
    assert_string_equal(m.model_identity, "sha256:" HEX "+packed2");
    assert_int_equal(m.offload_mode, OFFLOAD_HOST);
    assert_int_equal(m.offload_spin, 7);
}

static void identities_and_modes_of_offload_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {"offload.mode=gpu",
                                      "offload.spin=1000001",
                                      "model.identity=sha256:12",
                                      "model.identity=md5:" HEX,
                                      "model.identity=sha256:" HEX "0",
                                      "model.identity=sha256:" HEX "+packed",
                                      "model.identity=sha256:" HEX "+packed0"};
    begin();
    assert_int_equal(parse(tree, NULL), 0);
    assert_int_equal(m.offload_mode, OFFLOAD_AUTO);
    assert_int_equal(m.offload_spin, 20);
    assert_int_equal(parse(tree, "offload.mode=off calls.bench=5 model.identity=sha256:" HEX), 0);
    assert_int_equal(m.offload_mode, OFFLOAD_OFF);
    assert_string_equal(m.model_identity, "sha256:" HEX);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin();
        assert_int_equal(parse(tree, bad[i]), -EINVAL);
    }
}

static void the_command_line_overrides_the_tree(void **state)
{
    (void)state;
    begin();
    assert_int_equal(fdt_setprop_u32(tree, node("http"), "port", 8080), 0);
    assert_int_equal(
        parse(tree, "debug-exit=0xf4 http.port=81  net.dhcp=on net.address=1.2.3.4/8 "
                    "model.name=\"two words\" name=beta zone.tensor=1G zone.dma=4096 shell=off"),
        0);
    assert_int_equal(m.http_port, 81);
    assert_true(m.net.dhcp);
    assert_string_equal(m.net.address, "1.2.3.4/8");
    assert_string_equal(m.model_name, "two words");
    assert_string_equal(m.name, "beta");
    assert_int_equal(m.zone_bytes[0], 1 << 30);
    assert_int_equal(m.zone_bytes[2], 4096);
    assert_false(m.shell);
}

static void a_bare_word_switches_on(void **state)
{
    (void)state;
    assert_int_equal(parse(NULL, "shell=off shell quiet"), 0);
    assert_true(m.shell);
    expect_error(parse(NULL, "http.port"), "http.port", "no value");
}

static void wrong_values_name_their_path(void **state)
{
    (void)state;
    begin();
    int n = node("net");
    assert_int_equal(fdt_setprop_string(tree, n, "address", "10.0.2.15"), 0);
    expect_error(parse(tree, NULL), "/net/address", "10.0.2.15/24");
    assert_int_equal(fdt_setprop_u32(tree, n, "address", 5), 0);
    expect_error(parse(tree, NULL), "/net/address", "not a string");
    begin();
    assert_int_equal(fdt_setprop_string(tree, node("http"), "port", "8080"), 0);
    expect_error(parse(tree, NULL), "/http/port", "one cell");
    begin();
    assert_int_equal(fdt_setprop_u32(tree, node("http"), "port", 70000), 0);
    expect_error(parse(tree, NULL), "/http/port", "70000");
    begin();
    assert_int_equal(fdt_setprop_string(tree, node("http"), "prot", "x"), 0);
    expect_error(parse(tree, NULL), "/http/prot", "no such property");
    begin();
    assert_int_equal(fdt_setprop_string(tree, 0, "log", "loud"), 0);
    expect_error(parse(tree, NULL), "/log", "loud");
}

static void wrong_values_on_the_command_line_are_refused_and_slips_remembered(void **state)
{
    (void)state;
    assert_int_equal(parse(NULL, "net.adress=1.2.3.4/8 net.queues=2"), 0);
    assert_string_equal(m.unknown, "net.adress");
    expect_error(parse(NULL, "http.port=0"), "http.port", "1 to 65535");
    expect_error(parse(NULL, "http.port=80x"), "http.port", "80x");
    expect_error(parse(NULL, "http.port=99999999999999999999"), "http.port", "not valid");
    expect_error(parse(NULL, "zone.tensor=1Q"), "zone.tensor", "1Q");
    expect_error(parse(NULL, "zone.tensor=99999999T"), "zone.tensor", "not valid");
    expect_error(parse(NULL, "model.source=floppy"), "model.source", "linked");
    expect_error(parse(NULL, "net.dhcp=maybe"), "net.dhcp", "on or off");
    expect_error(parse(NULL, "net.gateway=10.0.2.256"), "net.gateway", "10.0.2.2");
    expect_error(parse(NULL, "http.key=\"a b\""), "http.key", "no blanks");
    expect_error(parse(NULL, "sched.cpus=65"), "sched.cpus", "64");
    expect_error(parse(NULL, "engine.isa=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), "engine.isa",
                 "longer");
}

static void foreign_words_are_left_alone(void **state)
{
    (void)state;
    assert_int_equal(parse(NULL, "console=ttyS0 test=attack virtio_mmio.device=512@0xfeb00000:5 = "
                                 "a.b.c=d \"quoted words\" =x"),
                     0);
}

static void a_tree_of_another_kind_or_damaged_is_refused(void **state)
{
    (void)state;
    assert_int_equal(fdt_create_empty_tree(tree, sizeof(tree)), 0);
    expect_error(parse(tree, NULL), "/compatible", "tessera,manifest-1");
    begin();
    node("net");
    expect_error(manifest_parse(tree, 60, NULL, &m, error, sizeof(error)), "manifest", "sound");
    expect_error(manifest_parse(tree, 8, NULL, &m, error, sizeof(error)), "manifest", "8 bytes");
    memset(tree + fdt_off_dt_struct(tree) + 4, 0xff, 8);
    expect_error(parse(tree, NULL), "manifest", "sound");
}

static void a_tree_of_an_old_version_is_refused(void **state)
{
    (void)state;
    begin();
    fdt_set_version(tree, 3);
    fdt_set_last_comp_version(tree, 0);
    // A name without a slash, where versions below 16 have whole paths: libfdt 1.6 falls over it.
    memcpy(tree + fdt_off_dt_struct(tree) + 4, "red", 4);
    expect_error(parse(tree, NULL), "manifest", "FDT_ERR_BADVERSION");
}

static void a_tree_at_an_odd_address_is_read(void **state)
{
    (void)state;
    static _Alignas(8) char shifted[4096 + 4];
    begin();
    assert_int_equal(fdt_setprop_u32(tree, node("http"), "port", 8081), 0);
    memcpy(shifted + 4, tree, fdt_totalsize(tree));
    assert_int_equal(
        manifest_parse(shifted + 4, fdt_totalsize(tree), NULL, &m, error, sizeof(error)), 0);
    assert_int_equal(m.http_port, 8081);
}

static void more_text_than_there_is_room_for_is_an_error(void **state)
{
    (void)state;
    static char line[8192];
    strcpy(line, "");
    for (int i = 0; i < 40; i++) {
        strcat(line, "net.hostname=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ");
    }
    assert_int_equal(parse(NULL, line), -ENOSPC);
    assert_non_null(strstr(error, "net.hostname"));
}

static void addresses_are_judged_strictly(void **state)
{
    (void)state;
    static const char *const good[] = {
        "::/0",          "::1/128", "fe80::1/64", "1:2:3:4:5:6:7:8/64",
        "2001:db8::/32", "1::8/1",  "a:b::c:d/9"};
    static const char *const bad[] = {"",
                                      "::",
                                      "1:2:3/64",
                                      ":1::/64",
                                      "1::2::3/64",
                                      "12345::/64",
                                      "::1/129",
                                      "1:2:3:4:5:6:7:8:9/64",
                                      "1:2:3:4:5:6:7:8::/64",
                                      "g::/64",
                                      "1:/64",
                                      "::1/",
                                      "::1/064"};
    char line[80];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(line, sizeof(line), "net.address6=%s", good[i]);
        if (parse(NULL, line) != 0) {
            fail_msg("%s", error);
        }
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(line, sizeof(line), "net.address6=%s", bad[i]);
        if (parse(NULL, line) == 0) {
            fail_msg("%s was taken", bad[i]);
        }
    }
    static const char *const bad4[] = {"1.2.3/8",     "1.2.3.4",     "1.2.3.4/33", "01.2.3.4/8",
                                       "1.2.3.4.5/8", "1.2.3.400/8", "1..3.4/8",   "1.2.3.4/8 "};
    for (size_t i = 0; i < sizeof(bad4) / sizeof(bad4[0]) - 1; i++) {
        snprintf(line, sizeof(line), "net.address=%s", bad4[i]);
        assert_int_equal(parse(NULL, line), -EINVAL);
    }
}

static void a_key_of_the_hosts_takes_the_others_place(void **state)
{
    (void)state;
    char longest[129];
    assert_int_equal(manifest_parse(NULL, 0, "http.key=from-line", &m, error, sizeof error), 0);
    assert_int_equal(manifest_set_host_key(&m, "from-host\n", 10, error, sizeof error), 0);
    assert_string_equal(m.http_key, "from-host");
    memset(longest, 'k', sizeof longest);
    assert_int_equal(manifest_set_host_key(&m, longest, 127, error, sizeof error), 0);
    assert_int_equal(strlen(m.http_key), 127);
    longest[127] = '\n';
    assert_int_equal(manifest_set_host_key(&m, longest, 128, error, sizeof error), 0);
}

static void a_key_of_the_hosts_that_is_none_is_refused_and_not_shown(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t bytes;
    } bad[] = {{"", 0},         {"\n", 1},         {"se cret", 7},   {"se\ncret", 7},
               {"secret\0", 7}, {"secret\n\n", 8}, {"\x7fsecret", 7}};
    char longest[128];
    assert_int_equal(manifest_parse(NULL, 0, "http.key=before", &m, error, sizeof error), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(manifest_set_host_key(&m, bad[i].text, bad[i].bytes, error, sizeof error),
                         -EINVAL);
        assert_string_equal(m.http_key, "before");
        assert_non_null(strstr(error, MANIFEST_HOST_KEY));
        assert_null(strstr(error, "cret"));
    }
    memset(longest, 'k', sizeof longest);
    assert_int_equal(manifest_set_host_key(&m, longest, sizeof longest, error, sizeof error),
                     -EINVAL);
    assert_null(strstr(error, "kk"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold_without_anything),
        cmocka_unit_test(a_full_tree_is_read),
        cmocka_unit_test(identities_and_modes_of_offload_are_checked),
        cmocka_unit_test(the_command_line_overrides_the_tree),
        cmocka_unit_test(a_bare_word_switches_on),
        cmocka_unit_test(wrong_values_name_their_path),
        cmocka_unit_test(wrong_values_on_the_command_line_are_refused_and_slips_remembered),
        cmocka_unit_test(foreign_words_are_left_alone),
        cmocka_unit_test(a_tree_of_another_kind_or_damaged_is_refused),
        cmocka_unit_test(a_tree_of_an_old_version_is_refused),
        cmocka_unit_test(a_tree_at_an_odd_address_is_read),
        cmocka_unit_test(more_text_than_there_is_room_for_is_an_error),
        cmocka_unit_test(addresses_are_judged_strictly),
        cmocka_unit_test(a_key_of_the_hosts_takes_the_others_place),
        cmocka_unit_test(a_key_of_the_hosts_that_is_none_is_refused_and_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
