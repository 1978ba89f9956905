// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Between the files of libos/core.
#ifndef LIBOS_CORE_CORE_H
#define LIBOS_CORE_CORE_H

#include <stdint.h>

// Waits on the main strand until the machine shall end, and ends it.
_Noreturn void core_wait_for_end(void);
void core_button_pressed(void *arg); // from the interrupt handler

#endif
