// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the host takes for a token.
#include "hypercall/guest/runner_private.h"

#include <errno.h>

enum { TOKENS = 4, ROUNDS = 4 };

// Until the run has ended as it should.
static int follow(struct hc_runner *r, uint64_t deadline)
{
    const struct hc_port *p = &r->client->port;
    uint32_t made = 0;
    for (;;) {
        struct infer_event e;
        while (r->infer.next(r, &e)) {
            switch (e.kind) {
            case INFER_RUN_TOKEN:
                made++;
                break;
            case INFER_RUN_LENGTH:
                return made == TOKENS ? 0 : -EIO;
            case INFER_RUN_LOST:
                return -ENOLINK;
            default:
                return -EIO;
            }
        }
        uint64_t now = p->now_ns(p->ctx);
        if (now >= deadline) {
            return -ETIMEDOUT;
        }
        if (hc_sleep_begin(r->client)) {
            uint64_t own = hc_sleep_deadline(r->client, now);
            p->wait(p->ctx, own < deadline ? own : deadline);
            hc_sleep_end(r->client);
        }
    }
}

int hc_runner_measure(struct hc_runner *r, uint32_t timeout_ms, uint64_t *token_ns)
{
    static const int32_t token;
    static const uint32_t page;
    struct tn_sampling greedy = {.repeat_penalty = 1, .top_p = 1};
    struct infer_run run = {.tokens = &token,
                            .token_count = 1,
                            .most_tokens = TOKENS,
                            .kv_pages = &page,
                            .kv_page_count = 1,
                            .sampling = &greedy};
    const struct hc_port *p = &r->client->port;
    *token_ns = UINT64_MAX;
    // The shortest counts: others may have had the host's cores, and the first run finds no caches.
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t begun = p->now_ns(p->ctx);
        int rc = r->infer.start(r, 0, &run);
        rc = rc ? rc : follow(r, begun + timeout_ms * 1000000ull);
        if (rc) {
            return rc;
        }
        uint64_t took = (p->now_ns(p->ctx) - begun) / TOKENS;
        *token_ns = took < *token_ns ? took : *token_ns;
    }
    return 0;
}
