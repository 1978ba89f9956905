// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Copying one page of the KV store: what a sequence does before it writes on in a page that begins
// like another one's.
#include "tensor/cpu/executor.h"

#include <errno.h>
#include <string.h>

int tn_kv_copy(struct tn_executor *x, uint32_t from, uint32_t to)
{
    if (from >= x->options.kv_page_total || to >= x->options.kv_page_total) {
        return -EINVAL;
    }
    for (uint32_t layer = 0; layer < x->graph->layers; layer++) {
        uint8_t *pages = x->kv + layer * x->kv_layer_bytes;
        memcpy(pages + to * x->kv_page_bytes, pages + from * x->kv_page_bytes, x->kv_page_bytes);
    }
    return 0;
}
