// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Writing GGUF version 3 files: key-value pairs and tensors are collected in a writer; then it
// saves them in one go, or hands out the header and takes the tensors' data one after the other.
//
// Error handling: the first failure of a tn_gguf_put_* call is remembered and returned by
// tn_gguf_save or tn_gguf_head, so that callers need to look in one place only. A writer belongs to
// one thread.
#ifndef TENSOR_GGUF_WRITE_H
#define TENSOR_GGUF_WRITE_H

#include "tensor/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tn_gguf_writer;

// NULL when memory is short.
struct tn_gguf_writer *tn_gguf_writer_new(void);
void tn_gguf_writer_free(struct tn_gguf_writer *writer);

// Of the tensors' data within the file: a power of two, 32 unless told. Puts general.alignment.
// Before any tensor.
void tn_gguf_set_alignment(struct tn_gguf_writer *writer, uint32_t alignment);

// One pair each. Keys and strings are copied.
void tn_gguf_put_u32(struct tn_gguf_writer *writer, const char *key, uint32_t value);
void tn_gguf_put_f32(struct tn_gguf_writer *writer, const char *key, float value);
void tn_gguf_put_bool(struct tn_gguf_writer *writer, const char *key, bool value);
void tn_gguf_put_string(struct tn_gguf_writer *writer, const char *key, const char *value);
void tn_gguf_put_strings(struct tn_gguf_writer *writer, const char *key, const char *const *values,
                         size_t count);
void tn_gguf_put_f32s(struct tn_gguf_writer *writer, const char *key, const float *values,
                      size_t count);
void tn_gguf_put_i32s(struct tn_gguf_writer *writer, const char *key, const int32_t *values,
                      size_t count);
// A string that may hold any byte.
void tn_gguf_put_text(struct tn_gguf_writer *writer, const char *key, struct gguf_string value);
// An array of strings, begun with its count and followed by as many elements.
void tn_gguf_begin_strings(struct tn_gguf_writer *writer, const char *key, uint64_t count);
void tn_gguf_next_string(struct tn_gguf_writer *writer, struct gguf_string value);
// Key i of another file, as it stands there.
void tn_gguf_copy_key(struct tn_gguf_writer *writer, const struct gguf *from, uint64_t i);

// One tensor: `dims` fastest first, `size` bytes at `data`, which must stay until the save. NULL:
// its data follows by tn_gguf_write_data. The order of calls is the order in the file.
void tn_gguf_put_tensor(struct tn_gguf_writer *writer, const char *name, uint32_t type,
                        const uint64_t *dims, uint32_t dim_count, const void *data, size_t size);

// All that precedes the tensors' data, padded to the alignment; the caller frees *out. 0 or the
// first error of the writer.
int tn_gguf_head(struct tn_gguf_writer *writer, void **out, size_t *bytes);

// ---- files; the rest is for hosts only (gguf_write_host.c) --------------------------------------

// Writes the file under a temporary name and renames it, so that `path` is whole or untouched. The
// length is filled up with zeros to a multiple of `multiple` (1: not at all). Returns 0 or the
// first error of the writer or of the file system as a negative errno.
int tn_gguf_save(struct tn_gguf_writer *writer, const char *path, size_t multiple);

// The same in steps: begin writes the header; then data comes in the order of the tensors, in
// pieces of any size (gaps between tensors are filled by the file); finish renames, drop removes
// what was written. Both free the file.
struct tn_gguf_file;
int tn_gguf_begin(struct tn_gguf_writer *writer, const char *path, struct tn_gguf_file **out);
int tn_gguf_write_data(struct tn_gguf_file *file, const void *data, size_t bytes);
int tn_gguf_finish(struct tn_gguf_file *file, size_t multiple);
void tn_gguf_drop(struct tn_gguf_file *file);
// The temporary name, for handlers of signals: valid until finish or drop.
const char *tn_gguf_part_name(const struct tn_gguf_file *file);

#endif
