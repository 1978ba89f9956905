// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The merge loop of SPM and BPE: a heap of neighbouring pairs, the best merged first, the leftmost
// on ties. A text of n characters takes n log n.
#include "tensor/text/tokenizer_private.h"

#include <errno.h>
#include <stdlib.h>

size_t utf8_lead_bytes(char lead)
{
    static const uint8_t by_high_nibble[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    return by_high_nibble[(uint8_t)lead >> 4];
}

void merge_free(struct merge_work *w)
{
    free(w->symbol);
    free(w->heap);
    *w = (struct merge_work){0};
}

static int push(struct merge_work *w, struct merge_pair pair)
{
    if (w->heap_count == w->heap_max) {
        size_t max = w->heap_max ? w->heap_max * 2 : 256;
        struct merge_pair *heap = realloc(w->heap, max * sizeof *heap);
        if (!heap)
            return -ENOMEM;
        w->heap = heap;
        w->heap_max = max;
    }
    size_t i = w->heap_count++;
    while (i && pair.order < w->heap[(i - 1) / 2].order) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = pair;
    return 0;
}

static struct merge_pair pop(struct merge_work *w)
{
    struct merge_pair top = w->heap[0], last = w->heap[--w->heap_count];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < w->heap_count) {
        if (child + 1 < w->heap_count && w->heap[child + 1].order < w->heap[child].order)
            child++;
        if (last.order <= w->heap[child].order)
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

static int consider(struct merge_work *w, const struct tokenizer *t, const char *text, int32_t left,
                    int32_t right, merge_rank rank_of)
{
    uint32_t rank;
    int failed = 0;
    if (left < 0 || right < 0)
        return 0;
    const struct merge_symbol *a = &w->symbol[left], *b = &w->symbol[right];
    if (!rank_of(t, text + a->start, a->bytes, (size_t)a->bytes + b->bytes, &rank, &failed))
        return failed;
    return push(
        w, (struct merge_pair){(uint64_t)rank << 32 | (uint32_t)left, right, a->bytes + b->bytes});
}

// A broken byte stands alone: it must not swallow what follows, half a space mark for one.
static size_t symbol_bytes(const char *text, size_t bytes)
{
    size_t n = utf8_character(text, bytes);
    return n ? n : 1;
}

static int cut_characters(struct merge_work *w, const char *text, size_t bytes)
{
    size_t n = 0;
    for (size_t at = 0; at < bytes; at += symbol_bytes(text + at, bytes - at))
        n++;
    if (n > w->symbol_max) {
        struct merge_symbol *symbol = realloc(w->symbol, n * sizeof *symbol);
        if (!symbol)
            return -ENOMEM;
        w->symbol = symbol;
        w->symbol_max = n;
    }
    w->symbol_count = n;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        size_t length = symbol_bytes(text + at, bytes - at);
        w->symbol[i] = (struct merge_symbol){(uint32_t)at, (uint32_t)length, (int32_t)i - 1,
                                             i + 1 == n ? -1 : (int32_t)i + 1};
        at += length;
    }
    return 0;
}

int merge_run(struct merge_work *w, const struct tokenizer *t, const char *text, size_t bytes,
              merge_rank rank_of)
{
    if (bytes > INT32_MAX / 2)
        return -E2BIG;
    int rc = cut_characters(w, text, bytes);
    w->heap_count = 0;
    for (size_t i = 1; !rc && i < w->symbol_count; i++) {
        maybe_pause(i);
        rc = consider(w, t, text, (int32_t)i - 1, (int32_t)i, rank_of);
    }
    for (size_t step = 0; !rc && w->heap_count; step++) {
        maybe_pause(step);
        struct merge_pair pair = pop(w);
        int32_t left_index = (int32_t)(uint32_t)pair.order;
        struct merge_symbol *left = &w->symbol[left_index], *right = &w->symbol[pair.right];
        // Symbols only grow, so a pair whose bytes still add up is still the pair that was queued.
        if (!left->bytes || !right->bytes || left->bytes + right->bytes != pair.bytes)
            continue;
        left->bytes += right->bytes;
        right->bytes = 0;
        left->next = right->next;
        if (left->next >= 0)
            w->symbol[left->next].previous = left_index;
        rc = consider(w, t, text, left->previous, left_index, rank_of);
        if (!rc)
            rc = consider(w, t, text, left_index, left->next, rank_of);
    }
    return rc;
}
