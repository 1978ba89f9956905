// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The console shell on the serial line. Commands register themselves.
#ifndef LIBOS_SHELL_H
#define LIBOS_SHELL_H

#include <stddef.h>

struct shell_command {
    const char *name, *usage, *help;   // "chat", "TEXT…", "ask the model"
    int (*run)(int argc, char **argv); // 0 or a negative errno (printed in words)
    struct shell_command *next;
    const char *const *arguments; // what Tab offers after the name; NULL-terminated, may be NULL
};
// Static storage; any strand, any time. `help` lists it, Tab completes its name.
void shell_register(struct shell_command *c);
// For commands, on the shell's strand: output, with line endings put right. 0; -EINTR after Ctrl-C
// (the command should return it).
int shell_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
// True once the user pressed Ctrl-C during the running command. A command that waits asks for it
// every few tens of milliseconds.
int shell_interrupted(void);
// Starts the shell's strand. It prints nothing before the first key.
void shell_start(void);

#endif
