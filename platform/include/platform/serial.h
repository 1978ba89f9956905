// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The console: a 16550 at COM1, polled until interrupts work, then interrupt-driven both ways.
#ifndef PLATFORM_SERIAL_H
#define PLATFORM_SERIAL_H

#include <stddef.h>
#include <stdint.h>

// Queues bytes for output, a line feed as carriage return and line feed; when the ring is full
// waits for the line (bounded), never drops a crash report. Any CPU; irq-safe.
void pf_serial_write(const char *data, size_t bytes);
// Bytes given to pf_serial_write so far by anyone: whoever draws on the console sees by it that
// somebody else has written.
uint64_t pf_serial_written(void);
// Takes up to `max` received bytes; returns how many (0: none). One reader at a time.
size_t pf_serial_read(char *data, size_t max);
// Called from the interrupt handler when bytes have come in (irq rules of platform/irq.h).
void pf_serial_on_input(void (*wake)(void *arg), void *arg);
// Pushes out everything, by polling.
void pf_serial_flush(void);

#endif
