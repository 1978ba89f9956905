// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// uart.c against a 16550 made of an array: probing, polling, interrupt causes, full rings.
// Links: platform/serial/uart.c
#include "platform/serial/uart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

// The device: what was sent, what waits to be received, whether the transmitter takes bytes.
struct fake {
    bool absent, busy, mad; // mad: always claims an interrupt
    uint8_t ier, lcr, mcr, scratch;
    bool tx_pending; // transmit interrupt cause, cleared by reading IIR or by sending
    char sent[65536];
    size_t sent_count;
    const char *input;
    unsigned edges; // rises of the interrupt line
    bool line;
};

static bool line_of(const struct fake *f)
{
    return ((f->ier & UART_IER_RX) && f->input && *f->input) ||
           ((f->ier & UART_IER_TX) && f->tx_pending);
}

static void update(struct fake *f)
{
    bool now = line_of(f);
    f->edges += now && !f->line;
    f->line = now;
}

static uint8_t fake_in(void *ctx, unsigned reg)
{
    struct fake *f = ctx;
    uint8_t v = 0;
    if (f->absent) {
        return 0xff;
    }
    switch (reg) {
    case UART_DATA:
        v = f->input && *f->input ? (uint8_t)*f->input++ : 0;
        break;
    case UART_IER:
        v = f->ier;
        break;
    case UART_IIR:
        if (f->mad) {
            v = 0x04;
        } else if ((f->ier & UART_IER_RX) && f->input && *f->input) {
            v = 0x04;
        } else if ((f->ier & UART_IER_TX) && f->tx_pending) {
            v = 0x02;
            f->tx_pending = false;
        } else {
            v = UART_IIR_NONE;
        }
        break;
    case UART_LSR:
        v = (uint8_t)((f->input && *f->input ? UART_LSR_RX : 0) |
                      (f->busy ? 0 : UART_LSR_TX_EMPTY));
        break;
    case UART_MSR:
        v = (uint8_t)(f->mcr & UART_MCR_LOOP ? (f->mcr & 2) << 3 | (f->mcr & 8) << 4 : 0xb0);
        break;
    case UART_SCRATCH:
        v = f->scratch;
        break;
    default:
        break;
    }
    update(f);
    return v;
}

static void fake_out(void *ctx, unsigned reg, uint8_t value)
{
    struct fake *f = ctx;
    if (f->absent) {
        return;
    }
    if (reg == UART_LCR) {
        f->lcr = value;
    } else if (reg == UART_MCR) {
        f->mcr = value;
    } else if (reg == UART_SCRATCH) {
        f->scratch = value;
    } else if (reg == UART_DATA && !(f->lcr & 0x80)) {
        assert_false(f->busy);
        assert_true(f->sent_count < sizeof(f->sent));
        f->sent[f->sent_count++] = (char)value;
        f->tx_pending = true;
    } else if (reg == UART_IER && !(f->lcr & 0x80)) {
        if (!(f->ier & UART_IER_TX) && (value & UART_IER_TX) && !f->busy) {
            f->tx_pending = true; // enabling with an empty transmitter raises it at once
        }
        f->ier = value;
    }
    update(f);
}

static struct fake device;
static struct uart u;

static int setup(void **state)
{
    (void)state;
    device = (struct fake){.ier = 0x0f, .mcr = UART_MCR_LOOP};
    memset(&u, 0, sizeof(u));
    u.io = (struct uart_io){fake_in, fake_out, &device};
    return 0;
}

static void probing_finds_the_device_and_sets_the_line(void **state)
{
    (void)state;
    assert_true(uart_init(&u));
    assert_int_equal(device.lcr, 0x03);
    assert_int_equal(device.mcr, UART_MCR_DTR_RTS_OUT2);
    assert_int_equal(device.ier, 0);
    assert_int_equal(device.sent_count, 0);
}

static void no_device_is_noticed_and_output_vanishes_without_waiting(void **state)
{
    (void)state;
    device.absent = true;
    assert_false(uart_init(&u));
    assert_int_equal(uart_queue(&u, "abc", 3), 3);
    assert_true(uart_drain(&u, 0, 10));
    assert_int_equal(uart_queued(&u), 0);
    assert_int_equal(uart_interrupt(&u), 0);
}

static void polled_output_is_complete_and_in_order(void **state)
{
    (void)state;
    char text[300];
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (char)('a' + i % 26);
    }
    assert_true(uart_init(&u));
    assert_int_equal(uart_queue(&u, text, sizeof(text)), sizeof(text));
    assert_true(uart_drain(&u, 0, 10));
    assert_int_equal(device.sent_count, sizeof(text));
    assert_memory_equal(device.sent, text, sizeof(text));
}

static void a_stuck_line_ends_the_wait_and_keeps_the_bytes(void **state)
{
    (void)state;
    assert_true(uart_init(&u));
    device.busy = true;
    uart_queue(&u, "xyz", 3);
    assert_false(uart_drain(&u, 0, 100));
    assert_int_equal(uart_queued(&u), 3);
    device.busy = false;
    assert_true(uart_drain(&u, 0, 100));
    assert_memory_equal(device.sent, "xyz", 3);
}

static void a_full_ring_takes_no_more(void **state)
{
    (void)state;
    static char big[UART_TX_RING + 10];
    assert_true(uart_init(&u));
    device.busy = true;
    assert_int_equal(uart_queue(&u, big, sizeof(big)), UART_TX_RING);
    assert_int_equal(uart_queue(&u, "a", 1), 0);
    device.busy = false;
    assert_true(uart_drain(&u, UART_TX_RING - 100, 10));
    assert_in_range(device.sent_count, 100, 100 + UART_FIFO);
    assert_int_equal(uart_queue(&u, "a", 1), 1);
}

// The interrupt line is an edge: as long as bytes are queued, a rise must follow each handler run.
static void interrupts_empty_the_ring_by_edges_alone(void **state)
{
    (void)state;
    static char text[3000];
    memset(text, 'q', sizeof(text));
    assert_true(uart_init(&u));
    uart_use_interrupts(&u);
    uart_queue(&u, text, sizeof(text));
    device.edges = 0;
    assert_int_equal(uart_pump(&u), UART_FIFO);
    unsigned handled = 0;
    for (int i = 0; i < 1000 && handled < device.edges; i++) {
        handled = device.edges;
        uart_interrupt(&u);
    }
    assert_int_equal(device.sent_count, sizeof(text));
    assert_int_equal(device.ier, UART_IER_RX);
    assert_false(device.line);
}

static void input_arrives_in_order_and_overflow_is_counted(void **state)
{
    (void)state;
    static char flood[UART_RX_RING + 101];
    char got[8];
    assert_true(uart_init(&u));
    uart_use_interrupts(&u);
    device.input = "hello";
    update(&device);
    assert_int_equal(uart_interrupt(&u), 5);
    assert_int_equal(uart_take(&u, got, 2), 2);
    assert_int_equal(uart_take(&u, got + 2, 8 - 2), 3);
    assert_memory_equal(got, "hello", 5);
    assert_int_equal(uart_take(&u, got, 8), 0);
    memset(flood, 'f', sizeof(flood) - 1);
    device.input = flood;
    while (device.input && *device.input) {
        uart_interrupt(&u);
    }
    assert_int_equal(u.rx_dropped, 100);
}

static void a_line_that_never_falls_does_not_keep_the_handler(void **state)
{
    (void)state;
    assert_true(uart_init(&u));
    uart_use_interrupts(&u);
    device.mad = true;
    assert_int_equal(uart_interrupt(&u), 0); // returns
    assert_int_equal(device.ier, UART_IER_RX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(probing_finds_the_device_and_sets_the_line, setup),
        cmocka_unit_test_setup(no_device_is_noticed_and_output_vanishes_without_waiting, setup),
        cmocka_unit_test_setup(polled_output_is_complete_and_in_order, setup),
        cmocka_unit_test_setup(a_stuck_line_ends_the_wait_and_keeps_the_bytes, setup),
        cmocka_unit_test_setup(a_full_ring_takes_no_more, setup),
        cmocka_unit_test_setup(interrupts_empty_the_ring_by_edges_alone, setup),
        cmocka_unit_test_setup(input_arrives_in_order_and_overflow_is_counted, setup),
        cmocka_unit_test_setup(a_line_that_never_falls_does_not_keep_the_handler, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
