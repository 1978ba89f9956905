// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Who runs and who waits: slots, and the pages of the KV store. An older sequence may take pages
// from a younger one, which then waits and later computes its K and V again (with the same bits:
// DESIGN decision 11), as far as they are not still cached. The store holds at least one whole
// context, so the oldest always goes on.
#include "tensor/infer/infer_private.h"

enum { WORTH_COPYING = 8 }; // tokens of a page that is not shared as a whole

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

uint32_t infer_pages_missing(const struct infer_sequence *s, uint32_t tokens)
{
    uint32_t wanted = pages_for(tokens);
    return wanted > s->page_count ? wanted - s->page_count : 0;
}

// The last page first, so that the cache loses it before those that it needs.
static void give_pages_back(struct infer_engine *e, struct infer_sequence *s)
{
    while (s->page_count) {
        pages_release(&e->store, s->pages[--s->page_count]);
    }
    s->done = 0;
}

void infer_stop_running(struct infer_engine *e, struct infer_sequence *s)
{
    if (s->run) {
        infer_remote_leave(e, s);
    }
    give_pages_back(e, s);
    e->free_tables[e->free_table_count++] = s->pages;
    s->pages = NULL;
    s->batch = 0;
    s->drafted = 0;
    s->draft_done = 0;
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
    while (infer_pages_missing(s, tokens) > pages_available(&e->store)) {
        struct infer_sequence *youngest = e->running[e->running_count - 1];
        if (e->draining) { // pages are on their way: nobody else need lose any
            return false;
        }
        infer_stop_running(e, youngest);
        infer_enqueue(e, youngest);
        if (youngest == s) {
            return false;
        }
    }
    while (infer_pages_missing(s, tokens)) {
        s->pages[s->page_count++] = pages_take(&e->store);
    }
    return true;
}

// ---- prefixes ----------------------------------------------------------------------------------

static uint64_t identity_before(const struct infer_engine *e, const struct infer_sequence *s,
                                uint32_t page)
{
    return page ? e->store.all[s->pages[page - 1]].identity : PAGES_ROOT;
}

void infer_advance(struct infer_engine *e, struct infer_sequence *s, uint32_t to)
{
    for (; s->done < to && !e->options.no_sharing; s->done++) {
        uint32_t i = s->done / TN_KV_PAGE_TOKENS;
        s->pages[i] =
            pages_add_token(&e->store, s->pages[i], identity_before(e, s, i), s->tokens[s->done]);
    }
    s->done = to;
}

// Takes over the full pages that hold what the sequence begins with. Its last token stays to be
// computed: somebody wants its logits.
static void share_prefix(struct infer_engine *e, struct infer_sequence *s)
{
    uint32_t page, length;
    while (!e->options.no_sharing && s->done + TN_KV_PAGE_TOKENS < s->count &&
           pages_find(&e->store, identity_before(e, s, s->page_count), s->tokens + s->done,
                      TN_KV_PAGE_TOKENS, &page, &length) &&
           length == TN_KV_PAGE_TOKENS) {
        pages_hold(&e->store, page);
        s->pages[s->page_count++] = page;
        s->done += TN_KV_PAGE_TOKENS;
    }
}

// Copies the page after them when it begins alike: the sequence writes on in it.
static void copy_rest(struct infer_engine *e, struct infer_sequence *s)
{
    uint32_t missing = s->count - 1 - s->done, page, length;
    missing = missing < TN_KV_PAGE_TOKENS ? missing : TN_KV_PAGE_TOKENS;
    uint64_t before = identity_before(e, s, s->page_count);
    if (e->options.no_sharing ||
        !pages_find(&e->store, before, s->tokens + s->done, missing, &page, &length) ||
        length < WORTH_COPYING) {
        return;
    }
    pages_hold(&e->store, page); // or its place could be lent
    if (pages_available(&e->store)) {
        uint32_t own = pages_take(&e->store);
        if (tn_kv_copy(e->executor, page, own) == 0) {
            s->pages[s->page_count++] = own;
            infer_advance(e, s, s->done + length);
        } else {
            pages_release(&e->store, own);
        }
    }
    pages_release(&e->store, page);
}

// ---- admission ---------------------------------------------------------------------------------

// Pages that no running sequence will want for what it knows already.
static uint32_t unpromised_pages(const struct infer_engine *e)
{
    uint32_t promised = 0, available = pages_available(&e->store);
    for (uint32_t i = 0; i < e->running_count; i++) {
        promised += infer_pages_missing(e->running[i], e->running[i]->count);
    }
    return promised < available ? available - promised : 0;
}

void infer_admit(struct infer_engine *e)
{
    while (e->waiting && e->running_count < e->options.slots) {
        struct infer_sequence *s = e->waiting;
        s->pages = e->free_tables[e->free_table_count - 1];
        share_prefix(e, s);
        // Room for all it knows so far, or it would soon be put back; alone it always fits.
        if (e->running_count && infer_pages_missing(s, s->count) > unpromised_pages(e)) {
            give_pages_back(e, s);
            s->pages = NULL;
            return;
        }
        copy_rest(e, s);
        e->stats.reused_tokens += s->done;
        e->free_table_count--;
        e->waiting = s->next;
        e->waiting_count--;
        s->next = NULL;
        s->state = SEQUENCE_RUNNING;
        uint32_t at = e->running_count++;
        for (; at > 0 && e->running[at - 1]->age > s->age; at--) {
            e->running[at] = e->running[at - 1];
        }
        e->running[at] = s;
    }
}
