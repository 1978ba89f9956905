// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A model file made ready: mapped read-only, opened, and an executor over it.
#include "hypercall/host/base/clock.h"
#include "hypercall/host/packages/packages.h"
#include "hypercall/host/tool/tool.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t tool_now_ns(void)
{
    return monotonic_ns();
}

uint32_t tool_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 1;
    }
    return (uint32_t)CPU_COUNT(&set);
}

static int model_path(const char *word, char path[PATH_MAX])
{
    char error[PATH_MAX + 512];
    if (access(word, F_OK) != 0 && errno == ENOENT && packages_name_is_valid(word)) {
        return packages_resolve(word, path, error, sizeof error) == 0 ? TOOL_OK
                                                                      : tool_fail("%s", error);
    }
    int n = snprintf(path, PATH_MAX, "%s", word);
    return n < PATH_MAX ? TOOL_OK : tool_fail("the model's path is too long");
}

int tool_open(const char *word, struct tool_model *m)
{
    char error[512] = "", path[PATH_MAX];
    struct gguf *index;
    *m = (struct tool_model){0};
    if (model_path(word, path) != TOOL_OK) {
        return TOOL_FAILED;
    }
    if (tn_files_open(path, &m->files, &index, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    if (tn_model_open_index(index, &m->model, error, sizeof error) != 0) {
        gguf_close(index);
        tn_files_close(m->files);
        return tool_fail("%s: %s", path, error);
    }
    tn_model_info(m->model, &m->info);
    m->tokenizer = tn_model_tokenizer(m->model);
    return TOOL_OK;
}

void tool_close(struct tool_model *m)
{
    tn_model_close(m->model);
    tn_files_close(m->files);
}

int tool_wants(const struct tool_model *m, bool embeds)
{
    if (embeds && !m->info.embeds) {
        return tool_fail("%s (%s) goes on with texts and makes no embeddings: see `tessera "
                         "generate --help`",
                         m->info.name, m->info.architecture);
    }
    if (!embeds && m->info.embeds) {
        return tool_fail("%s (%s) embeds whole texts and foretells no tokens: see `tessera embed "
                         "--help`",
                         m->info.name, m->info.architecture);
    }
    return TOOL_OK;
}

static int choose_isa(const char *name, enum tn_isa *out)
{
    *out = tn_isa_best();
    if (!name) {
        return TOOL_OK;
    }
    if (tn_isa_parse(name, out) != 0) {
        return tool_misuse("--isa: '%s' is none of scalar, avx2, avx512, avx512vnni", name);
    }
    if (*out > tn_isa_best()) {
        return tool_fail("--isa: this machine cannot run %s (best: %s)", name,
                         tn_isa_name(tn_isa_best()));
    }
    return TOOL_OK;
}

static int choose_kv(const char *name, uint32_t *out)
{
    static const struct {
        const char *name;
        uint32_t type;
    } kinds[] = {{"f32", TN_F32}, {"f16", TN_F16}, {"q8_0", TN_Q8_0}, {"q4_0", TN_Q4_0}};
    *out = TN_F32;
    for (size_t i = 0; name && i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            *out = kinds[i].type;
            return TOOL_OK;
        }
    }
    return name ? tool_misuse("--kv: '%s' is none of f32, f16, q8_0, q4_0", name) : TOOL_OK;
}

int tool_start(const struct tool_model *m, const struct tool_setup *s, struct tool_engine *e)
{
    char error[256] = "";
    uint32_t kv;
    *e = (struct tool_engine){.context = m->info.context};
    int status = choose_isa(s->isa, &e->isa);
    if (!status) {
        status = choose_kv(s->kv, &kv);
    }
    if (status) {
        return status;
    }
    if (s->context && s->context < e->context) {
        e->context = s->context;
    }
    e->populate = tool_populate_start(m->files);
    e->sequences = s->sequences ? s->sequences : 1;
    e->pages_each = (e->context + TN_KV_PAGE_TOKENS - 1) / TN_KV_PAGE_TOKENS;
    e->pages = e->pages_each * e->sequences;
    e->max_tokens = s->max_tokens ? s->max_tokens : TOOL_STEP_TOKENS;
    e->pool_is_lent = s->pool != NULL;
    e->pool = s->pool ? s->pool : tn_pool_threads(s->threads ? s->threads : tool_cpus());
    e->page_table = malloc(e->pages * sizeof *e->page_table);
    if (!e->pool || !e->page_table) {
        tool_stop(e);
        return tool_fail("no memory");
    }
    for (uint32_t i = 0; i < e->pages; i++) {
        e->page_table[i] = i;
    }
    struct tn_executor_options o = {.isa = e->isa,
                                    .pool = e->pool,
                                    .max_tokens = e->max_tokens,
                                    .max_sequences = e->sequences,
                                    .kv_page_total = e->pages,
                                    .context = e->context,
                                    .kv_type = kv,
                                    .trace = s->trace};
    if (tn_executor_open(m->model, &o, &e->executor, error, sizeof error) != 0) {
        tool_stop(e);
        return tool_fail("%s", error);
    }
    return TOOL_OK;
}

void tool_stop(struct tool_engine *e)
{
    tool_populate_stop(e->populate);
    tn_executor_close(e->executor);
    if (!e->pool_is_lent) {
        tn_pool_free(e->pool);
    }
    free(e->page_table);
}

int tool_run(struct tool_engine *e, const struct tool_model *m, const int32_t *tokens,
             uint32_t from, uint32_t count, bool all,
             int (*row)(void *ctx, uint32_t position, float *logits), void *ctx)
{
    // Rows of a step at once, at most 64 when all are wanted: that many vocabularies fit anywhere.
    uint32_t chunk = all && e->max_tokens > 64 ? 64 : e->max_tokens;
    size_t vocabulary = m->info.vocabulary;
    float *logits = malloc((all ? chunk : 1) * vocabulary * sizeof *logits);
    if (!logits) {
        return tool_fail("no memory");
    }
    int status = TOOL_OK;
    for (uint32_t at = from; at < count && !status;) {
        uint32_t n = count - at < chunk ? count - at : chunk;
        uint32_t first = all ? 0 : at + n == count ? n - 1 : n;
        struct tn_step_sequence s = {.tokens = tokens + at,
                                     .token_count = n,
                                     .position = at,
                                     .kv_pages = e->page_table,
                                     .kv_page_count = e->pages,
                                     .logits_from = first,
                                     .logits = logits};
        if (tn_step(e->executor, &s, 1) != 0) {
            status = tool_fail("tokens %u to %u were refused: an id outside the vocabulary of %u, "
                               "or more than %u positions",
                               at, at + n - 1, m->info.vocabulary, e->context);
        }
        for (uint32_t i = first; i < n && !status && row; i++) {
            status = row(ctx, at + i, logits + (i - first) * vocabulary);
        }
        at += n;
    }
    free(logits);
    return status;
}
