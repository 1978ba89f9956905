// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Formatted text to the console, and names for addresses.
#include "platform/boot/early.h"
#include "platform/crash/crash.h"
#include "platform/crash/format.h"
#include "platform/crash/symbols.h"
#include "platform/power.h"
#include "platform/serial.h"

#pragma GCC visibility push(hidden)
extern const unsigned char __symbols_start[], __symbols_end[]; // images/kernel.ld
#pragma GCC visibility pop

void pf_printk(const char *format, ...)
{
    char line[320];
    va_list args;
    va_start(args, format);
    size_t length = pf_format(line, sizeof line, format, args);
    va_end(args);
    if (length >= sizeof line) {
        length = sizeof line - 1;
        line[length - 1] = '\n';
    }
    if (pf_crashing()) {
        pf_crash_write(line, length);
    } else {
        pf_serial_write(line, length);
    }
}

const char *pf_symbol(uint64_t address, uint64_t *offset)
{
    uint64_t base = (uint64_t)__ehdr_start;
    if (address < base || address >= (uint64_t)__image_end) {
        return NULL;
    }
    return pf_symbols_find(__symbols_start, (size_t)(__symbols_end - __symbols_start),
                           address - base, offset);
}
