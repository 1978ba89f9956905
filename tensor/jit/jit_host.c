// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Memory for code on the host: mapped writable, then made executable and read-only.
#include "tensor/jit.h"

#include <errno.h>
#include <sys/mman.h>

static void *map(void *ctx, size_t bytes)
{
    (void)ctx;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static int seal(void *ctx, void *code, size_t bytes)
{
    (void)ctx;
    return mprotect(code, bytes, PROT_READ | PROT_EXEC) ? -errno : 0;
}

static void unmap(void *ctx, void *code, size_t bytes)
{
    (void)ctx;
    munmap(code, bytes);
}

const struct jit_memory *jit_host_memory(void)
{
    static const struct jit_memory memory = {NULL, map, seal, unmap};
    return &memory;
}
