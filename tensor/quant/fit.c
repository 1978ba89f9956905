// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Fitting a scale, or a scale and an offset, to a short run of values: whole numbers are chosen for
// each of some scales, the best scale for these whole numbers follows by least squares, and the
// pair that leaves the least error wins.
#include "tensor/quant/quant_private.h"

#include <emmintrin.h>

// Four values at once; n is a multiple of eight everywhere.
typedef __m128 lanes;

static lanes all(float v)
{
    return _mm_set1_ps(v);
}

static float sum(lanes v)
{
    float f[4];
    _mm_storeu_ps(f, v);
    return (f[0] + f[2]) + (f[1] + f[3]);
}

// Clamped before rounding, which is exact for small numbers only.
static lanes whole(lanes v, lanes low, lanes high)
{
    const lanes shift = all(12582912.0f);
    v = _mm_min_ps(_mm_max_ps(v, low), high);
    return _mm_sub_ps(_mm_add_ps(v, shift), shift);
}

static void store_bytes(uint8_t *out, lanes a, lanes b)
{
    __m128i words = _mm_packs_epi32(_mm_cvtps_epi32(a), _mm_cvtps_epi32(b));
    _mm_storel_epi64((__m128i *)(void *)out, _mm_packs_epi16(words, words));
}

// Of a subnormal d the inverse is not finite.
static float inverse_of(float d)
{
    float inverse = d != 0 ? 1.0f / d : 0;
    return inverse - inverse == 0 ? inverse : 0;
}

// x - (d * q + m) of four values, squared and added; q is returned.
static lanes apply(const float *x, lanes inverse, lanes d, lanes m, lanes low, lanes high,
                   lanes *error)
{
    lanes v = _mm_loadu_ps(x), q = whole(_mm_mul_ps(_mm_sub_ps(v, m), inverse), low, high);
    lanes e = _mm_sub_ps(v, _mm_add_ps(_mm_mul_ps(d, q), m));
    *error = _mm_add_ps(*error, _mm_mul_ps(e, e));
    return q;
}

static float apply_all(const float *x, unsigned n, struct quant_line line, int low, int high,
                       uint8_t *q)
{
    lanes inverse = all(inverse_of(line.d)), error = all(0), d = all(line.d), m = all(line.m);
    lanes least = all((float)low), most = all((float)high);
    for (unsigned i = 0; i < n; i += 8) {
        lanes a = apply(x + i, inverse, d, m, least, most, &error);
        lanes b = apply(x + i + 4, inverse, d, m, least, most, &error);
        store_bytes(q + i, a, b);
    }
    return sum(error);
}

float quant_apply_scale(const float *x, unsigned n, float d, int low, int high, int8_t *q)
{
    return apply_all(x, n, (struct quant_line){d, 0}, low, high, (uint8_t *)q);
}

float quant_apply_line(const float *x, unsigned n, struct quant_line line, int high, uint8_t *q)
{
    return apply_all(x, n, line, 0, high, q);
}

// How much of the sum of squares a scale of 1 / inverse explains: (sum xq)^2 / sum qq.
static float explained(const float *x, unsigned n, float inverse, float low, float high, float *d)
{
    lanes xv = all(0), vv = all(0), scale = all(inverse), least = all(low), most = all(high);
    for (unsigned i = 0; i < n; i += 4) {
        lanes v = _mm_loadu_ps(x + i), w = whole(_mm_mul_ps(v, scale), least, most);
        xv = _mm_add_ps(xv, _mm_mul_ps(v, w));
        vv = _mm_add_ps(vv, _mm_mul_ps(w, w));
    }
    float xq = sum(xv), qq = sum(vv);
    *d = qq > 0 ? xq / qq : 0;
    return *d * xq;
}

float quant_fit_scale(const float *x, unsigned n, int low, int high, unsigned steps)
{
    float most = 0, best = -1, d = 0, candidate;
    for (unsigned i = 0; i < n; i++) {
        float magnitude = x[i] < 0 ? -x[i] : x[i];
        most = magnitude > most ? magnitude : most;
    }
    if (most < QUANT_TINY)
        return 0;
    // The largest magnitude lands between half a step below and most of a step above the last
    // level; where the levels are not symmetric, a negative scale may be the better one.
    float levels = (float)(-low > high ? -low : high);
    for (int sign = 1; sign >= (-low == high ? 1 : -1); sign -= 2) {
        for (unsigned s = 0; s < steps; s++) {
            float reach = levels - 0.75f + 1.75f * ((float)s + 0.5f) / (float)steps;
            reach *= (float)sign / most;
            float gain = explained(x, n, reach, (float)low, (float)high, &candidate);
            if (gain > best && candidate - candidate == 0) {
                best = gain;
                d = candidate;
            }
        }
    }
    for (int i = 0; i < 2 && d != 0; i++) { // whole numbers of the best scale, its best scale again
        float gain = explained(x, n, 1.0f / d, (float)low, (float)high, &candidate);
        if (!(gain > best))
            break;
        best = gain;
        d = candidate;
    }
    return d;
}

// Least squares of x on q for the whole numbers that `from` gives. Returns the error left, less the
// sum of squares of x. sx: the sum of x.
static float refine(const float *x, unsigned n, float sx, float high, bool below_zero,
                    struct quant_line from, struct quant_line *to)
{
    lanes v1 = all(0), v2 = all(0), xv = all(0), scale = all(1.0f / from.d), m = all(from.m);
    lanes least = all(0), most = all(high);
    for (unsigned i = 0; i < n; i += 4) {
        lanes v = _mm_loadu_ps(x + i), w = whole(_mm_mul_ps(_mm_sub_ps(v, m), scale), least, most);
        v1 = _mm_add_ps(v1, w);
        v2 = _mm_add_ps(v2, _mm_mul_ps(w, w));
        xv = _mm_add_ps(xv, _mm_mul_ps(v, w));
    }
    float sq = sum(v1), sqq = sum(v2), sxq = sum(xv);
    float determinant = (float)n * sqq - sq * sq;
    if (determinant > 0) {
        to->d = ((float)n * sxq - sq * sx) / determinant;
        to->m = (sqq * sx - sq * sxq) / determinant;
    } else {
        *to = (struct quant_line){0, sx / (float)n};
    }
    if (below_zero && to->m > 0) {
        to->m = 0;
        to->d = sqq > 0 ? sxq / sqq : 0;
    }
    return -2 * (to->d * sxq + to->m * sx) + to->d * to->d * sqq + 2 * to->d * to->m * sq +
           (float)n * to->m * to->m;
}

struct quant_line quant_fit_line(const float *x, unsigned n, int high, bool below_zero,
                                 unsigned steps)
{
    float least = x[0], most = x[0], total = x[0];
    for (unsigned i = 1; i < n; i++) {
        total += x[i];
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    if (below_zero && least > 0)
        least = 0;
    if (most - least < QUANT_TINY)
        return (struct quant_line){0, below_zero && least > 0 ? 0 : least};
    struct quant_line best = {(most - least) / (float)high, least};
    float best_error = 3.0e38f;
    for (unsigned s = 0; s < steps; s++) {
        // From a little more than the range to a range with the ends cut.
        float levels = (float)high - 0.6f + 1.9f * ((float)s + 0.5f) / (float)steps;
        float d = (most - least) / levels;
        struct quant_line line = {d, least + 0.5f * ((most - least) - d * (float)high)}, better;
        if (below_zero && line.m > 0)
            line.m = 0;
        for (int i = 0; i < 2 && line.d > 0; i++) {
            float error = refine(x, n, total, (float)high, below_zero, line, &better);
            if (error < best_error && better.d >= 0) {
                best_error = error;
                best = better;
            }
            line = better;
        }
    }
    return best;
}
