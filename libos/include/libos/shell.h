// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The console shell on the serial line. Commands register themselves.
#ifndef LIBOS_SHELL_H
#define LIBOS_SHELL_H

#include <stddef.h>

struct shell_command {
    const char *name, *usage, *help; // "chat", "TEXT…", "ask the model"
    int (*run)(int argc, char **argv); // 0 or a negative errno (printed in words)
    struct shell_command *next;
};
void shell_register(struct shell_command *c); // static storage
// For commands: output with line endings put right; -EINTR after Ctrl-C.
int shell_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
// True once the user pressed Ctrl-C during the running command.
int shell_interrupted(void);
void shell_start(void); // its own strand

#endif
