/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Writes GGUF version 3: header, key-value pairs, tensor infos, padding to 32 bytes, tensor data.
 * All numbers are little-endian, whatever the machine's order.
 */
#include "tensor/gguf_write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGNMENT = 32,
    KIND_U32 = 4,
    KIND_I32 = 5,
    KIND_F32 = 6,
    KIND_BOOL = 7,
    KIND_STRING = 8,
    KIND_ARRAY = 9
};

struct buffer {
    unsigned char *bytes;
    size_t length, capacity;
};

struct tensor {
    const void *data;
    size_t size;
};

struct tn_gguf_writer {
    struct buffer pairs, infos;
    uint64_t pair_count;
    struct tensor *tensors;
    size_t tensor_count;
    uint64_t offset; /* of the next tensor within the data section */
    int error;
};

struct tn_gguf_writer *tn_gguf_writer_new(void)
{
    return calloc(1, sizeof(struct tn_gguf_writer));
}

void tn_gguf_writer_free(struct tn_gguf_writer *writer)
{
    if (!writer)
        return;
    free(writer->pairs.bytes);
    free(writer->infos.bytes);
    free(writer->tensors);
    free(writer);
}

static void put_bytes(struct tn_gguf_writer *w, struct buffer *b, const void *bytes, size_t length)
{
    if (w->error || !length)
        return;
    if (b->length + length > b->capacity) {
        const size_t capacity = (b->length + length) * 2;
        unsigned char *grown = realloc(b->bytes, capacity);

        if (!grown) {
            w->error = -ENOMEM;
            return;
        }
        b->bytes = grown;
        b->capacity = capacity;
    }
    memcpy(b->bytes + b->length, bytes, length);
    b->length += length;
}

static void put_number(struct tn_gguf_writer *w, struct buffer *b, uint64_t value, size_t length)
{
    unsigned char bytes[8];

    for (size_t i = 0; i < length; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
    put_bytes(w, b, bytes, length);
}

static void put_float(struct tn_gguf_writer *w, struct buffer *b, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    put_number(w, b, bits, 4);
}

static void put_text(struct tn_gguf_writer *w, struct buffer *b, const char *text)
{
    put_number(w, b, strlen(text), 8);
    put_bytes(w, b, text, strlen(text));
}

static void put_key(struct tn_gguf_writer *w, const char *key, uint32_t kind)
{
    put_text(w, &w->pairs, key);
    put_number(w, &w->pairs, kind, 4);
    w->pair_count++;
}

static void put_array_key(struct tn_gguf_writer *w, const char *key, uint32_t kind, size_t count)
{
    put_key(w, key, KIND_ARRAY);
    put_number(w, &w->pairs, kind, 4);
    put_number(w, &w->pairs, count, 8);
}

void tn_gguf_put_u32(struct tn_gguf_writer *writer, const char *key, uint32_t value)
{
    put_key(writer, key, KIND_U32);
    put_number(writer, &writer->pairs, value, 4);
}

void tn_gguf_put_f32(struct tn_gguf_writer *writer, const char *key, float value)
{
    put_key(writer, key, KIND_F32);
    put_float(writer, &writer->pairs, value);
}

void tn_gguf_put_bool(struct tn_gguf_writer *writer, const char *key, bool value)
{
    put_key(writer, key, KIND_BOOL);
    put_number(writer, &writer->pairs, value, 1);
}

void tn_gguf_put_string(struct tn_gguf_writer *writer, const char *key, const char *value)
{
    put_key(writer, key, KIND_STRING);
    put_text(writer, &writer->pairs, value);
}

void tn_gguf_put_strings(struct tn_gguf_writer *writer, const char *key, const char *const *values,
                         size_t count)
{
    put_array_key(writer, key, KIND_STRING, count);
    for (size_t i = 0; i < count; i++)
        put_text(writer, &writer->pairs, values[i]);
}

void tn_gguf_put_f32s(struct tn_gguf_writer *writer, const char *key, const float *values,
                      size_t count)
{
    put_array_key(writer, key, KIND_F32, count);
    for (size_t i = 0; i < count; i++)
        put_float(writer, &writer->pairs, values[i]);
}

void tn_gguf_put_i32s(struct tn_gguf_writer *writer, const char *key, const int32_t *values,
                      size_t count)
{
    put_array_key(writer, key, KIND_I32, count);
    for (size_t i = 0; i < count; i++)
        put_number(writer, &writer->pairs, (uint32_t)values[i], 4);
}

void tn_gguf_put_tensor(struct tn_gguf_writer *writer, const char *name, uint32_t type,
                        const uint64_t *dims, uint32_t dim_count, const void *data, size_t size)
{
    struct tensor *grown;

    if (writer->error)
        return;
    grown = realloc(writer->tensors, (writer->tensor_count + 1) * sizeof *grown);
    if (!grown) {
        writer->error = -ENOMEM;
        return;
    }
    writer->tensors = grown;
    grown[writer->tensor_count++] = (struct tensor){data, size};
    put_text(writer, &writer->infos, name);
    put_number(writer, &writer->infos, dim_count, 4);
    for (uint32_t i = 0; i < dim_count; i++)
        put_number(writer, &writer->infos, dims[i], 8);
    put_number(writer, &writer->infos, type, 4);
    put_number(writer, &writer->infos, writer->offset, 8);
    writer->offset += (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Writes zeros until the file's length is a multiple. */
static void fill(FILE *file, size_t *length, size_t multiple)
{
    for (; *length % multiple; ++*length)
        fputc(0, file);
}

int tn_gguf_save(struct tn_gguf_writer *writer, const char *path, size_t multiple)
{
    struct buffer head = {0};
    size_t length;
    char *part;
    FILE *file;

    put_bytes(writer, &head, "GGUF", 4);
    put_number(writer, &head, 3, 4);
    put_number(writer, &head, writer->tensor_count, 8);
    put_number(writer, &head, writer->pair_count, 8);
    put_bytes(writer, &head, writer->pairs.bytes, writer->pairs.length);
    put_bytes(writer, &head, writer->infos.bytes, writer->infos.length);
    part = malloc(strlen(path) + 6);
    if (!part && !writer->error)
        writer->error = -ENOMEM;
    if (writer->error)
        goto out;
    sprintf(part, "%s.part", path);
    file = fopen(part, "wb");
    if (!file) {
        writer->error = -errno;
        goto out;
    }
    length = fwrite(head.bytes, 1, head.length, file);
    fill(file, &length, ALIGNMENT);
    for (size_t i = 0; i < writer->tensor_count; i++) {
        length += fwrite(writer->tensors[i].data, 1, writer->tensors[i].size, file);
        fill(file, &length, ALIGNMENT);
    }
    fill(file, &length, multiple);
    if (ferror(file) | fclose(file))
        writer->error = errno ? -errno : -EIO;
    else if (rename(part, path))
        writer->error = -errno;
    if (writer->error)
        remove(part);
out:
    free(part);
    free(head.bytes);
    return writer->error;
}
