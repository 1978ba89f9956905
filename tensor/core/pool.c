// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The pool of one: every tile on the caller.
#include "tensor/pool.h"

static void run_here(struct tn_pool *p, void (*tile)(void *arg, size_t i, unsigned worker),
                     void *arg, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tile(arg, i, 0);
        if (p->relax) {
            p->relax();
        }
    }
}

struct tn_pool tn_pool_single = {.width = 1, .run = run_here};
