// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Runs of sequences by tensor calls (HC_RUN): the infer_runner of tensor/infer.h over one client.
// One buffer of the region holds all that both sides use: arguments, one row of logits, and the KV
// store, so that the guest's own cores go on from what the host wrote. When the host is lost and
// comes back the buffer is asked for again and must lie where it was. One owner thread, the
// client's.
#ifndef HYPERCALL_GUEST_RUNNER_H
#define HYPERCALL_GUEST_RUNNER_H

#include "hypercall/guest/client.h"
#include "tensor/infer.h"

#include <stddef.h>

struct hc_runner_options {
    struct hc_identity identity; // of the weights
    uint32_t kv_type;            // GGUF type
    uint32_t kv_page_total;
    uint64_t kv_page_bytes;
    // Of the guest's own model; the host's must be the same.
    uint32_t vocabulary, layers, kv_heads, head_dim;
    uint32_t context;     // positions a sequence may use
    uint32_t runs;        // at once, 1 to HC_MOST_RUNS
    uint32_t most_tokens; // of one run: hc_runner_tokens, or fewer
    // Something that people should know, one line; may be NULL.
    void (*say)(void *ctx, bool problem, const char *line);
    void *say_ctx;
};

struct hc_runner;
// Tokens of one run, so that as many runs' completions have room in the ring.
uint32_t hc_runner_tokens(uint32_t runs_at_once);
// Bytes of the region beside the KV store.
uint64_t hc_runner_overhead(const struct hc_runner_options *o);
// Attaches, allocates and opens the model, for at most timeout_ms. The client must stay and belongs
// to the runner: its deliver is set. 0, or a negative errno and in error why.
int hc_runner_open(struct hc_client *c, const struct hc_runner_options *o, uint32_t timeout_ms,
                   struct hc_runner **out, char *error, size_t error_bytes);
void hc_runner_close(struct hc_runner *r); // the region is left as it is
const struct infer_runner *hc_runner_infer(const struct hc_runner *r);
void *hc_runner_kv(const struct hc_runner *r); // kv_page_total pages, valid as long as the region
bool hc_runner_ready(const struct hc_runner *r);
// The host's time for one token of a short sequence, the call's share included, in ns. Writes KV
// page 0, so before the engine begins. 0, -ETIMEDOUT, -ENOLINK, -EIO: it refused.
int hc_runner_measure(struct hc_runner *r, uint32_t timeout_ms, uint64_t *token_ns);

// "sha256:HEX" or "sha256:HEX+packedN". 0 or -EINVAL.
int hc_identity_parse(const char *text, struct hc_identity *out);

#endif
