// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Settings become manifests that the guest's own reader takes, for every key it has.
// Links: hypercall/host/image/manifest.c hypercall/host/image/manifest_text.c
// Links: hypercall/host/image/source.c hypercall/host/image/program.c
// Links: hypercall/host/image/qcow2.c libos/manifest/parse.c libos/manifest/keys.c
// Links: libos/manifest/dtb.c libos/manifest/cmdline.c libos/manifest/address.c
// Libs: -lfdt -lmbedcrypto
#include "hypercall/host/image/private.h"
#include "libos/manifest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ID "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
static char error[900];
static void *tree;
static size_t bytes;

static int compose(const char *const *settings, size_t count)
{
    struct image_plan plan = {.settings = settings, .setting_count = count};
    free(tree);
    tree = NULL;
    return manifest_compose(&plan, ID, &tree, &bytes, error, sizeof error);
}

static const char *example(const char *key)
{
    static const struct {
        const char *key, *value;
    } examples[] = {
        {"log", "warn"},
        {"shell", "off"},
        {"net.dhcp", "off"},
        {"net.address", "1.2.3.4/8"},
        {"net.gateway", "1.2.3.4"},
        {"net.dns", "1.2.3.4"},
        {"net.address6", "fd00::1/64"},
        {"model.source", "linked"},
        {"model.identity", ID},
        {"offload.mode", "host"},
    };
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        if (strcmp(examples[i].key, key) == 0) {
            return examples[i].value;
        }
    }
    return "64";
}

static void the_guest_takes_every_key(void **state)
{
    (void)state;
    struct manifest m;
    assert_int_equal(manifest_setting_count, 25);
    for (size_t i = 0; i < manifest_setting_count; i++) {
        char setting[200], guests[300] = "";
        const char *one = setting, *key = manifest_settings[i].key;
        snprintf(setting, sizeof setting, "%s=%s", key, example(key));
        assert_int_equal(compose(&one, 1), 0);
        if (manifest_parse(tree, bytes, NULL, &m, guests, sizeof guests) != 0) {
            fail_msg("%s: %s", setting, guests);
        }
        // The guest has the key on its command line, too: an unknown one would be remembered.
        assert_int_equal(manifest_parse(NULL, 0, setting, &m, guests, sizeof guests), 0);
        assert_string_equal(m.unknown, "");
    }
}

static void values_arrive(void **state)
{
    (void)state;
    static const char *const settings[] = {"http.port=81",     "http.port=8082", "http.key=a=b",
                                           "engine.context=9", "name=beta",      "model.name=A B",
                                           "zone.model=64M"};
    struct manifest m;
    assert_int_equal(compose(settings, 7), 0);
    assert_int_equal(manifest_parse(tree, bytes, NULL, &m, error, sizeof error), 0);
    assert_int_equal(m.http_port, 8082);
    assert_string_equal(m.http_key, "a=b");
    assert_int_equal(m.engine_context, 9);
    assert_string_equal(m.name, "beta");
    assert_string_equal(m.model_name, "A B");
    assert_int_equal(m.zone_bytes[1], 64 << 20);
    assert_string_equal(m.model_identity, ID);
}

static void slips_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"http.prot=1",
                                      "http=1",
                                      "port=1",
                                      "http.port",
                                      "=1",
                                      "http.port=",
                                      "http.port=8x",
                                      "http.port=-1",
                                      "engine.slots=4294967296",
                                      "a.b=c",
                                      "guest-name=gamma",
                                      "net.queues=2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(compose(&bad[i], 1), -EINVAL);
        assert_non_null(strstr(error, bad[i]));
    }
}

static void a_key_is_not_shown(void **state)
{
    (void)state;
    static const char *const settings[] = {"http.key=s3cret", "model.name=\"x\\y\""};
    assert_int_equal(compose(settings, 2), 0);
    char *text = image_manifest_text(tree, bytes);
    assert_non_null(text);
    assert_null(strstr(text, "s3cret"));
    assert_non_null(strstr(text, "key = \"********\";"));
    assert_non_null(strstr(text, "model-name = \"\\\"x\\\\y\\\"\";"));
    assert_non_null(strstr(text, "compatible = \"tessera,manifest-1\";"));
    free(text);
    free(tree);
    tree = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_guest_takes_every_key),
        cmocka_unit_test(values_arrive),
        cmocka_unit_test(slips_are_refused),
        cmocka_unit_test(a_key_is_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
