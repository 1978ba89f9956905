// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A record's way through XML: out as we write it, back as libvirt writes it.
//
// Links: hypercall/host/fleet/carrier_text.c hypercall/host/fleet/secrets.c
// Links: hypercall/host/fleet/record.c hypercall/host/fleet/record_json.c
// Links: hypercall/host/fleet/spec.c hypercall/host/fleet/fields.c hypercall/host/fleet/tables.c
// Links: hypercall/host/machine/values.c
// Links: hypercall/host/fleet/parts.c hypercall/host/fleet/endpoint_parts.c
// Links: hypercall/host/fleet/yaml.c hypercall/host/fleet/version.c
// Links: hypercall/host/machine/size.c hypercall/host/machine/text.c
// Libs: -lyaml -ljansson -lmbedcrypto
#include "hypercall/host/fleet/carrier.h"
#include "hypercall/host/fleet/secrets.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void reads(const char *xml, const char *wanted)
{
    char *text = carrier_element_text(xml);
    if (!wanted) {
        assert_null(text);
    } else {
        assert_non_null(text);
        assert_string_equal(text, wanted);
    }
    free(text);
}

static void an_elements_text_is_decoded(void **state)
{
    (void)state;
    reads("<record xmlns=\"urn:tessera:fleet:1\">{\"a\":1}</record>", "{\"a\":1}");
    reads("<f:r xmlns:f='x>y'>a</f:r>", "a");
    reads("<r>&lt;&gt;&amp;&quot;&apos;</r>", "<>&\"'");
    reads("<r>&#228;&#xE4;&#x1F600;&#10;</r>", "\xc3\xa4\xc3\xa4\xf0\x9f\x98\x80\n");
    reads("<r>\xc3\xa4</r>", "\xc3\xa4");
    reads("<r></r>", "");
}

static void what_is_no_element_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "text",
                                      "<r",
                                      "<r/>",
                                      "<r>",
                                      "<r>a",
                                      "<r>a<",
                                      "<r>a<b/></r>",
                                      "<r>&bad;</r>",
                                      "<r>&</r>",
                                      "<r>&#;</r>",
                                      "<r>&#0;</r>",
                                      "<r>&#x110000;</r>",
                                      "<r>&#xd800;</r>",
                                      "<r>&#123456789;</r>",
                                      "<r a='>a</r>"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        reads(bad[i], NULL);
    }
}

static void a_record_comes_back_out_of_its_carrier(void **state)
{
    (void)state;
    static const char yaml[] = "fleet: shop\n"
                               "endpoint: {listen: '127.0.0.1:8000', keys: ['<a>&b']}\n"
                               "models: [{name: chat, model: 'a & <b>.gguf'}]\n";
    char error[400];
    struct fleet_spec spec;
    struct fleet_record r, again;
    assert_int_equal(fleet_spec_parse(yaml, sizeof yaml - 1, "fleet.yaml", "/m\xc3\xbc", &spec,
                                      error, sizeof error),
                     0);
    assert_int_equal(fleet_record_new(&spec, &r, error, sizeof error), 0);
    char *whole = fleet_record_print(&r), *keys;
    assert_non_null(whole);
    char *record = fleet_secrets_hide(whole, "/k/shop.fleet-0.key", &keys);
    assert_non_null(record);
    char *xml = carrier_xml("shop", record);
    assert_non_null(xml);
    char *element = strstr(xml, "<fleet:record");
    assert_non_null(element);
    char *hidden = carrier_element_text(element), path[40];
    assert_non_null(hidden);
    assert_null(strstr(hidden, r.internal_key));
    assert_null(strstr(hidden, "<a>&b"));
    assert_int_equal(fleet_secrets_path(hidden, path, sizeof path), 0);
    assert_string_equal(path, "/k/shop.fleet-0.key");
    char *text = fleet_secrets_show(hidden, keys, NULL);
    assert_non_null(text);
    assert_string_equal(text, whole);
    assert_int_equal(fleet_record_parse(text, strlen(text), &again, error, sizeof error), 0);
    assert_string_equal(again.internal_key, r.internal_key);
    assert_string_equal(again.spec.models[0].variant.model, "/m\xc3\xbc/a & <b>.gguf");
    assert_string_equal(again.spec.endpoint.keys[0], "<a>&b");
    free(text);
    free(hidden);
    free(whole);
    free(record);
    free(keys);
    free(xml);
    fleet_record_free(&again);
    fleet_record_free(&r);
}

static void keys_of_another_number_are_those_of_a_change_that_was_cut_off(void **state)
{
    static const struct {
        const char *keys, *wanted;
    } cases[] = {{"in\na\nb\nc\n", "[\"a\",\"b\",\"c\"]"},
                 {"in\na\n", "[\"a\"]"},
                 {"in\na\nb\n", "[\"a\",\"b\"]"}};
    static const char record[] =
        "{\"keys\":{\"file\":\"/k\",\"listed\":2},\"spec\":{\"endpoint\":{\"keys\":null}}}";
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *shown = fleet_secrets_show(record, cases[i].keys, NULL);
        assert_non_null(shown);
        assert_non_null(strstr(shown, cases[i].wanted));
        assert_non_null(strstr(shown, "\"internal_key\":\"in\""));
        free(shown);
    }
    // Two that nobody knows, whether the file has none or there is no file.
    char *none = fleet_secrets_show(record, "in\n", NULL),
         *lost = fleet_secrets_show(record, NULL, "in");
    char *again = fleet_secrets_show(record, NULL, "in");
    assert_true(none && lost && again);
    assert_string_not_equal(lost, again);
    assert_int_equal(strlen(none), strlen(lost));
    assert_null(strstr(none, "null"));
    assert_null(fleet_secrets_show(record, "", NULL));
    assert_null(fleet_secrets_show(record, "in\n\nb\n", NULL));
    assert_null(fleet_secrets_show("[]", "in\n", NULL));
    free(none);
    free(lost);
    free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_elements_text_is_decoded),
        cmocka_unit_test(what_is_no_element_is_refused),
        cmocka_unit_test(a_record_comes_back_out_of_its_carrier),
        cmocka_unit_test(keys_of_another_number_are_those_of_a_change_that_was_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
