// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any body: refused with a status and a message, or a completion whose values are in range.
// Links: apps/llm/request.c apps/llm/body.c @tensor
// Libs: -ljansson
#include "apps/llm/request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    for (int chat = 0; chat < 2; chat++) {
        struct completion c;
        struct fault f = {0};
        if (completion_parse(bytes ? (const char *)data : "", bytes, chat, &c, &f)) {
            if (f.status < 400 || !f.message[0])
                abort();
        } else if (!(c.sampling.temperature >= 0) || !(c.sampling.top_p <= 1) ||
                   c.stop.count > STOP_MAX || !(c.prompt || c.ids || c.messages)) {
            abort();
        }
        completion_free(&c);
    }
    return 0;
}
