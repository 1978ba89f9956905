// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Keys and values of one KV head in one page, laid out as exec.h says, in any of the KV types.
#ifndef TENSOR_CPU_KV_H
#define TENSOR_CPU_KV_H

#include "tensor/cpu/row_kernels.h"

// Whether heads of `dim` can be kept in a type: block types want multiples of 32.
bool tn_kv_fits(uint32_t kv_type, uint32_t dim);

// Bytes of one head's keys in a page, and of its values, which follow; 64-byte multiples.
size_t tn_kv_part_bytes(uint32_t kv_type, size_t dim);

// Stores the keys and values of `count` positions from `place` on (place + count <= 32). Strides in
// floats. Concurrent calls may write other places of a page.
struct tn_kv_rows {
    const float *keys, *values;
    size_t key_stride, value_stride, dim, place, count;
};
void tn_kv_store(const struct tn_row_kernels *k, uint32_t kv_type, uint8_t *head,
                 const struct tn_kv_rows *rows);

#endif
