// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A GGUF writer's file: under a temporary name beside the final one until all of it is on the disk.
#include "tensor/format/gguf_write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The file is written in pieces of this size at multiples of it: the page cache then keeps it in
// pages of 2 MB where the file system can, which are mapped far faster than small ones.
enum { PIECE = 2 << 20 };

struct tn_gguf_file {
    const struct tn_gguf_writer *writer;
    FILE *stream;
    char *path, *part;
    char *buffer;            // of the stream
    size_t tensor;           // that data goes to
    uint64_t done;           // bytes of it
    uint64_t at, head_bytes; // bytes of the file
    int error;
};

// An unfinished file that was dropped or finished leaves nothing behind.
static void release(struct tn_gguf_file *f)
{
    if (f->stream)
        fclose(f->stream);
    free(f->buffer);
    free(f->path);
    free(f->part);
    free(f);
}

static int write_bytes(struct tn_gguf_file *f, const void *data, size_t bytes)
{
    if (!f->error && bytes && fwrite(data, 1, bytes, f->stream) != bytes)
        f->error = errno ? -errno : -EIO;
    f->at += bytes;
    return f->error;
}

static int fill_to(struct tn_gguf_file *f, uint64_t length)
{
    static const uint8_t zeros[4096];
    while (!f->error && f->at < length) {
        uint64_t n = length - f->at;
        write_bytes(f, zeros, n < sizeof zeros ? n : sizeof zeros);
    }
    return f->error;
}

int tn_gguf_begin(struct tn_gguf_writer *writer, const char *path, struct tn_gguf_file **out)
{
    void *head;
    size_t head_bytes;
    int rc = tn_gguf_head(writer, &head, &head_bytes);
    if (rc)
        return rc;
    struct tn_gguf_file *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path)) || !(f->part = malloc(strlen(path) + 6)) ||
        !(f->buffer = malloc(PIECE))) {
        rc = -ENOMEM;
        goto fail;
    }
    sprintf(f->part, "%s.part", path);
    f->writer = writer;
    f->head_bytes = head_bytes;
    f->stream = fopen(f->part, "wb");
    if (!f->stream) {
        rc = -errno;
        goto fail;
    }
    setvbuf(f->stream, f->buffer, _IOFBF, PIECE);
    rc = write_bytes(f, head, head_bytes);
    if (rc) {
        remove(f->part);
        goto fail;
    }
    free(head);
    *out = f;
    return 0;
fail:
    free(head);
    if (f)
        release(f);
    return rc;
}

int tn_gguf_write_data(struct tn_gguf_file *f, const void *data, size_t bytes)
{
    const uint8_t *from = data;
    while (bytes && !f->error) {
        if (f->tensor == f->writer->tensor_count)
            return f->error = -EINVAL; // more than the tensors have
        const struct gguf_planned *t = &f->writer->tensors[f->tensor];
        fill_to(f, f->head_bytes + t->offset);
        uint64_t left = t->size - f->done, n = bytes < left ? bytes : left;
        write_bytes(f, from, n);
        from += n;
        bytes -= n;
        f->done += n;
        if (f->done == t->size) {
            f->tensor++;
            f->done = 0;
        }
    }
    return f->error;
}

int tn_gguf_finish(struct tn_gguf_file *f, size_t multiple)
{
    if (f->tensor < f->writer->tensor_count && !f->error)
        f->error = -EINVAL; // a tensor without its data
    fill_to(f, f->head_bytes + f->writer->offset);
    fill_to(f, (f->at + multiple - 1) / multiple * multiple);
    if (!f->error && (fflush(f->stream) || fsync(fileno(f->stream))))
        f->error = -errno;
    int closed = fclose(f->stream);
    f->stream = NULL;
    if (!f->error && closed)
        f->error = errno ? -errno : -EIO;
    if (!f->error && rename(f->part, f->path))
        f->error = -errno;
    int rc = f->error;
    if (rc)
        remove(f->part);
    release(f);
    return rc;
}

void tn_gguf_drop(struct tn_gguf_file *f)
{
    if (!f)
        return;
    remove(f->part);
    release(f);
}

const char *tn_gguf_part_name(const struct tn_gguf_file *f)
{
    return f->part;
}

int tn_gguf_save(struct tn_gguf_writer *writer, const char *path, size_t multiple)
{
    struct tn_gguf_file *f;
    int rc = tn_gguf_begin(writer, path, &f);
    if (rc)
        return rc;
    for (size_t i = 0; i < writer->tensor_count && !rc; i++)
        rc = tn_gguf_write_data(f, writer->tensors[i].data, writer->tensors[i].size);
    if (rc) {
        tn_gguf_drop(f);
        return rc;
    }
    return tn_gguf_finish(f, multiple);
}
