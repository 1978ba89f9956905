// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Frequencies of rotary positions: base^(-2i/d) radians a position, slowed by factors of each pair
// (rope_freqs, longrope), by one factor (linear), or by one that fades out towards the fast pairs
// (YaRN, Peng et al. 2023).
#include "tensor/model/model_private.h"

#include "tensor/core/math.h"

#include <errno.h>

// The pair that makes `turns` full turns within the original context.
static double pair_of_turns(const struct tn_hparams *h, double base, double turns)
{
    const double pi = 3.14159265358979323846;
    return h->rope_dimensions * tn_log(h->rope_context / (turns * 2 * pi)) / (2 * tn_log(base));
}

// How much of a pair's frequency stays unscaled, from 0 (slow pairs) to 1 (fast ones).
static double yarn_unscaled(const struct tn_hparams *h, double base, uint32_t pair)
{
    double low = __builtin_floor(pair_of_turns(h, base, h->yarn_fast));
    double high = __builtin_ceil(pair_of_turns(h, base, h->yarn_slow));
    low = low > 0 ? low : 0;
    high = high < h->rope_dimensions - 1 ? high : h->rope_dimensions - 1;
    double length = high - low > 0.001 ? high - low : 0.001;
    double ramp = (pair - low) / length;
    return 1 - (ramp < 0 ? 0 : ramp > 1 ? 1 : ramp);
}

static const double *frequencies(struct ir_graph *g, const struct tn_hparams *h, double base,
                                 enum tn_rope_scaling scaling, const float *slower)
{
    uint32_t pairs = h->rope_dimensions / 2;
    double *out = ir_own(g, pairs, sizeof *out);
    for (uint32_t i = 0; out && i < pairs; i++) {
        double f = tn_pow(base, -2.0 * i / h->rope_dimensions);
        f = slower ? f / (double)slower[i] : f;
        double scaled = scaling == TN_ROPE_PLAIN ? f : f / h->rope_factor;
        double unscaled = scaling == TN_ROPE_YARN ? yarn_unscaled(h, base, i) : 0;
        out[i] = scaled * (1 - unscaled) + f * unscaled;
        // A position times a frequency must stay an angle that can be reduced.
        if (!(out[i] >= 0 && out[i] <= 64)) {
            ir_fail(g, -EINVAL, "%s: the frequency of pair %u is not usable",
                    slower ? "factors of rope" : "rope.freq_base", i);
            return out;
        }
    }
    return out;
}

const struct ir_rope *tn_rope_plain(struct ir_graph *g, const struct tn_hparams *h,
                                    bool split_halves, double base)
{
    struct ir_rope rope = {.split_halves = split_halves,
                           .rotated = h->rope_dimensions,
                           .magnitude = h->rope_attention_factor,
                           .frequency = frequencies(g, h, base, TN_ROPE_PLAIN, NULL)};
    return g->error ? NULL : ir_rope_of(g, &rope);
}

const struct ir_rope *tn_rope(struct ir_graph *g, const struct tn_hparams *h, bool split_halves)
{
    uint32_t pairs = h->rope_dimensions / 2;
    struct ir_rope rope = {.split_halves = split_halves,
                           .rotated = h->rope_dimensions,
                           .magnitude = h->rope_attention_factor};
    const float *slower = ir_vector_optional(g, pairs, "rope_freqs.weight");
    const float *slower_long = NULL;
    if (!slower) {
        slower = ir_vector_optional(g, pairs, "rope_factors_short.weight");
        slower_long = ir_vector_optional(g, pairs, "rope_factors_long.weight");
    }
    rope.frequency = frequencies(g, h, h->rope_base, h->rope_scaling, slower);
    if (slower_long) {
        rope.frequency_long = frequencies(g, h, h->rope_base, h->rope_scaling, slower_long);
        rope.long_from = h->rope_context;
    }
    if (h->rope_scaling == TN_ROPE_YARN && h->rope_factor > 1) {
        rope.magnitude *= 1 + 0.1 * tn_log(h->rope_factor);
    }
    return g->error ? NULL : ir_rope_of(g, &rope);
}
