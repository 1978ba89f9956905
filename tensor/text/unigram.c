// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Unigram ("t5" vocabularies; SentencePiece): the text is normalised, spaces become U+2581, and of
// all ways to cut it into tokens the one with the highest sum of scores is taken (Viterbi's
// algorithm). A character that is no token costs 10 more than the dearest one.
#include "tensor/text/tokenizer_private.h"

#include <errno.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

// ---- the text as the vocabulary wants it -------------------------------------------------------

struct normal {
    const struct tokenizer *t;
    const struct token_trie *trie;
    char *text;
    size_t bytes, room, most;
    bool in_word, begun;
};

static int append(struct normal *n, const char *bytes, size_t count)
{
    if (count > n->room - n->bytes) {
        size_t room = (n->bytes + count) * 2;
        if (n->bytes + count > n->most)
            return -E2BIG; // no sound charsmap makes so much of a text
        char *text = realloc(n->text, room);
        if (!text)
            return -ENOMEM;
        n->text = text;
        n->room = room;
    }
    memcpy(n->text + n->bytes, bytes, count);
    n->bytes += count;
    return 0;
}

// One run of normalised bytes: spaces are marked, or collapsed into one mark before each word.
static int take(struct normal *n, const char *bytes, size_t count)
{
    bool collapse = n->t->collapse_spaces;
    int rc = 0;
    for (size_t i = 0; !rc && i < count; i++) {
        if (bytes[i] == ' ') {
            n->in_word = false;
            if (!collapse)
                rc = append(n, space_mark, 3);
            continue;
        }
        if (!n->in_word && (collapse || (n->t->add_space_prefix && !n->begun))) {
            rc = append(n, space_mark, 3);
            n->begun = true;
        }
        n->in_word = true;
        if (!rc)
            rc = append(n, bytes + i, 1);
    }
    return rc;
}

// How much of the text follows some user-defined token's beginning: it is left as it is.
static size_t user_defined(const struct normal *n, const char *text, size_t bytes)
{
    uint32_t node = TRIE_ROOT;
    for (size_t i = 0; i < bytes; i++) {
        node = trie_step(n->trie, node, (uint8_t)text[i]);
        if (!node || !n->trie->node[node].user)
            return i;
    }
    return bytes;
}

static int normalise(struct normal *n, const char *text, size_t bytes)
{
    int rc = 0;
    for (size_t at = 0, used, step = 0; !rc && at < bytes; at += used, step++) {
        const char *as = text + at;
        size_t count;
        maybe_pause(step);
        used = count = n->t->has_user_defined ? user_defined(n, as, bytes - at) : 0;
        if (!used && n->t->charsmap.units) {
            rc = charsmap_find(&n->t->charsmap, text + at, bytes - at, &used, &as);
            count = used && !rc ? strlen(as) : 0;
        }
        if (!used) {
            used = count = utf8_character(text + at, bytes - at);
            as = text + at;
        }
        if (!used) { // a broken byte becomes U+FFFD
            used = 1;
            as = "\xef\xbf\xbd";
            count = 3;
        }
        if (!rc)
            rc = take(n, as, count);
    }
    return rc;
}

// ---- the best cut ------------------------------------------------------------------------------

struct best { // the best way to reach a place of the text
    double score;
    int32_t id;
    uint32_t from;
};

static float score_of(const struct tokenizer *t, int32_t id)
{
    float score;
    memcpy(&score, t->scores + 4 * (size_t)id, 4);
    return score;
}

static void offer(struct best *to, double score, int32_t id, size_t from)
{
    if (score > to->score)
        *to = (struct best){score, id, (uint32_t)from};
}

static void find_best(const struct tokenizer *t, const struct normal *n, struct best *best)
{
    best[0] = (struct best){0, t->unk, 0};
    for (size_t i = 1; i <= n->bytes; i++)
        best[i] = (struct best){-DBL_MAX, t->unk, 0};
    for (size_t at = 0, length, step = 0; at < n->bytes; at += length, step++) {
        bool whole = false; // some token is just this character
        uint32_t node = TRIE_ROOT;
        length = utf8_lead_bytes(n->text[at]);
        length = length < n->bytes - at ? length : n->bytes - at;
        maybe_pause(step);
        for (size_t end = at + 1; end <= n->bytes; end++) {
            node = trie_step(n->trie, node, (uint8_t)n->text[end - 1]);
            if (!node)
                break;
            const struct trie_node *found = &n->trie->node[node];
            if (found->id < 0)
                continue;
            whole |= end - at == length;
            bool user = t->token_kind[found->id] == TOKEN_USER_DEFINED;
            offer(&best[end], best[at].score + (user ? 0.0 : (double)score_of(t, found->id)),
                  found->id, at);
        }
        if (!whole)
            offer(&best[at + length], best[at].score + (double)t->unknown_score, t->unk, at);
    }
}

// A run of unknown characters is one unknown token, or its bytes where the vocabulary has those.
static void put_unknown(const struct tokenizer *t, const char *text, size_t bytes, bool first,
                        struct id_sink *out)
{
    if (!t->has_bytes) {
        if (first)
            sink_put(out, t->unk);
        return;
    }
    for (size_t i = 0; i < bytes; i++)
        sink_put(out, t->byte_token[(uint8_t)text[i]]);
}

static void put_best(const struct tokenizer *t, const struct normal *n, struct best *best,
                     struct id_sink *out)
{
    uint32_t after = 0; // turn the chain round: `from` becomes the next place, 0 at the end
    for (uint32_t at = (uint32_t)n->bytes; at;) {
        uint32_t from = best[at].from;
        best[at].from = after;
        after = at;
        at = from;
    }
    bool unknown = false;
    for (uint32_t start = 0, at = after; at; start = at, at = best[at].from) {
        bool was_unknown = unknown;
        unknown = best[at].id == t->unk;
        if (unknown)
            put_unknown(t, n->text + start, at - start, !was_unknown, out);
        else
            sink_put(out, best[at].id);
    }
}

int unigram_encode(const struct tokenizer *t, const char *text, size_t bytes, struct id_sink *out)
{
    struct normal n = {.t = t, .trie = token_trie(t), .most = 32 * bytes + 64};
    if (!n.trie)
        return -ENOMEM;
    int rc = normalise(&n, text, bytes);
    struct best *best = rc || !n.bytes ? NULL : malloc((n.bytes + 1) * sizeof *best);
    if (!rc && n.bytes && !best)
        rc = -ENOMEM;
    if (best) {
        find_best(t, &n, best);
        put_best(t, &n, best, out);
    }
    free(best);
    free(n.text);
    return rc;
}
