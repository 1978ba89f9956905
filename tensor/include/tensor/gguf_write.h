/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Writing GGUF version 3 files: key-value pairs and tensors are collected in a writer, which then
 * saves them in one go.
 *
 * Error handling: the first failure of a tn_gguf_put_* call is remembered and returned by
 * tn_gguf_save, so that callers need to look in one place only. A writer belongs to one thread.
 */
#ifndef TENSOR_GGUF_WRITE_H
#define TENSOR_GGUF_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tn_gguf_writer;

/* Tensor types, as the file numbers them. */
enum { TN_GGUF_F32 = 0, TN_GGUF_F16 = 1, TN_GGUF_Q8_0 = 8 };

/* Returns NULL when memory is short. */
struct tn_gguf_writer *tn_gguf_writer_new(void);
void tn_gguf_writer_free(struct tn_gguf_writer *writer);

/* One pair each. Keys and strings are copied. */
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

/*
 * One tensor: `dims` fastest first, `size` bytes at `data`, which must stay until the save. The
 * order of calls is the order in the file.
 */
void tn_gguf_put_tensor(struct tn_gguf_writer *writer, const char *name, uint32_t type,
                        const uint64_t *dims, uint32_t dim_count, const void *data, size_t size);

/*
 * Writes the file under a temporary name and renames it, so that `path` is whole or untouched. The
 * length is filled up with zeros to a multiple of `multiple` (1: not at all). Returns 0 or the
 * first error of the writer or of the file system as a negative errno.
 */
int tn_gguf_save(struct tn_gguf_writer *writer, const char *path, size_t multiple);

#endif
