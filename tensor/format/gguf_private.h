// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the GGUF parser (gguf.c) and the accessors (gguf_values.c) share.
#ifndef TENSOR_FORMAT_GGUF_PRIVATE_H
#define TENSOR_FORMAT_GGUF_PRIVATE_H

#include "tensor/gguf.h"

#include <stdatomic.h>

struct gguf_entry {
    struct gguf_string key;
    uint32_t type;              // enum gguf_type
    struct gguf_string text;    // GGUF_STRING
    struct gguf_array array;    // GGUF_ARRAY; for plain numbers only .data is set: the value
    _Atomic(uint64_t *) offset; // of an array of strings: where each starts; made on first use
};

struct gguf {
    const uint8_t *data;
    uint64_t bytes, used_bytes;
    uint32_t version;
    uint64_t alignment;
    struct gguf_entry *entry;
    struct gguf_tensor *tensor;
    uint64_t entry_count, tensor_count;
    uint32_t *entry_order, *tensor_order; // indices sorted by name, for look-up by halving
};

// Bytes of a plain value; 0 for strings, arrays and unknown types.
unsigned gguf_value_bytes(uint32_t type);
const struct gguf_entry *gguf_entry_find(const struct gguf *g, const char *key);
int gguf_compare(struct gguf_string a, struct gguf_string b); // <0, 0, >0 bytewise, shorter first

#endif
