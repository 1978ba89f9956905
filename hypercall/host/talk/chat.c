// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Conversations by libcurl and jansson.
#include "hypercall/host/base/error.h"
#include "hypercall/host/base/clock.h"
#include "hypercall/host/base/http.h"
#include "hypercall/host/talk/chat.h"
#include "hypercall/host/machine/endpoint.h"
#include "hypercall/host/machine/text.h"
#include "hypercall/host/talk/sse.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECT_MS = 5000, FIRST_S = 300 };

struct chat {
    struct chat_settings s;
    CURL *curl;
    struct curl_slist *headers;
    json_t *messages;
    // of the answer that runs
    struct sse sse;
    struct text answer, refusal; // refusal: the body of what is no stream
    struct chat_stats *stats;
    double begun_ms, last_ms;
    bool done, failed;
    char message[400]; // of an error within the stream
};

static double now_ms(void)
{
    return (double)monotonic_ns() / 1e6;
}

// ---- a conversation ----------------------------------------------------------------------------

static int add_message(struct chat *c, const char *role, const char *text)
{
    json_t *m = json_pack("{s:s,s:s}", "role", role, "content", text);
    return m && json_array_append_new(c->messages, m) == 0 ? 0 : -EINVAL;
}

void chat_reset(struct chat *c)
{
    json_array_clear(c->messages);
    if (c->s.system) {
        add_message(c, "system", c->s.system);
    }
}

static bool add_header(struct chat *c, const char *line)
{
    struct curl_slist *more = curl_slist_append(c->headers, line);
    c->headers = more ? more : c->headers;
    return more != NULL;
}

int chat_new(const struct chat_settings *s, struct chat **out, char *error, size_t error_bytes)
{
    if (!http_ready()) {
        return error_say(error, error_bytes, -ENOMEM, "no memory");
    }
    struct chat *c = calloc(1, sizeof *c);
    bool good = c != NULL;
    if (good) {
        c->s = *s;
        c->s.first_s = s->first_s ? s->first_s : FIRST_S;
        c->curl = curl_easy_init();
        c->messages = json_array();
        good = c->curl && c->messages && add_header(c, "Content-Type: application/json") &&
               add_header(c, "Expect:");
    }
    if (good && s->key && s->key[0]) {
        char *line = NULL;
        good = asprintf(&line, "Authorization: Bearer %s", s->key) >= 0 && add_header(c, line);
        free(line);
    }
    if (!good) {
        chat_free(c);
        return error_say(error, error_bytes, -ENOMEM, "no memory");
    }
    chat_reset(c);
    if (s->system && json_array_size(c->messages) == 0) {
        chat_free(c);
        return error_say(error, error_bytes, -EINVAL, "--system: the text is no UTF-8");
    }
    *out = c;
    return 0;
}

void chat_free(struct chat *c)
{
    if (c) {
        curl_easy_cleanup(c->curl);
        curl_slist_free_all(c->headers);
        json_decref(c->messages);
        sse_free(&c->sse);
        free(c->answer.data);
        free(c->refusal.data);
        free(c);
    }
}

// ---- the answer as it comes --------------------------------------------------------------------

static void take_usage(struct chat *c, const json_t *usage)
{
    json_int_t prompt = json_integer_value(json_object_get(usage, "prompt_tokens"));
    json_int_t made = json_integer_value(json_object_get(usage, "completion_tokens"));
    if (json_is_object(usage) && made >= 0 && made < UINT32_MAX && prompt >= 0 &&
        prompt < UINT32_MAX) {
        c->stats->tokens = (uint32_t)made;
        c->stats->prompt_tokens = (uint32_t)prompt;
        c->stats->counted = true;
    }
}

static int take_event(void *context, const char *data, size_t bytes)
{
    struct chat *c = context;
    if (strcmp(data, "[DONE]") == 0) {
        c->done = true;
        return 0;
    }
    json_t *event = json_loadb(data, bytes, 0, NULL);
    if (!event) {
        c->failed = true;
        snprintf(c->message, sizeof c->message, "it streams something that is no JSON");
        return -EPROTO;
    }
    if (json_object_get(event, "error")) {
        c->failed = true;
        endpoint_message(data, c->message, sizeof c->message);
        json_decref(event);
        return -EIO;
    }
    json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
    json_t *piece = json_object_get(json_object_get(choice, "delta"), "content");
    size_t n = json_string_length(piece);
    if (n) {
        if (!c->stats->tokens++) {
            c->stats->first_ms = now_ms() - c->begun_ms;
        }
        text_add(&c->answer, "%s", json_string_value(piece));
        c->s.piece(c->s.context, json_string_value(piece), n);
    }
    take_usage(c, json_object_get(event, "usage"));
    json_decref(event);
    return 0;
}

static size_t take(char *data, size_t one, size_t count, void *context)
{
    struct chat *c = context;
    size_t n = one * count;
    long status = 0;
    c->last_ms = now_ms();
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        if (c->refusal.bytes < 64 << 10) {
            text_add(&c->refusal, "%.*s", (int)n, data);
        }
        return n;
    }
    return sse_push(&c->sse, data, n, take_event, c) == 0 ? n : 0;
}

// Called about each second and with each piece.
static int look(void *context, curl_off_t a, curl_off_t b, curl_off_t d, curl_off_t e)
{
    const struct chat *c = context;
    (void)a;
    (void)b;
    (void)d;
    (void)e;
    return (c->s.stop && *c->s.stop) || now_ms() - c->last_ms > c->s.first_s * 1e3;
}

// ---- a question --------------------------------------------------------------------------------

static char *make_body(struct chat *c)
{
    json_t *o = json_pack("{s:O,s:b,s:{s:b}}", "messages", c->messages, "stream", 1,
                          "stream_options", "include_usage", 1);
    if (c->s.model) {
        json_object_set_new(o, "model", json_string(c->s.model));
    }
    if (c->s.temperature >= 0) {
        json_object_set_new(o, "temperature", json_real(c->s.temperature));
    }
    if (c->s.top_p >= 0) {
        json_object_set_new(o, "top_p", json_real(c->s.top_p));
    }
    if (c->s.seed >= 0) {
        json_object_set_new(o, "seed", json_integer(c->s.seed));
    }
    if (c->s.max_tokens) {
        json_object_set_new(o, "max_tokens", json_integer(c->s.max_tokens));
    }
    char *body = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return body;
}

static void set_options(struct chat *c, const char *url, const char *body)
{
    curl_easy_reset(c->curl);
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->curl, CURLOPT_PROXY, ""); // never by a proxy of the environment
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, look);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFODATA, c);
    curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    if (c->s.ca_file) {
        curl_easy_setopt(c->curl, CURLOPT_CAINFO, c->s.ca_file);
    }
    if (c->s.any_certificate) {
        curl_easy_setopt(c->curl, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(c->curl, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static int judge(struct chat *c, CURLcode curl, char *error, size_t error_bytes)
{
    long status = 0;
    char why[300] = "";
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (c->s.stop && *c->s.stop) {
        return error_say(error, error_bytes, -EINTR, "stopped");
    }
    if (c->failed) {
        return error_say(error, error_bytes, -EIO, "the answer broke off: %s", c->message);
    }
    if (status && status != 200) {
        endpoint_message(c->refusal.data ? c->refusal.data : "", why, sizeof why);
        return error_say(error, error_bytes, -EIO, "%s says %ld%s%s%s", c->s.url, status,
                         why[0] ? ": " : "", why,
                         status == 401 ? " (--key-file gives the key)" : "");
    }
    if (curl == CURLE_OK && c->done) {
        return 0;
    }
    if (status == 200 && !c->done && (curl == CURLE_OK || c->answer.bytes)) {
        return error_say(error, error_bytes, -EIO, "the answer broke off%s%s", curl ? ": " : "",
                         curl ? curl_easy_strerror(curl) : "");
    }
    if (curl == CURLE_ABORTED_BY_CALLBACK || curl == CURLE_OPERATION_TIMEDOUT) {
        return error_say(error, error_bytes, -ETIMEDOUT, "%s does not answer", c->s.url);
    }
    return error_say(error, error_bytes, curl == CURLE_COULDNT_CONNECT ? -ECONNREFUSED : -EPROTO,
                     "%s: %s", c->s.url, curl_easy_strerror(curl));
}

int chat_ask(struct chat *c, const char *question, struct chat_stats *stats, char *error,
             size_t error_bytes)
{
    char url[600];
    size_t before = json_array_size(c->messages);
    if (add_message(c, "user", question) != 0) {
        return error_say(error, error_bytes, -EINVAL, "the question is no UTF-8");
    }
    char *body = make_body(c);
    if (!body) {
        json_array_remove(c->messages, before);
        return error_say(error, error_bytes, -ENOMEM, "no memory");
    }
    *stats = (struct chat_stats){0};
    c->stats = stats;
    c->done = c->failed = false;
    c->answer.bytes = c->refusal.bytes = 0;
    c->answer.failed = c->refusal.failed = false;
    sse_free(&c->sse);
    snprintf(url, sizeof url, "%s/v1/chat/completions", c->s.url);
    set_options(c, url, body);
    c->begun_ms = c->last_ms = now_ms();
    CURLcode curl = curl_easy_perform(c->curl);
    stats->whole_ms = now_ms() - c->begun_ms;
    free(body);
    int rc = judge(c, curl, error, error_bytes);
    if ((rc == 0 || rc == -EINTR) && !c->answer.failed) {
        add_message(c, "assistant", c->answer.bytes ? c->answer.data : "");
    } else {
        json_array_remove(c->messages, before);
    }
    return rc;
}
