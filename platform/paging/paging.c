// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The one address space: public calls over paging/table.c, the device and stack windows, and
// where frames for tables come from.
#include "platform/paging.h"
#include "platform/boot/early.h"
#include "platform/cpu.h"
#include "platform/lib/mem.h"
#include "platform/paging/paging.h"
#include "platform/power.h"

#include <errno.h>

struct pf_table pf_kernel_table;

// Owner of pf_kernel_table, pf_boot_frames and the two window cursors below. Taken with
// interrupts off; a waiter answers flush requests, since the holder may be waiting for it.
static uint32_t lock;
static uint64_t next_device = PF_IOMAP_BASE;
static uint64_t next_stack = PF_STACK_BASE;
static uint64_t (*page_source)(void); // set once by the libos

static uint64_t paging_lock(void)
{
    uint64_t flags = pf_irq_save();
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE)) {
        pf_tlb_poll();
        pf_pause();
    }
    return flags;
}

static void paging_unlock(uint64_t flags)
{
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    pf_irq_restore(flags);
}

static uint64_t take_frame(struct pf_table *t)
{
    if (page_source != NULL) {
        return page_source();
    }
    uint64_t frame = pf_frames_take(&pf_boot_frames);
    if (frame != 0) {
        memset((void *)(frame + t->offset), 0, PF_PAGE);
    }
    return frame;
}

void pf_paging_init(void)
{
    // Both were set by code that ran at the load address.
    pf_kernel_table.offset = PF_DIRECT_BASE;
    pf_kernel_table.take = take_frame;
    pf_boot_frames.ranges = pf_boot_record.ranges;
}

void pf_page_source(uint64_t (*alloc)(void))
{
    uint64_t flags = paging_lock();
    page_source = alloc;
    paging_unlock(flags);
}

size_t pf_free_ranges(struct pf_range *out, size_t max)
{
    uint64_t flags = paging_lock();
    size_t count = pf_frames_left(&pf_boot_frames, out, max);
    paging_unlock(flags);
    return count;
}

static bool is_canonical(uint64_t virt)
{
    int64_t top = (int64_t)virt >> 47;
    return top == 0 || top == -1;
}

uint64_t pf_virt_to_phys(const void *virt)
{
    return is_canonical((uint64_t)virt) ? pf_table_phys(&pf_kernel_table, (uint64_t)virt)
                                        : UINT64_MAX;
}

int pf_readable8(uint64_t virt)
{
    for (unsigned i = 0; i < 8; i += 7) {
        uint64_t span;
        if (!is_canonical(virt + i) ||
            (pf_table_lookup(&pf_kernel_table, virt + i, &span) & PTE_PRESENT) == 0) {
            return 0;
        }
    }
    return 1;
}

// Leaf flags for a protection, UINT64_MAX for one that is refused.
static uint64_t leaf_flags(unsigned prot)
{
    if (prot == PF_PROT_NONE) {
        return PTE_HELD;
    }
    if ((prot & PF_PROT_WRITE) != 0 && (prot & PF_PROT_EXEC) != 0 && !pf_protection_off("wx")) {
        return UINT64_MAX;
    }
    return PTE_PRESENT | ((prot & PF_PROT_WRITE) != 0 ? PTE_WRITE : 0) |
           ((prot & PF_PROT_EXEC) != 0 || pf_protection_off("nx") ? 0 : PTE_NX);
}

static uint64_t cache_flags(enum pf_cache cache)
{
    switch (cache) {
    case PF_CACHE_WC:
        return PTE_PWT;
    case PF_CACHE_UC:
        return PTE_PWT | PTE_PCD;
    default:
        return 0;
    }
}

int pf_map(uint64_t virt, uint64_t phys, size_t bytes, unsigned prot, enum pf_cache cache)
{
    uint64_t leaf = leaf_flags(prot);
    if (leaf == UINT64_MAX) {
        return -EINVAL;
    }
    uint64_t flags = paging_lock();
    // An entry that was empty is in no TLB: nothing to flush.
    int error = pf_table_map(&pf_kernel_table, virt, phys, bytes, leaf | cache_flags(cache));
    paging_unlock(flags);
    return error;
}

int pf_unmap(uint64_t virt, size_t bytes)
{
    uint64_t flags = paging_lock();
    int error = pf_table_unmap(&pf_kernel_table, virt, bytes);
    if (error != -EINVAL) {
        pf_tlb_flush(virt, bytes);
    }
    paging_unlock(flags);
    return error;
}

int pf_protect(uint64_t virt, size_t bytes, unsigned prot)
{
    uint64_t leaf = leaf_flags(prot);
    if (leaf == UINT64_MAX) {
        return -EINVAL;
    }
    uint64_t flags = paging_lock();
    int error = pf_table_protect(&pf_kernel_table, virt, bytes, leaf);
    if (error != -EINVAL) {
        pf_tlb_flush(virt, bytes);
    }
    paging_unlock(flags);
    return error;
}

void *pf_map_device(uint64_t phys, size_t bytes, unsigned prot, enum pf_cache cache)
{
    uint64_t leaf = leaf_flags(prot & ~(unsigned)PF_PROT_EXEC);
    uint64_t first = phys & ~(PF_PAGE - 1);
    uint64_t span = ((phys - first) + bytes + PF_PAGE - 1) & ~(PF_PAGE - 1);
    if (bytes == 0 || phys + bytes < phys) {
        return NULL;
    }
    uint64_t flags = paging_lock();
    uint64_t virt = next_device;
    // The same offset within a large page on both sides lets large pages be used.
    uint64_t align = span >= PF_HUGE_PAGE << 9 && pf_kernel_table.page1g ? PF_HUGE_PAGE << 9
                     : span >= PF_HUGE_PAGE                              ? PF_HUGE_PAGE
                                                                         : PF_PAGE;
    virt += (first - virt) & (align - 1);
    int error = -ENOMEM;
    if (virt < PF_IOMAP_END && span <= PF_IOMAP_END - virt) {
        error = pf_table_map(&pf_kernel_table, virt, first, span, leaf | cache_flags(cache));
    }
    if (error == 0) {
        next_device = virt + span + PF_PAGE; // a page that faults between two devices
    }
    paging_unlock(flags);
    return error == 0 ? (void *)(virt + (phys - first)) : NULL;
}

uint64_t pf_stack_map(uint64_t bytes)
{
    uint64_t flags = paging_lock();
    uint64_t low = next_stack + PF_PAGE;
    uint64_t top = 0;
    if (bytes <= PF_STACK_END - low) {
        uint64_t done = 0;
        while (done < bytes) {
            uint64_t frame = take_frame(&pf_kernel_table);
            if (frame == 0 || pf_table_map(&pf_kernel_table, low + done, frame, PF_PAGE,
                                           leaf_flags(PF_PROT_READ | PF_PROT_WRITE)) != 0) {
                break;
            }
            done += PF_PAGE;
        }
        next_stack = low + bytes;
        top = done == bytes ? low + bytes : 0;
    }
    paging_unlock(flags);
    return top;
}
