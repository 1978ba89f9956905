// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The function table that the second link puts into the image: a 32-bit count, that many 32-bit
// ascending offsets from the image's base, then as many NUL-terminated names in the same order.
// The last entry is the end of the code, with an empty name. Made by images/tools/symtab.c.
#ifndef PLATFORM_CRASH_SYMBOLS_H
#define PLATFORM_CRASH_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>

// The function that holds offset `at`, and how far in. NULL: none, or the table is damaged.
const char *pf_symbols_find(const void *table, size_t bytes, uint64_t at, uint64_t *into);

#endif
