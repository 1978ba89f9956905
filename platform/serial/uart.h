// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The 16550 UART's registers and its two rings, apart from port I/O and locks so that it can be
// tested on the host. Source: National Semiconductor PC16550D data sheet, section 8.
#ifndef PLATFORM_SERIAL_UART_H
#define PLATFORM_SERIAL_UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UART_TX_RING 8192u // powers of two
#define UART_RX_RING 1024u
#define UART_FIFO    16u

// Registers (offset from the base port).
enum { UART_DATA = 0, UART_IER = 1, UART_IIR = 2, UART_FCR = 2, UART_LCR = 3, UART_MCR = 4 };
enum { UART_LSR = 5, UART_MSR = 6, UART_SCRATCH = 7 };
enum { UART_IER_RX = 0x01, UART_IER_TX = 0x02, UART_LSR_RX = 0x01, UART_LSR_TX_EMPTY = 0x20 };
enum { UART_IIR_NONE = 0x01, UART_MCR_DTR_RTS_OUT2 = 0x0b, UART_MCR_LOOP = 0x10 };

struct uart_io {
    uint8_t (*in)(void *ctx, unsigned reg);
    void (*out)(void *ctx, unsigned reg, uint8_t value);
    void *ctx;
};

// Owner: whoever holds the lock around it (serial.c).
struct uart {
    struct uart_io io;
    bool present;
    bool by_interrupt;         // IER may be set; rings drain themselves
    uint8_t ier;               // what the register holds
    uint32_t tx_head, tx_tail; // free running; head - tail = bytes queued
    uint32_t rx_head, rx_tail;
    uint64_t rx_dropped, tx_dropped;
    char tx[UART_TX_RING];
    char rx[UART_RX_RING];
};

// Looks for a UART (scratch register, then loop-back), sets 115200 8N1 with FIFOs, no interrupts.
bool uart_init(struct uart *u);
// Turns receive interrupts on (transmit ones follow the ring).
void uart_use_interrupts(struct uart *u);
// Queues as much as fits, returns how much.
size_t uart_queue(struct uart *u, const char *data, size_t bytes);
// Gives the transmitter one FIFO's worth if it is empty; sets or clears its interrupt. Returns
// the number of bytes given.
size_t uart_pump(struct uart *u);
// Sends until at most `leave` bytes are queued or the transmitter has not been empty for `patience`
// looks in a row. Returns true when it got that far.
bool uart_drain(struct uart *u, uint32_t leave, uint32_t patience);
// Takes what came in and feeds the transmitter; returns the number of bytes received.
size_t uart_interrupt(struct uart *u);
// Takes received bytes out of the ring.
size_t uart_take(struct uart *u, char *data, size_t max);

static inline uint32_t uart_queued(const struct uart *u)
{
    return u->tx_head - u->tx_tail;
}

#endif
