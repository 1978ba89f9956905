// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Choosing a token: penalties, then top-k, top-p, min-p, then temperature, then one draw. The
// filters look at the probabilities at temperature 1 of what is left, as the field's servers do.
#include "tensor/infer/infer_private.h"

#include "tensor/core/math.h"
#include "tensor/half.h"

enum {
    MOST_CANDIDATES = 256, // a sorted list of up to this many; wider filters work by threshold
    MOST_RECENT = 1024,    // tokens the penalties look back at most
};

struct tn_sampling tn_sampling_default(void)
{
    return (struct tn_sampling){.temperature = 0.8f,
                                .top_k = 40,
                                .top_p = 0.95f,
                                .min_p = 0.05f,
                                .repeat_penalty = 1.0f,
                                .repeat_last = 64};
}

static void penalise(float *logits, uint32_t vocabulary, const struct tn_sampling *s,
                     const int32_t *recent, size_t count)
{
    size_t back = s->repeat_last < MOST_RECENT ? s->repeat_last : MOST_RECENT;
    if (count > back) {
        recent += count - back;
        count = back;
    }
    for (size_t i = 0; i < count; i++) {
        int32_t id = recent[i];
        float times = 0;
        bool seen = false;
        for (size_t j = 0; j < count && !seen; j++) {
            seen = j < i && recent[j] == id;
            times += recent[j] == id ? 1.0f : 0.0f;
        }
        if (seen || id < 0 || (uint32_t)id >= vocabulary) {
            continue;
        }
        float *l = &logits[id];
        *l = *l > 0 ? *l / s->repeat_penalty : *l * s->repeat_penalty;
        *l -= times * s->frequency_penalty + s->presence_penalty;
    }
}

// The greatest logit, the first of equals; what is not a number never wins.
static uint32_t greatest(const float *logits, uint32_t vocabulary)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocabulary; i++) {
        if (logits[i] > logits[best] || logits[best] != logits[best]) {
            best = i;
        }
    }
    return best;
}

// ---- few candidates: a sorted list -------------------------------------------------------------

struct candidate {
    float logit;
    uint32_t id;
};

// Is a worse than b? Of equals the later id is.
static bool worse(struct candidate a, struct candidate b)
{
    return a.logit < b.logit || (!(a.logit > b.logit) && a.id > b.id);
}

// heap[0] is the worst.
static void sink(struct candidate *heap, size_t count, size_t i)
{
    for (;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < count; child++) {
            if (worse(heap[child], heap[least])) {
                least = child;
            }
        }
        if (least == i) {
            return;
        }
        struct candidate t = heap[i];
        heap[i] = heap[least];
        heap[least] = t;
        i = least;
    }
}

// The k best in descending order; returns how many there are.
static size_t best_of(const float *logits, uint32_t vocabulary, size_t k, struct candidate *out)
{
    size_t count = 0;
    for (uint32_t i = 0; i < vocabulary; i++) {
        struct candidate c = {logits[i], i};
        if (c.logit != c.logit) {
            continue;
        }
        if (count < k) {
            out[count++] = c;
            for (size_t j = count / 2; count == k && j-- > 0;) {
                sink(out, k, j);
            }
        } else if (worse(out[0], c)) {
            out[0] = c;
            sink(out, k, 0);
        }
    }
    for (size_t j = count / 2; count < k && j-- > 0;) {
        sink(out, count, j);
    }
    for (size_t left = count; left > 1; left--) { // heap sort: the worst goes last
        struct candidate t = out[0];
        out[0] = out[left - 1];
        out[left - 1] = t;
        sink(out, left - 1, 0);
    }
    return count;
}

static size_t keep_top_p(const struct candidate *c, size_t count, float top_p)
{
    double total = 0, sum = 0;
    for (size_t i = 0; i < count; i++) {
        total += tn_exp((double)c[i].logit - (double)c[0].logit);
    }
    for (size_t i = 0; i < count; i++) {
        sum += tn_exp((double)c[i].logit - (double)c[0].logit);
        if (sum >= (double)top_p * total) {
            return i + 1;
        }
    }
    return count;
}

static int32_t draw_from_list(const float *logits, uint32_t vocabulary, const struct tn_sampling *s,
                              struct tn_rng *rng)
{
    struct candidate c[MOST_CANDIDATES];
    size_t count = best_of(logits, vocabulary, s->top_k, c);
    if (count == 0) {
        return 0;
    }
    if (c[0].logit > 3.4e38f) { // infinite: no probabilities; the caller refuses it
        return (int32_t)c[0].id;
    }
    if (s->top_p < 1) {
        count = keep_top_p(c, count, s->top_p);
    }
    double floor = s->min_p > 0 ? (double)c[0].logit + tn_log((double)s->min_p) : -__builtin_inf();
    while (count > 1 && (double)c[count - 1].logit < floor) {
        count--;
    }
    double total = 0, inverse = 1.0 / (double)s->temperature;
    for (size_t i = 0; i < count; i++) {
        total += tn_exp(((double)c[i].logit - (double)c[0].logit) * inverse);
    }
    double left = tn_rng_unit(rng) * total;
    for (size_t i = 0; i < count; i++) {
        left -= tn_exp(((double)c[i].logit - (double)c[0].logit) * inverse);
        if (left < 0) {
            return (int32_t)c[i].id;
        }
    }
    return (int32_t)c[count - 1].id;
}

// ---- many candidates: a threshold --------------------------------------------------------------

// Order-preserving map between floats and integers, for bisection over every float there is.
static uint32_t to_key(float f)
{
    uint32_t u = tn_float_bits(f);
    return u >> 31 ? ~u : u | 0x80000000u;
}

static float from_key(uint32_t key)
{
    return tn_bits_float(key >> 31 ? key & 0x7fffffffu : ~key);
}

// Number of logits at or above the threshold, or their probability mass.
static double at_or_above(const float *logits, uint32_t vocabulary, float threshold, float top,
                          bool mass)
{
    double sum = 0;
    for (uint32_t i = 0; i < vocabulary; i++) {
        if (logits[i] >= threshold) {
            sum += mass ? tn_exp((double)logits[i] - (double)top) : 1.0;
        }
    }
    return sum;
}

// The highest threshold in [low, top] that still leaves `wanted`.
static float threshold_for(const float *logits, uint32_t vocabulary, float low, float top,
                           double wanted, bool mass)
{
    uint32_t a = to_key(low), b = to_key(top);
    while (a < b) {
        uint32_t middle = b - (b - a) / 2;
        if (at_or_above(logits, vocabulary, from_key(middle), top, mass) >= wanted) {
            a = middle;
        } else {
            b = middle - 1;
        }
    }
    return from_key(a);
}

static int32_t draw_by_threshold(const float *logits, uint32_t vocabulary,
                                 const struct tn_sampling *s, struct tn_rng *rng)
{
    uint32_t best = greatest(logits, vocabulary);
    float top = logits[best], low = -__builtin_inff();
    if (!(top > low) || top > 3.4e38f) {
        return (int32_t)best;
    }
    if (s->top_k && s->top_k < vocabulary) {
        low = threshold_for(logits, vocabulary, low, top, s->top_k, false);
    }
    if (s->top_p < 1) {
        double total = at_or_above(logits, vocabulary, low, top, true);
        low = threshold_for(logits, vocabulary, low, top, (double)s->top_p * total, true);
    }
    if (s->min_p > 0) {
        float floor = (float)((double)top + tn_log((double)s->min_p));
        low = floor > low ? floor : low;
    }
    double total = 0, inverse = 1.0 / (double)s->temperature;
    for (uint32_t i = 0; i < vocabulary; i++) {
        if (logits[i] >= low) {
            total += tn_exp(((double)logits[i] - (double)top) * inverse);
        }
    }
    double left = tn_rng_unit(rng) * total;
    for (uint32_t i = 0; i < vocabulary; i++) {
        if (logits[i] >= low) {
            left -= tn_exp(((double)logits[i] - (double)top) * inverse);
            if (left < 0) {
                return (int32_t)i;
            }
        }
    }
    return (int32_t)best;
}

void tn_apply_rules(float *logits, uint32_t vocabulary, const struct tn_logit_rules *rules)
{
    for (uint32_t i = 0; rules->mask && i < vocabulary; i++) {
        if (!(rules->mask[i / 8] >> i % 8 & 1)) {
            logits[i] = -__builtin_inff();
        }
    }
    for (size_t i = 0; i < rules->bias_count; i++) {
        const struct tn_logit_bias *b = &rules->biases[i];
        if (b->token >= 0 && (uint32_t)b->token < vocabulary) {
            logits[b->token] += b->bias;
        }
    }
}

int32_t tn_sample(float *logits, uint32_t vocabulary, const struct tn_sampling *s,
                  struct tn_rng *rng, const int32_t *recent, size_t recent_count)
{
    bool penalties =
        s->repeat_penalty != 1.0f || s->presence_penalty != 0 || s->frequency_penalty != 0;
    if (penalties && s->repeat_penalty > 0) {
        penalise(logits, vocabulary, s, recent, recent_count);
    }
    if (!(s->temperature > 0)) {
        return (int32_t)greatest(logits, vocabulary);
    }
    if (s->top_k && s->top_k <= MOST_CANDIDATES) {
        return draw_from_list(logits, vocabulary, s, rng);
    }
    return draw_by_threshold(logits, vocabulary, s, rng);
}
