// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Address spaces: there is one. All RAM is in the direct map (RW, NX, 2 MB/1 GB pages; the
// kernel image's own pages are read-only there), the image runs at a random base (text R-X,
// rodata R--, data RW-), everything else is mapped on demand. Source: Intel SDM 3A ch. 4.
#ifndef PLATFORM_PAGING_H
#define PLATFORM_PAGING_H

#include "platform/boot.h"

#include <stddef.h>
#include <stdint.h>

#define PF_PAGE      4096ul
#define PF_HUGE_PAGE (2ul << 20)

// Virtual windows. All page-table memory is private to platform/.
#define PF_DIRECT_BASE 0xffff880000000000ul // direct map: VA = PA + this
#define PF_VMAP_BASE   0x0000100000000000ul // libos mappings: stacks, mmap, guarded blocks
#define PF_VMAP_END    0x0000500000000000ul
#define PF_IOMAP_BASE  0x0000600000000000ul // pf_map_device hands these out
#define PF_IOMAP_END   0x0000700000000000ul

enum pf_prot { PF_PROT_NONE = 0, PF_PROT_READ = 1, PF_PROT_WRITE = 2, PF_PROT_EXEC = 4 };
enum pf_cache { PF_CACHE_WB = 0, PF_CACHE_UC = 1, PF_CACHE_WC = 2 };

static inline void *pf_phys_to_virt(uint64_t phys)
{
    return (void *)(phys + PF_DIRECT_BASE);
}
// Physical address behind any mapped address, PF_PROT_NONE pages too, or UINT64_MAX. Takes no lock:
// irq-safe, but the caller owns the mapping.
uint64_t pf_virt_to_phys(const void *virt);

// The four below: any CPU, not from interrupts, under no lock that others spin on with interrupts
// off (unmapping and protecting wait for the other CPUs to flush).
// Maps [virt, virt+bytes) to [phys, phys+bytes); all multiples of 4096; uses 2 MB and 1 GB pages
// where both addresses allow. WRITE together with EXEC is refused. 0, -EINVAL, -EEXIST, -ENOMEM.
int pf_map(uint64_t virt, uint64_t phys, size_t bytes, unsigned prot, enum pf_cache cache);
// Removes mappings and flushes every CPU's TLB. Pages not mapped are skipped. 0, -EINVAL, -ENOMEM
// (a large page could not be split: it and what follows are still mapped).
int pf_unmap(uint64_t virt, size_t bytes);
// Changes protection of mapped pages (splitting large ones). PF_PROT_NONE keeps the frame but
// makes any access fault. Errors as pf_unmap.
int pf_protect(uint64_t virt, size_t bytes, unsigned prot);

// Maps a device's physical range (any alignment) and returns a pointer to its first byte, NULL
// if out of memory. cache: UC for registers, WB for pmem. prot without EXEC.
void *pf_map_device(uint64_t phys, size_t bytes, unsigned prot, enum pf_cache cache);

// Frames for page tables and early data come from the boot memory map until the libos calls
// pf_page_source; after that from `alloc` (returns physical address of one zeroed 4 KB frame, or
// 0). The libos must not use the ranges that pf_free_ranges does not list.
void pf_page_source(uint64_t (*alloc)(void));
// RAM still free (boot allocations, image, modules, low 1 MB excluded); returns the count. Stable
// only after pf_page_source has been called.
size_t pf_free_ranges(struct pf_range *out, size_t max);

#endif
