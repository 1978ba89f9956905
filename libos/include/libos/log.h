// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The log: a ring of lines in memory (the shell's `log`), echoed to the console at INFO and above.
#ifndef LIBOS_LOG_H
#define LIBOS_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

// One line, no newline at the end. module: "net", "blk", … Any strand, not from interrupts.
void log_line(enum log_level level, const char *module, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define log_error(module, ...) log_line(LOG_ERROR, module, __VA_ARGS__)
#define log_warn(module, ...)  log_line(LOG_WARN, module, __VA_ARGS__)
#define log_info(module, ...)  log_line(LOG_INFO, module, __VA_ARGS__)
#define log_debug(module, ...) log_line(LOG_DEBUG, module, __VA_ARGS__)

// Lines at or below `level` go to the console (manifest key `log`).
void log_console_level(enum log_level level);
// Calls each(ctx, time_ns, level, module, text) for the kept lines, oldest first.
void log_each(void (*each)(void *ctx, uint64_t ns, enum log_level level, const char *module,
                           const char *text),
              void *ctx);

// Boot stages: name and time since entry, printed as one table when the guest listens.
void stage_mark(const char *name);
void stage_print(void);

#endif
