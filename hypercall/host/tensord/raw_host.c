// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A guest without manners, for tests.
#include "hypercall/host/tensord/raw_host.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 30000 };

void raw_pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

int raw_connect(struct raw_guest *g, const char *path)
{
    char error[200];
    int rc = hc_connect(path, &g->connection, error, sizeof error);
    if (!rc) {
        g->region = g->connection.region;
        g->bytes = g->connection.region_bytes;
        g->host = (struct hc_host_page *)(void *)(g->region + HC_HOST_PAGE);
        g->page = (struct hc_guest_page *)(void *)(g->region + HC_GUEST_PAGE);
    }
    return -rc;
}

void raw_join(struct play_daemon *d, struct raw_guest *g, const char *name, const char *policy)
{
    char request[256], path[160];
    memset(g, 0, sizeof *g);
    g->identity = d->identity;
    snprintf(request, sizeof request, "{\"op\":\"add-guest\",\"name\":\"%s\",\"region_mb\":16%s}",
             name, policy);
    char *reply = play_control(d, request);
    assert_non_null(reply);
    assert_non_null(strstr(reply, "\"ok\":true"));
    free(reply);
    snprintf(path, sizeof path, "%s/%s.ivshmem", d->dir, name);
    assert_int_equal(raw_connect(g, path), 0);
}

void raw_leave(struct raw_guest *g)
{
    hc_disconnect(&g->connection);
}

void raw_ring(const struct raw_guest *g, unsigned vector)
{
    const uint64_t one = 1;
    ssize_t n = write(g->connection.ring[vector], &one, sizeof one);
    (void)n; // full: it rings already
}

bool raw_is_served(const struct raw_guest *g)
{
    return hc_load(&g->host->state) == HC_HOST_READY &&
           hc_load(&g->host->attached) == g->page->generation;
}

void raw_attach(struct raw_guest *g)
{
    // Before a worker has the region, nobody attaches; unless we wrote that 0 ourselves.
    for (int i = 0; hc_load(&g->host->epoch) == 0 && i < 500; i++) {
        raw_pause_ms(1);
    }
    g->tail = g->head = 0;
    hc_store(&g->page->submission_tail, 0);
    hc_store(&g->page->completion_head, 0);
    g->page->version = HC_ABI_VERSION;
    hc_store(&g->page->generation, hc_load(&g->page->generation) % 0xfffffff0u + 1);
    raw_ring(g, HC_VECTOR_STATE);
    for (int i = 1; !raw_is_served(g); i++) {
        assert_true(i < PATIENCE_MS);
        raw_pause_ms(1);
        if (i % 1000 == 0) { // that generation was cut off before
            hc_store(&g->page->generation, hc_load(&g->page->generation) + 1);
            raw_ring(g, HC_VECTOR_STATE);
        }
    }
}

uint64_t raw_submit(struct raw_guest *g, struct hc_submission s)
{
    struct hc_submission *ring = (void *)(g->region + HC_SUBMISSIONS);
    s.tag = ++g->tag;
    ring[g->tail % HC_SUBMISSION_COUNT] = s;
    hc_store(&g->page->submission_tail, ++g->tail);
    raw_ring(g, HC_VECTOR_CALLS);
    return s.tag;
}

uint64_t raw_call(struct raw_guest *g, uint16_t call, uint64_t a, uint64_t b, uint64_t c)
{
    return raw_submit(g, (struct hc_submission){.call = call, .argument = {a, b, c}});
}

int raw_end(struct raw_guest *g, uint64_t tag, uint64_t value[2])
{
    const struct hc_completion *ring = (const void *)(g->region + HC_COMPLETIONS);
    for (int i = 0; i < PATIENCE_MS; i++) {
        for (uint32_t tail = hc_load(&g->host->completion_tail); g->head != tail;) {
            struct hc_completion c = ring[g->head % HC_COMPLETION_COUNT];
            hc_store(&g->page->completion_head, ++g->head);
            g->ended += c.kind == HC_END;
            if (c.tag == tag && c.kind == HC_END) {
                assert_true(c.status <= 0 && c.status > -HC_STATUS_COUNT);
                if (value) {
                    memcpy(value, c.value, sizeof c.value);
                }
                return -c.status;
            }
        }
        if (!raw_is_served(g)) {
            return -1;
        }
        if (i > 20) {
            raw_pause_ms(1);
        } else {
            usleep(50);
        }
    }
    fail_msg("call %llu never ends", (unsigned long long)tag);
    return -1;
}

void raw_settle(struct raw_guest *g)
{
    uint64_t value[2];
    raw_attach(g);
    assert_int_equal(raw_end(g, raw_call(g, HC_ALLOC, RAW_ARGUMENTS, 0, 0), value), 0);
    g->arguments = (uint32_t)value[0];
    g->arguments_at = value[1];
    struct hc_model_open *o = (void *)(g->region + g->arguments_at);
    *o = (struct hc_model_open){.identity = g->identity, .kv_type = TN_F32};
    assert_int_equal(raw_end(g, raw_call(g, HC_MODEL_OPEN, g->arguments, 0, 0), value), 0);
    g->model = (uint32_t)value[0];
    g->kv_bytes = o->kv_page_bytes * RAW_PAGES;
    assert_int_equal(raw_end(g, raw_call(g, HC_ALLOC, g->kv_bytes, 0, 0), value), 0);
    g->kv = (uint32_t)value[0];
    g->kv_at = value[1];
}

struct hc_run *raw_run(struct raw_guest *g, uint32_t at, uint32_t count, uint32_t most)
{
    struct hc_run *r = (void *)(g->region + g->arguments_at + at);
    uint32_t *pages = (void *)(r + 1);
    int32_t *tokens = (void *)(pages + RAW_PAGES);
    for (uint32_t i = 0; i < RAW_PAGES; i++) {
        pages[i] = i;
    }
    play_tokens(tokens, count, 1);
    *r = (struct hc_run){
        .model = g->model,
        .kv = {.buffer = g->kv},
        .kv_page_total = RAW_PAGES,
        .kv_page_count = RAW_PAGES,
        .kv_pages = {.buffer = g->arguments, .offset = at + sizeof *r},
        .tokens = {.buffer = g->arguments, .offset = at + sizeof *r + RAW_PAGES * sizeof *pages},
        .token_count = count,
        .most_tokens = most,
        .top_p = 1,
        .repeat_penalty = 1};
    return r;
}
