// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Who runs and who waits: slots, and the pages of the KV store. An older sequence may take pages
// from a younger one, which then waits and later computes its K and V again (with the same bits:
// DESIGN decision 11). The store holds at least one whole context, so the oldest always goes on.
#include "tensor/infer/infer_private.h"

void infer_enqueue(struct infer_engine *e, struct infer_sequence *s)
{
    struct infer_sequence **at = &e->waiting;
    while (*at && (*at)->age < s->age) {
        at = &(*at)->next;
    }
    s->next = *at;
    *at = s;
    s->state = SEQUENCE_WAITING;
    e->waiting_count++;
}

static uint32_t pages_for(uint32_t tokens)
{
    return (tokens + TN_KV_PAGE_TOKENS - 1) / TN_KV_PAGE_TOKENS;
}

void infer_stop_running(struct infer_engine *e, struct infer_sequence *s)
{
    for (uint32_t i = 0; i < s->page_count; i++) {
        e->free_pages[e->free_page_count++] = s->pages[i];
    }
    e->free_tables[e->free_table_count++] = s->pages;
    s->pages = NULL;
    s->page_count = 0;
    s->done = 0;
    s->batch = 0;
    uint32_t at = 0;
    while (e->running[at] != s) {
        at++;
    }
    e->running_count--;
    for (; at < e->running_count; at++) {
        e->running[at] = e->running[at + 1];
    }
}

bool infer_reserve(struct infer_engine *e, struct infer_sequence *s, uint32_t tokens)
{
    uint32_t wanted = pages_for(tokens);
    while (wanted > s->page_count + e->free_page_count) {
        struct infer_sequence *youngest = e->running[e->running_count - 1];
        infer_stop_running(e, youngest);
        infer_enqueue(e, youngest);
        if (youngest == s) {
            return false;
        }
    }
    while (s->page_count < wanted) {
        s->pages[s->page_count++] = e->free_pages[--e->free_page_count];
    }
    return true;
}

// Free pages that no running sequence will want for what it knows already.
static uint32_t unpromised_pages(const struct infer_engine *e)
{
    uint32_t promised = 0;
    for (uint32_t i = 0; i < e->running_count; i++) {
        uint32_t wanted = pages_for(e->running[i]->count);
        promised += wanted > e->running[i]->page_count ? wanted - e->running[i]->page_count : 0;
    }
    return promised < e->free_page_count ? e->free_page_count - promised : 0;
}

void infer_admit(struct infer_engine *e)
{
    while (e->waiting && e->running_count < e->options.slots) {
        struct infer_sequence *s = e->waiting;
        // Room for all it knows so far, or it would soon be put back; alone it always fits.
        if (e->running_count && pages_for(s->count) > unpromised_pages(e)) {
            return;
        }
        e->waiting = s->next;
        e->waiting_count--;
        s->next = NULL;
        s->state = SEQUENCE_RUNNING;
        s->pages = e->free_tables[--e->free_table_count];
        uint32_t at = e->running_count++;
        for (; at > 0 && e->running[at - 1]->age > s->age; at--) {
            e->running[at] = e->running[at - 1];
        }
        e->running[at] = s;
    }
}
