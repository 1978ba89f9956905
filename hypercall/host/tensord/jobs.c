// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Work on tensors: queued a guest, done by the compute thread between passes, bounded in time.
#include "hypercall/host/tensord/calls_ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_JOBS = 64 };
#define MOST_NS 20000000000ull // of one job

uint64_t ops_features(void)
{
    return HC_FEATURE_OPS | HC_FEATURE_TRAIN;
}

static void job_free(struct job *j)
{
    struct guest *g = j->guest;
    g->memory -= j->memory;
    if (j->handle) {
        j->handle->jobs--;
    }
    if (j->session) {
        j->session->jobs--;
    }
    free(j->ids);
    free(j->tensors);
    free(j->nodes);
    free(j->bindings);
    free(j->bytes);
    free(j);
}

static int job_transfer(struct guest *g, const struct hc_submission *s, struct job *j)
{
    const struct tensor_handle *to = tensor_of(g, s->argument[0]);
    const struct tensor_handle *from = tensor_of(g, s->argument[1]);
    if (!to || !from) {
        return HC_BAD_HANDLE;
    }
    if (to->read_only || to->type != from->type || to->bytes != from->bytes ||
        memcmp(to->shape, from->shape, sizeof to->shape) != 0) {
        return HC_BAD_VALUE;
    }
    j->to = to->data;
    j->from = from->data;
    j->transfer_bytes = to->bytes;
    return HC_OK;
}

static int prepare(struct guest *g, const struct hc_submission *s, struct job *j)
{
    switch (s->call) {
    case HC_GRAPH:
        return g->ops->graph_count < HC_MOST_GRAPHS ? graph_read(g, s, j) : HC_NO_MEMORY;
    case HC_GRAPH_RUN:
        return graph_bind(g, s, j);
    case HC_TRANSFER:
        return job_transfer(g, s, j);
    case HC_TRAIN_OPEN:
    case HC_TRAIN_STEP:
    case HC_TRAIN_READ:
        return training_prepare(g, s, j);
    default:
        return graph_single(g, s, j);
    }
}

static int submit(struct guest *g, const struct hc_submission *s)
{
    if (g->ops->job_count >= MOST_JOBS) {
        return HC_BUSY;
    }
    struct job *j = calloc(1, sizeof *j);
    if (!j) {
        return HC_NO_MEMORY;
    }
    *j = (struct job){.guest = g, .tag = s->tag, .call = s->call};
    int status = prepare(g, s, j);
    if (status) {
        job_free(j);
        return status;
    }
    struct job **end = &g->ops->jobs;
    while (*end) {
        end = &(*end)->next;
    }
    *end = j;
    compose_wake(g);
    g->ops->job_count++;
    return HC_OK;
}

int ops_call(struct guest *g, const struct hc_submission *s, uint64_t value[2], bool *later)
{
    if (!g->ops) {
        size_t bytes = sizeof *g->ops;
        g->ops = bytes <= g->policy.memory_bytes - g->memory ? calloc(1, bytes) : NULL;
        if (!g->ops) {
            return HC_NO_MEMORY;
        }
        g->memory += bytes;
    }
    switch (s->call) {
    case HC_TENSOR:
        return tensor_create(g, s, value);
    case HC_TENSOR_FREE:
        return tensor_free(g, s->argument[0]);
    case HC_WEIGHT:
        return tensor_weight(g, s, value);
    case HC_GRAPH_FREE:
        return graph_free(g, s->argument[0]);
    case HC_GRAPH:
    case HC_GRAPH_RUN:
    case HC_MATMUL:
    case HC_ATTENTION:
    case HC_SOFTMAX:
    case HC_NORM:
    case HC_TRANSFER:
    case HC_TRAIN_OPEN:
    case HC_TRAIN_STEP:
    case HC_TRAIN_READ:
        *later = true;
        return submit(g, s);
    case HC_TRAIN_CLOSE:
        return training_close(g, s->argument[0]);
    default:
        return HC_NOT_SUPPORTED;
    }
}

// ---- ending ------------------------------------------------------------------------------------

bool ops_has_tag(const struct guest *g, uint64_t tag)
{
    if (!g->ops) {
        return false;
    }
    for (const struct job *j = g->ops->jobs; j; j = j->next) {
        if (j->tag == tag) {
            return true;
        }
    }
    return g->ops->running && g->ops->running->tag == tag;
}

bool ops_cancel(struct guest *g, uint64_t tag)
{
    if (g->ops && g->ops->running && g->ops->running->tag == tag) {
        atomic_store_explicit(&g->ops->running->stop, true, memory_order_relaxed);
        return true;
    }
    for (struct job **at = g->ops ? &g->ops->jobs : NULL; at && *at; at = &(*at)->next) {
        struct job *j = *at;
        if (j->tag == tag) {
            *at = j->next;
            g->ops->job_count--;
            guest_post(g, j->tag, j->call, HC_END, HC_CANCELLED, 0, 0);
            job_free(j);
            return true;
        }
    }
    return false;
}

void ops_stop(struct guest *g)
{
    if (!g->ops) {
        return;
    }
    if (g->ops->running) {
        atomic_store_explicit(&g->ops->running->stop, true, memory_order_relaxed);
    }
    while (g->ops->jobs) {
        struct job *j = g->ops->jobs;
        g->ops->jobs = j->next;
        g->ops->job_count--;
        job_free(j);
    }
}

void ops_close(struct guest *g)
{
    if (!g->ops) {
        return;
    }
    ops_stop(g);
    for (uint32_t i = 0; i < HC_MOST_GRAPHS; i++) {
        if (g->ops->graphs[i].graph) {
            graph_close(g, g->ops->graphs[i].graph);
        }
    }
    for (uint32_t i = 0; i < MOST_SESSIONS; i++) {
        if (g->ops->sessions[i].train) {
            session_close(g, &g->ops->sessions[i]);
        }
    }
    g->memory -= sizeof *g->ops;
    free(g->ops);
    g->ops = NULL;
}

// ---- the work ----------------------------------------------------------------------------------

struct guest *ops_ready(struct worker *w)
{
    struct guest *least = NULL;
    for (uint32_t i = 0; i < w->guest_count; i++) {
        struct guest *g = w->guests[i];
        if (!g->leaving && g->attached && g->ops && g->ops->jobs && compose_has_credit(g) &&
            (!least || g->virtual_ns < least->virtual_ns)) {
            least = g;
        }
    }
    return least;
}

static bool must_stop(void *arg)
{
    struct job *j = arg;
    return atomic_load_explicit(&j->stop, memory_order_relaxed) || now_ns() > j->until_ns;
}

// Opens what has to be opened and runs what is to be run: the lock is not held.
static int work(struct worker *w, struct job *j, struct tn_ops **opened)
{
    struct tn_ops *o = j->handle ? j->handle->graph->ops : NULL;
    char error[200];
    if (j->call >= HC_TRAIN_OPEN) {
        return training_work(w, j);
    }
    if (j->to) {
        memcpy(j->to, j->from, j->transfer_bytes);
        return HC_OK;
    }
    if (!o) {
        int rc = tn_ops_open(&j->description, w->pool, w->options.isa, &o, error, sizeof error);
        if (rc) {
            audit(w, j->guest, "graph", "%s", error);
            return rc == -ENOMEM ? HC_NO_MEMORY : HC_BAD_VALUE;
        }
        *opened = o;
    }
    if (!j->bindings) {
        return HC_OK;
    }
    for (uint32_t i = 0; i < j->description.tensor_count; i++) {
        if (j->bindings[i] && tn_ops_bytes(o, i) > j->bytes[i]) {
            return HC_BAD_RANGE;
        }
    }
    tn_ops_set_stop(o, must_stop, j);
    int rc = tn_ops_run(o, j->bindings);
    tn_ops_set_stop(o, NULL, NULL);
    return rc == 0            ? HC_OK
           : rc == -ECANCELED ? (now_ns() > j->until_ns ? HC_TOO_LONG : HC_CANCELLED)
                              : HC_BAD_VALUE;
}

// A graph that was opened for HC_GRAPH becomes a handle; any other one is closed.
static int settle(struct guest *g, struct job *j, struct tn_ops *opened, uint64_t *handle)
{
    struct graph *graph = j->keep ? calloc(1, sizeof *graph) : NULL;
    uint32_t i = 0;
    while (i < HC_MOST_GRAPHS && g->ops->graphs[i].graph) {
        i++;
    }
    if (!graph || i == HC_MOST_GRAPHS ||
        tn_ops_memory(opened) > g->policy.memory_bytes - g->memory) {
        free(graph);
        tn_ops_close(opened);
        return j->keep ? HC_NO_MEMORY : HC_OK;
    }
    graph->ops = opened;
    graph->tensors = j->tensors;
    graph->tensor_count = j->description.tensor_count;
    graph->memory = tn_ops_memory(opened) + graph->tensor_count * sizeof *graph->tensors;
    j->tensors = NULL;
    g->memory += graph->memory;
    g->ops->graphs[i].graph = graph;
    g->ops->graphs[i].serial++;
    g->ops->graph_count++;
    *handle = handle_make(i, g->ops->graphs[i].serial);
    return HC_OK;
}

void ops_work(struct worker *w, struct guest *g)
{
    struct job *j = g->ops->jobs;
    struct tn_ops *opened = NULL;
    uint64_t begun = now_ns();
    g->ops->jobs = j->next;
    g->ops->running = j;
    g->in_pass++;
    j->until_ns = begun + MOST_NS;
    pthread_mutex_unlock(&w->lock);
    int status = work(w, j, &opened);
    uint64_t ns = now_ns() - begun;
    pthread_mutex_lock(&w->lock);
    compose_charge_guest(g, ns);
    if (opened && status) {
        tn_ops_close(opened);
    } else if (opened) {
        status = settle(g, j, opened, &j->value[0]);
    } else if (j->train) {
        status = training_settle(g, j);
    }
    g->statistics.refused += status != 0;
    guest_post(g, j->tag, j->call, HC_END, status, j->value[0], j->value[1]);
    g->ops->running = NULL;
    g->ops->job_count--;
    g->in_pass--;
    job_free(j);
    guest_tell(g);
    if (g->leaving || !g->attached || hc_load(&g->theirs->generation) != g->attached) {
        worker_news(w);
    }
}
