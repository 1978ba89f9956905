// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Small blocks (slab.h). Layout of a slab: header, one record a block, blocks; stride = class + 16.
#include "libos/mem/slab.h"

#include "libos/spin.h"
#include "platform/power.h"

#include <string.h>

#define MAGIC        0x51ab51abu
#define CANARY       0xc5
#define POISON       0xdb
#define POISON_BYTES 64u // of a freed block, checked when it is given out again
#define GAP          16u

enum { NEVER_USED, IN_USE, FREE };

struct record {
    uint32_t caller;
    uint16_t size; // IN_USE: bytes asked for; FREE: next free block + 1
    uint16_t state;
};
struct slab {
    uint32_t magic;
    uint16_t class, capacity, used, fresh; // blocks from `fresh` on were never given out
    uint16_t free_head;                    // block + 1, 0 = none
    bool listed;
    struct slab *next, *prev;
    uint8_t *blocks;
    struct record record[];
};

static unsigned class_bytes(unsigned c)
{
    return 16u << c;
}
static unsigned class_pages(unsigned c)
{
    return c <= 4 ? 1 : c == 5 ? 4 : 8;
}

static void list_push(struct slab_class *k, struct slab *s)
{
    s->prev = NULL;
    s->next = k->partial;
    if (s->next) {
        s->next->prev = s;
    }
    k->partial = s;
    s->listed = true;
}
static void list_remove(struct slab_class *k, struct slab *s)
{
    if (s->prev) {
        s->prev->next = s->next;
    } else {
        k->partial = s->next;
    }
    if (s->next) {
        s->next->prev = s->prev;
    }
    s->listed = false;
}

static struct slab *slab_new(struct slab_set *set, unsigned c)
{
    unsigned pages = class_pages(c);
    if (set->account && !set->account(pages)) {
        return NULL;
    }
    uint64_t phys = mem_pages_alloc(set->pages, pages);
    if (!phys) {
        if (set->account) {
            set->account(-(int64_t)pages);
        }
        return NULL;
    }
    mem_pages_set_tag(set->pages, phys, (uint8_t)(c + 1));
    for (unsigned i = 1; i < pages; i++) {
        mem_pages_set_tag(set->pages, phys + i * MEM_PAGE, SLAB_TAG_TAIL);
    }
    struct slab *s = (struct slab *)(uintptr_t)(phys + set->pages->virt_offset);
    size_t bytes = pages * MEM_PAGE;
    size_t stride = class_bytes(c) + GAP;
    size_t n = (bytes - sizeof *s) / (stride + sizeof(struct record));
    size_t start = (sizeof *s + n * sizeof(struct record) + 15) & ~15ul;
    if (start + n * stride > bytes) {
        n--;
    }
    memset(s, 0, sizeof *s + n * sizeof(struct record));
    s->magic = MAGIC;
    s->class = (uint16_t)c;
    s->capacity = (uint16_t)n;
    s->blocks = (uint8_t *)s + start;
    return s;
}

static void slab_release(struct slab_set *set, struct slab *s)
{
    unsigned pages = class_pages(s->class);
    uint64_t phys = (uintptr_t)s - set->pages->virt_offset;
    s->magic = 0;
    for (unsigned i = 0; i < pages; i++) {
        mem_pages_set_tag(set->pages, phys + i * MEM_PAGE, 0);
    }
    mem_pages_free(set->pages, phys, pages);
    if (set->account) {
        set->account(-(int64_t)pages);
    }
}

static void report(const char *what, const struct record *r, unsigned long size, const void *at)
{
    uint64_t offset = 0;
    const char *name = pf_symbol(pf_boot_info()->image_virt + r->caller, &offset);
    pf_panic("heap: %s: block of %lu bytes at %p, allocated by %s+0x%lx", what, size, at,
             name ? name : "(unknown)", (unsigned long)offset);
}

static void check_poison(const struct slab *s, const struct record *r, const uint8_t *block)
{
    for (unsigned i = 0; i < POISON_BYTES && i < class_bytes(s->class); i++) {
        if (block[i] != POISON) {
            report("written after it was freed", r, class_bytes(s->class), block);
        }
    }
}

// Canaries: GAP bytes behind what was asked for, and the last GAP of the stride, which the next
// block follows. What lies between belongs to nobody.
static void canaries_set(uint8_t *block, size_t bytes, size_t stride)
{
    memset(block + bytes, CANARY, GAP);
    memset(block + stride - GAP, CANARY, GAP);
}
static bool canaries_intact(const uint8_t *block, size_t bytes, size_t stride)
{
    uint8_t damage = 0;
    for (size_t i = 0; i < GAP; i++) {
        damage |= (uint8_t)(block[bytes + i] ^ CANARY);
        damage |= (uint8_t)(block[stride - GAP + i] ^ CANARY);
    }
    return damage == 0;
}

void *slab_alloc(struct slab_set *set, size_t bytes, uint32_t caller)
{
    unsigned c = bytes <= 16 ? 0 : 60 - (unsigned)__builtin_clzll(bytes - 1);
    struct slab_class *k = &set->class[c];
    spin_lock(&k->lock);
    struct slab *s = k->partial;
    if (!s) {
        s = k->spare;
        k->spare = NULL;
        if (!s) {
            s = slab_new(set, c);
            if (!s) {
                spin_unlock(&k->lock);
                return NULL;
            }
            k->slab_pages += class_pages(c);
        }
        list_push(k, s);
    }
    size_t stride = class_bytes(c) + GAP;
    uint8_t *block;
    struct record *r;
    if (s->free_head) {
        unsigned i = s->free_head - 1u;
        r = &s->record[i];
        block = s->blocks + i * stride;
        if (s->magic != MAGIC || i >= s->capacity || r->state != FREE) {
            pf_panic("heap: slab at %p is damaged (overrun of a block before it)", (void *)s);
        }
        s->free_head = r->size;
        if (set->check) {
            check_poison(s, r, block);
        }
    } else {
        unsigned i = s->fresh++;
        r = &s->record[i];
        block = s->blocks + i * stride;
    }
    r->caller = caller;
    r->size = (uint16_t)bytes;
    r->state = IN_USE;
    if (++s->used == s->capacity) {
        list_remove(k, s);
    }
    k->used_bytes += class_bytes(c);
    spin_unlock(&k->lock);
    canaries_set(block, bytes, stride);
    return block;
}

// The slab and record of a block in use; panics with the right words when it is not one.
static struct slab *slab_of(struct slab_set *set, const void *block, struct record **record)
{
    uint64_t phys = ((uintptr_t)block - set->pages->virt_offset) & ~(MEM_PAGE - 1);
    uint8_t tag = mem_pages_tag(set->pages, phys);
    for (unsigned i = 0; tag == SLAB_TAG_TAIL && i < 8; i++) {
        phys -= MEM_PAGE;
        tag = mem_pages_tag(set->pages, phys);
    }
    struct slab *s = (struct slab *)(uintptr_t)(phys + set->pages->virt_offset);
    if (tag == 0 || tag > SLAB_CLASSES || s->magic != MAGIC || s->class != tag - 1u) {
        pf_panic("heap: slab at %p is damaged (overrun of a block before it)", (void *)s);
    }
    size_t stride = class_bytes(s->class) + GAP;
    size_t offset = (uintptr_t)block - (uintptr_t)s->blocks;
    if ((uintptr_t)block < (uintptr_t)s->blocks || offset % stride ||
        offset / stride >= s->capacity) {
        pf_panic("heap: %p is not the start of a block", block);
    }
    *record = &s->record[offset / stride];
    return s;
}

bool slab_owns(struct slab_set *set, const void *block)
{
    uint64_t phys = (uintptr_t)block - set->pages->virt_offset;
    uint8_t tag = mem_pages_tag(set->pages, phys & ~(MEM_PAGE - 1));
    return tag >= 1 && tag <= SLAB_TAG_TAIL;
}

size_t slab_size(struct slab_set *set, const void *block)
{
    struct record *r;
    slab_of(set, block, &r);
    if (r->state != IN_USE) {
        pf_panic("heap: %p is used after it was freed", block);
    }
    return r->size;
}

void slab_free(struct slab_set *set, void *block)
{
    struct record *r;
    struct slab *s = slab_of(set, block, &r);
    unsigned c = s->class;
    struct slab_class *k = &set->class[c];
    size_t stride = class_bytes(c) + GAP;
    spin_lock(&k->lock);
    if (r->state != IN_USE) {
        report(r->state == FREE ? "freed twice" : "freed without being allocated", r,
               class_bytes(c), block);
    }
    if (set->check) {
        if (!canaries_intact(block, r->size, stride)) {
            report("overrun", r, r->size, block);
        }
        memset(block, POISON, class_bytes(c) < POISON_BYTES ? class_bytes(c) : POISON_BYTES);
    }
    unsigned i = (unsigned)(((uintptr_t)block - (uintptr_t)s->blocks) / stride);
    r->state = FREE;
    r->size = s->free_head;
    s->free_head = (uint16_t)(i + 1);
    k->used_bytes -= class_bytes(c);
    if (!s->listed) {
        list_push(k, s);
    }
    struct slab *release = NULL;
    if (--s->used == 0) {
        list_remove(k, s);
        release = k->spare;
        k->spare = s;
        if (release) {
            k->slab_pages -= class_pages(c);
        }
    }
    spin_unlock(&k->lock);
    if (release) {
        slab_release(set, release);
    }
}
