// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The five zones (libos/mem.h): accounting, limits, whole-page blocks; and mem_init.
#include "libos/mem/internal.h"

#include "platform/boot.h"
#include "platform/cpu.h"
#include "platform/paging.h"
#include "platform/power.h"

#include <errno.h>
#include <string.h>

struct mem_pages mem_pool;
struct slab_set mem_slabs;
struct vspace mem_space;

// Fields change by relaxed atomics: each is a counter of its own.
static struct mem_zone_stats zone_stats[MEM_ZONE_COUNT] = {
    [MEM_TENSOR] = {.name = "tensor"}, [MEM_MODEL] = {.name = "model"},
    [MEM_DMA] = {.name = "dma"},       [MEM_STORE] = {.name = "store"},
    [MEM_KERNEL] = {.name = "kernel"},
};
static uint64_t mapped_model_bytes;

bool mem_protection_off(const char *name)
{
    // One answer a name, found once: "heap" is asked at every free.
    static signed char known_heap, known_stack;
    signed char *known = name[0] == 'h' ? &known_heap : &known_stack;
    if (*known == 0) {
        *known = pf_protection_off(name) ? 1 : -1;
    }
    return *known > 0;
}

bool mem_account(enum mem_zone zone, int64_t delta_pages)
{
    struct mem_zone_stats *z = &zone_stats[zone];
    int64_t delta = delta_pages * (int64_t)MEM_PAGE;
    uint64_t now = __atomic_add_fetch(&z->used_bytes, (uint64_t)delta, __ATOMIC_RELAXED);
    if (delta > 0 && now > z->limit_bytes) {
        __atomic_sub_fetch(&z->used_bytes, (uint64_t)delta, __ATOMIC_RELAXED);
        __atomic_add_fetch(&z->failures, 1, __ATOMIC_RELAXED);
        return false;
    }
    uint64_t peak = __atomic_load_n(&z->peak_bytes, __ATOMIC_RELAXED);
    while (now > peak && delta > 0 &&
           !__atomic_compare_exchange_n(&z->peak_bytes, &peak, now, true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
    }
    return true;
}

void mem_count_alloc(enum mem_zone zone)
{
    __atomic_add_fetch(&zone_stats[zone].allocations, 1, __ATOMIC_RELAXED);
}
void mem_count_free(enum mem_zone zone)
{
    __atomic_add_fetch(&zone_stats[zone].frees, 1, __ATOMIC_RELAXED);
}

static bool account_kernel(int64_t delta_pages)
{
    return mem_account(MEM_KERNEL, delta_pages);
}

static void *space_record(size_t bytes)
{
    return slab_alloc(&mem_slabs, bytes, 0);
}

// Page-table frames for the platform.
static uint64_t page_table_frame(void)
{
    if (!mem_account(MEM_KERNEL, 1)) {
        return 0;
    }
    uint64_t phys = mem_pages_alloc(&mem_pool, 1);
    if (!phys) {
        mem_account(MEM_KERNEL, -1);
        return 0;
    }
    memset(pf_phys_to_virt(phys), 0, MEM_PAGE);
    return phys;
}

void mem_zone_limit(enum mem_zone zone, uint64_t bytes)
{
    static const uint8_t share[MEM_ZONE_COUNT] = {[MEM_TENSOR] = 100,
                                                  [MEM_MODEL] = 100,
                                                  [MEM_DMA] = 50,
                                                  [MEM_STORE] = 50,
                                                  [MEM_KERNEL] = 100};
    uint64_t ram = mem_pool.total_pages * MEM_PAGE;
    zone_stats[zone].limit_bytes = bytes ? bytes : ram / 100 * share[zone];
}

void mem_init(void)
{
    static struct pf_range ranges[PF_MAX_RANGES];
    pf_page_source(page_table_frame);
    size_t count = pf_free_ranges(ranges, PF_MAX_RANGES);
    count = count > PF_MAX_RANGES ? PF_MAX_RANGES : count;
    if (mem_pages_init(&mem_pool, ranges, count, PF_DIRECT_BASE) != 0) {
        pf_panic("mem: no usable RAM in the firmware's memory map (%lu ranges)",
                 (unsigned long)count);
    }
    for (int z = 0; z < MEM_ZONE_COUNT; z++) {
        mem_zone_limit((enum mem_zone)z, 0);
    }
    mem_slabs.pages = &mem_pool;
    mem_slabs.account = account_kernel;
    mem_slabs.check = !mem_protection_off("heap");
    // The window starts at an address that differs from boot to boot.
    uint64_t slide = (pf_rdtsc() * 0x9e3779b97f4a7c15ull >> 40) % (1ul << 22) * PF_HUGE_PAGE;
    if (vspace_init(&mem_space, PF_VMAP_BASE + slide, PF_VMAP_END, space_record) != 0) {
        pf_panic("mem: not enough RAM to start");
    }
}

static void *zone_map(struct extent *e, enum mem_zone zone, size_t pages)
{
    uint64_t phys = mem_pages_alloc(&mem_pool, pages);
    if (!phys) {
        large_flush_cache();
        phys = mem_pages_alloc(&mem_pool, pages);
    }
    if (phys) {
        e->kind = EXTENT_DIRECT;
        return pf_phys_to_virt(phys);
    }
    if (zone == MEM_DMA) { // must be contiguous
        return NULL;
    }
    e->kind = EXTENT_MAPPED;
    return region_create(pages, 0, MEM_PAGE);
}

static void *allocate(enum mem_zone zone, size_t bytes, bool clear, uint32_t caller)
{
    size_t pages = (bytes + MEM_PAGE - 1) / MEM_PAGE;
    if (bytes == 0 || bytes > mem_pool.total_pages * MEM_PAGE ||
        !mem_account(zone, (int64_t)pages)) {
        return NULL;
    }
    struct extent *e = extent_new();
    void *base = e ? zone_map(e, zone, pages) : NULL;
    if (!base) {
        if (e) {
            extent_delete(e);
        }
        mem_account(zone, -(int64_t)pages);
        __atomic_add_fetch(&zone_stats[zone].failures, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    if (clear) {
        memset(base, 0, pages * MEM_PAGE);
    }
    e->base = e->block = (uint64_t)base;
    e->pages = pages;
    e->bytes = bytes;
    e->caller = caller;
    e->zone = (uint8_t)zone;
    extent_insert(e);
    mem_count_alloc(zone);
    return base;
}

void *mem_zone_alloc(enum mem_zone zone, size_t bytes)
{
    return allocate(zone, bytes, true, mem_caller(__builtin_return_address(0)));
}

void *mem_zone_alloc_raw(enum mem_zone zone, size_t bytes)
{
    return allocate(zone, bytes, false, mem_caller(__builtin_return_address(0)));
}

void mem_zone_free(void *block)
{
    if (!block) {
        return;
    }
    struct extent *e = extent_find(block, true);
    if (!e || e->block != (uint64_t)block || e->kind == EXTENT_MALLOC) {
        pf_panic("mem: mem_zone_free of %p, which is not a zone block in use", block);
    }
    if (e->kind == EXTENT_DIRECT) {
        mem_pages_free(&mem_pool, e->base - PF_DIRECT_BASE, e->pages);
    } else {
        region_destroy(block, e->pages, 0);
    }
    mem_account((enum mem_zone)e->zone, -(int64_t)e->pages);
    mem_count_free((enum mem_zone)e->zone);
    extent_delete(e);
}

uint64_t mem_phys(const void *block)
{
    uint64_t address = (uint64_t)block;
    return address >= PF_DIRECT_BASE && mem_pages_owns(&mem_pool, address - PF_DIRECT_BASE)
               ? address - PF_DIRECT_BASE
               : pf_virt_to_phys(block);
}

void mem_add_mapped_model(uint64_t bytes)
{
    __atomic_add_fetch(&mapped_model_bytes, bytes, __ATOMIC_RELAXED);
}

void mem_get_stats(struct mem_stats *out)
{
    const struct pf_boot_info *boot = pf_boot_info();
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < boot->range_count; i++) {
        if (boot->ranges[i].type == PF_RANGE_RAM) {
            out->ram_bytes += boot->ranges[i].length;
        }
    }
    out->free_bytes = mem_pool.free_pages * MEM_PAGE;
    out->image_bytes = boot->image_bytes;
    memcpy(out->zone, zone_stats, sizeof zone_stats);
    for (int i = 0; i < SLAB_CLASSES; i++) {
        out->slab_bytes[i] = mem_slabs.class[i].used_bytes;
    }
    out->mapped_model_bytes = mapped_model_bytes;
}
