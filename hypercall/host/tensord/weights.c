// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Weights that guests may open: files that the holder has opened and vouches for by hash. Opening
// maps the file and builds the graph, on a thread of its own; engines (a model and a KV type) are
// made with it and stay.
#include "hypercall/host/tensord/gpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct weights *weights_find(struct worker *w, const struct hc_identity *identity)
{
    for (uint32_t i = 0; i < w->weights_count; i++) {
        if (memcmp(&w->weights[i].identity, identity, sizeof *identity) == 0) {
            return &w->weights[i];
        }
    }
    return NULL;
}

void weights_add(struct worker *w, const struct link_message *m, int fd)
{
    if (weights_find(w, &m->identity) || w->weights_count == MOST_WEIGHTS) {
        close(fd);
        return;
    }
    struct weights *x = &w->weights[w->weights_count++];
    *x = (struct weights){.identity = m->identity, .fd = fd, .bytes = m->bytes};
    snprintf(x->name, sizeof x->name, "%.255s", m->name);
}

// ---- opening -----------------------------------------------------------------------------------

struct job {
    struct worker *worker;
    struct weights *weights;
};

static void *open_thread(void *arg)
{
    struct job *j = arg;
    struct weights *x = j->weights;
    struct worker *w = j->worker;
    char error[200] = "", note[280] = "";
    struct tn_model *model = NULL;
    struct tn_cuda_model *on_gpu = NULL;
    void *mapped = mmap(NULL, x->bytes, PROT_READ, MAP_SHARED, x->fd, 0);
    if (mapped == MAP_FAILED) {
        snprintf(error, sizeof error, "cannot be mapped: %s", strerror(errno));
    } else if (tn_model_open(mapped, x->bytes, &model, error, sizeof error)) {
        munmap(mapped, x->bytes);
    }
    if (model) {
        on_gpu = gpu_weights(w, model, note, sizeof note);
    }
    pthread_mutex_lock(&w->lock);
    if (model) {
        x->mapped = mapped;
        x->model = model;
        x->on_gpu = on_gpu;
        tn_model_info(model, &x->info);
        x->state = WEIGHTS_OPEN;
        audit(w, NULL, "weights", "%s is open: %s, %llu bytes%s", x->name, x->info.architecture,
              (unsigned long long)x->bytes, note);
    } else {
        snprintf(x->error, sizeof x->error, "%s", error);
        x->state = WEIGHTS_BAD;
        audit(w, NULL, "weights", "%s cannot be used: %s", x->name, error);
    }
    pthread_mutex_unlock(&w->lock);
    worker_news(w);
    free(j);
    return NULL;
}

static void start_opening(struct worker *w, struct weights *x)
{
    pthread_t thread;
    struct job *j = malloc(sizeof *j);
    x->state = WEIGHTS_OPENING;
    if (j) {
        *j = (struct job){w, x};
        if (pthread_create(&thread, NULL, open_thread, j) == 0) {
            pthread_detach(thread);
            return;
        }
    }
    free(j);
    x->state = WEIGHTS_KNOWN; // tried again by the next who asks
}

static struct engine *engine_for(struct worker *w, struct weights *x, uint32_t kv_type)
{
    for (uint32_t i = 0; i < w->engine_count; i++) {
        if (w->engines[i]->weights == x && w->engines[i]->kv_type == kv_type) {
            return w->engines[i]->executor ? w->engines[i] : NULL;
        }
    }
    struct engine *e = w->engine_count < MOST_ENGINES ? calloc(1, sizeof *e) : NULL;
    if (!e) {
        return NULL;
    }
    struct tn_executor_options o = {.isa = w->options.isa,
                                    .pool = w->pool,
                                    .max_tokens = PASS_TOKENS,
                                    .max_sequences = PASS_SEQUENCES,
                                    .kv_type = kv_type};
    char error[200] = "";
    e->weights = x;
    e->kv_type = kv_type;
    e->kv_page_bytes = tn_kv_page_bytes(x->model, kv_type);
    e->logits = malloc((size_t)PASS_SEQUENCES * x->info.vocabulary * sizeof *e->logits);
    if (!e->logits || tn_executor_open(x->model, &o, &e->executor, error, sizeof error)) {
        audit(w, NULL, "weights", "%s: no executor for KV type %u: %s", x->name, kv_type,
              e->logits ? error : "no memory");
        free(e->logits);
        e->logits = NULL;
        e->executor = NULL; // remembered, so that asking again costs nothing
    }
    if (e->executor) {
        gpu_engine(w, e);
    }
    w->engines[w->engine_count++] = e;
    return e->executor ? e : NULL;
}

// ---- handles -----------------------------------------------------------------------------------

static int take_handle(struct guest *g, struct engine *e, uint32_t *handle)
{
    for (uint32_t i = 0; i < HC_MOST_MODELS; i++) {
        struct model_handle *h = &g->models[i];
        if (!h->engine) {
            h->engine = e;
            h->serial++;
            e->weights->opened++;
            *handle = handle_make(i, h->serial);
            return HC_OK;
        }
    }
    return HC_NO_MEMORY;
}

void weights_close_handle(struct guest *g, struct model_handle *h)
{
    (void)g;
    if (h->engine) {
        h->engine->weights->opened--;
        h->engine = NULL;
    }
}

static bool is_kv_type(uint32_t type)
{
    return type == TN_F32 || type == TN_F16 || type == TN_Q8_0 || type == TN_Q4_0;
}

// The weights are open: the handle, and the facts into the guest's memory.
static int finish(struct guest *g, const struct opening *o, uint64_t value[2])
{
    struct worker *w = g->worker;
    struct weights *x = o->weights;
    if (x->info.embeds) {
        return HC_NOT_SUPPORTED;
    }
    struct engine *e = engine_for(w, x, o->args.kv_type);
    uint32_t handle = 0;
    int status = e ? take_handle(g, e, &handle) : HC_NOT_SUPPORTED;
    if (status) {
        return status;
    }
    struct hc_model_open reply = o->args;
    reply.vocabulary = x->info.vocabulary;
    reply.context = x->info.context;
    reply.layers = x->info.layers;
    reply.kv_heads = x->info.kv_heads;
    reply.head_dim = x->info.head_dim;
    reply.isa = w->options.isa;
    reply.kv_page_bytes = e->kv_page_bytes;
    memcpy(g->region + o->offset, &reply, sizeof reply);
    value[0] = handle;
    audit(w, g, "model", "opens %s", x->name);
    return HC_OK;
}

// The holder is asked by a guest at most so often.
static bool may_ask(struct guest *g)
{
    enum { ASKS_AT_ONCE = 16, ASK_EVERY_NS = 50000000 };
    uint64_t now = now_ns();
    int64_t earned = (int64_t)(now - g->asks_at) / ASK_EVERY_NS;
    if (earned > 0) {
        g->asks -= earned < (int64_t)g->asks ? (uint32_t)earned : g->asks;
        g->asks_at = now;
    }
    if (g->asks >= ASKS_AT_ONCE) {
        return false;
    }
    g->asks++;
    return true;
}

static void ask_holder(struct worker *w, const struct hc_identity *identity)
{
    const struct link_message m = {.kind = LINK_WANT_WEIGHTS, .identity = *identity};
    link_send(w->options.link, &m, NULL, NULL, 0);
}

int weights_open(struct guest *g, const struct hc_submission *s, uint64_t value[2], bool *later)
{
    const struct hc_span span = {.buffer = (uint32_t)s->argument[0], .offset = s->argument[1]};
    struct opening o = {.tag = s->tag};
    uint32_t waiting = 0;
    int status = s->argument[0] > UINT32_MAX
                     ? HC_BAD_HANDLE
                     : arena_resolve(&g->arena, &span, sizeof o.args, 8, &o.offset);
    if (status) {
        return status;
    }
    hc_copy(&o.args, g->region + o.offset, sizeof o.args);
    if (o.args.zero || o.args.identity.zero || !is_kv_type(o.args.kv_type)) {
        return HC_BAD_VALUE;
    }
    o.weights = weights_find(g->worker, &o.args.identity);
    if (o.weights && o.weights->state == WEIGHTS_OPEN) {
        return finish(g, &o, value);
    }
    for (struct opening *p = g->openings; p; p = p->next) {
        waiting++;
    }
    if (!o.weights && !may_ask(g)) {
        return HC_BUSY;
    }
    struct opening *kept = waiting < HC_MOST_MODELS ? malloc(sizeof *kept) : NULL;
    if (!kept) {
        return HC_BUSY;
    }
    *kept = o;
    kept->next = g->openings;
    g->openings = kept;
    *later = true;
    if (!o.weights) {
        ask_holder(g->worker, &o.args.identity);
    }
    worker_news(g->worker);
    return HC_OK;
}

static void end_opening(struct guest *g, struct opening *o, int status, uint64_t value)
{
    for (struct opening **at = &g->openings; *at; at = &(*at)->next) {
        if (*at == o) {
            *at = o->next;
            break;
        }
    }
    g->statistics.refused += status != 0;
    guest_post(g, o->tag, HC_MODEL_OPEN, HC_END, status, value, 0);
    free(o);
}

void weights_missing(struct worker *w, const struct hc_identity *identity)
{
    for (uint32_t i = 0; i < w->guest_count; i++) {
        for (struct opening *o = w->guests[i]->openings, *next; o; o = next) {
            next = o->next;
            if (!o->weights && memcmp(&o->args.identity, identity, sizeof *identity) == 0) {
                end_opening(w->guests[i], o, HC_NOT_FOUND, 0);
            }
        }
        guest_tell(w->guests[i]);
    }
}

static void progress(struct guest *g, struct opening *o)
{
    uint64_t value[2] = {0, 0};
    if (!o->weights) {
        o->weights = weights_find(g->worker, &o->args.identity);
    }
    if (!o->weights) {
        return;
    }
    switch (o->weights->state) {
    case WEIGHTS_KNOWN:
        start_opening(g->worker, o->weights);
        break;
    case WEIGHTS_OPENING:
        break;
    case WEIGHTS_OPEN: {
        int status = finish(g, o, value);
        end_opening(g, o, status, value[0]);
        break;
    }
    case WEIGHTS_BAD:
        end_opening(g, o, HC_FAILED, 0);
        break;
    }
}

void weights_progress(struct worker *w)
{
    for (uint32_t i = 0; i < w->guest_count; i++) {
        for (struct opening *o = w->guests[i]->openings, *next; o; o = next) {
            next = o->next;
            progress(w->guests[i], o);
        }
        guest_tell(w->guests[i]);
    }
}
