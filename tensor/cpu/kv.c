// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Storing keys and values: a chunk of 32 dimensions of a few positions at a time is brought into
// the type row by row, then, keys only, transposed into the page. Block types: facts of the GGUF
// format.
#include "tensor/cpu/kv.h"

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

// ---- transposing -------------------------------------------------------------------------------

static void transpose_floats(const struct tn_kv_rows *r, float *out)
{
    const float *keys = r->keys;
    size_t fours = r->count & ~(size_t)3, whole = r->dim & ~(size_t)3;
    out += r->place;
    for (size_t t = 0; t < fours; t += 4) {
        const float *row = keys + t * r->key_stride;
        for (size_t d = 0; d < whole; d += 4) {
            __m128 a = _mm_loadu_ps(row + d), b = _mm_loadu_ps(row + r->key_stride + d);
            __m128 c = _mm_loadu_ps(row + 2 * r->key_stride + d);
            __m128 e = _mm_loadu_ps(row + 3 * r->key_stride + d);
            _MM_TRANSPOSE4_PS(a, b, c, e);
            _mm_storeu_ps(out + d * PAGE + t, a);
            _mm_storeu_ps(out + (d + 1) * PAGE + t, b);
            _mm_storeu_ps(out + (d + 2) * PAGE + t, c);
            _mm_storeu_ps(out + (d + 3) * PAGE + t, e);
        }
        for (size_t d = whole; d < r->dim; d++) {
            for (size_t i = 0; i < 4; i++) {
                out[d * PAGE + t + i] = row[i * r->key_stride + d];
            }
        }
    }
    for (size_t t = fours; t < r->count; t++) {
        for (size_t d = 0; d < r->dim; d++) {
            out[d * PAGE + t] = keys[t * r->key_stride + d];
        }
    }
}

// Sixteen rows of sixteen bytes, `in` CHUNK apart, become columns, `out` PAGE apart. Each round
// brings rows that stand 8 apart together; after four, the index bits of rows and columns have
// changed places.
static void transpose_bytes_16(const uint8_t *in, uint8_t *out)
{
    __m128i a[16], b[16];
    for (int i = 0; i < 16; i++) {
        a[i] = _mm_loadu_si128((const __m128i *)(const void *)(in + i * CHUNK));
    }
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 8; i++) {
            b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
            b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
        }
        memcpy(a, b, sizeof a);
    }
    for (int i = 0; i < 16; i++) {
        _mm_storeu_si128((__m128i *)(void *)(out + i * PAGE), a[i]);
    }
}

// The same for eight rows of eight halves.
static void transpose_halves_8(const uint16_t *in, uint16_t *out)
{
    __m128i a[8], b[8];
    for (int i = 0; i < 8; i++) {
        a[i] = _mm_loadu_si128((const __m128i *)(const void *)(in + i * CHUNK));
    }
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++) {
            b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]);
            b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]);
        }
        memcpy(a, b, sizeof a);
    }
    for (int i = 0; i < 8; i++) {
        _mm_storeu_si128((__m128i *)(void *)(out + i * PAGE), a[i]);
    }
}

static void store_keys_f16(const struct tn_row_kernels *k, const struct tn_kv_rows *r,
                           uint16_t *out)
{
    uint16_t row[PAGE][CHUNK];
    for (size_t d = 0; d < r->dim; d += CHUNK) {
        size_t some = r->dim - d < CHUNK ? r->dim - d : CHUNK;
        for (size_t t = 0; t < r->count; t++) {
            k->to_f16(row[t], r->keys + t * r->key_stride + d, some);
        }
        uint16_t *to = out + d * PAGE + r->place;
        if (r->count == PAGE && some == CHUNK) {
            for (size_t i = 0; i < 16; i++) {
                transpose_halves_8(&row[i / 4 * 8][i % 4 * 8], to + i % 4 * 8 * PAGE + i / 4 * 8);
            }
            continue;
        }
        for (size_t i = 0; i < some; i++) {
            for (size_t t = 0; t < r->count; t++) {
                to[i * PAGE + t] = row[t][i];
            }
        }
    }
}

static void store_keys_quantised(const struct tn_row_kernels *k, uint32_t kv_type,
                                 const struct tn_kv_rows *r, uint8_t *out)
{
    size_t bytes = kv_type == TN_Q8_0 ? CHUNK : CHUNK / 2;
    uint8_t row[PAGE][CHUNK];
    for (size_t d = 0; d < r->dim; d += CHUNK) {
        for (size_t t = 0; t < r->count; t++) {
            const float *x = r->keys + t * r->key_stride + d;
            uint16_t scale = kv_type == TN_Q8_0 ? k->to_q8_0(x, row[t]) : k->to_q4_0(x, row[t]);
            memcpy(out + (r->place + t) * sizeof scale, &scale, sizeof scale);
        }
        out += PAGE * sizeof(uint16_t);
        if (r->count == PAGE) {
            for (size_t i = 0; i < bytes / 8; i++) { // the upper and the lower sixteen rows
                transpose_bytes_16(&row[i % 2 * 16][i / 2 * 16],
                                   out + i / 2 * 16 * PAGE + i % 2 * 16);
            }
            out += bytes * PAGE;
            continue;
        }
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
        const float *x = r->values + t * r->value_stride;
        if (kv_type == TN_F32) {
            memcpy(out, x, row_bytes);
        } else if (kv_type == TN_F16) {
            k->to_f16((uint16_t *)(void *)out, x, r->dim);
        } else {
            uint8_t *block = out;
            size_t bytes = kv_type == TN_Q8_0 ? CHUNK : CHUNK / 2;
            for (size_t d = 0; d < r->dim; d += CHUNK, block += 2 + bytes) {
                uint16_t scale = kv_type == TN_Q8_0 ? k->to_q8_0(x + d, block + 2)
                                                    : k->to_q4_0(x + d, block + 2);
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
        store_keys_quantised(k, kv_type, rows, head);
    }
    store_values(k, kv_type, rows, head + tn_kv_part_bytes(kv_type, rows->dim));
}
