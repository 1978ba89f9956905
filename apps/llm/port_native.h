// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The host's surroundings: port.h and what only a host program needs.
#ifndef APPS_LLM_PORT_NATIVE_H
#define APPS_LLM_PORT_NATIVE_H

#include "apps/llm/port.h"

// Before anything else of port.h. threads 0: one a core.
int port_native_init(unsigned threads);

#endif
