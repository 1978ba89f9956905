// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which machine a URI means, and how far a transfer says that it is.
//
// Links: hypercall/host/remote/state.c hypercall/host/remote/where.c
#include "hypercall/host/remote/private.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void means(const char *uri, const char *host, const char *ssh)
{
    struct remote_machine m;
    remote_machine_of(uri, &m);
    assert_string_equal(m.host, host);
    assert_string_equal(m.ssh, ssh);
}

static void uris_name_a_machine_and_the_way_there(void **state)
{
    (void)state;
    means("qemu:///session", "", "");
    means("qemu+unix:///system?socket=/run/a", "", "");
    means("qemu+ssh://box/system", "box", "box");
    means("qemu+ssh://ann@box:2222/session?no_verify=1&keyfile=%2Fhome%2Fann%2Fkey", "box",
          "-p 2222 -i /home/ann/key ann@box");
    means("qemu+ssh://[fe80::1]:22/system", "fe80::1", "-p 22 fe80::1");
    means("qemu+tls://box.example/system", "box.example", "");
    means("qemu+libssh2://box/system", "box", "box");
}

static void what_a_shell_would_obey_is_not_told(void **state)
{
    (void)state;
    means("qemu+ssh://a;reboot/system", "a;reboot", "");
    means("qemu+ssh://-oProxyCommand=x/system", "-oProxyCommand=x", "");
    means("qemu+ssh://$(x)@box/system", "box", "");
    means("qemu+ssh://box/system?keyfile=a b;c", "box", "box");
    means("", "", "");
    means("qemu+ssh://", "", "");
}

static void a_state_comes_back_as_it_was_written(void **state)
{
    (void)state;
    char text[REMOTE_STATE];
    struct remote_state s = {.acknowledged = UINT64_MAX, .checked = true}, t;
    strcpy(s.modified, "1700000000.123456789");
    remote_state_print(&s, text);
    assert_int_equal(remote_state_parse(text, &t), 0);
    assert_true(t.acknowledged == UINT64_MAX && t.checked);
    assert_string_equal(t.modified, s.modified);
    s = (struct remote_state){.acknowledged = 5};
    remote_state_print(&s, text);
    assert_int_equal(remote_state_parse(text, &t), 0);
    assert_true(t.acknowledged == 5 && !t.checked && !t.modified[0]);
}

static void a_state_with_any_byte_changed_is_none(void **state)
{
    (void)state;
    char text[REMOTE_STATE], zeros[REMOTE_STATE] = "";
    struct remote_state s = {.acknowledged = 1 << 20, .checked = true, .modified = "17.5"}, t;
    remote_state_print(&s, text);
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] ^= 1;
        assert_int_equal(remote_state_parse(text, &t), -EINVAL);
        assert_false(t.checked);
        text[i] ^= 1;
    }
    assert_int_equal(remote_state_parse(zeros, &t), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uris_name_a_machine_and_the_way_there),
        cmocka_unit_test(what_a_shell_would_obey_is_not_told),
        cmocka_unit_test(a_state_comes_back_as_it_was_written),
        cmocka_unit_test(a_state_with_any_byte_changed_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
