// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// mmap and its kin, in the vmap window. Accessible pages get their frames at once (there is no
// demand paging); PROT_NONE reserves addresses and nothing else. Counted in zone KERNEL.
#include "libos/posix/internal.h"

#include "libos/mem/internal.h"
#include "libos/sched/internal.h"
#include "platform/paging.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static size_t pages_of(size_t bytes)
{
    return (bytes + MEM_PAGE - 1) / MEM_PAGE;
}

static unsigned prot_of(int prot)
{
    return (prot & PROT_READ ? PF_PROT_READ : 0u) | (prot & PROT_WRITE ? PF_PROT_WRITE : 0u) |
           (prot & PROT_EXEC ? PF_PROT_EXEC : 0u);
}

static void drop(uint64_t va, size_t pages)
{
    size_t dropped = region_drop(va, pages);
    mem_account(MEM_KERNEL, -(int64_t)dropped);
}

// Gives frames to those pages of [va, va + pages) that have none, and accounts them.
static long back(uint64_t va, size_t pages, unsigned prot)
{
    size_t added;
    if (!mem_account(MEM_KERNEL, (int64_t)pages)) {
        return -ENOMEM;
    }
    int e = region_back(va, pages, prot, &added);
    mem_account(MEM_KERNEL, -(int64_t)(pages - added));
    return e;
}

// The same for pages none of which has a frame; on failure none has one afterwards.
static long back_fresh(uint64_t va, size_t pages, unsigned prot)
{
    size_t added;
    if (!mem_account(MEM_KERNEL, (int64_t)pages)) {
        return -ENOMEM;
    }
    int e = region_back(va, pages, prot, &added);
    mem_account(MEM_KERNEL, -(int64_t)(pages - added));
    if (e != 0) {
        drop(va, added);
    }
    return e;
}

// A file's bytes: shared and read-only where they lie on a page boundary, else a private copy.
static long map_file(uint64_t va, size_t pages, int prot, int flags, int fd, uint64_t offset)
{
    const void *data;
    size_t bytes;
    int e = posix_file_bytes(fd, &data, &bytes);
    if (e != 0) {
        return e;
    }
    if (prot & PROT_EXEC || ((prot & PROT_WRITE) && (flags & MAP_SHARED))) {
        return -EACCES;
    }
    if (offset % MEM_PAGE || offset >= bytes) {
        return -EINVAL;
    }
    const uint8_t *from = (const uint8_t *)data + offset;
    size_t have = bytes - offset < pages * MEM_PAGE ? bytes - offset : pages * MEM_PAGE;
    uint64_t phys = pf_virt_to_phys(from);
    if (!(prot & PROT_WRITE) && (uint64_t)from % MEM_PAGE == 0 && phys != UINT64_MAX &&
        have > (pages - 1) * MEM_PAGE) {
        size_t done = 0;
        while (done < pages) { // the file may be contiguous in virtual addresses only
            size_t run = 1;
            while (done + run < pages &&
                   pf_virt_to_phys(from + (done + run) * MEM_PAGE) == phys + run * MEM_PAGE) {
                run++;
            }
            e = pf_map(va + done * MEM_PAGE, phys, run * MEM_PAGE, PF_PROT_READ, PF_CACHE_WB);
            if (e != 0) {
                pf_unmap(va, done * MEM_PAGE);
                return e;
            }
            done += run;
            phys = pf_virt_to_phys(from + done * MEM_PAGE);
        }
        return 0;
    }
    long r = back_fresh(va, pages, PF_PROT_READ | PF_PROT_WRITE);
    if (r == 0) {
        memcpy((void *)va, from, have);
        r = prot & PROT_WRITE ? 0 : pf_protect(va, pages * MEM_PAGE, PF_PROT_READ);
        if (r != 0) {
            drop(va, pages);
        }
    }
    return r;
}

long call_mmap(uint64_t address, size_t bytes, int prot, int flags, int fd, uint64_t offset)
{
    size_t pages = pages_of(bytes);
    if (bytes == 0 || bytes > PF_VMAP_END - PF_VMAP_BASE) {
        return bytes ? -ENOMEM : -EINVAL;
    }
    uint64_t va;
    if (flags & MAP_FIXED) { // only over what was mapped before
        va = address;
        if (va % MEM_PAGE || !vspace_taken(&mem_space, va, pages * MEM_PAGE)) {
            return -EINVAL;
        }
        drop(va, pages);
    } else {
        va = vspace_alloc(&mem_space, pages * MEM_PAGE, bytes >= MEM_FRAME ? MEM_FRAME : MEM_PAGE);
        if (!va) {
            return -ENOMEM;
        }
    }
    long e = 0;
    if (!(flags & MAP_ANONYMOUS)) {
        e = map_file(va, pages, prot, flags, fd, offset);
    } else if (prot != PROT_NONE || mem_protection_off("stack")) {
        unsigned access = prot ? prot_of(prot) : PF_PROT_READ | PF_PROT_WRITE;
        e = back_fresh(va, pages, access);
        if (e == -ENOMEM) {
            large_flush_cache();
            e = back_fresh(va, pages, access);
        }
    }
    if (e != 0) {
        if (!(flags & MAP_FIXED)) {
            vspace_free(&mem_space, va, pages * MEM_PAGE);
        }
        return e;
    }
    return (long)va;
}

void posix_unmap(uint64_t base, uint64_t bytes)
{
    drop(base, pages_of(bytes));
    vspace_free(&mem_space, base, pages_of(bytes) * MEM_PAGE);
}

long call_munmap(uint64_t address, size_t bytes)
{
    size_t pages = pages_of(bytes);
    if (bytes == 0 || address % MEM_PAGE || !vspace_taken(&mem_space, address, pages * MEM_PAGE)) {
        return -EINVAL;
    }
    // A detached thread unmaps the stack it stands on and exits: that has to wait for its end.
    struct strand *self = strand_self();
    uint64_t here = (uint64_t)__builtin_frame_address(0);
    if (here >= address && here < address + pages * MEM_PAGE) {
        self->unmap_base = address;
        self->unmap_bytes = pages * MEM_PAGE;
        return 0;
    }
    posix_unmap(address, bytes);
    return 0;
}

long call_mprotect(uint64_t address, size_t bytes, int prot)
{
    size_t pages = pages_of(bytes);
    if (bytes == 0) {
        return 0;
    }
    if (address % MEM_PAGE) {
        return -EINVAL;
    }
    if (!vspace_taken(&mem_space, address, pages * MEM_PAGE)) {
        return -ENOMEM;
    }
    if (prot == PROT_NONE) {
        return pf_protect(address, pages * MEM_PAGE, PF_PROT_NONE);
    }
    return back(address, pages, prot_of(prot));
}

long call_mremap(uint64_t address, size_t old_bytes, size_t bytes, int flags, uint64_t to)
{
    size_t before = pages_of(old_bytes), after = pages_of(bytes);
    (void)to;
    if (flags & ~MREMAP_MAYMOVE || address % MEM_PAGE || !before || !after ||
        !vspace_taken(&mem_space, address, before * MEM_PAGE)) {
        return -EINVAL;
    }
    if (after <= before) {
        if (after < before) {
            posix_unmap(address + after * MEM_PAGE, (before - after) * MEM_PAGE);
        }
        return (long)address;
    }
    if (!(flags & MREMAP_MAYMOVE)) {
        return -ENOMEM;
    }
    long moved = call_mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (moved > 0) {
        memcpy((void *)moved, (void *)address, before * MEM_PAGE);
        posix_unmap(address, before * MEM_PAGE);
    }
    return moved;
}

long call_madvise(uint64_t address, size_t bytes, int advice)
{
    if (address % MEM_PAGE) {
        return -EINVAL;
    }
    if (advice == MADV_DONTNEED && vspace_taken(&mem_space, address, bytes)) {
        memset((void *)address, 0, bytes); // what a reader must find afterwards
    }
    return 0;
}

// The C allocator does not use the break; whoever asks is told that it cannot move.
long call_brk(uint64_t to)
{
    (void)to;
    return (long)PF_VMAP_BASE;
}
