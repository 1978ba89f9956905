// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Shared by the shell and its built-in commands.
#ifndef LIBOS_SHELL_INTERNAL_H
#define LIBOS_SHELL_INTERNAL_H

#include "libos/shell.h"

#include <stdint.h>

// All commands in order of their names; returns how many were stored.
size_t shell_commands(struct shell_command **out, size_t max);
struct shell_command *shell_find(const char *name);

void shell_register_help(void);    // registry.c
void shell_register_system(void);  // commands_system.c
void shell_register_machine(void); // commands_machine.c
void shell_register_power(void);   // commands_power.c

// "1.5 MB" into buf (16 bytes are enough); returns buf.
const char *shell_bytes(char *buf, size_t size, uint64_t bytes);
// A decimal argument in [min, max]; prints what was wrong and returns -EINVAL.
int shell_number(const char *text, uint64_t min, uint64_t max, uint64_t *value);

#endif
