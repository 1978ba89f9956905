// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The device's pages and who has them.
#include "tensor/cuda/pages.h"

#include <errno.h>
#include <stdlib.h>

int cuda_pages_open(struct cuda_pages *p, uint32_t pages, uint32_t runs, uint32_t most_pages)
{
    *p = (struct cuda_pages){.page_count = pages,
                             .free_count = pages,
                             .run_count = runs,
                             .most_pages = most_pages,
                             .free_pages = calloc(pages, sizeof *p->free_pages),
                             .memory = calloc((size_t)runs * most_pages, sizeof *p->memory),
                             .runs = calloc(runs, sizeof *p->runs)};
    if (!p->free_pages || !p->memory || !p->runs) {
        cuda_pages_close(p);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < pages; i++) { // the lowest on top: neighbours go out together
        p->free_pages[i] = pages - 1 - i;
    }
    for (uint32_t i = 0; i < runs; i++) {
        p->runs[i].pages = p->memory + (size_t)i * most_pages;
    }
    return 0;
}

void cuda_pages_close(struct cuda_pages *p)
{
    free(p->free_pages);
    free(p->memory);
    free(p->runs);
    *p = (struct cuda_pages){0};
}

void cuda_pages_begin(struct cuda_pages *p)
{
    p->step++;
}

static void release(struct cuda_pages *p, struct cuda_run *r)
{
    while (r->page_count > 0) {
        p->free_pages[p->free_count++] = r->pages[--r->page_count];
    }
    r->kv = NULL;
    r->run = 0;
    r->next = 0;
}

// The run that is idle for longest, NULL: all that have anything are in this step.
static struct cuda_run *idlest(struct cuda_pages *p)
{
    struct cuda_run *found = NULL;
    for (uint32_t i = 0; i < p->run_count; i++) {
        struct cuda_run *r = &p->runs[i];
        if (r->kv && !r->in_step && (!found || r->used < found->used)) {
            found = r;
        }
    }
    return found;
}

static struct cuda_run *entry_of(struct cuda_pages *p, const struct tn_step_sequence *s)
{
    struct cuda_run *unused = NULL;
    for (uint32_t i = 0; i < p->run_count; i++) {
        struct cuda_run *r = &p->runs[i];
        if (s->run && r->run == s->run && r->kv == s->kv && !r->in_step) {
            return r;
        }
        if (!unused && !r->kv) {
            unused = r;
        }
    }
    if (!unused && (unused = idlest(p)) != NULL) {
        release(p, unused);
    }
    return unused;
}

int cuda_pages_bind(struct cuda_pages *p, const struct tn_step_sequence *s, struct cuda_run **out,
                    uint32_t *load)
{
    struct cuda_run *r = entry_of(p, s);
    uint32_t end = s->position + s->token_count;
    uint32_t pages = (end + TN_KV_PAGE_TOKENS - 1) / TN_KV_PAGE_TOKENS;
    if (!r || pages > p->most_pages) {
        return -EINVAL;
    }
    bool goes_on = r->kv && r->next == s->position;
    r->run = s->run;
    r->kv = s->kv;
    r->end = end;
    r->in_step = true;
    r->used = p->step;
    while (r->page_count < pages) {
        struct cuda_run *idle;
        if (p->free_count == 0 && (idle = idlest(p)) != NULL) {
            release(p, idle);
        }
        if (p->free_count == 0) {
            return -ENOSPC;
        }
        r->pages[r->page_count++] = p->free_pages[--p->free_count];
    }
    *load = goes_on ? 0 : (s->position + TN_KV_PAGE_TOKENS - 1) / TN_KV_PAGE_TOKENS;
    *out = r;
    return 0;
}

void cuda_pages_end(struct cuda_pages *p, bool done)
{
    for (uint32_t i = 0; i < p->run_count; i++) {
        struct cuda_run *r = &p->runs[i];
        if (!r->in_step) {
            continue;
        }
        r->in_step = false;
        r->next = r->end;
        if (!done || !r->run) {
            release(p, r);
        }
    }
}
