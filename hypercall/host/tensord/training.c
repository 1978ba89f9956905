// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// HC_TRAIN_*: sessions of tensor/train.h. Opening and steps are jobs of the compute thread; what a
// batch says is copied before that.
#include "hypercall/host/tensord/calls_ops.h"

#include <stdlib.h>
#include <string.h>

#define MOST_WORK 400000000000ull // multiply-adds of one step: about ten seconds of one core

static struct session_handle *session_of(struct guest *g, uint64_t handle)
{
    uint32_t i = handle_index((uint32_t)handle);
    if (!g->ops || handle > UINT32_MAX || i >= MOST_SESSIONS || !g->ops->sessions[i].train ||
        (uint32_t)handle != handle_make(i, g->ops->sessions[i].serial)) {
        return NULL;
    }
    return &g->ops->sessions[i];
}

void session_close(struct guest *g, struct session_handle *s)
{
    tn_train_close(s->train);
    g->memory -= s->memory;
    s->train = NULL;
}

int training_close(struct guest *g, uint64_t handle)
{
    struct session_handle *s = session_of(g, handle);
    if (!s) {
        return HC_BAD_HANDLE;
    }
    if (s->jobs) {
        return HC_BUSY;
    }
    session_close(g, s);
    return HC_OK;
}

static int copy_in(struct guest *g, const struct hc_submission *s, void *to, size_t bytes)
{
    const struct hc_span span = {.buffer = (uint32_t)s->argument[0], .offset = s->argument[1]};
    uint64_t offset;
    int status = s->argument[0] > UINT32_MAX ? HC_BAD_HANDLE
                                             : arena_resolve(&g->arena, &span, bytes, 8, &offset);
    if (!status) {
        hc_copy(to, g->region + offset, bytes);
    }
    return status;
}

static int read_options(struct guest *g, const struct hc_submission *s, struct job *j)
{
    struct hc_train_open c;
    int status = copy_in(g, s, &c, sizeof c);
    if (status) {
        return status;
    }
    if (c.sequences == 0 || c.sequences > 1024 || c.context > 65536 || c.seed > UINT32_MAX) {
        return HC_BAD_VALUE;
    }
    // A shard is a sequence: workers take sequences.
    j->options = (struct tn_train_options){.vocabulary = c.vocabulary,
                                           .width = c.embedding,
                                           .layers = c.layers,
                                           .heads = c.heads,
                                           .kv_heads = c.kv_heads,
                                           .feed_forward = c.feed_forward,
                                           .context = c.context,
                                           .tied = true,
                                           .rope_base = 10000,
                                           .epsilon = 1e-5f,
                                           .seed = (uint32_t)c.seed,
                                           .shards = c.sequences,
                                           .shard_tokens = c.context,
                                           .rate = c.learning_rate,
                                           .decay = c.weight_decay,
                                           .clip = c.clip,
                                           .warmup = c.steps / 10,
                                           .steps = c.steps,
                                           .memory_most = g->policy.memory_bytes - g->memory};
    // Counted as taken until it is known: two sessions opened at once must not share what is left.
    j->memory += j->options.memory_most;
    g->memory += j->options.memory_most;
    return HC_OK;
}

// [sequences][context + 1] ids: what is read, and what should follow.
static int read_batch(struct guest *g, const struct hc_submission *s, struct job *j)
{
    struct hc_train_step c;
    uint64_t offset;
    int status = copy_in(g, s, &c, sizeof c);
    struct session_handle *h = status ? NULL : session_of(g, c.session);
    if (status || !h || c.zero) {
        return status ? status : h ? HC_BAD_VALUE : HC_BAD_HANDLE;
    }
    uint64_t context = h->context, count = h->sequences, all = count * context;
    status =
        arena_resolve(&g->arena, &c.tokens, count * (context + 1) * sizeof(int32_t), 4, &offset);
    if (status) {
        return status;
    }
    size_t more = all * 2 * sizeof(int32_t) + count * sizeof(uint32_t);
    j->ids = more <= g->policy.memory_bytes - g->memory ? malloc(more) : NULL;
    if (!j->ids) {
        return HC_NO_MEMORY;
    }
    j->memory += more;
    g->memory += more;
    uint32_t *lengths = (uint32_t *)(j->ids + 2 * all);
    for (uint64_t i = 0; i < count; i++) {
        const int32_t *from =
            (const int32_t *)(const void *)(g->region + offset) + i * (context + 1);
        hc_copy(j->ids + i * context, from, context * sizeof *from);
        hc_copy(j->ids + all + i * context, from + 1, context * sizeof *from);
        lengths[i] = (uint32_t)context;
    }
    j->batch = (struct tn_train_batch){.tokens = j->ids,
                                       .targets = j->ids + all,
                                       .lengths = lengths,
                                       .token_count = (uint32_t)all,
                                       .sequence_count = (uint32_t)count};
    j->session = h;
    h->jobs++;
    return HC_OK;
}

static int read_target(struct guest *g, const struct hc_submission *s, struct job *j)
{
    struct session_handle *h = session_of(g, s->argument[0]);
    const struct tensor_handle *t = tensor_of(g, s->argument[1]);
    if (!h || !t) {
        return HC_BAD_HANDLE;
    }
    if (t->type != TN_F32 || t->read_only ||
        t->bytes != tn_train_parameters(h->train) * sizeof(float)) {
        return HC_BAD_VALUE;
    }
    j->to = t->data;
    j->session = h;
    h->jobs++;
    return HC_OK;
}

int training_prepare(struct guest *g, const struct hc_submission *s, struct job *j)
{
    return s->call == HC_TRAIN_OPEN   ? read_options(g, s, j)
           : s->call == HC_TRAIN_STEP ? read_batch(g, s, j)
                                      : read_target(g, s, j);
}

static uint64_t float_bits(double x)
{
    float f = (float)x;
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

int training_work(struct worker *w, struct job *j)
{
    char error[200] = "";
    struct tn_train_report report;
    if (j->call == HC_TRAIN_OPEN) {
        int rc = tn_train_open(&j->options, w->pool, &j->train, error, sizeof error);
        if (!rc && tn_train_work(j->train) > MOST_WORK) {
            tn_train_close(j->train);
            j->train = NULL;
            return HC_TOO_LONG;
        }
        return rc == 0 ? HC_OK : rc == -ENOMEM ? HC_NO_MEMORY : HC_BAD_VALUE;
    }
    if (j->call == HC_TRAIN_READ) {
        uint64_t n = tn_train_parameters(j->session->train);
        return tn_train_read(j->session->train, 0, n, j->to) ? HC_FAILED : HC_OK;
    }
    int rc = tn_train_step(j->session->train, &j->batch, &report, error, sizeof error);
    j->value[0] = float_bits(report.loss);
    j->value[1] = float_bits(report.norm);
    return rc == 0         ? HC_OK
           : rc == -ENOMEM ? HC_NO_MEMORY
           : rc == -ERANGE ? HC_FAILED
                           : HC_BAD_VALUE;
}

int training_settle(struct guest *g, struct job *j)
{
    uint32_t i = 0;
    while (i < MOST_SESSIONS && g->ops->sessions[i].train) {
        i++;
    }
    size_t memory = tn_train_memory(j->train);
    if (i == MOST_SESSIONS) {
        tn_train_close(j->train);
        return HC_NO_MEMORY;
    }
    struct session_handle *s = &g->ops->sessions[i];
    *s = (struct session_handle){.serial = s->serial + 1,
                                 .train = j->train,
                                 .context = j->options.context,
                                 .sequences = j->options.shards,
                                 .memory = memory};
    g->memory += memory; // within what the job still counts as its own
    j->value[0] = handle_make(i, s->serial);
    j->value[1] = tn_train_parameters(s->train);
    return HC_OK;
}
