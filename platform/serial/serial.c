// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The console on COM1: port I/O, locking and the interrupt around uart.c.
#include "platform/serial.h"

#include "platform/cpu.h"
#include "platform/crash/crash.h"
#include "platform/irq.h"
#include "platform/priv/init.h"
#include "platform/priv/spin.h"
#include "platform/serial/uart.h"

#define COM1_PORT 0x3f8
#define COM1_IRQ  4

// Looks at the line status before output counts as stuck, with interrupts off: 50 ms where a look
// takes a microsecond, some tenths of a second where it is an exit to the hypervisor's process (a
// FIFO of bytes needs 1.4 ms). Once, and briefly after that so that a dead line slows nothing down.
#define PATIENCE       50000u
#define PATIENCE_STUCK 200u
// Made at once in a full ring; interrupts are off meanwhile.
#define ROOM 256u
// While a crash is reported, the holder is gone when it keeps the lock this many TSC cycles.
#define LOCK_CYCLES (1ull << 31)

static uint8_t com1_in(void *ctx, unsigned reg)
{
    (void)ctx;
    return pf_in8((uint16_t)(COM1_PORT + reg));
}

static void com1_out(void *ctx, unsigned reg, uint8_t value)
{
    (void)ctx;
    pf_out8((uint16_t)(COM1_PORT + reg), value);
}

static struct pf_spin lock;
// Protected by lock:
static struct uart uart = {.io = {com1_in, com1_out, NULL}};
static bool stuck;
static char last_byte;
static uint64_t written; // read without it
// Set once before interrupts reach us.
static void (*input_wake)(void *arg);
static void *input_arg;

static uint64_t take_lock(bool *taken)
{
    if (pf_crashing()) {
        return pf_spin_lock_bounded(&lock, LOCK_CYCLES, taken);
    }
    // Without a crash every holder lets go; that may take long where the host stops a CPU for a
    // while.
    *taken = true;
    return pf_spin_lock(&lock);
}

static void give_lock(uint64_t flags, bool taken)
{
    if (taken) {
        pf_spin_unlock(&lock, flags);
    } else {
        pf_irq_restore(flags);
    }
}

static void drain(uint32_t leave)
{
    stuck = !uart_drain(&uart, leave, stuck ? PATIENCE_STUCK : PATIENCE);
}

static void put(char c)
{
    if (uart_queue(&uart, &c, 1) == 0) {
        drain(UART_TX_RING - ROOM);
        if (uart_queue(&uart, &c, 1) == 0) {
            uart.tx_dropped++;
        }
    }
    last_byte = c;
}

void pf_serial_write(const char *data, size_t bytes)
{
    bool taken;
    uint64_t flags = take_lock(&taken);
    for (size_t i = 0; i < bytes; i++) {
        // A terminal in raw mode (virsh console) wants the carriage return.
        if (data[i] == '\n' && last_byte != '\r') {
            put('\r');
        }
        put(data[i]);
    }
    __atomic_store_n(&written, written + bytes, __ATOMIC_RELAXED);
    if (uart.by_interrupt) {
        uart_pump(&uart);
    } else {
        drain(0);
    }
    give_lock(flags, taken);
}

uint64_t pf_serial_written(void)
{
    return __atomic_load_n(&written, __ATOMIC_RELAXED);
}

size_t pf_serial_read(char *data, size_t max)
{
    uint64_t flags = pf_spin_lock(&lock);
    size_t got = uart_take(&uart, data, max);
    pf_spin_unlock(&lock, flags);
    return got;
}

void pf_serial_on_input(void (*wake)(void *arg), void *arg)
{
    uint64_t flags = pf_spin_lock(&lock);
    input_arg = arg;
    input_wake = wake;
    bool waiting = uart.rx_head != uart.rx_tail;
    pf_spin_unlock(&lock, flags);
    if (waiting && wake) {
        wake(arg);
    }
}

void pf_serial_flush(void)
{
    bool taken;
    uint64_t flags = take_lock(&taken);
    drain(0);
    give_lock(flags, taken);
}

static void on_interrupt(void *arg)
{
    (void)arg;
    uint64_t flags = pf_spin_lock(&lock);
    size_t got = uart_interrupt(&uart);
    void (*wake)(void *) = input_wake;
    pf_spin_unlock(&lock, flags);
    if (got && wake) {
        wake(input_arg);
    }
}

void pf_serial_early_init(void)
{
    uart_init(&uart);
}

void pf_serial_init_irq(void)
{
    if (!uart.present) {
        return;
    }
    int vector = pf_irq_alloc(on_interrupt, NULL);
    if (vector < 0 || pf_irq_route_isa(COM1_IRQ, vector) != 0) {
        return; // stays polled: output works, input does not
    }
    uint64_t flags = pf_spin_lock(&lock);
    uart_use_interrupts(&uart);
    pf_spin_unlock(&lock, flags);
}
