// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the libos adds to a crash report. Takes no lock and allocates nothing: the machine is
// stopped wherever it was.
#include "libos/watch/watch.h"

#include "libos/mem/internal.h"
#include "libos/sched/internal.h"
#include "libos/virtio.h"
#include "platform/paging.h"
#include "platform/power.h"

#define STRANDS_MOST 4096
#define GUARD_REACH  (64ul << 10) // how far below a stack counts as an overrun of it

static void note(void)
{
    struct core *c = this_core();
    if (c && c->running) {
        const struct strand *s = c->running;
        pf_printk("strand `%s` (%u) on CPU %u, priority %u%s%s\n", s->name, s->id, c->index,
                  s->priority, s->doing && s->doing[0] ? ", doing: " : "",
                  s->doing ? s->doing : "");
    }
    pf_printk("free memory %lu KB of %lu KB\n",
              (unsigned long)(mem_pool.free_pages * (MEM_PAGE / 1024)),
              (unsigned long)(mem_pool.total_pages * (MEM_PAGE / 1024)));
}

static int describe_strand(const struct strand *s, uint64_t address)
{
    if (s->stack_low && address < s->stack_low && address >= s->stack_low - GUARD_REACH) {
        pf_printk("stack overflow of strand `%s` (%lu bytes of stack)\n", s->name,
                  (unsigned long)(s->stack_high - s->stack_low));
        return 1;
    }
    return 0;
}

static int describe_weights(uint64_t address)
{
    for (size_t i = 0; i < pmem_count(); i++) {
        const struct pmem_region *p = pmem_at(i);
        uint64_t offset = address - (uint64_t)p->data;
        if (offset < p->bytes) {
            pf_printk(
                "the address is byte 0x%lx of weights: a file of the host, %lu KB at physical "
                "0x%lx, mapped read-only and shared with other guests\n",
                (unsigned long)offset, (unsigned long)(p->bytes / 1024), (unsigned long)p->phys);
            return 1;
        }
    }
    return 0;
}

static int describe_fault(uint64_t address)
{
    struct core *c = this_core();
    if (c && c->running && describe_strand(c->running, address)) {
        return 1;
    }
    if (describe_weights(address)) {
        return 1;
    }
    if (address < PF_VMAP_BASE || address >= PF_VMAP_END) {
        return 0;
    }
    const struct extent *e = extent_near(address);
    if (e) {
        uint64_t offset = 0;
        const char *name = pf_symbol(pf_boot_info()->image_virt + e->caller, &offset);
        pf_printk("heap overrun: %lu bytes past the end of a block of %lu bytes at %p, "
                  "allocated by %s+0x%lx\n",
                  (unsigned long)(address - e->block - e->bytes), (unsigned long)e->bytes,
                  (void *)e->block, name ? name : "(unknown)", (unsigned long)offset);
        return 1;
    }
    const struct strand *s = sched_all;
    for (int i = 0; s && i < STRANDS_MOST; i++, s = s->all_next) {
        if (describe_strand(s, address)) {
            return 1;
        }
    }
    pf_printk(
        "the address is in the mapping window, where nothing is mapped (freed, or a guard)\n");
    return 1;
}

void watch_crash_init(void)
{
    pf_crash_note(note);
    pf_fault_describe(describe_fault);
}
