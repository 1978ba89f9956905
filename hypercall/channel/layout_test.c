// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which blocks become channels, and which are taken for channels.
//
// Links: hypercall/channel/layout.c hypercall/channel/attach.c hypercall/channel/session.c
// Links: hypercall/channel/hub.c hypercall/channel/send.c hypercall/channel/receive.c
// Links: tensor/quant/types.c
#include "hypercall/channel/testing.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void create_refuses_what_does_not_fit(void **state)
{
    (void)state;
    size_t bytes = 1 << 20;
    uint8_t *block;
    char error[160];
    struct channel *c;
    block = aligned_alloc(4096, bytes);
    memset(block, 0, bytes);
    assert_int_equal(channel_attach(block, bytes, 0, &fake_port, NULL, &c, error, sizeof(error)),
                     -ENODEV);
    static const struct channel_format wrong[] = {
        {0, 2, 2, 128},
        {5, 2, 2, 128},
        {HC_CHANNEL_PIPE, 1, 2, 128},
        {HC_CHANNEL_PIPE, 10, 2, 128},
        {HC_CHANNEL_RING, 3, 2, 128},
        {HC_CHANNEL_BIDIRECTIONAL, 3, 2, 128},
        {HC_CHANNEL_PIPE, 2, 1, 128},
        {HC_CHANNEL_PIPE, 2, 5000, 128},
        {HC_CHANNEL_PIPE, 2, 2, 0},
        {HC_CHANNEL_PIPE, 2, 2, 1 << 19},
        {HC_CHANNEL_PIPE, 2, 2, UINT64_MAX - 5},
        {HC_CHANNEL_PIPE, 2, 2, 1ull << 63},
        {HC_CHANNEL_PIPE, 2, 0, 1ull << 62},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (channel_create(block, bytes, &wrong[i], error, sizeof(error)) != -EINVAL) {
            fail_msg("format %zu was taken", i);
        }
    }
    struct channel_format f = {HC_CHANNEL_PIPE, 0, 0, 1000};
    assert_int_equal(channel_create(block, bytes, &f, error, sizeof(error)), 0);
    assert_int_equal(channel_create(block, bytes, &f, error, sizeof(error)), 0);
    assert_int_equal(channel_attach(block, bytes, 0, &fake_port, NULL, &c, error, sizeof(error)),
                     0);
    const struct channel_format *made = channel_format_of(c);
    assert_int_equal(made->slot_bytes, 1024);
    assert_true(channel_bytes_needed(made) <= bytes);
    struct channel_format larger = *made;
    larger.slots++;
    assert_true(channel_bytes_needed(&larger) > bytes);
    channel_close(c);
    f.slot_bytes = 2048;
    assert_int_equal(channel_create(block, bytes, &f, error, sizeof(error)), -EEXIST);
    assert_int_equal(channel_attach(block, bytes, 2, &fake_port, NULL, &c, error, sizeof(error)),
                     -EINVAL);
    memset(block, 'x', 8);
    assert_int_equal(channel_create(block, bytes, &f, error, sizeof(error)), -EEXIST);
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
