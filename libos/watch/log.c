// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The log: a ring of records in memory, echoed to the console.
#include "libos/log.h"

#include "libos/spin.h"
#include "platform/serial.h"
#include "platform/time.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RING_BYTES 16384u
#define TEXT_BYTES 400u

struct record { // followed by `bytes` of text with its NUL
    uint64_t ns;
    uint16_t bytes;
    uint8_t level;
    char module[9];
};

static uint32_t lock; // protects the ring
static uint8_t ring[RING_BYTES];
static uint32_t head, used; // where the oldest record starts, bytes of all records
static enum log_level console = LOG_INFO;

static void copy_out(uint32_t at, void *to, uint32_t bytes)
{
    at %= RING_BYTES;
    uint32_t first = bytes < RING_BYTES - at ? bytes : RING_BYTES - at;
    memcpy(to, ring + at, first);
    memcpy((uint8_t *)to + first, ring, bytes - first);
}
static void copy_in(uint32_t at, const void *from, uint32_t bytes)
{
    at %= RING_BYTES;
    uint32_t first = bytes < RING_BYTES - at ? bytes : RING_BYTES - at;
    memcpy(ring + at, from, first);
    memcpy(ring, (const uint8_t *)from + first, bytes - first);
}

static void keep(const struct record *r, const char *text)
{
    uint32_t need = (uint32_t)sizeof *r + r->bytes;
    spin_lock(&lock);
    while (RING_BYTES - used < need) { // the oldest go
        struct record old;
        copy_out(head, &old, sizeof old);
        head = (head + (uint32_t)sizeof old + old.bytes) % RING_BYTES;
        used -= (uint32_t)sizeof old + old.bytes;
    }
    copy_in(head + used, r, sizeof *r);
    copy_in(head + used + (uint32_t)sizeof *r, text, r->bytes);
    used += need;
    spin_unlock(&lock);
}

void log_line(enum log_level level, const char *module, const char *format, ...)
{
    static const char *const mark[] = {"error: ", "warning: ", "", ""};
    char line[TEXT_BYTES + 64];
    struct record r = {.ns = pf_now_ns(), .level = (uint8_t)level};
    snprintf(r.module, sizeof r.module, "%s", module);
    int start =
        snprintf(line, sizeof line, "[%5lu.%06lu] %s: %s", (unsigned long)(r.ns / 1000000000u),
                 (unsigned long)(r.ns / 1000u % 1000000u), r.module, mark[level & 3]);
    char *text = line + start;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, TEXT_BYTES, format, args);
    va_end(args);
    n = n < 0 ? 0 : n >= (int)TEXT_BYTES ? (int)TEXT_BYTES - 1 : n;
    text[n] = '\0';
    r.bytes = (uint16_t)(n + 1);
    keep(&r, text);
    if (level <= console) {
        text[n] = '\n';
        pf_serial_write(line, (size_t)(start + n + 1));
    }
}

void log_console_level(enum log_level level)
{
    console = level;
}

void log_each(void (*each)(void *ctx, uint64_t ns, enum log_level level, const char *module,
                           const char *text),
              void *ctx)
{
    // A copy, so that `each` may write to the console, or log.
    uint8_t *copy = malloc(RING_BYTES);
    if (!copy) {
        return;
    }
    spin_lock(&lock);
    uint32_t bytes = used;
    copy_out(head, copy, bytes);
    spin_unlock(&lock);
    for (uint32_t at = 0; at < bytes;) {
        struct record r;
        memcpy(&r, copy + at, sizeof r);
        each(ctx, r.ns, (enum log_level)r.level, r.module, (char *)copy + at + sizeof r);
        at += (uint32_t)sizeof r + r.bytes;
    }
    free(copy);
}
