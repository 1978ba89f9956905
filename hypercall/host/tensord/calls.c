// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The calls that are answered at once, and who answers the others.
#include "hypercall/host/tensord/calls_ops.h"
#include "hypercall/host/tensord/gpu.h"

#include <string.h>

uint32_t call_owes(struct guest *g, const struct hc_submission *s)
{
    if (s->call != HC_RUN) {
        return 1;
    }
    // Its tokens and its end. The only copy: run_submit goes on with it, or says what is wrong.
    const struct hc_span span = {.buffer = (uint32_t)s->argument[0], .offset = s->argument[1]};
    uint64_t offset;
    g->run_status = s->argument[0] > UINT32_MAX
                        ? HC_BAD_HANDLE
                        : arena_resolve(&g->arena, &span, sizeof g->run, 8, &offset);
    if (g->run_status) {
        return 1;
    }
    hc_copy(&g->run, g->region + offset, sizeof g->run);
    return g->run.most_tokens <= HC_MOST_TOKENS ? g->run.most_tokens + 1 : 1;
}

// Writes an answer of ours to the guest's buffer.
static int put(struct guest *g, const struct hc_submission *s, const void *from, size_t bytes)
{
    const struct hc_span span = {.buffer = (uint32_t)s->argument[0], .offset = s->argument[1]};
    uint64_t offset;
    if (s->argument[0] > UINT32_MAX) {
        return HC_BAD_HANDLE;
    }
    if (s->argument[2] < bytes) {
        return HC_BAD_RANGE;
    }
    int status = arena_resolve(&g->arena, &span, bytes, 8, &offset);
    if (!status) {
        memcpy(g->region + offset, from, bytes);
    }
    return status;
}

static int capabilities(struct guest *g, const struct hc_submission *s)
{
    const struct worker_options *o = &g->worker->options;
    struct hc_capabilities c = {.version = HC_ABI_VERSION,
                                .epoch = o->epoch,
                                // Not what the region says: that, the guest can write.
                                .features = worker_features(g->worker),
                                .region_bytes = g->region_bytes,
                                .free_bytes = g->arena.end - g->arena.begin - g->arena.lent,
                                .isa = o->isa,
                                .threads = o->threads,
                                .device_count = worker_device_count(g->worker),
                                .weight = g->policy.weight,
                                .most_runs = g->policy.most_runs};
    return put(g, s, &c, sizeof c);
}

static int statistics(struct guest *g, const struct hc_submission *s)
{
    struct hc_statistics t = g->statistics;
    t.buffers = g->arena.count;
    t.runs = g->run_count;
    t.tensors = g->ops ? g->ops->tensor_count : 0;
    t.graphs = g->ops ? g->ops->graph_count : 0;
    for (uint32_t i = 0; i < HC_MOST_MODELS; i++) {
        t.models += g->models[i].engine != NULL;
    }
    return put(g, s, &t, sizeof t);
}

static int cancel(struct guest *g, uint64_t tag)
{
    for (struct run *r = g->runs; r; r = r->next) {
        if (r->tag != tag) {
            continue;
        }
        r->cancelled = true;
        if (r->state == RUN_READY) {
            run_end(r, HC_CANCELLED, HC_REASON_STOP);
        }
        return HC_OK;
    }
    return ops_cancel(g, tag) ? HC_OK : HC_NOT_FOUND;
}

static bool unused_are_zero(const struct hc_submission *s, uint32_t used)
{
    for (uint32_t i = used; i < 6; i++) {
        if (s->argument[i]) {
            return false;
        }
    }
    return true;
}

int call_run(struct guest *g, const struct hc_submission *s, uint64_t value[2], bool *later)
{
    static const uint8_t arguments[] = {
        [HC_NOTHING] = 0,    [HC_CAPABILITIES] = 3, [HC_ALLOC] = 1,       [HC_FREE] = 1,
        [HC_MODEL_OPEN] = 2, [HC_MODEL_CLOSE] = 1,  [HC_RUN] = 2,         [HC_CANCEL] = 1,
        [HC_STATISTICS] = 3, [HC_TENSOR] = 2,       [HC_TENSOR_FREE] = 1, [HC_WEIGHT] = 4,
        [HC_GRAPH] = 3,      [HC_GRAPH_FREE] = 1,   [HC_GRAPH_RUN] = 4,   [HC_MATMUL] = 4,
        [HC_ATTENTION] = 6,  [HC_SOFTMAX] = 3,      [HC_NORM] = 5,        [HC_TRANSFER] = 2,
        [HC_TRAIN_OPEN] = 2, [HC_TRAIN_STEP] = 2,   [HC_TRAIN_READ] = 2,  [HC_TRAIN_CLOSE] = 1};
    _Static_assert(sizeof arguments == HC_CALL_COUNT, "every call");
    if (!unused_are_zero(s, arguments[s->call])) {
        return HC_BAD_CALL;
    }
    uint32_t handle = s->argument[0] <= UINT32_MAX ? (uint32_t)s->argument[0] : 0;
    switch (s->call) {
    case HC_NOTHING:
        return HC_OK;
    case HC_CAPABILITIES:
        return capabilities(g, s);
    case HC_ALLOC: {
        uint32_t buffer;
        int status = arena_lend(&g->arena, s->argument[0], &buffer, &value[1]);
        value[0] = status ? 0 : buffer;
        return status;
    }
    case HC_FREE:
        return arena_return(&g->arena, handle);
    case HC_MODEL_OPEN:
        return weights_open(g, s, value, later);
    case HC_MODEL_CLOSE: {
        uint32_t i = handle_index(handle);
        if (!guest_engine(g, handle)) {
            return HC_BAD_HANDLE;
        }
        weights_close_handle(g, &g->models[i]);
        return HC_OK;
    }
    case HC_RUN:
        *later = true;
        return run_submit(g, s);
    case HC_CANCEL:
        return cancel(g, s->argument[0]);
    case HC_STATISTICS:
        return statistics(g, s);
    default:
        return ops_call(g, s, value, later);
    }
}
