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
    // Of a model in several files: each file's own index. Its keys' memory belongs to the first.
    struct gguf **part;
    size_t part_count;
    void **owned; // blocks that go with the index (safetensors: header, names, transposed tensors)
    size_t owned_count;
};

// One file; `alone`: that is one of several shards is an error.
int gguf_parse(const void *data, size_t bytes, bool alone, struct gguf **out, char *error,
               size_t error_bytes);
// Sorts the tensors by name. Returns one that has the name of another, or NULL.
const struct gguf_tensor *gguf_order_tensors(struct gguf *g);
// The block is freed with the index. -ENOMEM: the block is freed now.
int gguf_own(struct gguf *g, void *block);
// A name from outside for a message: printable ASCII, cut to fit.
void gguf_show_name(struct gguf_string name, char *out, size_t bytes);

// Bytes of a plain value; 0 for strings, arrays and unknown types.
unsigned gguf_value_bytes(uint32_t type);
const struct gguf_entry *gguf_entry_find(const struct gguf *g, const char *key);
int gguf_compare(struct gguf_string a, struct gguf_string b); // <0, 0, >0 bytewise, shorter first

#endif
