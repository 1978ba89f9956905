// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Panels by vpdpbusd: unsigned weights q + 128 from the panel times signed columns, four neighbours
// into a 32-bit lane, exactly. Sums begin at -128 times the column's, so that the 128 costs
// nothing. 32 rows by up to six columns stay in registers.
#include "tensor/cpu/gemv.h"
#include "tensor/cpu/integer.h"
#include "tensor/cpu/simd_avx512.h"

#include "tensor/cpu/panel_unpack_avx512.h"
#include "tensor/cpu/quantise.h"

enum { BOTH = TN_PANEL_TOGETHER, MOST = TN_PANEL_GROUP_MOST };

ALWAYS_INLINE __m512i spread(const void *four)
{
    int32_t v;
    memcpy(&v, four, sizeof v);
    return _mm512_set1_epi32(v);
}

// s[p][c] += the products of `fours` times four values.
ALWAYS_INLINE void add_products(const int C, __m512i s[BOTH][MOST], const struct tn_panel *w,
                                size_t at, const int8_t *x, size_t k, const int fours)
{
#pragma GCC unroll 8
    for (int i = 0; i < fours; i++) {
        __m512i w0 = _mm512_load_si512(w[0].values[at + (size_t)i]);
        __m512i w1 = _mm512_load_si512(w[1].values[at + (size_t)i]);
        for (int c = 0; c < C; c++) {
            __m512i v = spread(x + (size_t)c * k + 4 * i);
            s[0][c] = _mm512_dpbusd_epi32(s[0][c], w0, v);
            s[1][c] = _mm512_dpbusd_epi32(s[1][c], w1, v);
        }
    }
}

// ---- packed weights ----------------------------------------------------------------------------

// What is to be added to a byte of a chunk so that it is q + 128 (Q4_K: q + 120, as panels have
// it).
static uint8_t shift_of(uint32_t type)
{
    switch (type) {
    case TN_Q4_0:
    case TN_Q4_K:
        return 120;
    case TN_Q5_0:
        return 112;
    case TN_MXFP4:
        return 116;
    case TN_Q3_K:
        return 124;
    case TN_Q6_K:
        return 96;
    case TN_Q8_0:
    case TN_IQ4_NL:
    case TN_IQ4_XS:
        return 0;
    default:
        return 128;
    }
}

// Lanes a[i], a[i + 1] as pairs of sixteen bits.
ALWAYS_INLINE void join_pairs(const int32_t (*a)[16], int count, int32_t (*out)[TN_PANEL_ROWS])
{
    for (int i = 0; i < count; i += 2) {
        __m512i even = _mm512_load_si512(a[i]), odd = _mm512_load_si512(a[i + 1]);
        _mm512_store_si512(out[i / 2],
                           _mm512_mask_blend_epi16(0xaaaaaaaau, even, _mm512_slli_epi32(odd, 16)));
    }
}

static void unpack_packed(uint32_t type, const uint8_t *strip, size_t k, size_t from, size_t count,
                          struct tn_panel *out)
{
    const bool blocks_256 = tn_type_info(type)->block_values == 256;
    const bool narrow = type == TN_Q2_K || type == TN_Q3_K || type == TN_Q6_K; // runs of 16
    const int runs = narrow ? 16 : 8;
    const __m512i shift = bytes_512(shift_of(type));
    struct tn_chunk chunk;
    for (size_t at = 0; at < count; at += 256) {
        size_t n = count - at < 256 ? count - at : 256, b = at / (blocks_256 ? 256 : 32);
        const uint8_t *values = tn_unpack_chunk_avx512vnni(type, strip, k, from + at, n, &chunk);
        for (size_t i = 0; i < n / 4; i++) {
            __m512i v = _mm512_loadu_si512(values + 64 * i);
            _mm512_store_si512(out->values[at / 4 + i], _mm512_add_epi8(v, shift));
        }
        for (size_t i = 0; i < (blocks_256 ? 1 : n / 32); i++) {
            _mm512_store_ps(out->scales[b + i], _mm512_load_ps(chunk.scale[i]));
            if (tn_type_has_minima(type)) {
                _mm512_store_ps(out->minima[b + i], _mm512_load_ps(chunk.minimum[i]));
            }
        }
        if (!blocks_256) {
            continue;
        }
        join_pairs((const int32_t(*)[16])chunk.factor, runs,
                   out->run_scales + b * (size_t)runs / 2);
        if (type == TN_Q2_K) {
            memcpy(out->run_minima + b * 8, chunk.pairs, sizeof chunk.pairs);
        } else if (tn_type_has_minima(type)) { // each minimum twice, for sums of 16
            join_pairs((const int32_t(*)[16])chunk.pairs, runs, out->run_minima + b * 4);
        }
    }
}

// ---- blocks of 32 ------------------------------------------------------------------------------

// How a type's sums are put together. All but `minima` are constants where kernels are made.
struct form {
    int run;      // blocks of 256: values of a run, 16 or 32
    bool short_;  // a run's sum fits 16 bits: two of them are scaled by one vpdpwssd
    bool eighths; // weights lie less 8, which 8 * sum of scale * (sum of the column) makes good
    bool minima;
};

// Columns [column, column + C), values [from, from + count) of all; goes on from out unless from
// is 0.
ALWAYS_INLINE void group_32(const int C, const struct form f, const struct tn_panel *w,
                            const struct tn_panel_columns *p, size_t column, size_t from,
                            size_t count, float *out, size_t stride)
{
    const size_t k = p->x.k, blocks = k / 32;
    const int8_t *x = p->x.values + column * k + from;
    const int32_t *start = p->start32 + column * blocks + from / 32;
    const int32_t *sums = p->x.sums + column * blocks + from / 32;
    const float *scales = p->x.scales + column * blocks + from / 32;
    __m512 total[BOTH][MOST];
    for (int c = 0; c < C; c++) {
        for (int r = 0; r < BOTH; r++) {
            total[r][c] =
                from ? _mm512_loadu_ps(out + (size_t)c * stride + 16 * r) : _mm512_setzero_ps();
        }
    }
    for (size_t b = 0; b < count / 32; b++, x += 32) {
        __m512i s[BOTH][MOST];
        for (int c = 0; c < C; c++) {
            s[0][c] = s[1][c] = spread(start + (size_t)c * blocks + b);
        }
        add_products(C, s, w, b * 8, x, k, 8);
        __m512 d0 = _mm512_load_ps(w[0].scales[b]), d1 = _mm512_load_ps(w[1].scales[b]);
        for (int c = 0; c < C; c++) {
            __m512 dx = _mm512_set1_ps(scales[(size_t)c * blocks + b]);
            total[0][c] =
                _mm512_fmadd_ps(_mm512_mul_ps(d0, dx), _mm512_cvtepi32_ps(s[0][c]), total[0][c]);
            total[1][c] =
                _mm512_fmadd_ps(_mm512_mul_ps(d1, dx), _mm512_cvtepi32_ps(s[1][c]), total[1][c]);
            if (f.minima) {
                __m512 sum = _mm512_cvtepi32_ps(spread(sums + (size_t)c * blocks + b));
                sum = _mm512_mul_ps(dx, sum);
                total[0][c] = _mm512_fmadd_ps(_mm512_load_ps(w[0].minima[b]), sum, total[0][c]);
                total[1][c] = _mm512_fmadd_ps(_mm512_load_ps(w[1].minima[b]), sum, total[1][c]);
            }
        }
    }
    for (int c = 0; c < C; c++) {
        for (int r = 0; r < BOTH; r++) {
            _mm512_storeu_ps(out + (size_t)c * stride + 16 * r, total[r][c]);
        }
    }
}

// ---- blocks of 256 -----------------------------------------------------------------------------

// One block: t = sum of scale * (run's sum).
ALWAYS_INLINE void block_256(const int C, const struct form f, const struct tn_panel *w,
                             const struct tn_panel_columns *p, size_t column, size_t from, size_t b,
                             __m512i t[BOTH][MOST])
{
    const size_t k = p->x.k, runs = k / (size_t)f.run;
    const int count = 256 / f.run;
    const size_t at = column * runs + (from + b * 256) / (size_t)f.run;
    const int8_t *x = p->x.values + column * k + from + b * 256;
    const int32_t *start = (f.run == 16 ? p->start16 : p->start32) + at;
    for (int c = 0; c < C; c++) {
        t[0][c] = t[1][c] = _mm512_setzero_si512();
    }
    for (int j = 0; j < count; j += 2) {
        const size_t pair = b * (size_t)count / 2 + (size_t)j / 2;
        __m512i even[BOTH][MOST], odd[BOTH][MOST];
        __m512i sc[BOTH];
        for (int r = 0; r < BOTH; r++) {
            sc[r] = _mm512_load_si512(w[r].run_scales[pair]);
        }
        for (int c = 0; c < C; c++) {
            even[0][c] = even[1][c] = spread(start + (size_t)c * runs + j);
        }
        add_products(C, even, w, b * 64 + (size_t)(j * f.run / 4), x + j * f.run, k, f.run / 4);
        if (!f.short_) {
            for (int r = 0; r < BOTH; r++) {
                __m512i scale = _mm512_srai_epi32(_mm512_slli_epi32(sc[r], 16), 16);
                for (int c = 0; c < C; c++) {
                    t[r][c] = _mm512_add_epi32(t[r][c], _mm512_mullo_epi32(even[r][c], scale));
                }
            }
        }
        for (int c = 0; c < C; c++) {
            odd[0][c] = odd[1][c] = spread(start + (size_t)c * runs + j + 1);
        }
        add_products(C, odd, w, b * 64 + (size_t)((j + 1) * f.run / 4), x + (j + 1) * f.run, k,
                     f.run / 4);
        for (int r = 0; r < BOTH; r++) {
            __m512i scale = _mm512_srai_epi32(sc[r], 16);
            for (int c = 0; c < C; c++) {
                if (f.short_) {
                    __m512i both = _mm512_mask_blend_epi16(0xaaaaaaaau, even[r][c],
                                                           _mm512_slli_epi32(odd[r][c], 16));
                    t[r][c] = _mm512_dpwssd_epi32(t[r][c], sc[r], both);
                } else {
                    t[r][c] = _mm512_add_epi32(t[r][c], _mm512_mullo_epi32(odd[r][c], scale));
                }
            }
        }
    }
    if (f.eighths) {
        const int16_t *sums = p->sums32_times_8 + at;
        for (int j = 0; j < count; j += 2) {
            for (int c = 0; c < C; c++) {
                __m512i sum = spread(sums + (size_t)c * runs + j);
                for (int r = 0; r < BOTH; r++) {
                    __m512i sc =
                        _mm512_load_si512(w[r].run_scales[b * (size_t)count / 2 + (size_t)j / 2]);
                    t[r][c] = _mm512_dpwssd_epi32(t[r][c], sc, sum);
                }
            }
        }
    }
}

ALWAYS_INLINE void block_minima(const int C, const struct form f, const struct tn_panel *w,
                                const struct tn_panel_columns *p, size_t column, size_t from,
                                size_t b, __m512i t[BOTH][MOST])
{
    const size_t runs = p->x.k / (size_t)f.run;
    const int count = 256 / f.run;
    const int16_t *sums =
        (f.run == 16 ? p->sums16 : p->sums32) + column * runs + (from + b * 256) / (size_t)f.run;
    for (int c = 0; c < C; c++) {
        t[0][c] = t[1][c] = _mm512_setzero_si512();
    }
    for (int j = 0; j < count; j += 2) {
        for (int c = 0; c < C; c++) {
            __m512i sum = spread(sums + (size_t)c * runs + j);
            for (int r = 0; r < BOTH; r++) {
                __m512i m =
                    _mm512_load_si512(w[r].run_minima[b * (size_t)count / 2 + (size_t)j / 2]);
                t[r][c] = _mm512_dpwssd_epi32(t[r][c], m, sum);
            }
        }
    }
}

ALWAYS_INLINE void group_256(const int C, const struct form f, const struct tn_panel *w,
                             const struct tn_panel_columns *p, size_t column, size_t from,
                             size_t count, float *out, size_t stride)
{
    const size_t blocks = p->x.k / 256;
    const float *scales = p->x.scales + column * blocks + from / 256;
    for (size_t b = 0; b < count / 256; b++) {
        __m512i t[BOTH][MOST];
        block_256(C, f, w, p, column, from, b, t);
        for (int c = 0; c < C; c++) {
            __m512 dx = _mm512_set1_ps(scales[(size_t)c * blocks + b]);
            for (int r = 0; r < BOTH; r++) {
                float *o = out + (size_t)c * stride + 16 * r;
                __m512 before = from + b ? _mm512_loadu_ps(o) : _mm512_setzero_ps();
                __m512 d = _mm512_mul_ps(_mm512_load_ps(w[r].scales[b]), dx);
                _mm512_storeu_ps(o, _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(t[r][c]), before));
            }
        }
        if (f.minima) {
            block_minima(C, f, w, p, column, from, b, t);
            for (int c = 0; c < C; c++) {
                __m512 dx = _mm512_set1_ps(scales[(size_t)c * blocks + b]);
                for (int r = 0; r < BOTH; r++) {
                    float *o = out + (size_t)c * stride + 16 * r;
                    __m512 d = _mm512_mul_ps(_mm512_load_ps(w[r].minima[b]), dx);
                    __m512 m = _mm512_cvtepi32_ps(t[r][c]);
                    _mm512_storeu_ps(o, _mm512_fnmadd_ps(d, m, _mm512_loadu_ps(o)));
                }
            }
        }
    }
}

// ---- all columns -------------------------------------------------------------------------------

typedef void group_product(bool minima, const struct tn_panel *w, const struct tn_panel_columns *p,
                           size_t column, size_t from, size_t count, float *out, size_t stride);

#define DEFINE_GROUP(NAME, C, CALL, RUN, SHORT, EIGHTHS)                                           \
    static void NAME##_##C(bool minima, const struct tn_panel *w,                                  \
                           const struct tn_panel_columns *p, size_t column, size_t from,           \
                           size_t count, float *out, size_t stride)                                \
    {                                                                                              \
        const struct form f = {RUN, SHORT, EIGHTHS, minima};                                       \
        CALL(C, f, w, p, column, from, count, out, stride);                                        \
    }
#define DEFINE_GROUPS(NAME, CALL, RUN, SHORT, EIGHTHS)                                             \
    DEFINE_GROUP(NAME, 4, CALL, RUN, SHORT, EIGHTHS)                                               \
    DEFINE_GROUP(NAME, 5, CALL, RUN, SHORT, EIGHTHS)                                               \
    DEFINE_GROUP(NAME, 6, CALL, RUN, SHORT, EIGHTHS)                                               \
    static group_product *const NAME[3] = {NAME##_4, NAME##_5, NAME##_6};

DEFINE_GROUPS(blocks_32, group_32, 32, false, false)
DEFINE_GROUPS(runs_16_short, group_256, 16, true, false)
DEFINE_GROUPS(runs_16, group_256, 16, false, false)
DEFINE_GROUPS(runs_32_eighths, group_256, 32, true, true)
DEFINE_GROUPS(runs_32, group_256, 32, false, false)

// The next rows come from afar: they are asked for, part i of `parts`, while these are multiplied.
static void fetch_part(const uint8_t *next, size_t bytes, size_t i, size_t parts)
{
    for (size_t at = i * bytes / parts / 64 * 64; at < (i + 1) * bytes / parts; at += 64) {
        _mm_prefetch((const char *)next + at, _MM_HINT_T1);
    }
}

static void multiply(const struct tn_panel_work *work)
{
    static group_product *const *const kernels[TN_TYPE_LIMIT] = {
        [TN_Q8_0] = blocks_32,       [TN_Q4_0] = blocks_32,     [TN_Q4_1] = blocks_32,
        [TN_Q5_0] = blocks_32,       [TN_Q5_1] = blocks_32,     [TN_IQ4_NL] = blocks_32,
        [TN_MXFP4] = blocks_32,      [TN_Q2_K] = runs_16_short, [TN_Q3_K] = runs_16_short,
        [TN_Q4_K] = runs_32_eighths, [TN_Q5_K] = runs_32,       [TN_Q6_K] = runs_16,
        [TN_IQ4_XS] = runs_32,
    };
    const uint32_t type = work->type & ~(uint32_t)TN_PACKED;
    group_product *const *kernel = kernels[type];
    const bool minima = tn_type_has_minima(type);
    struct tn_panel *w = work->scratch;
    const size_t k = work->x->x.k, groups = (work->columns + MOST - 1) / MOST;
    for (size_t r = 0; r < work->rows; r += 2 * TN_PANEL_ROWS) {
        const uint8_t *rows = work->w + r * work->row_bytes;
        size_t left = work->rows - r, part = 0;
        const size_t parts = groups * ((k + TN_PANEL_SLICE - 1) / TN_PANEL_SLICE);
        const uint8_t *next = left > 32 ? rows + 32 * work->row_bytes : work->w + work->ahead;
        for (size_t from = 0; from < k; from += TN_PANEL_SLICE) {
            size_t count = k - from < TN_PANEL_SLICE ? k - from : TN_PANEL_SLICE;
            for (size_t i = 0; i < BOTH; i++) {
                size_t skip = left > 16 * i ? 16 * i : 0;
                if (work->type & TN_PACKED) {
                    unpack_packed(type, rows + skip * work->row_bytes, k, from, count, w + i);
                    continue;
                }
                unpack_panel(type, rows + skip * work->row_bytes, work->row_bytes,
                             left - skip < 16 ? left - skip : 16, from, count, w + i);
            }
            for (size_t g = 0; g < groups; g++) { // of four to six, spread evenly
                size_t c = g * work->columns / groups;
                fetch_part(next, 32 * work->row_bytes, part++, parts);
                size_t wide = (g + 1) * work->columns / groups - c;
                kernel[wide - 4](minima, w, work->x, c, from, count,
                                 work->out + c * work->out_stride + r, work->out_stride);
                if (work->done && from + count == k) {
                    work->done(work->arg, r, left < 32 ? left : 32, c, wide);
                }
            }
        }
    }
}

const struct tn_integer_kernels tn_integer_avx512vnni = {
    .quantise = quantise_column,
    .multiply = multiply,
};
