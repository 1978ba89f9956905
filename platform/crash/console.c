// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// COM1 by polling, without locks or rings: for reports of a machine that may have stopped in the
// middle of anything. Also runs before relocation. Source: PC16550D data sheet, section 8.
#include "platform/cpu.h"
#include "platform/crash/crash.h"

#define COM1           0x3f8
#define LINE_STATUS    (COM1 + 5)
#define TRANSMIT_EMPTY 0x20
#define PATIENCE       250000u // looks at the status, about a microsecond each
#define PATIENCE_STUCK 100u

static bool stuck; // owner: the CPU that reports

static void put(char c)
{
    unsigned patience = stuck ? PATIENCE_STUCK : PATIENCE;
    while ((pf_in8(LINE_STATUS) & TRANSMIT_EMPTY) == 0) {
        if (patience-- == 0) {
            stuck = true;
            return;
        }
    }
    pf_out8(COM1, (uint8_t)c);
}

void pf_crash_write(const char *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] == '\n') {
            put('\r');
        }
        put(data[i]);
    }
}
