// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as a model: opened or refused with a message, and what opens computes one step.
//
// Links: @tensor
#include "tensor/infer.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 64u << 20 };

static void one_step(const struct tn_model *m)
{
    struct tn_model_info info;
    char error[256] = "";
    tn_model_info(m, &info);
    size_t page = tn_kv_page_bytes(m, TN_F32), scratch = tn_scratch_bytes(m, 8, 1);
    if (page > MOST_BYTES || scratch > MOST_BYTES || info.vocabulary > 1u << 20) {
        return;
    }
    struct tn_executor_options o = {.isa = TN_ISA_AVX2,
                                    .pool = &tn_pool_single,
                                    .max_tokens = 8,
                                    .max_sequences = 1,
                                    .kv_page_total = 1,
                                    .kv_type = TN_F32};
    struct tn_executor *x;
    if (tn_executor_open(m, &o, &x, error, sizeof error) != 0) {
        abort();
    }
    float *logits = malloc((info.vocabulary + 5 * (size_t)info.embedding) * sizeof *logits);
    int32_t ids[5] = {0};
    uint32_t page_number = 0;
    struct tn_step_sequence s = {.tokens = ids,
                                 .token_count = info.context < 5 ? 1 : 5,
                                 .kv_pages = &page_number,
                                 .kv_page_count = 1,
                                 .logits = logits};
    s.logits_from = s.token_count - 1;
    if (info.embeds) {
        s.logits_from = s.token_count;
        s.embedding = logits;
        s.logits = NULL;
    }
    if (tn_step(x, &s, 1) != 0) {
        abort();
    }
    free(logits);
    tn_executor_close(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct tn_model *m;
    char error[256] = "";
    uint8_t *block = aligned_alloc(64, (bytes + 64) & ~(size_t)63);
    memcpy(block, data, bytes);
    if (tn_model_open(block, bytes, &m, error, sizeof error) != 0) {
        if (error[0] == 0) {
            abort();
        }
    } else {
        one_step(m);
        tn_model_close(m);
    }
    free(block);
    return 0;
}
