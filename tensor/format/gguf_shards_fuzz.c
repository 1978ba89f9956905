// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as up to three files of one model: three lengths of two bytes each, then the files.
//
// Links: tensor/format/gguf.c tensor/format/gguf_values.c tensor/format/gguf_shards.c
// Links: tensor/quant/types.c
#include "tensor/gguf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static volatile unsigned sum; // what was read must be used

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct gguf_block blocks[3];
    size_t count = 0, at = 6;
    struct gguf *g;
    char error[300];
    for (; count < 3 && at <= bytes; count++) {
        size_t n = (size_t)(data[2 * count] | data[2 * count + 1] << 8);
        n = n < bytes - at ? n : bytes - at;
        if (count && !n)
            break;
        uint8_t *exact = malloc(n ? n : 1); // so that the sanitizer sees any step beyond a file
        memcpy(exact, data + at, n);
        blocks[count] = (struct gguf_block){exact, n};
        at += n;
    }
    if (gguf_open_shards(blocks, count, &g, error, sizeof error)) {
        if (!error[0])
            abort();
    } else {
        for (uint64_t i = 0; i < gguf_tensor_count(g); i++) {
            const struct gguf_tensor *t = gguf_tensor_at(g, i);
            const uint8_t *p = t->data;
            char message[200];
            if (t->bytes)
                sum += (unsigned)(p[0] + p[t->bytes - 1]);
            size_t n = t->name.bytes < 100 ? t->name.bytes : 100;
            memcpy(message, t->name.data, n);
            memcpy(message + n, ": wrong", 8);
            gguf_say_where(g, message, sizeof message);
        }
        for (uint64_t i = 0; i < gguf_key_count(g); i++)
            sum += (unsigned)gguf_key_at(g, i, NULL).bytes;
        gguf_close(g);
    }
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)blocks[i].data);
    return 0;
}
