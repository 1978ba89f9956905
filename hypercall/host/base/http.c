// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// libcurl's start, and many questions at once by its multi interface.
#include "hypercall/host/base/clock.h"
#include "hypercall/host/base/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BODY_MOST = 1 << 20, AT_ONCE = 512 };

struct call {
    struct http_question *question;
    CURL *curl;
    struct curl_slist *headers;
    size_t room;
};

static size_t take(char *data, size_t one, size_t count, void *context)
{
    struct call *c = context;
    struct http_question *q = c->question;
    size_t n = one * count, most = BODY_MOST - q->bytes;
    n = n < most ? n : most;
    if (q->bytes + n + 1 > c->room) {
        size_t room = 2 * (q->bytes + n + 1);
        char *more = realloc(q->body, room);
        if (!more) {
            return 0;
        }
        q->body = more;
        c->room = room;
    }
    memcpy(q->body + q->bytes, data, n);
    q->bytes += n;
    q->body[q->bytes] = 0;
    return one * count;
}

static int prepare(struct call *c, long ms)
{
    struct http_question *q = c->question;
    c->curl = curl_easy_init();
    if (!c->curl) {
        return -ENOMEM;
    }
    if (q->key && q->key[0]) {
        char *line;
        if (asprintf(&line, "Authorization: Bearer %s", q->key) < 0) {
            return -ENOMEM;
        }
        c->headers = curl_slist_append(NULL, line);
        free(line);
        if (!c->headers) {
            return -ENOMEM;
        }
    }
    curl_easy_setopt(c->curl, CURLOPT_URL, q->url);
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->curl, CURLOPT_PROXY, ""); // never by a proxy of the environment
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, ms);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_PRIVATE, c);
    if (q->ca_file) {
        curl_easy_setopt(c->curl, CURLOPT_CAINFO, q->ca_file);
    }
    return 0;
}

static void collect(CURLM *multi)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(multi, &left))) {
        struct call *c = NULL;
        long status = 0;
        curl_off_t us = 0;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &c);
        if (m->msg == CURLMSG_DONE && m->data.result == CURLE_OK) {
            curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &status);
            curl_easy_getinfo(m->easy_handle, CURLINFO_TOTAL_TIME_T, &us);
            c->question->http = (int)status;
            c->question->ms = (double)us / 1e3;
        }
    }
}

bool http_ready(void)
{
    static bool initialised;
    initialised = initialised || curl_global_init(CURL_GLOBAL_DEFAULT) == 0;
    return initialised;
}

int http_ask(struct http_question *questions, size_t count, long ms)
{
    int rc = 0, running = 0;
    if (!http_ready()) {
        return -ENOMEM;
    }
    CURLM *multi = curl_multi_init();
    struct call *calls = calloc(count ? count : 1, sizeof *calls);
    if (!multi || !calls) {
        rc = -ENOMEM;
        goto out;
    }
    // One that is slow to connect may not hold the others up.
    curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)AT_ONCE);
    for (size_t i = 0; i < count && !rc; i++) {
        calls[i].question = &questions[i];
        questions[i].http = 0;
        questions[i].body = NULL;
        questions[i].bytes = 0;
        rc = prepare(&calls[i], ms);
        if (!rc && curl_multi_add_handle(multi, calls[i].curl) != CURLM_OK) {
            rc = -ENOMEM;
        }
    }
    int64_t until = monotonic_ms() + ms;
    while (!rc) {
        if (curl_multi_perform(multi, &running) != CURLM_OK) {
            rc = -ENOMEM;
        }
        collect(multi);
        int64_t left = until - monotonic_ms();
        if (rc || !running || left <= 0) {
            break;
        }
        curl_multi_poll(multi, NULL, 0, (int)(left < 100 ? left : 100), NULL);
    }
out:
    for (size_t i = 0; calls && i < count; i++) {
        if (calls[i].curl) {
            curl_multi_remove_handle(multi, calls[i].curl);
            curl_easy_cleanup(calls[i].curl);
        }
        curl_slist_free_all(calls[i].headers);
    }
    free(calls);
    curl_multi_cleanup(multi);
    return rc;
}
