// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Writes GGUF version 3 in memory: header, key-value pairs, tensor infos, padding. All numbers are
// little-endian, whatever the machine's order.
#include "tensor/format/gguf_write.h"

#include "tensor/format/gguf_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct tn_gguf_writer *tn_gguf_writer_new(void)
{
    struct tn_gguf_writer *w = calloc(1, sizeof *w);
    if (w)
        w->alignment = 32;
    return w;
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

static void put_bytes(struct tn_gguf_writer *w, struct gguf_buffer *b, const void *bytes,
                      size_t length)
{
    if (w->error || !length)
        return;
    if (length > b->capacity - b->length) {
        size_t capacity = (b->length + length) * 2;
        uint8_t *grown = realloc(b->bytes, capacity);
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

static void put_number(struct tn_gguf_writer *w, struct gguf_buffer *b, uint64_t value,
                       size_t length)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
    put_bytes(w, b, bytes, length);
}

static void put_float(struct tn_gguf_writer *w, struct gguf_buffer *b, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_number(w, b, bits, 4);
}

static void put_text(struct tn_gguf_writer *w, struct gguf_buffer *b, struct gguf_string text)
{
    put_number(w, b, text.bytes, 8);
    put_bytes(w, b, text.data, text.bytes);
}

static struct gguf_string string_of(const char *text)
{
    return (struct gguf_string){text, strlen(text)};
}

static void put_key(struct tn_gguf_writer *w, const char *key, uint32_t kind)
{
    put_text(w, &w->pairs, string_of(key));
    put_number(w, &w->pairs, kind, 4);
    w->pair_count++;
}

static void put_array_key(struct tn_gguf_writer *w, const char *key, uint32_t kind, uint64_t count)
{
    put_key(w, key, GGUF_ARRAY);
    put_number(w, &w->pairs, kind, 4);
    put_number(w, &w->pairs, count, 8);
}

void tn_gguf_set_alignment(struct tn_gguf_writer *writer, uint32_t alignment)
{
    if (!alignment || (alignment & (alignment - 1)) || writer->tensor_count) {
        writer->error = writer->error ? writer->error : -EINVAL;
        return;
    }
    writer->alignment = alignment;
    tn_gguf_put_u32(writer, "general.alignment", alignment);
}

void tn_gguf_put_u32(struct tn_gguf_writer *writer, const char *key, uint32_t value)
{
    put_key(writer, key, GGUF_U32);
    put_number(writer, &writer->pairs, value, 4);
}

void tn_gguf_put_f32(struct tn_gguf_writer *writer, const char *key, float value)
{
    put_key(writer, key, GGUF_F32);
    put_float(writer, &writer->pairs, value);
}

void tn_gguf_put_bool(struct tn_gguf_writer *writer, const char *key, bool value)
{
    put_key(writer, key, GGUF_BOOL);
    put_number(writer, &writer->pairs, value, 1);
}

void tn_gguf_put_text(struct tn_gguf_writer *writer, const char *key, struct gguf_string value)
{
    put_key(writer, key, GGUF_STRING);
    put_text(writer, &writer->pairs, value);
}

void tn_gguf_put_string(struct tn_gguf_writer *writer, const char *key, const char *value)
{
    tn_gguf_put_text(writer, key, string_of(value));
}

void tn_gguf_begin_strings(struct tn_gguf_writer *writer, const char *key, uint64_t count)
{
    put_array_key(writer, key, GGUF_STRING, count);
}

void tn_gguf_next_string(struct tn_gguf_writer *writer, struct gguf_string value)
{
    put_text(writer, &writer->pairs, value);
}

void tn_gguf_put_strings(struct tn_gguf_writer *writer, const char *key, const char *const *values,
                         size_t count)
{
    tn_gguf_begin_strings(writer, key, count);
    for (size_t i = 0; i < count; i++)
        tn_gguf_next_string(writer, string_of(values[i]));
}

void tn_gguf_put_f32s(struct tn_gguf_writer *writer, const char *key, const float *values,
                      size_t count)
{
    put_array_key(writer, key, GGUF_F32, count);
    for (size_t i = 0; i < count; i++)
        put_float(writer, &writer->pairs, values[i]);
}

void tn_gguf_put_i32s(struct tn_gguf_writer *writer, const char *key, const int32_t *values,
                      size_t count)
{
    put_array_key(writer, key, GGUF_I32, count);
    for (size_t i = 0; i < count; i++)
        put_number(writer, &writer->pairs, (uint32_t)values[i], 4);
}

void tn_gguf_copy_key(struct tn_gguf_writer *writer, const struct gguf *from, uint64_t i)
{
    if (i >= from->entry_count) {
        writer->error = writer->error ? writer->error : -EINVAL;
        return;
    }
    const struct gguf_entry *e = &from->entry[i];
    put_text(writer, &writer->pairs, e->key);
    put_number(writer, &writer->pairs, e->type, 4);
    writer->pair_count++;
    if (e->type == GGUF_STRING) {
        put_text(writer, &writer->pairs, e->text);
    } else if (e->type == GGUF_ARRAY) {
        put_number(writer, &writer->pairs, e->array.type, 4);
        put_number(writer, &writer->pairs, e->array.count, 8);
        put_bytes(writer, &writer->pairs, e->array.data, e->array.bytes);
    } else {
        put_bytes(writer, &writer->pairs, e->array.data, gguf_value_bytes(e->type));
    }
}

void tn_gguf_put_tensor(struct tn_gguf_writer *writer, const char *name, uint32_t type,
                        const uint64_t *dims, uint32_t dim_count, const void *data, size_t size)
{
    if (writer->error)
        return;
    if (writer->tensor_count == writer->tensor_room) {
        size_t room = writer->tensor_room * 2 + 64;
        struct gguf_planned *grown = realloc(writer->tensors, room * sizeof *grown);
        if (!grown) {
            writer->error = -ENOMEM;
            return;
        }
        writer->tensors = grown;
        writer->tensor_room = room;
    }
    writer->tensors[writer->tensor_count++] = (struct gguf_planned){data, writer->offset, size};
    put_text(writer, &writer->infos, string_of(name));
    put_number(writer, &writer->infos, dim_count, 4);
    for (uint32_t i = 0; i < dim_count; i++)
        put_number(writer, &writer->infos, dims[i], 8);
    put_number(writer, &writer->infos, type, 4);
    put_number(writer, &writer->infos, writer->offset, 8);
    uint64_t mask = writer->alignment - 1;
    writer->offset += (size + mask) & ~mask;
}

int tn_gguf_head(struct tn_gguf_writer *writer, void **out, size_t *bytes)
{
    struct gguf_buffer head = {0};
    put_bytes(writer, &head, "GGUF", 4);
    put_number(writer, &head, 3, 4);
    put_number(writer, &head, writer->tensor_count, 8);
    put_number(writer, &head, writer->pair_count, 8);
    put_bytes(writer, &head, writer->pairs.bytes, writer->pairs.length);
    put_bytes(writer, &head, writer->infos.bytes, writer->infos.length);
    while (!writer->error && head.length % writer->alignment)
        put_bytes(writer, &head, "", 1);
    if (writer->error) {
        free(head.bytes);
        return writer->error;
    }
    *out = head.bytes;
    *bytes = head.length;
    return 0;
}
