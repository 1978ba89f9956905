// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The pages of a KV store: who holds them, what they hold, and which can be shared. A page is
// described by its tokens and by the identity of the page before it. Identities are never given
// twice, so equal descriptions mean equal whole prefixes: nothing rests on a hash.
//
// A page is free (nothing in it), held (by one sequence; by several only when it is full), or
// cached: held by nobody, kept for prompts that begin alike until its place is needed, the one
// longest unused first.
#ifndef TENSOR_INFER_PAGES_H
#define TENSOR_INFER_PAGES_H

#include "tensor/exec.h"

struct page {
    uint64_t before, identity; // identity 0: not described
    uint32_t holders, filled;
    uint32_t next, previous; // in its bucket, or in the free list
    uint32_t newer, older;   // among the cached
    int32_t tokens[TN_KV_PAGE_TOKENS];
};

struct pages {
    struct page *all;
    uint32_t total, bucket_count;
    uint32_t *buckets; // by the identity before
    uint32_t free, free_count;
    uint32_t newest, oldest, cached_count;
    uint32_t shared_count; // pages with several holders
    uint64_t next_identity;
};

enum { PAGES_ROOT = 1 }; // the identity before a sequence's first page

int pages_open(struct pages *p, uint32_t total); // 0 or -ENOMEM
void pages_close(struct pages *p);
static inline uint32_t pages_available(const struct pages *p)
{
    return p->free_count + p->cached_count;
}
// Lends an empty page: a free one, or the place of the cached one longest unused. There must be
// one.
uint32_t pages_take(struct pages *p);
void pages_hold(struct pages *p, uint32_t page); // one holder more
// What a page holds is not to be relied on any more, whoever holds it.
void pages_spoil(struct pages *p, uint32_t page);
void pages_release(struct pages *p, uint32_t page); // one less; a described page stays as cached
void pages_forget(struct pages *p);                 // all cached ones become free
// `token` is stored behind what the page has; `before` identifies the page before it. Returns the
// page to use from now on: another one when the page became full and the same one exists already.
uint32_t pages_add_token(struct pages *p, uint32_t page, uint64_t before, int32_t token);
// The page after `before` that begins with most of the tokens; *length says how many. False: none.
bool pages_find(const struct pages *p, uint64_t before, const int32_t *tokens, uint32_t count,
                uint32_t *page, uint32_t *length);

#endif
