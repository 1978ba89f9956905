// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// GGUF v2/v3 reader over a read-only block of memory. Distrusts every byte: counts, lengths,
// offsets, alignment, overlaps. Copies nothing: strings and tensor data point into the block.
#ifndef TENSOR_GGUF_H
#define TENSOR_GGUF_H

#include "tensor/types.h"

#include <stdbool.h>

struct gguf;

struct gguf_string {
    const char *data; // not NUL-terminated
    uint64_t bytes;
};
// Value types of the file format.
enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};
struct gguf_array {
    uint32_t type; // enum gguf_type of the elements
    uint64_t count;
    // The elements as they stand in the file, little-endian and unaligned: numbers one after the
    // other; strings each as u64 length and bytes (checked at opening to lie inside `bytes`).
    const uint8_t *data;
    uint64_t bytes;
};
struct gguf_tensor {
    struct gguf_string name;
    uint32_t type; // enum tn_type
    uint32_t dims;
    uint64_t shape[4]; // fastest first, 1 beyond dims
    const void *data;
    uint64_t bytes;
};

// Opens the block, which must stay valid and unchanged. On failure: negative errno and in `error`
// what was wrong, with the key's or tensor's name and the byte offset. Thread-safe after opening.
int gguf_open(const void *data, size_t bytes, struct gguf **out, char *error, size_t error_bytes);
void gguf_close(struct gguf *g);
// After an error of something else about this file: when the message begins with the name of a key
// or tensor ("llama.block_count: is 0"), appends where it stands ("(at byte 88 of 4096)"). A name
// that is not there gets the place where the keys or tensors end.
void gguf_say_where(const struct gguf *g, char *error, size_t error_bytes);
// A model in several files, in any order: split.no, split.count and split.tensors.count are held
// against each other; keys are the first shard's. The blocks must stay valid.
struct gguf_block {
    const void *data;
    size_t bytes;
};
int gguf_open_shards(const struct gguf_block *blocks, size_t count, struct gguf **out, char *error,
                     size_t error_bytes);
// How much of a file or disk of `total` bytes the model uses, from its first `have` bytes. 0;
// -EAGAIN: `have` does not reach the end of the header, ask again with more; otherwise as
// gguf_open.
int gguf_extent(const void *beginning, size_t have, uint64_t total, uint64_t *used, char *error,
                size_t error_bytes);

uint64_t gguf_tensor_count(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, uint64_t i);
const struct gguf_tensor *gguf_find(const struct gguf *g, const char *name); // NULL: none
uint64_t gguf_key_count(const struct gguf *g);
struct gguf_string gguf_key_at(const struct gguf *g, uint64_t i, uint32_t *type);

// Values by key: 0, -ENOENT (absent), -EINVAL (another type or out of range). Integers of any width
// convert.
int gguf_u64(const struct gguf *g, const char *key, uint64_t *out);
int gguf_f64(const struct gguf *g, const char *key, double *out); // any float or integer
int gguf_bool(const struct gguf *g, const char *key, bool *out);
int gguf_str(const struct gguf *g, const char *key, struct gguf_string *out);
int gguf_arr(const struct gguf *g, const char *key, struct gguf_array *out);
// Element i of an array. Strings are indexed once on first use.
int gguf_arr_str(const struct gguf *g, const char *key, uint64_t i, struct gguf_string *out);
int gguf_arr_f64(const struct gguf *g, const char *key, uint64_t i, double *out);
int gguf_arr_i64(const struct gguf *g, const char *key, uint64_t i, int64_t *out);
// Bytes of the file that the parsed content uses (padding after it is fine).
uint64_t gguf_used_bytes(const struct gguf *g);

#endif
