// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The page store under random holders: what is found is what was stored, nothing is lost or lent
// twice.
//
// Links: tensor/infer/pages.c
#include "tensor/infer/pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TOTAL = 24, OWNERS = 5, LONGEST = 4, TOKENS = LONGEST * TN_KV_PAGE_TOKENS };

struct owner {
    uint32_t pages[LONGEST], count, done;
    int32_t tokens[TOKENS];
};

static uint32_t random_below(uint32_t limit)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % limit;
}

static uint64_t before(const struct pages *p, const struct owner *o, uint32_t page)
{
    return page ? p->all[o->pages[page - 1]].identity : PAGES_ROOT;
}

// Few beginnings, so that many are alike.
static void begin(struct pages *p, struct owner *o)
{
    uint32_t fork = random_below(TOKENS), kind = random_below(2), rest = random_below(3), page, n;
    *o = (struct owner){0};
    for (uint32_t i = 0; i < TOKENS; i++) {
        o->tokens[i] = (int32_t)(i < fork ? kind * 1000 + i : 5000 + rest);
    }
    while (
        o->count < LONGEST - 1 &&
        pages_find(p, before(p, o, o->count), o->tokens + o->done, TN_KV_PAGE_TOKENS, &page, &n) &&
        n == TN_KV_PAGE_TOKENS) {
        pages_hold(p, page);
        o->pages[o->count++] = page;
        o->done += n;
    }
}

static void write_some(struct pages *p, struct owner *o)
{
    for (uint32_t n = random_below(70); n > 0 && o->done < TOKENS; n--) {
        uint32_t i = o->done / TN_KV_PAGE_TOKENS;
        if (i == o->count) {
            if (pages_available(p) == 0) {
                return;
            }
            o->pages[o->count++] = pages_take(p);
        }
        o->pages[i] = pages_add_token(p, o->pages[i], before(p, o, i), o->tokens[o->done++]);
    }
}

static void end(struct pages *p, struct owner *o)
{
    while (o->count) {
        pages_release(p, o->pages[--o->count]);
    }
    o->done = 0;
}

static void check(const struct pages *p, const struct owner *owners)
{
    uint32_t holders[TOTAL] = {0}, held = 0, shared = 0;
    for (int w = 0; w < OWNERS; w++) {
        const struct owner *o = &owners[w];
        for (uint32_t i = 0; i < o->count; i++) {
            const struct page *x = &p->all[o->pages[i]];
            uint32_t from = i * TN_KV_PAGE_TOKENS;
            uint32_t filled =
                o->done - from < TN_KV_PAGE_TOKENS ? o->done - from : TN_KV_PAGE_TOKENS;
            assert_int_equal(x->filled, filled);
            assert_memory_equal(x->tokens, o->tokens + from, filled * sizeof *x->tokens);
            holders[o->pages[i]]++;
        }
    }
    for (uint32_t i = 0; i < TOTAL; i++) {
        assert_int_equal(p->all[i].holders, holders[i]);
        held += holders[i] > 0;
        shared += holders[i] > 1;
        assert_true(holders[i] < 2 || p->all[i].filled == TN_KV_PAGE_TOKENS);
    }
    assert_int_equal(held + p->free_count + p->cached_count, TOTAL);
    assert_int_equal(shared, p->shared_count);
    uint32_t cached = 0;
    for (uint32_t i = p->oldest; i != UINT32_MAX; i = p->all[i].newer) {
        assert_int_equal(p->all[i].holders, 0);
        assert_true(++cached <= p->cached_count);
    }
    assert_int_equal(cached, p->cached_count);
}

static void nothing_is_lost_or_lent_twice(void **unused)
{
    (void)unused;
    static struct owner owners[OWNERS];
    struct pages p;
    uint32_t most_shared = 0;
    assert_int_equal(pages_open(&p, TOTAL), 0);
    for (int turn = 0; turn < 4000; turn++) {
        struct owner *o = &owners[random_below(OWNERS)];
        if (o->count == 0) {
            begin(&p, o);
        }
        write_some(&p, o);
        if (o->done == TOKENS || random_below(6) == 0) {
            end(&p, o);
        }
        check(&p, owners);
        most_shared = p.shared_count > most_shared ? p.shared_count : most_shared;
    }
    assert_true(most_shared >= 3);
    for (int i = 0; i < OWNERS; i++) {
        end(&p, &owners[i]);
    }
    assert_int_equal(pages_available(&p), TOTAL);
    pages_close(&p);
}

static void what_is_longest_unused_goes_first(void **unused)
{
    (void)unused;
    struct pages p;
    assert_int_equal(pages_open(&p, 3), 0);
    uint32_t page[3], found, length;
    for (int32_t i = 0; i < 3; i++) {
        page[i] = pages_take(&p);
        assert_int_equal(pages_add_token(&p, page[i], PAGES_ROOT, i), page[i]);
    }
    for (int i = 2; i >= 0; i--) {
        pages_release(&p, page[i]); // 2 is the oldest
    }
    pages_hold(&p, page[2]);
    pages_release(&p, page[2]); // now 1
    assert_int_equal(pages_take(&p), page[1]);
    int32_t token = 1;
    assert_false(pages_find(&p, PAGES_ROOT, &token, 1, &found, &length));
    token = 2;
    assert_true(pages_find(&p, PAGES_ROOT, &token, 1, &found, &length));
    assert_int_equal(found, page[2]);
    pages_release(&p, page[1]); // nothing in it: it is free
    assert_int_equal(p.free_count, 1);
    pages_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_or_lent_twice),
        cmocka_unit_test(what_is_longest_unused_goes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
