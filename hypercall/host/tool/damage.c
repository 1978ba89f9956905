// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// After logits that are not finite numbers: which weight is to blame, and where it stands.
#include "hypercall/host/tool/tool.h"

#include "tensor/quant.h"

#include <stdio.h>
#include <stdlib.h>

// The first row of a tensor that holds something else than finite numbers; -1: none.
static int64_t damaged_row(const struct gguf_tensor *t, float *values)
{
    uint64_t n = t->shape[0], rows = t->shape[1] * t->shape[2] * t->shape[3];
    size_t bytes = tn_row_bytes(t->type, n);
    for (uint64_t r = 0; r < rows; r++) {
        tn_quant_decode(t->type, (const uint8_t *)t->data + r * bytes, n, values);
        for (uint64_t i = 0; i < n; i++) {
            if (!__builtin_isfinite(values[i])) {
                return (int64_t)r;
            }
        }
    }
    return -1;
}

int tool_fail_numbers(const struct tn_model *m)
{
    const struct gguf *g = tn_model_gguf(m);
    for (uint64_t i = 0; i < gguf_tensor_count(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        float *values = tn_quant_decodes(t->type) ? malloc(t->shape[0] * sizeof *values) : NULL;
        int64_t row = values ? damaged_row(t, values) : -1;
        free(values);
        if (row >= 0) {
            char text[256];
            snprintf(text, sizeof text, "%.*s: row %lld holds a value that is not a finite number",
                     (int)(t->name.bytes < 96 ? t->name.bytes : 96), t->name.data, (long long)row);
            gguf_say_where(g, text, sizeof text);
            return tool_fail("%s", text);
        }
    }
    return tool_fail("the logits are not finite numbers, though every weight is: some are too "
                     "large, or the file is damaged");
}
