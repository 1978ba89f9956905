// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What libos/core calls of libos/watch.
#ifndef LIBOS_WATCH_WATCH_H
#define LIBOS_WATCH_WATCH_H

// From here on the crash report tells which strand ran, and what the address of a page fault was.
void watch_crash_init(void);

#endif
