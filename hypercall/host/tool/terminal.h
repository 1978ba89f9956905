// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The terminal in another mode, and back as it was on every way out: return, exit, and the signals
// that run_catch_interrupts does not take.
#ifndef TESSERA_TOOL_TERMINAL_H
#define TESSERA_TOOL_TERMINAL_H

#include <stdbool.h>

// A screen of its own without a cursor; `keys`: single keys reach standard input, unseen. An exit
// status, with a message printed.
int terminal_table(bool keys);
// Every byte of standard input as it is typed, Ctrl-C too; nothing is echoed or changed on the way.
int terminal_raw(void);
// As it was before; nothing where nothing was changed.
void terminal_restore(void);
void terminal_size(unsigned *rows, unsigned *columns);

#endif
