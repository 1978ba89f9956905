// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The C allocator of the guest, in place of musl's: slab classes up to 2048 bytes, guarded pages
// beyond. musl's own names for it (__libc_malloc …) are defined too, so that nothing of its
// allocator is linked in.
#include "libos/mem/internal.h"

#include "platform/boot.h"
#include "platform/power.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define CALLER mem_caller(__builtin_return_address(0))

// musl asks this when it decides whether calloc may skip clearing.
int __malloc_replaced = 1;
int __aligned_alloc_replaced = 1;

uint32_t mem_caller(const void *return_address)
{
    return (uint32_t)((uint64_t)return_address - pf_boot_info()->image_virt);
}

static void *allocate(size_t bytes, size_t align, uint32_t caller)
{
    if (bytes == 0) {
        bytes = 1;
    }
    void *block;
    if (bytes <= SLAB_MAX && align <= 16) {
        block = slab_alloc(&mem_slabs, bytes, caller);
        if (!block) {
            large_flush_cache();
            block = slab_alloc(&mem_slabs, bytes, caller);
        }
        if (block) {
            mem_count_alloc(MEM_KERNEL);
        }
    } else {
        block = large_alloc(bytes, align, caller);
    }
    if (!block) {
        errno = ENOMEM;
    }
    return block;
}

static void release(void *block)
{
    if (!block) {
        return;
    }
    if (slab_owns(&mem_slabs, block)) {
        slab_free(&mem_slabs, block);
        mem_count_free(MEM_KERNEL);
    } else {
        large_free(block);
    }
}

size_t mem_block_size(const void *block)
{
    return slab_owns(&mem_slabs, block) ? slab_size(&mem_slabs, block) : large_size(block);
}

static void *allocate_cleared(size_t count, size_t size, uint32_t caller)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    void *block = allocate(bytes, 16, caller);
    if (block) {
        memset(block, 0, bytes);
    }
    return block;
}

static void *reallocate(void *old, size_t bytes, uint32_t caller)
{
    if (!old) {
        return allocate(bytes, 16, caller);
    }
    size_t before = mem_block_size(old);
    if (before == bytes) {
        return old;
    }
    void *block = allocate(bytes, 16, caller);
    if (block) {
        memcpy(block, old, before < bytes ? before : bytes);
        release(old);
    }
    return block;
}

static int allocate_aligned(void **out, size_t align, size_t bytes, uint32_t caller)
{
    if (align == 0 || align & (align - 1)) {
        return EINVAL;
    }
    void *block = allocate(bytes, align, caller);
    if (!block) {
        return ENOMEM;
    }
    *out = block;
    return 0;
}

void *malloc(size_t bytes)
{
    return allocate(bytes, 16, CALLER);
}
void free(void *block)
{
    int saved = errno;
    release(block);
    errno = saved;
}
void *calloc(size_t count, size_t size)
{
    return allocate_cleared(count, size, CALLER);
}
void *realloc(void *block, size_t bytes)
{
    return reallocate(block, bytes, CALLER);
}
int posix_memalign(void **out, size_t align, size_t bytes)
{
    return align < sizeof(void *) ? EINVAL : allocate_aligned(out, align, bytes, CALLER);
}
void *memalign(size_t align, size_t bytes)
{
    void *block = NULL;
    int e = allocate_aligned(&block, align, bytes, CALLER);
    if (e) {
        errno = e;
    }
    return block;
}
void *aligned_alloc(size_t align, size_t bytes)
{
    void *block = NULL;
    int e = allocate_aligned(&block, align, bytes, CALLER);
    if (e) {
        errno = e;
    }
    return block;
}
size_t malloc_usable_size(void *block)
{
    return block ? mem_block_size(block) : 0;
}

void *__libc_malloc(size_t bytes)
{
    return allocate(bytes, 16, CALLER);
}
void __libc_free(void *block)
{
    release(block);
}
void *__libc_calloc(size_t count, size_t size)
{
    return allocate_cleared(count, size, CALLER);
}
void *__libc_realloc(void *block, size_t bytes)
{
    return reallocate(block, bytes, CALLER);
}
