// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the server says about itself: GET /v1/models, /props, /metrics, /.
#include "apps/llm/llm.h"
#include "apps/llm/port.h"

#include <stdlib.h>
#include <string.h>

extern const char app_version[];

void llm_models_get(struct http_request *r, void *llm)
{
    const struct llm *l = llm;
    struct text t = {0};
    text_puts(&t, "{\"object\":\"list\",\"data\":[{\"id\":");
    text_json(&t, l->name, strlen(l->name));
    text_format(&t,
                ",\"object\":\"model\",\"created\":%ld,\"owned_by\":\"tessera\",\"meta\":"
                "{\"architecture\":\"%s\",\"n_vocab\":%u,\"n_ctx_train\":%u,\"n_ctx\":%u,"
                "\"n_embd\":%u,\"n_params\":%llu,\"size\":%llu}}]}",
                l->created, l->info.architecture, l->info.vocabulary, l->info.context,
                engine_facts(l->engine)->context, l->info.embedding,
                (unsigned long long)l->info.parameters, (unsigned long long)l->info.weight_bytes);
    llm_reply(r, &t, NULL);
}

static void put_offload(const struct offload *o, struct text *t)
{
    static const char *const choice[] = {"auto", "off", "host"};
    bool host = atomic_load_explicit(&o->state, memory_order_relaxed);
    text_format(t, "{\"mode\":\"%s\",\"state\":\"%s\",\"epoch\":%llu,\"losses\":%llu",
                choice[o->choice], host ? "host" : "local", (unsigned long long)counted(&o->epoch),
                (unsigned long long)counted(&o->losses));
    if (o->host_token_ns)
        text_format(t, ",\"host_token_ms\":%.4f", (double)o->host_token_ns / 1e6);
    if (o->own_token_ns)
        text_format(t, ",\"own_token_ms\":%.4f", (double)o->own_token_ns / 1e6);
    if (!o->used) {
        text_puts(t, ",\"why_local\":");
        text_json(t, o->why_not, strlen(o->why_not));
    }
    text_puts(t, "}");
}

void llm_props_get(struct http_request *r, void *llm)
{
    const struct llm *l = llm;
    const struct engine_facts *f = engine_facts(l->engine);
    struct tn_sampling s = tn_sampling_default();
    struct gguf_string template = {"", 0};
    struct text t = {0};
    text_puts(&t, "{\"model\":");
    text_json(&t, l->name, strlen(l->name));
    text_puts(&t, ",\"model_source\":");
    text_json(&t, l->source, strlen(l->source));
    text_format(&t,
                ",\"architecture\":\"%s\",\"weight_type\":\"%s\",\"total_slots\":%u,\"queue\":%u,"
                "\"default_generation_settings\":{\"n_ctx\":%u,\"params\":{\"temperature\":%g,"
                "\"top_k\":%u,\"top_p\":%g,\"min_p\":%g,\"repeat_penalty\":%g,\"repeat_last_n\":%u,"
                "\"presence_penalty\":%g,\"frequency_penalty\":%g,\"seed\":-1,\"max_tokens\":-1}},",
                l->info.architecture, tn_type_info(l->info.weight_type)->name, f->slots, f->queue,
                f->context, (double)s.temperature, s.top_k, (double)s.top_p, (double)s.min_p,
                (double)s.repeat_penalty, s.repeat_last, (double)s.presence_penalty,
                (double)s.frequency_penalty);
    text_format(&t,
                "\"engine\":{\"isa\":\"%s\",\"threads\":%u,\"kv_type\":\"%s\",\"kv_pages\":%u,"
                "\"memory_bytes\":%llu},\"chat_format\":\"%s\",\"chat_template\":",
                tn_isa_name(f->isa), port_pool()->width, tn_type_info(f->kv_type)->name,
                f->kv_pages, (unsigned long long)f->memory_bytes, chat_format_name(l->info.chat));
    gguf_str(tn_model_gguf(l->model), "tokenizer.chat_template", &template);
    char *whole = malloc(3 * (template.bytes + 4));
    struct utf8_stream u = {0};
    size_t n = whole ? utf8_stream_push(&u, template.data, template.bytes, true, whole) : 0;
    text_json(&t, whole ? whole : "", n);
    free(whole);
    text_puts(&t, ",\"offload\":");
    put_offload(engine_offload(l->engine), &t);
    text_format(&t, ",\"build_info\":\"tessera %s\"}", app_version);
    llm_reply(r, &t, NULL);
}

static void histograms(const struct engine_metrics *m, struct text *t)
{
    histogram_print(&m->first_token, "time_to_first_token_seconds",
                    "From a request's arrival to its first token.", t);
    histogram_print(&m->inter_token, "inter_token_latency_seconds",
                    "Between two tokens of a request.", t);
    histogram_print(&m->whole, "e2e_request_latency_seconds",
                    "From a request's arrival to its end.", t);
    histogram_print(&m->queued, "request_queue_time_seconds", "Waiting for a slot.", t);
    histogram_print(&m->prefill, "request_prefill_time_seconds", "Reading the prompt.", t);
    histogram_print(&m->decode, "request_decode_time_seconds", "From the first token to the last.",
                    t);
}

static void http_metrics(const struct llm *l, struct text *t)
{
    struct http_stats s;
    http_get_stats(l->http, &s);
    metric_print(t, "counter", "http_connections_total", "Connections taken.",
                 (double)s.connections_total);
    metric_print(t, "gauge", "http_connections", "Connections open.", (double)s.connections_now);
    metric_print(t, "counter", "http_requests_total", "HTTP requests.", (double)s.requests_total);
    text_format(t,
                "# HELP tessera_http_responses_total Answers by class of status.\n"
                "# TYPE tessera_http_responses_total counter\n"
                "tessera_http_responses_total{class=\"2xx\"} %llu\n"
                "tessera_http_responses_total{class=\"4xx\"} %llu\n"
                "tessera_http_responses_total{class=\"5xx\"} %llu\n",
                (unsigned long long)s.responses_2xx, (unsigned long long)s.responses_4xx,
                (unsigned long long)s.responses_5xx);
    metric_print(t, "counter", "http_timeouts_total", "Connections ended for being too slow.",
                 (double)s.timeouts);
    metric_print(t, "counter", "http_rejected_total", "Connections refused: too many.",
                 (double)s.rejected);
}

static void offload_metrics(const struct engine *e, struct text *t)
{
    const struct engine_metrics *m = engine_metrics(e);
    const struct offload *o = engine_offload(e);
    uint64_t host = counted(&m->host_tokens), made = counted(&m->made_tokens);
    metric_print(t, "gauge", "offload_state", "Who computes tokens: 0 this machine, 1 the host.",
                 atomic_load_explicit(&o->state, memory_order_relaxed));
    text_format(t,
                "# HELP tessera_offload_tokens_total Tokens by who made them.\n"
                "# TYPE tessera_offload_tokens_total counter\n"
                "tessera_offload_tokens_total{where=\"host\"} %llu\n"
                "tessera_offload_tokens_total{where=\"guest\"} %llu\n",
                (unsigned long long)host, (unsigned long long)(made > host ? made - host : 0));
    metric_print(t, "counter", "offload_losses_total", "Times that the host was lost.",
                 (double)counted(&o->losses));
    metric_print(t, "gauge", "offload_epoch", "Number of the host's worker, 0: none yet.",
                 (double)counted(&o->epoch));
    metric_print(t, "counter", "offload_calls_total", "Tensor calls made.",
                 (double)counted(&o->calls));
    metric_print(t, "gauge", "offload_pages_quarantined",
                 "KV pages that a lost host may still write.",
                 (double)counted(&m->pages_quarantined));
}

void llm_metrics_get(struct http_request *r, void *llm)
{
    static const char *const reason[JOB_END_COUNT] = {"stop",    "length",  "cancelled",
                                                      "overrun", "refused", "failed"};
    const struct llm *l = llm;
    const struct engine_facts *f = engine_facts(l->engine);
    const struct engine_metrics *m = engine_metrics(l->engine);
    struct text t = {0};
    metric_print(&t, "counter", "prompt_tokens_total", "Prompt tokens read.",
                 (double)counted(&m->prompt_tokens));
    metric_print(&t, "counter", "prompt_tokens_reused_total",
                 "Prompt tokens that were not read again: another prompt began with them.",
                 (double)counted(&m->reused_tokens));
    metric_print(&t, "counter", "prompt_seconds_total", "Time spent on prompts.",
                 (double)counted(&m->prompt_ns) / 1e9);
    metric_print(&t, "counter", "tokens_predicted_total", "Tokens made.",
                 (double)counted(&m->made_tokens));
    metric_print(&t, "counter", "tokens_predicted_seconds_total", "Time spent on making tokens.",
                 (double)counted(&m->decode_ns) / 1e9);
    metric_print(&t, "counter", "engine_steps_total", "Batched steps of the engine.",
                 (double)counted(&m->steps));
    text_puts(&t, "# HELP tessera_requests_total Completions by how they ended.\n"
                  "# TYPE tessera_requests_total counter\n");
    for (size_t i = 0; i < JOB_END_COUNT; i++)
        text_format(&t, "tessera_requests_total{finish_reason=\"%s\"} %llu\n", reason[i],
                    (unsigned long long)counted(&m->ended[i]));
    text_format(&t, "tessera_requests_total{finish_reason=\"invalid\"} %llu\n",
                (unsigned long long)counted(&l->refused));
    text_format(&t, "tessera_requests_total{finish_reason=\"turned_away\"} %llu\n",
                (unsigned long long)counted(&l->turned_away));
    metric_print(&t, "gauge", "requests_processing", "Requests in a slot.",
                 (double)counted(&m->running));
    metric_print(&t, "gauge", "requests_deferred", "Requests waiting for a slot.",
                 (double)counted(&m->waiting));
    metric_print(&t, "gauge", "slots", "Requests that can run at once.", f->slots);
    double used = (double)counted(&m->pages_used);
    metric_print(&t, "gauge", "kv_cache_usage", "Part of the KV pages in use, 0 to 1.",
                 f->kv_pages ? used / f->kv_pages : 0);
    metric_print(&t, "gauge", "kv_cache_tokens", "Tokens that the KV pages in use can hold.",
                 used * TN_KV_PAGE_TOKENS);
    metric_print(&t, "gauge", "kv_pages_cached", "KV pages kept for prompts that begin alike.",
                 (double)counted(&m->pages_cached));
    metric_print(&t, "gauge", "kv_pages_shared", "KV pages that several requests hold.",
                 (double)counted(&m->pages_shared));
    offload_metrics(l->engine, &t);
    histograms(m, &t);
    http_metrics(l, &t);
    port_metrics(&t);
    llm_reply(r, &t, "text/plain; version=0.0.4; charset=utf-8");
}

static void put_html(struct text *t, const char *s)
{
    for (; *s; s++)
        if (*s == '<' || *s == '&')
            text_puts(t, *s == '<' ? "&lt;" : "&amp;");
        else
            text_put(t, s, 1);
}

void llm_page_get(struct http_request *r, void *llm)
{
    const struct llm *l = llm;
    struct text t = {0};
    text_puts(&t, "<!doctype html><meta charset=utf-8><title>Tessera</title><h1>");
    put_html(&t, l->name);
    text_format(&t,
                "</h1><p>A model served by its own virtual machine (Tessera %s). The API is "
                "OpenAI's.</p><pre>\n"
                "GET  /health               is it ready?\n"
                "GET  /v1/models            the model\n"
                "POST /v1/chat/completions  {\"messages\":[{\"role\":\"user\",\"content\":…}]}\n"
                "POST /v1/completions       {\"prompt\":…}\n"
                "POST /v1/embeddings       {\"input\":…} (models that embed)\n"
                "POST /tokenize /detokenize text to token ids and back\n"
                "POST /logits               the last position's logits, float32\n"
                "GET  /props                settings\n"
                "GET  /metrics              Prometheus\n</pre>\n",
                app_version);
    llm_reply(r, &t, "text/html; charset=utf-8");
}
