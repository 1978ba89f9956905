// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Pages mapped in the vmap window. The page table is the only record of which frame backs a page.
// No lock of ours is held while the platform maps: it may ask for a page-table frame in turn.
#include "libos/mem/internal.h"

#include "platform/paging.h"
#include "platform/power.h"

#include <errno.h>
#include <string.h>

// Maps fresh frames to [va, va + pages), none of which is mapped. Returns how many pages it got.
static size_t map_fresh(uint64_t va, size_t pages, unsigned prot, bool clear)
{
    size_t done = 0;
    size_t limit = pages;
    while (done < pages) {
        uint64_t at = va + done * MEM_PAGE;
        size_t n = pages - done < limit ? pages - done : limit;
        if (n >= MEM_FRAME_PAGES) { // a large page only helps where both sides are aligned
            size_t to_boundary = (MEM_FRAME - at % MEM_FRAME) % MEM_FRAME / MEM_PAGE;
            n = to_boundary ? to_boundary : n - n % MEM_FRAME_PAGES;
        }
        uint64_t phys = mem_pages_alloc(&mem_pool, n);
        if (!phys) {
            if (n == 1) {
                break;
            }
            limit = n > MEM_FRAME_PAGES ? MEM_FRAME_PAGES : n / 2;
            continue;
        }
        if (clear) {
            memset((void *)(phys + mem_pool.virt_offset), 0, n * MEM_PAGE);
        }
        if (pf_map(at, phys, n * MEM_PAGE, prot, PF_CACHE_WB) != 0) {
            mem_pages_free(&mem_pool, phys, n);
            break;
        }
        done += n;
    }
    return done;
}

size_t region_drop(uint64_t va, size_t pages)
{
    // Frames are given back only after every CPU has forgotten the mapping, so they are collected
    // in runs first; a batch bounds the stack.
    struct {
        uint64_t phys;
        size_t pages;
    } run[32];
    size_t dropped = 0, at = 0;
    while (at < pages) {
        size_t runs = 0, from = at;
        for (; at < pages; at++) {
            uint64_t phys = pf_virt_to_phys((void *)(va + at * MEM_PAGE));
            if (phys == UINT64_MAX) {
                continue;
            }
            if (!mem_pages_owns(&mem_pool, phys)) { // a boot file's page: not ours to free
                continue;
            }
            if (runs && run[runs - 1].phys + run[runs - 1].pages * MEM_PAGE == phys) {
                run[runs - 1].pages++;
            } else if (runs == 32) {
                break;
            } else {
                run[runs].phys = phys;
                run[runs++].pages = 1;
            }
        }
        if (pf_unmap(va + from * MEM_PAGE, (at - from) * MEM_PAGE) != 0) {
            continue; // no frame to split a large page with: what may still be mapped is kept
        }
        for (size_t i = 0; i < runs; i++) {
            mem_pages_free(&mem_pool, run[i].phys, run[i].pages);
            dropped += run[i].pages;
        }
    }
    return dropped;
}

void *region_create(size_t pages, size_t guard_pages, size_t align)
{
    uint64_t bytes = (uint64_t)(pages + guard_pages) * MEM_PAGE;
    if (pages >= MEM_FRAME_PAGES && align < MEM_FRAME) {
        align = MEM_FRAME;
    }
    uint64_t va = vspace_alloc(&mem_space, bytes, align < MEM_PAGE ? MEM_PAGE : align);
    if (!va) {
        return NULL;
    }
    size_t got = map_fresh(va, pages, PF_PROT_READ | PF_PROT_WRITE, false);
    if (got < pages) {
        if (got) {
            region_drop(va, got);
        }
        vspace_free(&mem_space, va, bytes);
        return NULL;
    }
    return (void *)va;
}

void region_destroy(void *base, size_t pages, size_t guard_pages)
{
    region_drop((uint64_t)base, pages);
    vspace_free(&mem_space, (uint64_t)base, (uint64_t)(pages + guard_pages) * MEM_PAGE);
}

int region_back(uint64_t va, size_t pages, unsigned prot, size_t *added)
{
    *added = 0;
    for (size_t i = 0; i < pages;) {
        bool mapped = pf_virt_to_phys((void *)(va + i * MEM_PAGE)) != UINT64_MAX;
        size_t run = 1;
        while (i + run < pages &&
               (pf_virt_to_phys((void *)(va + (i + run) * MEM_PAGE)) != UINT64_MAX) == mapped) {
            run++;
        }
        if (mapped) {
            int e = pf_protect(va + i * MEM_PAGE, run * MEM_PAGE, prot);
            if (e != 0) {
                return e;
            }
        } else {
            size_t got = map_fresh(va + i * MEM_PAGE, run, prot, true);
            *added += got;
            if (got < run) {
                return -ENOMEM;
            }
        }
        i += run;
    }
    return 0;
}
