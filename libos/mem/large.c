// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// malloc beyond the slab classes: whole pages in the vmap window, the block's end flush against an
// unmapped guard page (as far as alignment allows), so that an overrun faults at once. Freed
// blocks of a few pages stay mapped in a small cache: mapping costs a page-table walk and a
// TLB flush on every CPU.
#include "libos/mem/internal.h"

#include "libos/spin.h"
#include "platform/paging.h"
#include "platform/power.h"

#include <string.h>

#define SLACK_FILL  0xc5
#define CACHE_PAGES 32u // blocks up to this size are cached

static struct {
    uint32_t lock; // protects the rest
    struct extent *free[CACHE_PAGES + 1];
    uint64_t pages;
} cache;

static size_t guard_pages(void)
{
    return 1;
}

static struct extent *cache_take(size_t pages)
{
    if (pages > CACHE_PAGES) {
        return NULL;
    }
    spin_lock(&cache.lock);
    struct extent *e = cache.free[pages];
    if (e) {
        cache.free[pages] = e->next;
        cache.pages -= pages;
    }
    spin_unlock(&cache.lock);
    return e;
}

static bool cache_put(struct extent *e)
{
    uint64_t limit = mem_pool.total_pages / 64; // 1.5 % of RAM
    limit = limit > 1024 ? 1024 : limit;
    if (e->pages > CACHE_PAGES) {
        return false;
    }
    spin_lock(&cache.lock);
    bool fits = cache.pages + e->pages <= limit;
    if (fits) {
        e->next = cache.free[e->pages];
        cache.free[e->pages] = e;
        cache.pages += e->pages;
    }
    spin_unlock(&cache.lock);
    return fits;
}

static void extent_unmap(struct extent *e)
{
    region_destroy((void *)e->base, e->pages, guard_pages());
    mem_account(MEM_KERNEL, -(int64_t)e->pages);
    extent_delete(e);
}

void large_flush_cache(void)
{
    for (size_t n = 1; n <= CACHE_PAGES; n++) {
        struct extent *e;
        while ((e = cache_take(n)) != NULL) {
            extent_unmap(e);
        }
    }
}

static struct extent *map_new(size_t pages, size_t align)
{
    if (!mem_account(MEM_KERNEL, (int64_t)pages)) {
        return NULL;
    }
    struct extent *e = extent_new();
    void *base = e ? region_create(pages, guard_pages(), align) : NULL;
    if (!base) {
        if (e) {
            extent_delete(e);
        }
        mem_account(MEM_KERNEL, -(int64_t)pages);
        return NULL;
    }
    e->base = (uint64_t)base;
    e->pages = pages;
    if (mem_protection_off("heap")) { // attack tests: somebody's memory lies behind the block
        size_t added;
        region_back(e->base + pages * MEM_PAGE, 1, PF_PROT_READ | PF_PROT_WRITE, &added);
    }
    return e;
}

void *large_alloc(size_t bytes, size_t align, uint32_t caller)
{
    size_t room = (bytes + 15) & ~15ul;
    if (room < bytes || room > 1ul << 46) {
        return NULL;
    }
    size_t pages = (room + MEM_PAGE - 1) / MEM_PAGE;
    struct extent *e = align <= MEM_PAGE ? cache_take(pages) : NULL;
    if (!e) {
        e = map_new(pages, align);
        if (!e) {
            large_flush_cache();
            e = map_new(pages, align);
        }
        if (!e) {
            return NULL;
        }
    }
    e->bytes = bytes;
    e->caller = caller;
    e->zone = MEM_KERNEL;
    e->kind = EXTENT_MALLOC;
    // From one page of alignment on the block starts its region; below, its end is what counts.
    uint64_t end = e->base + pages * MEM_PAGE;
    e->block = align >= MEM_PAGE ? e->base : (end - room) & ~((align < 16 ? 16 : align) - 1);
    memset((void *)(e->block + bytes), SLACK_FILL, end - e->block - bytes);
    extent_insert(e);
    mem_count_alloc(MEM_KERNEL);
    return (void *)e->block;
}

static void check_slack(const struct extent *e)
{
    for (uint64_t at = e->block + e->bytes; at < e->base + e->pages * MEM_PAGE; at++) {
        if (*(const uint8_t *)at != SLACK_FILL) {
            uint64_t offset = 0;
            const char *name = pf_symbol(pf_boot_info()->image_virt + e->caller, &offset);
            pf_panic("heap: overrun: block of %lu bytes at %p, allocated by %s+0x%lx",
                     (unsigned long)e->bytes, (void *)e->block, name ? name : "(unknown)",
                     (unsigned long)offset);
        }
    }
}

void large_free(void *block)
{
    struct extent *e = extent_find(block, true);
    if (!e || e->block != (uint64_t)block) {
        pf_panic("heap: free of %p, which is not a block in use (freed twice, or wild)", block);
    }
    if (e->kind != EXTENT_MALLOC) {
        pf_panic("heap: free of %p, which came from mem_zone_alloc", block);
    }
    if (!mem_protection_off("heap")) {
        check_slack(e);
    }
    mem_count_free(MEM_KERNEL);
    if (!cache_put(e)) {
        extent_unmap(e);
    }
}

size_t large_size(const void *block)
{
    struct extent *e = extent_find(block, false);
    if (!e || e->block != (uint64_t)block) {
        pf_panic("heap: %p is not a block in use", block);
    }
    return e->bytes;
}
