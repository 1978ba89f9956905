// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// SentencePiece-style encoding ("llama" vocabularies): spaces become U+2581, the neighbouring pair
// with the highest score merges first, what is no token falls back to its bytes.
#include "tensor/text/tokenizer_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Scores as ranks: the highest score is the smallest rank, equal scores are equal ranks.
static uint32_t rank_of_score(const struct tokenizer *t, uint32_t id)
{
    uint32_t bits = 0;
    if (t->scores)
        memcpy(&bits, t->scores + 4 * (size_t)id, 4);
    if (bits == 0x80000000u) // -0 is 0
        bits = 0;
    uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ~ascending;
}

static bool pair_rank(const struct tokenizer *t, const char *text, size_t left, size_t bytes,
                      uint32_t *rank, int *failed)
{
    (void)left;
    int64_t id = token_lookup(t, text, bytes);
    if (id == -2)
        *failed = -ENOMEM;
    if (id < 0)
        return false;
    *rank = rank_of_score(t, (uint32_t)id);
    return true;
}

static void put_bytes(const struct tokenizer *t, const char *text, size_t bytes,
                      struct id_sink *out)
{
    for (size_t i = 0; i < bytes; i++) {
        int32_t id = t->byte_token[(uint8_t)text[i]];
        if (id < 0)
            id = (int32_t)token_lookup(t, text + i, 1);
        if (id < 0)
            id = t->unk;
        if (id >= 0)
            sink_put(out, id);
    }
}

char *mark_spaces(const char *text, size_t bytes, bool prefix_space, size_t *marked_bytes)
{
    size_t spaces = prefix_space, n = 0;
    for (size_t i = 0; i < bytes; i++)
        spaces += text[i] == ' ';
    char *marked = malloc(bytes + 3 * spaces + 1);
    if (!marked)
        return NULL;
    marked[0] = 0;
    if (prefix_space) {
        memcpy(marked, space_mark, 3);
        n = 3;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == ' ') {
            memcpy(marked + n, space_mark, 3);
            n += 3;
        } else {
            marked[n++] = text[i];
        }
    }
    *marked_bytes = n;
    return marked;
}

int spm_encode(const struct tokenizer *t, struct merge_work *w, const char *text, size_t bytes,
               bool prefix_space, struct id_sink *out)
{
    size_t n;
    char *marked = mark_spaces(text, bytes, prefix_space, &n);
    if (!marked)
        return -ENOMEM;
    int rc = merge_run(w, t, marked, n, pair_rank);
    for (int32_t i = rc || !n ? -1 : 0; i >= 0; i = w->symbol[i].next) {
        maybe_pause(out->count);
        const struct merge_symbol *s = &w->symbol[i];
        int64_t id = token_lookup(t, marked + s->start, s->bytes);
        if (id == -2) {
            rc = -ENOMEM;
            break;
        }
        if (id >= 0)
            sink_put(out, (int32_t)id);
        else
            put_bytes(t, marked + s->start, s->bytes, out);
    }
    free(marked);
    return rc;
}
