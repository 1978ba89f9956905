// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The CUDA executor of tensor/cuda.h: memory taken once at opening, then steps. Everything of a
// step goes into one stream in order; the host waits for it before it looks at anything.
#include "tensor/cuda/executor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int check_options(const struct tn_cuda_executor_options *o, char *error, size_t bytes)
{
    if (o->max_tokens == 0 || o->max_tokens > CUDA_MOST_TOKENS) {
        snprintf(error, bytes, "CUDA: max_tokens is %u, expected 1 to %d", o->max_tokens,
                 CUDA_MOST_TOKENS);
    } else if (o->max_sequences == 0 || o->max_sequences > o->max_tokens) {
        snprintf(error, bytes, "CUDA: max_sequences is %u, expected 1 to max_tokens (%u)",
                 o->max_sequences, o->max_tokens);
    } else if (o->pages == 0) {
        snprintf(error, bytes, "CUDA: no pages for K and V");
    } else if (o->kv_type != TN_F32 && o->kv_type != TN_F16) {
        const char *name = tn_type_info(o->kv_type)->name;
        snprintf(error, bytes, "CUDA: no kernel for KV type %s (F32 and F16 have one)",
                 name ? name : "unknown");
        return -ENOTSUP;
    } else {
        return 0;
    }
    return -EINVAL;
}

// ---- memory ------------------------------------------------------------------------------------

struct wish {
    cuda_address *out;
    size_t bytes;
    const char *what;
};

static int take_device_memory(struct tn_cuda_executor *x, char *error, size_t error_bytes)
{
    const struct ir_graph *g = x->graph;
    size_t tokens = x->options.max_tokens, heads = (size_t)g->heads * g->head_dim;
    size_t row_kv = (size_t)2 * g->kv_heads * g->head_dim * x->kv_element;
    const struct wish wishes[] = {
        {&x->values, tokens * g->floats_per_row * sizeof(float), "values"},
        {&x->normed, tokens * x->model->most_norm * sizeof(float), "normed rows"},
        {&x->gated, 2 * tokens * x->model->most_gated * sizeof(float), "gates"},
        {&x->turned, tokens * heads * sizeof(float), "heads"},
        {&x->logits, (size_t)CUDA_LOGIT_ROWS * g->vocabulary * sizeof(float), "logits"},
        {&x->kv, g->layers * x->options.pages * x->page_bytes, "K and V"},
        {&x->fresh, g->layers * tokens * row_kv, "new K and V"},
        {&x->tables, cuda_tables_bytes(x), "tables"}};
    int rc = 0;
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes && !rc; i++) {
        rc = cuda_take(x->model->device, wishes[i].bytes, wishes[i].out, wishes[i].what, error,
                       error_bytes);
    }
    return rc;
}

static int take_host_memory(struct tn_cuda_executor *x, char *error, size_t error_bytes)
{
    const struct ir_graph *g = x->graph;
    const struct cuda_driver *f = &x->model->device->driver;
    size_t row_kv = (size_t)2 * g->kv_heads * g->head_dim * x->kv_element;
    void *tables = NULL, *fresh = NULL, *logits = NULL;
    cuda_result e = f->host_alloc(&tables, cuda_tables_bytes(x), 0);
    x->host_tables = e ? NULL : tables;
    e = e ? e : f->host_alloc(&fresh, g->layers * x->options.max_tokens * row_kv, 0);
    x->host_fresh = e ? NULL : fresh;
    size_t logit_bytes = (size_t)CUDA_LOGIT_ROWS * g->vocabulary * sizeof(float);
    e = e ? e : f->host_alloc(&logits, logit_bytes, 0);
    x->host_logits = e ? NULL : logits;
    e = e ? e : f->stream_create(&x->stream, CUDA_STREAM_NON_BLOCKING);
    x->logit_rows = calloc(x->options.max_tokens, sizeof *x->logit_rows);
    if (e) {
        char why[160];
        cuda_describe(f, e, why, sizeof why);
        snprintf(error, error_bytes, "CUDA: memory to copy through: %s", why);
        return e == CUDA_OUT_OF_MEMORY ? -ENOMEM : -EIO;
    }
    if (!x->logit_rows) {
        snprintf(error, error_bytes, "CUDA: no memory");
        return -ENOMEM;
    }
    return 0;
}

int tn_cuda_executor_open(struct tn_cuda_model *m, const struct tn_cuda_executor_options *o,
                          struct tn_cuda_executor **out, char *error, size_t error_bytes)
{
    const struct ir_graph *g = m->graph;
    int rc = check_options(o, error, error_bytes);
    if (rc) {
        return rc;
    }
    struct tn_cuda_executor *x = calloc(1, sizeof *x);
    if (!x) {
        snprintf(error, error_bytes, "CUDA: no memory");
        return -ENOMEM;
    }
    x->model = m;
    x->graph = g;
    x->options = *o;
    if (x->options.context == 0 || x->options.context > g->context) {
        x->options.context = g->context;
    }
    x->kv_element = o->kv_type == TN_F32 ? 4 : 2;
    x->page_bytes = (size_t)2 * TN_KV_PAGE_TOKENS * g->head_dim * g->kv_heads * x->kv_element;
    uint32_t longest = (x->options.context + TN_KV_PAGE_TOKENS - 1) / TN_KV_PAGE_TOKENS;
    longest = longest < o->pages ? longest : o->pages;
    if (cuda_pages_open(&x->pages, o->pages, 2 * o->max_sequences, longest)) {
        snprintf(error, error_bytes, "CUDA: no memory");
        free(x);
        return -ENOMEM;
    }
    cuda_result e = cuda_enter(m->device);
    if (e) {
        snprintf(error, error_bytes, "CUDA: the device is not there any more (%d)", e);
        rc = -EIO;
    }
    rc = rc ? rc : take_device_memory(x, error, error_bytes);
    rc = rc ? rc : take_host_memory(x, error, error_bytes);
    if (rc) {
        tn_cuda_executor_close(x);
        return rc;
    }
    *out = x;
    return 0;
}

void tn_cuda_executor_close(struct tn_cuda_executor *x)
{
    if (!x) {
        return;
    }
    struct tn_cuda_device *d = x->model->device;
    const cuda_address all[] = {x->values, x->normed, x->gated, x->turned,
                                x->logits, x->kv,     x->fresh, x->tables};
    if (cuda_enter(d) == 0) {
        if (x->stream) {
            d->driver.stream_wait(x->stream);
            d->driver.stream_destroy(x->stream);
        }
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            cuda_give_back(d, all[i]);
        }
        void *const host[] = {x->host_tables, x->host_fresh, x->host_logits};
        for (size_t i = 0; i < sizeof host / sizeof *host; i++) {
            if (host[i]) {
                d->driver.host_free(host[i]);
            }
        }
    }
    cuda_pages_close(&x->pages);
    free(x->logit_rows);
    free(x);
}

// ---- a step ------------------------------------------------------------------------------------

bool cuda_failed(struct tn_cuda_executor *x, cuda_result e, const char *doing)
{
    if (e && !x->error) {
        x->error = e;
        x->doing = doing;
    }
    return x->error != 0;
}

const char *tn_cuda_failure(const struct tn_cuda_executor *x)
{
    return x->failure;
}

static bool sequence_is_sound(const struct tn_cuda_executor *x, const struct tn_step_sequence *s)
{
    uint64_t end = (uint64_t)s->position + s->token_count;
    if (s->token_count == 0 || s->token_count > x->options.max_tokens || end > x->options.context ||
        (uint64_t)s->kv_page_count * TN_KV_PAGE_TOKENS < end || !s->kv || s->embedding ||
        s->logits_from > s->token_count || (s->logits_from < s->token_count && !s->logits)) {
        return false;
    }
    for (uint32_t i = 0; i < s->token_count; i++) {
        if (s->tokens[i] < 0 || (uint32_t)s->tokens[i] >= x->graph->vocabulary) {
            return false;
        }
    }
    for (uint64_t i = 0; i * TN_KV_PAGE_TOKENS < end; i++) {
        if (s->kv_pages[i] >= s->kv_page_total) {
            return false;
        }
    }
    return true;
}

static int check_step(struct tn_cuda_executor *x)
{
    uint32_t rows = 0, outputs = 0;
    if (x->sequence_count == 0 || x->sequence_count > x->options.max_sequences) {
        return -EINVAL;
    }
    for (size_t i = 0; i < x->sequence_count; i++) {
        const struct tn_step_sequence *s = &x->sequences[i];
        if (!sequence_is_sound(x, s) || s->token_count > x->options.max_tokens - rows) {
            return -EINVAL;
        }
        rows += s->token_count;
        outputs += s->token_count - s->logits_from;
    }
    x->row_count = rows;
    x->output_count = outputs;
    return 0;
}

static int run(struct tn_cuda_executor *x)
{
    const struct cuda_driver *f = &x->model->device->driver;
    const struct ir_graph *g = x->graph;
    int rc = cuda_bind(x);
    rc = rc ? rc : cuda_walk(x);
    if (!rc) {
        size_t bytes = (size_t)2 * g->kv_heads * g->head_dim * x->kv_element;
        cuda_failed(
            x,
            f->copy_out_later(x->host_fresh, x->fresh, g->layers * x->row_count * bytes, x->stream),
            "copying new K and V");
    }
    // Also after an error: nothing may still be reading the tables.
    cuda_failed(x, f->stream_wait(x->stream), "computing");
    return rc ? rc : x->error ? -EIO : 0;
}

int tn_cuda_step(struct tn_cuda_executor *x, const struct tn_step_sequence *sequences, size_t count)
{
    if (x->failure[0]) {
        return -EIO;
    }
    x->sequences = sequences;
    x->sequence_count = count;
    x->normed_by = NULL;
    int rc = check_step(x);
    if (rc) {
        return rc;
    }
    cuda_pages_begin(&x->pages);
    if (!cuda_failed(x, cuda_enter(x->model->device), "entering the device")) {
        rc = run(x);
    }
    if (x->error) {
        char why[160];
        cuda_describe(&x->model->device->driver, x->error, why, sizeof why);
        snprintf(x->failure, sizeof x->failure, "CUDA: %s: %s", x->doing, why);
        rc = -EIO;
    }
    cuda_pages_end(&x->pages, rc == 0);
    if (rc == 0) {
        cuda_store_fresh(x);
        x->steps++;
    }
    return rc;
}

void tn_cuda_get_statistics(const struct tn_cuda_executor *x, struct tn_cuda_statistics *out)
{
    *out = (struct tn_cuda_statistics){.steps = x->steps,
                                       .loaded_pages = x->loaded_pages,
                                       .pages = x->options.pages,
                                       .pages_used = x->options.pages - x->pages.free_count};
}
