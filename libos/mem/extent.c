// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// One record a large block, in a hash table by page address.
#include "libos/mem/internal.h"

#include "libos/spin.h"

#define BUCKETS 512u

static struct extent *bucket[BUCKETS]; // under table_lock
static uint32_t table_lock;

static unsigned hash(uint64_t base)
{
    return (unsigned)((base / MEM_PAGE * 0x9e3779b97f4a7c15ull) >> 55) % BUCKETS;
}

struct extent *extent_new(void)
{
    return slab_alloc(&mem_slabs, sizeof(struct extent), 0);
}

void extent_delete(struct extent *e)
{
    slab_free(&mem_slabs, e);
}

void extent_insert(struct extent *e)
{
    struct extent **b = &bucket[hash(e->base)];
    spin_lock(&table_lock);
    e->next = *b;
    *b = e;
    spin_unlock(&table_lock);
}

struct extent *extent_find(const void *address, bool remove)
{
    uint64_t base = (uint64_t)address & ~(MEM_PAGE - 1);
    struct extent *found = NULL;
    spin_lock(&table_lock);
    for (struct extent **at = &bucket[hash(base)]; *at; at = &(*at)->next) {
        if ((*at)->base == base) {
            found = *at;
            if (remove) {
                *at = found->next;
            }
            break;
        }
    }
    spin_unlock(&table_lock);
    return found;
}

const struct extent *extent_near(uint64_t address)
{
    unsigned steps = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (const struct extent *e = bucket[i]; e && steps < 1u << 20; e = e->next, steps++) {
            if (e->kind == EXTENT_MALLOC && address >= e->base &&
                address < e->base + (e->pages + 1) * MEM_PAGE) {
                return e;
            }
        }
    }
    return NULL;
}
