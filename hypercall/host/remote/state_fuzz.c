// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as a transfer's state, any text as a URI: a state that is taken is written back the
// same.
//
// Links: hypercall/host/remote/state.c hypercall/host/remote/where.c
#include "hypercall/host/remote/private.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct remote_state s;
    struct remote_machine m;
    char text[REMOTE_STATE] = "", again[REMOTE_STATE], uri[512];
    memcpy(text, data, bytes < sizeof text ? bytes : sizeof text);
    if (remote_state_parse(text, &s) == 0) {
        remote_state_print(&s, again);
        if (memcmp(text, again, sizeof text) != 0) {
            abort();
        }
    }
    size_t n = bytes < sizeof uri - 1 ? bytes : sizeof uri - 1;
    memcpy(uri, data, n);
    uri[n] = 0;
    remote_machine_of(uri, &m);
    if (strpbrk(m.ssh, ";|&$`'\"\\\n()<>*?[]{}!#")) {
        abort(); // a user is told to type it
    }
    return 0;
}
