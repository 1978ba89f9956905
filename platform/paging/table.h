// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Four-level page tables as data: building, changing and walking them, without touching the CPU.
// Source: Intel SDM 3A 4.5.
#ifndef PLATFORM_PAGING_TABLE_H
#define PLATFORM_PAGING_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PTE_PRESENT  (1ull << 0)
#define PTE_WRITE    (1ull << 1)
#define PTE_PWT      (1ull << 3) // alone: write-combining, as pf_cpu_init sets the PAT
#define PTE_PCD      (1ull << 4) // with PWT: uncached
#define PTE_ACCESSED (1ull << 5)
#define PTE_DIRTY    (1ull << 6)
#define PTE_LARGE    (1ull << 7)
#define PTE_HELD     (1ull << 9) // ours: not present, but the frame stays known
#define PTE_NX       (1ull << 63)
#define PTE_ADDRESS  0x000ffffffffff000ull

struct pf_table {
    uint64_t root;                       // physical address of the PML4
    uint64_t offset;                     // physical address + offset = pointer
    uint64_t (*take)(struct pf_table *); // one zeroed frame, 0 when there is none
    bool page1g;                         // 1 GB pages may be used
    bool nx;                             // PTE_NX may be used
};

// Maps whole pages with the leaf flags given, with the largest pages that fit. 0, -EINVAL (not
// whole pages, not canonical, wraps), -EEXIST (something is there; nothing was changed), -ENOMEM
// (undone).
int pf_table_map(struct pf_table *t, uint64_t virt, uint64_t phys, uint64_t bytes, uint64_t flags);
// Empties the range; splits large pages at its borders. 0, -EINVAL, -ENOMEM (a split failed;
// pages before it are unmapped).
int pf_table_unmap(struct pf_table *t, uint64_t virt, uint64_t bytes);
// Gives what is mapped in the range new access flags (PRESENT, WRITE, NX); the memory type stays.
// Without PRESENT the frame is held. Errors as pf_table_unmap.
int pf_table_protect(struct pf_table *t, uint64_t virt, uint64_t bytes, uint64_t flags);
// The leaf entry for an address (0: none) and how many bytes it covers.
uint64_t pf_table_lookup(const struct pf_table *t, uint64_t virt, uint64_t *span);
// Physical address behind `virt`, present or held; UINT64_MAX: none.
uint64_t pf_table_phys(const struct pf_table *t, uint64_t virt);

#endif
