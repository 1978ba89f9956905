// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Clocks, in units that fit a subtraction.
#ifndef TESSERA_BASE_CLOCK_H
#define TESSERA_BASE_CLOCK_H

#include <stdint.h>

// Since the machine's start: never set back.
uint64_t monotonic_ns(void);
int64_t monotonic_ms(void);
// Since 1970: what files and records keep.
int64_t wall_ms(void);
// Less where a signal comes.
void sleep_ms(long ms);

#endif
