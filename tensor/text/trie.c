// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// All tokens that a text begins with, found byte by byte: a trie whose edges are entries of one
// hash table, (node, byte) to node. Made on first use, as the index of strings.c is.
#include "tensor/text/tokenizer_private.h"

#include <stdlib.h>
#include <string.h>

static uint32_t place_of(const struct token_trie *r, uint32_t key)
{
    return (key * 0x9e3779b1u) >> r->shift;
}

uint32_t trie_step(const struct token_trie *r, uint32_t node, uint8_t byte)
{
    uint32_t key = node << 8 | byte;
    for (uint32_t at = place_of(r, key); r->edge[at].key; at = (at + 1) & r->mask)
        if (r->edge[at].key == key)
            return r->edge[at].node;
    return 0;
}

static void put_edge(struct token_trie *r, uint32_t key, uint32_t node)
{
    uint32_t at = place_of(r, key);
    while (r->edge[at].key)
        at = (at + 1) & r->mask;
    r->edge[at] = (struct trie_edge){key, node};
}

// Room for one more node and its edge. Doubles; the table is at most three quarters full.
static bool make_room(struct token_trie *r)
{
    if (r->nodes + 1 >= r->node_max) {
        uint32_t max = r->node_max * 2;
        struct trie_node *node = realloc(r->node, max * sizeof *node);
        if (!node)
            return false;
        r->node = node;
        r->node_max = max;
    }
    if ((uint64_t)r->nodes * 4 < (uint64_t)(r->mask + 1) * 3)
        return true;
    struct trie_edge *old = r->edge;
    uint32_t count = r->mask + 1;
    r->edge = calloc((size_t)count * 2, sizeof *r->edge);
    if (!r->edge) {
        r->edge = old;
        return false;
    }
    r->mask = count * 2 - 1;
    r->shift--;
    for (uint32_t i = 0; i < count; i++)
        if (old[i].key)
            put_edge(r, old[i].key, old[i].node);
    free(old);
    return true;
}

static bool add(struct token_trie *r, struct gguf_string s, int32_t id, bool user)
{
    uint32_t node = TRIE_ROOT;
    for (uint64_t i = 0; i < s.bytes; i++) {
        uint32_t next = trie_step(r, node, (uint8_t)s.data[i]);
        if (!next) {
            if (!make_room(r))
                return false;
            next = r->nodes++;
            r->node[next] = (struct trie_node){-1, false};
            put_edge(r, node << 8 | (uint8_t)s.data[i], next);
        }
        node = next;
        r->node[node].user |= user;
    }
    r->node[node].id = id; // of equal tokens the last counts
    return true;
}

// A unigram vocabulary chooses among its words only; WPM among all tokens.
static bool belongs(const struct tokenizer *t, uint32_t id)
{
    uint8_t kind = t->token_kind[id];
    return t->kind == VOCABULARY_WPM || kind == TOKEN_NORMAL || kind == TOKEN_USER_DEFINED ||
           kind == TOKEN_UNUSED;
}

static void trie_free(struct token_trie *r)
{
    if (!r)
        return;
    free(r->edge);
    free(r->node);
    free(r);
}

static struct token_trie *make_trie(const struct tokenizer *t)
{
    struct token_trie *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->mask = 1023;
    r->shift = 22;
    r->node_max = 1024;
    r->nodes = TRIE_ROOT + 1;
    r->edge = calloc((size_t)r->mask + 1, sizeof *r->edge);
    r->node = malloc(r->node_max * sizeof *r->node);
    bool good = r->edge && r->node;
    for (uint32_t id = 0; good && id < t->tokens.count; id++) {
        struct gguf_string s = string_at(&t->tokens, id);
        maybe_pause(id);
        if (s.bytes && belongs(t, id))
            good = add(r, s, (int32_t)id, t->token_kind[id] == TOKEN_USER_DEFINED);
    }
    if (good)
        return r;
    trie_free(r);
    return NULL;
}

const struct token_trie *token_trie(const struct tokenizer *t)
{
    _Atomic(struct token_trie *) *where = &((struct tokenizer *)(uintptr_t)t)->trie;
    struct token_trie *have = atomic_load_explicit(where, memory_order_acquire);
    if (!have) {
        struct token_trie *made = make_trie(t);
        if (!made)
            return NULL;
        if (atomic_compare_exchange_strong_explicit(where, &have, made, memory_order_acq_rel,
                                                    memory_order_acquire))
            have = made;
        else
            trie_free(made);
    }
    return have;
}

void token_trie_free(struct tokenizer *t)
{
    trie_free(atomic_load_explicit(&t->trie, memory_order_relaxed));
}
