// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as a GGUF: refused with a message, or every accessor stays inside the block.
//
// Links: tensor/format/gguf.c tensor/format/gguf_values.c tensor/quant/types.c
#include "tensor/gguf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static volatile unsigned sum; // what was read must be used

static void use(const void *p, uint64_t n)
{
    for (uint64_t i = 0; i<n; i += n> 64 ? n - 1 : 1)
        sum += ((const uint8_t *)p)[i];
}

static void use_key(const struct gguf *g, struct gguf_string name)
{
    char *key = malloc(name.bytes + 1);
    uint64_t u;
    int64_t s;
    double d;
    bool b;
    struct gguf_string text;
    struct gguf_array array;
    memcpy(key, name.data, name.bytes);
    key[name.bytes] = 0;
    gguf_u64(g, key, &u);
    gguf_f64(g, key, &d);
    gguf_bool(g, key, &b);
    if (!gguf_str(g, key, &text))
        use(text.data, text.bytes);
    if (!gguf_arr(g, key, &array)) {
        use(array.data, array.bytes);
        for (uint64_t i = 0; i < array.count && i < 100; i++) {
            if (!gguf_arr_str(g, key, i, &text))
                use(text.data, text.bytes);
            gguf_arr_i64(g, key, i, &s);
            gguf_arr_f64(g, key, i, &d);
        }
    }
    free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct gguf *g;
    char error[256];
    uint64_t used;
    gguf_extent(data, bytes / 2, bytes, &used, error, sizeof error);
    if (gguf_open(data, bytes, &g, error, sizeof error)) {
        if (!error[0])
            abort();
        return 0;
    }
    for (uint64_t i = 0; i < gguf_key_count(g); i++)
        use_key(g, gguf_key_at(g, i, NULL));
    for (uint64_t i = 0; i < gguf_tensor_count(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        use(t->data, t->bytes);
        use(t->name.data, t->name.bytes);
    }
    if (gguf_used_bytes(g) > bytes)
        abort();
    gguf_close(g);
    return 0;
}
