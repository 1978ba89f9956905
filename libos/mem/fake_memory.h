// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For host tests: an arena that plays RAM (physical address 0 is its start), and the platform calls
// that the allocators make. A panic is caught by EXPECT_PANIC.
#ifndef LIBOS_MEM_FAKE_MEMORY_H
#define LIBOS_MEM_FAKE_MEMORY_H

#include "libos/mem/pages.h"

#include "platform/power.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static jmp_buf panic_jump;
static int panic_expected;
static char panic_text[256];

_Noreturn void pf_panic(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(panic_text, sizeof panic_text, format, args);
    va_end(args);
    if (!panic_expected) {
        fprintf(stderr, "panic: %s\n", panic_text);
        abort();
    }
    longjmp(panic_jump, 1);
}
#define EXPECT_PANIC(text, statement)                                                              \
    do {                                                                                           \
        panic_expected = 1;                                                                        \
        if (setjmp(panic_jump) == 0) {                                                             \
            statement;                                                                             \
            fail_msg("no panic: %s", #statement);                                                  \
        }                                                                                          \
        panic_expected = 0;                                                                        \
        assert_non_null(strstr(panic_text, text));                                                 \
    } while (0)

// Frames of 2 MB; the memory is dirty, as after a reboot.
static uint8_t *fake_ram(size_t bytes)
{
    uint8_t *ram = aligned_alloc(MEM_FRAME, bytes);
    memset(ram, 0xa5, bytes);
    return ram;
}

#endif
