// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Fitting super-blocks: each run alone first; then the shared factor from the largest run, the
// small scales around what each run wants, and the factor once more by least squares over all
// values.
#include "tensor/quant/superblock.h"

enum { STEPS = 14, ROUNDS = 3 };

static int whole(float x, int low, int high)
{
    return (int)quant_round(quant_clamp(x, (float)low, (float)high));
}

static float half(float x, int *rc)
{
    uint8_t unused[2];
    return quant_store_half(unused, x, rc);
}

// ---- a scale ------------------------------------------------------------------------------------

// Scales and whole numbers for a given factor; returns the squared error.
static float signed_choose(const float *x, const struct quant_signed_rules *rules,
                           const float *wanted, float d, struct quant_signed_super *out)
{
    float total = 0;
    out->d = d;
    for (unsigned r = 0; r < QUANT_SUPER / rules->run; r++) {
        const float *run = x + r * rules->run;
        int8_t *q = out->q + r * rules->run, tried[QUANT_RUN];
        int around = d != 0 ? whole(wanted[r] / d, rules->scale_low, rules->scale_high) : 0;
        float best = -1;
        for (int s = around - 1; s <= around + 1; s++) {
            if (s < rules->scale_low || s > rules->scale_high)
                continue;
            float error =
                quant_apply_scale(run, rules->run, d * (float)s, rules->low, rules->high, tried);
            if (best < 0 || error < best) {
                best = error;
                out->scale[r] = (int8_t)s;
                memcpy(q, tried, rules->run);
            }
        }
        total += best;
    }
    return total;
}

static float signed_factor(const float *x, const struct quant_signed_rules *rules,
                           const struct quant_signed_super *s)
{
    float xa = 0, aa = 0;
    for (unsigned i = 0; i < QUANT_SUPER; i++) {
        float a = (float)(s->scale[i / rules->run] * s->q[i]);
        xa += x[i] * a;
        aa += a * a;
    }
    return aa > 0 ? xa / aa : 0;
}

int quant_signed_super(const float *x, const struct quant_signed_rules *rules,
                       struct quant_signed_super *out)
{
    float wanted[QUANT_SUPER_RUNS], largest = 0;
    int rc = 0;
    for (unsigned r = 0; r < QUANT_SUPER / rules->run; r++) {
        wanted[r] = quant_fit_scale(x + r * rules->run, rules->run, rules->low, rules->high, STEPS);
        if (wanted[r] * wanted[r] > largest * largest)
            largest = wanted[r];
    }
    // The end of the scales' range that reaches further takes the largest.
    float d = half(largest / (float)rules->scale_low, &rc);
    float error = signed_choose(x, rules, wanted, d, out);
    for (int i = 0; i < ROUNDS && !rc && error > 0; i++) {
        struct quant_signed_super other;
        float next = half(signed_factor(x, rules, out), &rc);
        if (next == out->d)
            break;
        float less = signed_choose(x, rules, wanted, next, &other);
        if (!(less < error))
            break;
        error = less;
        *out = other;
    }
    return rc;
}

// ---- a scale and a minimum ----------------------------------------------------------------------

// The best scale and minimum of one run near what it wants.
static float line_choose_run(const float *x, const struct quant_line_rules *rules,
                             struct quant_line want, float d, float minimum_d, uint8_t *scale,
                             uint8_t *minimum, uint8_t *q)
{
    uint8_t tried[QUANT_RUN];
    int top = rules->scale_high;
    int s0 = d != 0 ? whole(want.d / d, 0, top) : 0;
    int m0 = minimum_d != 0 ? whole(-want.m / minimum_d, 0, top) : 0;
    float best = -1;
    for (int s = s0 - 1; s <= s0 + 1; s++) {
        for (int m = m0 - 1; m <= m0 + 1; m++) {
            if (s < 0 || s > top || m < 0 || m > top)
                continue;
            struct quant_line line = {d * (float)s, -(minimum_d * (float)m)};
            float error = quant_apply_line(x, rules->run, line, rules->high, tried);
            if (best < 0 || error < best) {
                best = error;
                *scale = (uint8_t)s;
                *minimum = (uint8_t)m;
                memcpy(q, tried, rules->run);
            }
        }
    }
    return best;
}

static float line_choose(const float *x, const struct quant_line_rules *rules,
                         const struct quant_line *wanted, float d, float minimum_d,
                         struct quant_line_super *out)
{
    float total = 0;
    out->d = d;
    out->minimum_d = minimum_d;
    for (unsigned r = 0; r < QUANT_SUPER / rules->run; r++)
        total += line_choose_run(x + r * rules->run, rules, wanted[r], d, minimum_d, &out->scale[r],
                                 &out->minimum[r], out->q + r * rules->run);
    return total;
}

// Both factors by least squares: x = d * a - minimum_d * b.
static bool line_factors(const float *x, const struct quant_line_rules *rules,
                         const struct quant_line_super *s, float *d, float *minimum_d)
{
    double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    for (unsigned i = 0; i < QUANT_SUPER; i++) {
        double a = s->scale[i / rules->run] * s->q[i], b = -(double)s->minimum[i / rules->run];
        aa += a * a;
        ab += a * b;
        bb += b * b;
        xa += (double)x[i] * a;
        xb += (double)x[i] * b;
    }
    double determinant = aa * bb - ab * ab;
    if (!(determinant > 1e-6 * aa * bb))
        return false;
    *d = (float)((xa * bb - xb * ab) / determinant);
    *minimum_d = (float)((xb * aa - xa * ab) / determinant);
    return *d >= 0 && *minimum_d >= 0;
}

int quant_line_super(const float *x, const struct quant_line_rules *rules,
                     struct quant_line_super *out)
{
    struct quant_line wanted[QUANT_SUPER_RUNS];
    float most_d = 0, most_m = 0, top = (float)rules->scale_high, d, minimum_d;
    int rc = 0;
    for (unsigned r = 0; r < QUANT_SUPER / rules->run; r++) {
        wanted[r] = quant_fit_line(x + r * rules->run, rules->run, rules->high, true, STEPS);
        most_d = wanted[r].d > most_d ? wanted[r].d : most_d;
        most_m = -wanted[r].m > most_m ? -wanted[r].m : most_m;
    }
    float error =
        line_choose(x, rules, wanted, half(most_d / top, &rc), half(most_m / top, &rc), out);
    for (int i = 0; i < ROUNDS && !rc && error > 0; i++) {
        struct quant_line_super other;
        if (!line_factors(x, rules, out, &d, &minimum_d))
            break;
        float less = line_choose(x, rules, wanted, half(d, &rc), half(minimum_d, &rc), &other);
        if (rc || !(less < error))
            break;
        error = less;
        *out = other;
    }
    return rc;
}
