// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The 16550 UART: probing, rings, interrupt causes. Source: PC16550D data sheet, section 8.
#include "platform/serial/uart.h"

static uint8_t reg_in(struct uart *u, unsigned reg)
{
    return u->io.in(u->io.ctx, reg);
}

static void reg_out(struct uart *u, unsigned reg, uint8_t value)
{
    u->io.out(u->io.ctx, reg, value);
}

static void set_ier(struct uart *u, uint8_t ier)
{
    if (u->ier != ier) {
        u->ier = ier;
        reg_out(u, UART_IER, ier);
    }
}

// A port without a device reads as 0xff and keeps nothing.
static bool probe(struct uart *u)
{
    reg_out(u, UART_SCRATCH, 0x5a);
    if (reg_in(u, UART_SCRATCH) != 0x5a) {
        return false;
    }
    reg_out(u, UART_SCRATCH, 0xa5);
    if (reg_in(u, UART_SCRATCH) != 0xa5) {
        return false;
    }
    // In loop-back the modem outputs return as modem inputs: RTS and OUT2 as CTS and DCD.
    reg_out(u, UART_MCR, UART_MCR_LOOP | 0x0a);
    return (reg_in(u, UART_MSR) & 0xf0) == 0x90;
}

bool uart_init(struct uart *u)
{
    u->ier = 0xff; // unknown: force the write
    u->by_interrupt = false;
    u->present = probe(u);
    if (!u->present) {
        return false;
    }
    set_ier(u, 0);
    reg_out(u, UART_LCR, 0x80); // divisor latch
    reg_out(u, UART_DATA, 1);   // 115200
    reg_out(u, UART_IER, 0);
    reg_out(u, UART_LCR, 0x03); // 8N1
    reg_out(u, UART_FCR, 0x07); // FIFOs on and cleared, interrupt at each byte
    reg_out(u, UART_MCR, UART_MCR_DTR_RTS_OUT2);
    return true;
}

void uart_use_interrupts(struct uart *u)
{
    if (u->present) {
        u->by_interrupt = true;
        set_ier(u, uart_queued(u) ? UART_IER_RX | UART_IER_TX : UART_IER_RX);
    }
}

size_t uart_queue(struct uart *u, const char *data, size_t bytes)
{
    size_t done = 0;
    while (done < bytes && uart_queued(u) < UART_TX_RING) {
        u->tx[u->tx_head % UART_TX_RING] = data[done++];
        u->tx_head++;
    }
    return done;
}

static size_t feed(struct uart *u)
{
    size_t sent = 0;
    while (sent < UART_FIFO && uart_queued(u)) {
        reg_out(u, UART_DATA, (uint8_t)u->tx[u->tx_tail % UART_TX_RING]);
        u->tx_tail++;
        sent++;
    }
    return sent;
}

size_t uart_pump(struct uart *u)
{
    if (!u->present) {
        u->tx_tail = u->tx_head;
        return 0;
    }
    size_t sent = 0;
    if (uart_queued(u) && (reg_in(u, UART_LSR) & UART_LSR_TX_EMPTY)) {
        if (u->by_interrupt) { // an emulated line is empty, and says so, after every single byte
            set_ier(u, UART_IER_RX);
        }
        sent = feed(u);
    }
    if (u->by_interrupt) {
        set_ier(u, uart_queued(u) ? UART_IER_RX | UART_IER_TX : UART_IER_RX);
    }
    return sent;
}

bool uart_drain(struct uart *u, uint32_t leave, uint32_t patience)
{
    uint32_t idle = 0;
    while (uart_queued(u) > leave) {
        if (uart_pump(u)) {
            idle = 0;
        } else if (++idle > patience) {
            return false;
        }
    }
    return true;
}

static size_t receive(struct uart *u)
{
    size_t got = 0;
    // Bounded: a line that never runs dry must not keep the CPU here; the interrupt comes again.
    while (got < 4 * UART_FIFO && (reg_in(u, UART_LSR) & UART_LSR_RX)) {
        char c = (char)reg_in(u, UART_DATA);
        got++;
        if (u->rx_head - u->rx_tail == UART_RX_RING) {
            u->rx_dropped++;
            continue;
        }
        u->rx[u->rx_head % UART_RX_RING] = c;
        u->rx_head++;
    }
    return got;
}

size_t uart_interrupt(struct uart *u)
{
    size_t got = 0;
    // The ISA line is edge triggered: every cause must be gone before we leave, or no edge follows.
    for (int round = 0; u->present; round++) {
        if (reg_in(u, UART_IIR) & UART_IIR_NONE) {
            break;
        }
        if (round == 16) {
            // Enough for now: drop the line and raise it again, so that the rest comes as an edge.
            uint8_t ier = u->ier;
            set_ier(u, 0);
            set_ier(u, ier);
            break;
        }
        got += receive(u);
        uart_pump(u);
        (void)reg_in(u, UART_MSR); // modem status change, should firmware have left it enabled
    }
    return got;
}

size_t uart_take(struct uart *u, char *data, size_t max)
{
    size_t done = 0;
    while (done < max && u->rx_tail != u->rx_head) {
        data[done++] = u->rx[u->rx_tail % UART_RX_RING];
        u->rx_tail++;
    }
    return done;
}
