// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Mapping a model's pages ahead of the first step, beside it: a thread asks for them a piece at a
// time (madvise MADV_POPULATE_READ), so that products seldom wait for page faults. A model that
// would fill more than half of the memory is left to the faults.
#include "hypercall/host/tool/tool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 // Linux 5.14
#endif

enum { PIECE = 16 << 20 };

struct tool_populate {
    const struct tn_files *files;
    pthread_t thread;
    atomic_bool stop; // by the owner; relaxed: it only ends the loop
};

static void *populate(void *arg)
{
    struct tool_populate *p = arg;
    const struct gguf_block *block;
    for (size_t i = 0; (block = tn_files_block(p->files, i)); i++) {
        for (size_t at = 0; at < block->bytes; at += PIECE) {
            size_t n = block->bytes - at < PIECE ? block->bytes - at : PIECE;
            if (atomic_load_explicit(&p->stop, memory_order_relaxed) ||
                madvise((uint8_t *)(uintptr_t)block->data + at, n, MADV_POPULATE_READ) != 0) {
                return NULL; // whoever touches the pages meets the same error
            }
        }
    }
    return NULL;
}

struct tool_populate *tool_populate_start(const struct tn_files *files)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page <= 0 || tn_files_bytes(files) > (uint64_t)pages / 2 * (uint64_t)page) {
        return NULL;
    }
    struct tool_populate *p = calloc(1, sizeof *p);
    if (!p) {
        return NULL;
    }
    p->files = files;
    atomic_init(&p->stop, false);
    if (pthread_create(&p->thread, NULL, populate, p) != 0) {
        free(p);
        return NULL;
    }
    return p;
}

void tool_populate_stop(struct tool_populate *p)
{
    if (p) {
        atomic_store_explicit(&p->stop, true, memory_order_relaxed);
        pthread_join(p->thread, NULL);
        free(p);
    }
}
