// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Guessing tokens that the model then checks many at a time: by looking up what followed the
// sequence's last tokens when they stood there before, or by a cheaper model. A guess is right when
// the model's own draw at its place, with the sequence's own random number, gives the same token.
// The text is then the one that would have come without guesses: sampling couples both draws by
// their common random number (Daliri, Musco, Suresh 2024: drafter-invariant speculation) instead of
// accepting by a second one, so that also a seed keeps its text.
#include "tensor/infer/infer_private.h"

#include <errno.h>
#include <stdlib.h>

enum {
    SHORTEST_MATCH = 2, // tokens that must stand there again
    LONGEST_MATCH = 8,
    BEHIND_MOST = 16, // tokens the draft model may be behind before it reads them on their own
};

static uint32_t at_most(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

int infer_open_draft(struct infer_engine *e)
{
    struct infer_options *o = &e->options;
    uint32_t by_model = 0;
    if (o->draft) {
        struct tn_model_info info;
        tn_model_info(o->draft_model, &info);
        tn_executor_limits(o->draft, &e->draft_limits);
        e->draft_context = at_most(o->context, info.context);
        e->draft_pages_each = (e->draft_context + TN_KV_PAGE_TOKENS - 1) / TN_KV_PAGE_TOKENS;
        uint64_t pages = (uint64_t)e->draft_pages_each * o->slots;
        if (info.vocabulary != e->vocabulary || e->draft_limits.max_sequences < o->slots ||
            e->draft_limits.kv_page_total < pages || info.embeds) {
            return -EINVAL;
        }
        by_model = o->draft_tokens ? o->draft_tokens : 4;
        e->draft_pages = malloc(pages * sizeof *e->draft_pages);
        if (!e->draft_pages) {
            return -ENOMEM;
        }
        for (uint32_t i = 0; i < pages; i++) {
            e->draft_pages[i] = i;
        }
    }
    o->draft_tokens = by_model;
    e->draft_most = by_model > o->lookup ? by_model : o->lookup;
    e->draft_most = at_most(e->draft_most, e->limits.max_tokens - 1);
    return 0;
}

// ---- looking up --------------------------------------------------------------------------------

// Tokens that are equal, counted backwards from both places.
static uint32_t match(const int32_t *tokens, uint32_t a, uint32_t b)
{
    uint32_t n = 0;
    while (n < LONGEST_MATCH && n < a && tokens[a - 1 - n] == tokens[b - 1 - n]) {
        n++;
    }
    return n;
}

// What followed the last tokens where most of them stand before, the latest place of equals.
static uint32_t look_up(struct infer_sequence *s, uint32_t most)
{
    uint32_t best = SHORTEST_MATCH - 1, from = 0;
    for (uint32_t end = most ? s->count - 1 : 0; end > 0 && best < LONGEST_MATCH; end--) {
        uint32_t length = match(s->tokens, end, s->count);
        if (length > best) {
            best = length;
            from = end;
        }
    }
    if (from == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < most; i++) { // it may run on into what is being written
        s->tokens[s->count + i] = s->tokens[from + i];
    }
    return most;
}

// ---- the draft model ---------------------------------------------------------------------------

static uint32_t *draft_table(const struct infer_engine *e, const struct infer_sequence *s)
{
    size_t slot = (size_t)(s->pages - e->page_tables) / e->pages_per_sequence;
    return e->draft_pages + slot * e->draft_pages_each;
}

static struct tn_step_sequence draft_part(const struct infer_engine *e,
                                          const struct infer_sequence *s, uint32_t count,
                                          float *logits)
{
    return (struct tn_step_sequence){.tokens = s->tokens + s->draft_done,
                                     .token_count = count,
                                     .position = s->draft_done,
                                     .kv_pages = draft_table(e, s),
                                     .kv_page_count = e->draft_pages_each,
                                     .logits_from = logits ? count - 1 : count,
                                     .logits = logits};
}

// One step of the draft model: a token more for each sequence that wants `round` or more.
static void draft_round(struct infer_engine *e, const uint32_t *wanted, uint32_t round)
{
    uint32_t n = 0, tokens = 0;
    for (uint32_t i = 0; i < e->running_count; i++) {
        struct infer_sequence *s = e->running[i];
        uint32_t unread = s->count + s->drafted - s->draft_done;
        if (wanted[i] < round || tokens + unread > e->draft_limits.max_tokens) {
            continue;
        }
        tokens += unread;
        e->entries[n] = (struct step_entry){s, s->age, e->logits + (size_t)n * e->vocabulary};
        e->step[n] = draft_part(e, s, unread, e->entries[n].logits);
        n++;
    }
    if (n == 0 || tn_step(e->options.draft, e->step, n) != 0) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct infer_sequence *s = e->entries[i].sequence;
        uint32_t known = s->count + s->drafted;
        s->draft_done = known;
        s->tokens[known] = tn_sample(e->entries[i].logits, e->vocabulary, &s->request.sampling,
                                     &s->draft_rng, s->tokens, known);
        s->drafted++;
    }
}

// ---- a step ------------------------------------------------------------------------------------

// Tokens worth guessing for a sequence: there must be places for them and for one more.
static uint32_t worth_guessing(const struct infer_sequence *s, uint32_t most)
{
    uint32_t places = s->space - s->count;
    return places ? at_most(at_most(s->draft_length, most), places - 1) : 0;
}

void infer_draft(struct infer_engine *e)
{
    uint32_t decoding = 0, prompts = 0, rounds = 0;
    uint32_t *wanted = e->wanted;
    for (uint32_t i = 0; i < e->running_count; i++) {
        if (infer_elsewhere(e->running[i])) {
            continue;
        }
        bool decodes = e->running[i]->count - e->running[i]->done == 1;
        decoding += decodes;
        prompts += !decodes;
    }
    if (decoding == 0 || e->draft_most == 0) {
        return;
    }
    // Prompts are not to wait for guesses.
    uint32_t each = (e->limits.max_tokens - decoding) / (prompts ? 2 : 1) / decoding;
    for (uint32_t i = 0; i < e->running_count; i++) {
        struct infer_sequence *s = e->running[i];
        wanted[i] = 0;
        s->drafted = 0;
        if (s->count - s->done != 1 || infer_elsewhere(s)) {
            continue;
        }
        if (s->draft_length == 0) {
            s->draft_length = e->draft_most;
        }
        s->drafted = look_up(s, worth_guessing(s, at_most(e->options.lookup, each)));
        if (s->drafted == 0 && e->options.draft && s->count - s->draft_done <= BEHIND_MOST) {
            wanted[i] = worth_guessing(s, at_most(e->options.draft_tokens, each));
            if (s->count + wanted[i] > e->draft_context) {
                wanted[i] = 0;
            }
            s->draft_rng = s->rng;
            rounds = wanted[i] > rounds ? wanted[i] : rounds;
        }
    }
    for (uint32_t round = 1; round <= rounds; round++) {
        draft_round(e, wanted, round);
    }
}

void infer_follow(struct infer_engine *e)
{
    uint32_t n = 0, left = e->options.draft ? e->draft_limits.max_tokens : 0;
    for (uint32_t i = 0; i < e->running_count && left; i++) {
        struct infer_sequence *s = e->running[i];
        uint32_t to = at_most(s->done, e->draft_context);
        if (to < s->draft_done + BEHIND_MOST) {
            continue;
        }
        uint32_t count = at_most(to - s->draft_done, left);
        e->step[n++] = draft_part(e, s, count, NULL);
        s->draft_done += count;
        left -= count;
    }
    if (n && tn_step(e->options.draft, e->step, n) != 0) {
        for (uint32_t i = 0; i < e->running_count; i++) {
            e->running[i]->draft_done = 0;
        }
    }
}

void infer_drafts_judged(struct infer_engine *e, struct infer_sequence *s, uint32_t accepted)
{
    e->stats.drafted_tokens += s->drafted;
    e->stats.accepted_tokens += accepted;
    if (accepted == s->drafted) {
        s->draft_length = at_most(2 * s->draft_length, e->draft_most);
    } else if (accepted < s->drafted / 2 || accepted == 0) {
        s->draft_length = (s->draft_length + 1) / 2;
    }
    s->drafted = 0;
    s->draft_done = at_most(s->draft_done, s->count - 1);
}
