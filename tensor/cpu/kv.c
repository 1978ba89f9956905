// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Storing keys and values: a chunk of 32 dimensions of a few positions at a time is brought into
// the type row by row, then, keys only, transposed into the page. Block types: facts of the GGUF
// format.
#include "tensor/cpu/kv.h"

#include "tensor/half.h"

#include <emmintrin.h>
#include <string.h>

enum { PAGE = TN_KV_PAGE_TOKENS, CHUNK = 32 };

bool tn_kv_fits(uint32_t kv_type, uint32_t dim)
{
    return kv_type == TN_F32 || kv_type == TN_F16 ||
           ((kv_type == TN_Q8_0 || kv_type == TN_Q4_0) && dim % 32 == 0);
}

size_t tn_kv_part_bytes(uint32_t kv_type, size_t dim)
{
    return PAGE * tn_row_bytes(kv_type, dim);
}

// ---- block types -------------------------------------------------------------------------------

// Q8_0: scale = max|x| / 127.
static uint16_t to_q8_0(const float *x, uint8_t *out)
{
    float most = 0;
    for (int i = 0; i < CHUNK; i++) {
        float size = __builtin_fabsf(x[i]);
        most = size > most ? size : most;
    }
    const float shift = 12582912.0f; // 1.5 * 2^23: adding it rounds to an integer, ties to even
    float scale = most / 127.0f, inverse = most > 1e-30f ? 127.0f / most : 0;
    for (int i = 0; i < CHUNK; i++) {
        out[i] = (uint8_t)tn_float_bits(x[i] * inverse + shift);
    }
    return tn_f32_to_f16(scale);
}

// Q4_0: scale = the value of greatest size / -8, so that it becomes 0 of 0..15.
static uint16_t to_q4_0(const float *x, uint8_t *out)
{
    float most = 0, value = 0;
    for (int i = 0; i < CHUNK; i++) {
        float size = __builtin_fabsf(x[i]);
        value = size > most ? x[i] : value;
        most = size > most ? size : most;
    }
    float scale = value / -8.0f, inverse = most > 1e-30f ? 1.0f / scale : 0;
    uint8_t q[CHUNK];
    for (int i = 0; i < CHUNK; i++) {
        float f = x[i] * inverse + 8.5f; // in 0.5..16.5
        q[i] = f < 15.0f ? (uint8_t)f : 15;
    }
    for (int i = 0; i < 16; i++) {
        out[i] = (uint8_t)(q[i] | q[i + 16] << 4);
    }
    return tn_f32_to_f16(scale);
}

// ---- transposing -------------------------------------------------------------------------------

static void transpose_floats(const struct tn_kv_rows *r, float *out)
{
    const float *keys = r->keys;
    size_t fours = r->count & ~(size_t)3, whole = r->dim & ~(size_t)3;
    out += r->place;
    for (size_t t = 0; t < fours; t += 4) {
        const float *row = keys + t * r->stride;
        for (size_t d = 0; d < whole; d += 4) {
            __m128 a = _mm_loadu_ps(row + d), b = _mm_loadu_ps(row + r->stride + d);
            __m128 c = _mm_loadu_ps(row + 2 * r->stride + d);
            __m128 e = _mm_loadu_ps(row + 3 * r->stride + d);
            _MM_TRANSPOSE4_PS(a, b, c, e);
            _mm_storeu_ps(out + d * PAGE + t, a);
            _mm_storeu_ps(out + (d + 1) * PAGE + t, b);
            _mm_storeu_ps(out + (d + 2) * PAGE + t, c);
            _mm_storeu_ps(out + (d + 3) * PAGE + t, e);
        }
        for (size_t d = whole; d < r->dim; d++) {
            for (size_t i = 0; i < 4; i++) {
                out[d * PAGE + t + i] = row[i * r->stride + d];
            }
        }
    }
    for (size_t t = fours; t < r->count; t++) {
        for (size_t d = 0; d < r->dim; d++) {
            out[d * PAGE + t] = keys[t * r->stride + d];
        }
    }
}

static void store_keys_f16(const struct tn_row_kernels *k, const struct tn_kv_rows *r,
                           uint16_t *out)
{
    uint16_t row[PAGE][CHUNK];
    for (size_t d = 0; d < r->dim; d += CHUNK) {
        size_t some = r->dim - d < CHUNK ? r->dim - d : CHUNK;
        for (size_t t = 0; t < r->count; t++) {
            k->to_f16(row[t], r->keys + t * r->stride + d, some);
        }
        for (size_t i = 0; i < some; i++) {
            for (size_t t = 0; t < r->count; t++) {
                out[(d + i) * PAGE + r->place + t] = row[t][i];
            }
        }
    }
}

static void store_keys_quantised(uint32_t kv_type, const struct tn_kv_rows *r, uint8_t *out)
{
    size_t bytes = kv_type == TN_Q8_0 ? CHUNK : CHUNK / 2;
    uint8_t row[PAGE][CHUNK];
    for (size_t d = 0; d < r->dim; d += CHUNK) {
        for (size_t t = 0; t < r->count; t++) {
            const float *x = r->keys + t * r->stride + d;
            uint16_t scale = kv_type == TN_Q8_0 ? to_q8_0(x, row[t]) : to_q4_0(x, row[t]);
            memcpy(out + (r->place + t) * sizeof scale, &scale, sizeof scale);
        }
        out += PAGE * sizeof(uint16_t);
        for (size_t i = 0; i < bytes; i++, out += PAGE) {
            for (size_t t = 0; t < r->count; t++) {
                out[r->place + t] = row[t][i];
            }
        }
    }
}

static void store_values(const struct tn_row_kernels *k, uint32_t kv_type,
                         const struct tn_kv_rows *r, uint8_t *out)
{
    size_t row_bytes = tn_row_bytes(kv_type, r->dim);
    out += r->place * row_bytes;
    for (size_t t = 0; t < r->count; t++, out += row_bytes) {
        const float *x = r->values + t * r->stride;
        if (kv_type == TN_F32) {
            memcpy(out, x, row_bytes);
        } else if (kv_type == TN_F16) {
            k->to_f16((uint16_t *)(void *)out, x, r->dim);
        } else {
            uint8_t *block = out;
            size_t bytes = kv_type == TN_Q8_0 ? CHUNK : CHUNK / 2;
            for (size_t d = 0; d < r->dim; d += CHUNK, block += 2 + bytes) {
                uint16_t scale =
                    kv_type == TN_Q8_0 ? to_q8_0(x + d, block + 2) : to_q4_0(x + d, block + 2);
                memcpy(block, &scale, sizeof scale);
            }
        }
    }
}

void tn_kv_store(const struct tn_row_kernels *k, uint32_t kv_type, uint8_t *head,
                 const struct tn_kv_rows *rows)
{
    if (kv_type == TN_F32) {
        transpose_floats(rows, (float *)(void *)head);
    } else if (kv_type == TN_F16) {
        store_keys_f16(k, rows, (uint16_t *)(void *)head);
    } else {
        store_keys_quantised(kv_type, rows, head);
    }
    store_values(k, kv_type, rows, head + tn_kv_part_bytes(kv_type, rows->dim));
}
