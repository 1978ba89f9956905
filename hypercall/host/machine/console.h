// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The logs of guests' consoles, which guests write: a terminal must never see their control
// characters.
#ifndef TESSERA_MACHINE_CONSOLE_H
#define TESSERA_MACHINE_CONSOLE_H

#include <stdint.h>
#include <stdio.h>

// The file of a guest's log: $XDG_STATE_HOME/tessera/NAME.log or ~/.local/state/tessera/NAME.log.
// With `make` the folder and an empty file, readable by the user only, are made. Errors as in
// machine.h.
int console_log_path(const char *name, int make, char *out, size_t out_bytes, char *error,
                     size_t error_bytes);
// Prints bytes of a log: lines, tabs and UTF-8; everything else becomes '?', carriage returns go.
void console_print(FILE *out, const char *bytes, size_t count);
// Prints from byte *at on and moves *at; with lines > 0 only the last so many. 0 or a negative
// errno.
int console_print_file(FILE *out, const char *path, unsigned lines, uint64_t *at);

#endif
