// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Pages of a KV store: see pages.h. Lists are chains of page numbers.
#include "tensor/infer/pages.h"

#include "tensor/infer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = UINT32_MAX };
// With its bucket.
_Static_assert(sizeof(struct page) + 2 * sizeof(uint32_t) <= INFER_PAGE_BYTES, "infer.h says so");

int pages_open(struct pages *p, uint32_t total)
{
    *p = (struct pages){.total = total,
                        .free = NONE,
                        .newest = NONE,
                        .oldest = NONE,
                        .next_identity = PAGES_ROOT + 1};
    p->bucket_count = 1;
    while (p->bucket_count < total) {
        p->bucket_count *= 2;
    }
    p->all = calloc(total, sizeof *p->all);
    p->buckets = malloc(p->bucket_count * sizeof *p->buckets);
    if (!p->all || !p->buckets) {
        pages_close(p);
        return -ENOMEM;
    }
    memset(p->buckets, 0xff, p->bucket_count * sizeof *p->buckets);
    for (uint32_t i = total; i-- > 0;) { // low numbers are lent first
        p->all[i].next = p->free;
        p->free = i;
    }
    p->free_count = total;
    return 0;
}

void pages_close(struct pages *p)
{
    free(p->all);
    free(p->buckets);
    p->all = NULL;
    p->buckets = NULL;
}

// ---- descriptions ------------------------------------------------------------------------------

static uint32_t *bucket_of(const struct pages *p, uint64_t before)
{
    return &p->buckets[(before * 0x9e3779b97f4a7c15ull) >> 32 & (p->bucket_count - 1)];
}

static void describe(struct pages *p, uint32_t page, uint64_t before)
{
    struct page *x = &p->all[page];
    uint32_t *head = bucket_of(p, before);
    x->before = before;
    x->identity = p->next_identity++;
    x->previous = NONE;
    x->next = *head;
    if (*head != NONE) {
        p->all[*head].previous = page;
    }
    *head = page;
}

static void forget(struct pages *p, uint32_t page)
{
    struct page *x = &p->all[page];
    if (x->identity) {
        if (x->previous == NONE) {
            *bucket_of(p, x->before) = x->next;
        } else {
            p->all[x->previous].next = x->next;
        }
        if (x->next != NONE) {
            p->all[x->next].previous = x->previous;
        }
    }
    x->identity = 0;
    x->filled = 0;
}

bool pages_find(const struct pages *p, uint64_t before, const int32_t *tokens, uint32_t count,
                uint32_t *page, uint32_t *length)
{
    *length = 0;
    for (uint32_t i = *bucket_of(p, before); i != NONE && *length < TN_KV_PAGE_TOKENS;
         i = p->all[i].next) {
        const struct page *x = &p->all[i];
        uint32_t same = 0;
        while (x->before == before && same < x->filled && same < count &&
               x->tokens[same] == tokens[same]) {
            same++;
        }
        if (same > *length) {
            *length = same;
            *page = i;
        }
    }
    return *length > 0;
}

// ---- holders -----------------------------------------------------------------------------------

static void leave_cache(struct pages *p, uint32_t page)
{
    struct page *x = &p->all[page];
    *(x->newer == NONE ? &p->newest : &p->all[x->newer].older) = x->older;
    *(x->older == NONE ? &p->oldest : &p->all[x->older].newer) = x->newer;
    p->cached_count--;
}

static void enter_cache(struct pages *p, uint32_t page)
{
    struct page *x = &p->all[page];
    x->newer = NONE;
    x->older = p->newest;
    *(p->newest == NONE ? &p->oldest : &p->all[p->newest].newer) = page;
    p->newest = page;
    p->cached_count++;
}

uint32_t pages_take(struct pages *p)
{
    uint32_t page = p->free;
    if (page != NONE) {
        p->free = p->all[page].next;
        p->free_count--;
    } else {
        page = p->oldest;
        leave_cache(p, page);
        forget(p, page);
    }
    p->all[page].holders = 1;
    return page;
}

void pages_hold(struct pages *p, uint32_t page)
{
    uint32_t holders = p->all[page].holders++;
    if (holders == 0) {
        leave_cache(p, page);
    }
    p->shared_count += holders == 1;
}

void pages_release(struct pages *p, uint32_t page)
{
    struct page *x = &p->all[page];
    uint32_t holders = --x->holders;
    p->shared_count -= holders == 1;
    if (holders > 0) {
        return;
    }
    if (x->identity) {
        enter_cache(p, page);
    } else {
        x->next = p->free;
        p->free = page;
        p->free_count++;
    }
}

void pages_spoil(struct pages *p, uint32_t page)
{
    forget(p, page);
}

void pages_forget(struct pages *p)
{
    while (p->oldest != NONE) {
        uint32_t page = p->oldest;
        leave_cache(p, page);
        forget(p, page);
        p->all[page].next = p->free;
        p->free = page;
        p->free_count++;
    }
}

// The full page that equals this one, or the page itself.
static uint32_t equal_page(const struct pages *p, uint32_t page)
{
    const struct page *x = &p->all[page];
    for (uint32_t i = *bucket_of(p, x->before); i != NONE; i = p->all[i].next) {
        const struct page *y = &p->all[i];
        if (i != page && y->before == x->before && y->filled == TN_KV_PAGE_TOKENS &&
            memcmp(y->tokens, x->tokens, sizeof x->tokens) == 0) {
            return i;
        }
    }
    return page;
}

uint32_t pages_add_token(struct pages *p, uint32_t page, uint64_t before, int32_t token)
{
    struct page *x = &p->all[page];
    if (x->filled == 0) {
        describe(p, page, before);
    }
    x->tokens[x->filled++] = token;
    uint32_t other = x->filled == TN_KV_PAGE_TOKENS ? equal_page(p, page) : page;
    if (other != page) {
        pages_hold(p, other);
        forget(p, page);
        pages_release(p, page);
    }
    return other;
}
