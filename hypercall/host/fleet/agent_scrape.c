// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Metrics of many guests at once; who does not answer in time is left out.
#include "hypercall/host/fleet/agent_parts.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 700, BODY_MOST = 256 << 10 };

struct fetch {
    CURL *curl;
    char *body;
    size_t bytes;
};

static size_t take(char *data, size_t one, size_t count, void *context)
{
    struct fetch *f = context;
    size_t n = one * count;
    char *more = f->bytes + n < BODY_MOST ? realloc(f->body, f->bytes + n + 1) : NULL;
    if (!more) {
        return 0; // ends this fetch
    }
    f->body = more;
    memcpy(more + f->bytes, data, n);
    f->bytes += n;
    more[f->bytes] = 0;
    return n;
}

static void begin(CURLM *all, struct fetch *f, uint32_t port, struct curl_slist *headers)
{
    char url[64];
    f->curl = curl_easy_init();
    if (!f->curl) {
        return;
    }
    snprintf(url, sizeof url, "http://127.0.0.1:%u/metrics", port);
    curl_easy_setopt(f->curl, CURLOPT_URL, url);
    curl_easy_setopt(f->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(f->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(f->curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(f->curl, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(f->curl, CURLOPT_TIMEOUT_MS, (long)WAIT_MS);
    curl_easy_setopt(f->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(f->curl, CURLOPT_PRIVATE, f);
    curl_multi_add_handle(all, f->curl);
}

static void run(CURLM *all)
{
    uint64_t until = agent_now_ms() + WAIT_MS + 100;
    int running = 1;
    while (running && agent_now_ms() < until) {
        if (curl_multi_perform(all, &running) != CURLM_OK ||
            (running && curl_multi_poll(all, NULL, 0, 100, NULL) != CURLM_OK)) {
            return;
        }
    }
}

void agent_scrape(const uint32_t *ports, size_t count, const char *key, struct measure *out,
                  bool *ok)
{
    char header[FLEET_KEY + 32];
    memset(ok, 0, count * sizeof *ok);
    struct fetch *fetches = calloc(count + 1, sizeof *fetches);
    CURLM *all = curl_multi_init();
    snprintf(header, sizeof header, "Authorization: Bearer %s", key);
    struct curl_slist *headers = curl_slist_append(NULL, header);
    for (size_t i = 0; fetches && all && headers && i < count; i++) {
        begin(all, &fetches[i], ports[i], headers);
    }
    if (fetches && all && headers) {
        run(all);
        CURLMsg *m;
        int left;
        while ((m = curl_multi_info_read(all, &left))) {
            struct fetch *f;
            long status = 0;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&f);
            curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &status);
            size_t i = (size_t)(f - fetches);
            ok[i] = m->data.result == CURLE_OK && status == 200 && f->body &&
                    measure_parse(f->body, &out[i]) == 0;
        }
    }
    for (size_t i = 0; fetches && i < count; i++) {
        if (fetches[i].curl) {
            curl_multi_remove_handle(all, fetches[i].curl);
            curl_easy_cleanup(fetches[i].curl);
        }
        free(fetches[i].body);
    }
    free(fetches);
    curl_slist_free_all(headers);
    if (all) {
        curl_multi_cleanup(all);
    }
}
