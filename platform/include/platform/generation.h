// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which run of this machine's state this is. A saved state may be run again, and more than once:
// what must not repeat (random numbers, names) or is out of date then (the wall clock, the host's
// side of tensor calls) goes by a change of the generation. The host gives each QEMU process
// another one (README.md beside generation.c); without it every look says 0.
#ifndef PLATFORM_GENERATION_H
#define PLATFORM_GENERATION_H

#include <stddef.h>
#include <stdint.h>

#define PF_GENERATION_BYTES 64

// Asks the host, which takes a few microseconds, and returns how often the generation has changed
// since boot. A state that is saved inside of this call or just after it looks unchanged until the
// next. Any CPU, not from interrupts.
uint32_t pf_generation_look(void);
// The same as the last look on any CPU found it. Costs nothing; irq-safe.
uint32_t pf_generation(void);
// What the host gave at the last look, for mixing into random state: no secret. Returns its bytes,
// 0: the host gives none.
size_t pf_generation_id(uint8_t out[PF_GENERATION_BYTES]);

#endif
