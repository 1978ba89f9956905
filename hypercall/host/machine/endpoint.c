// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A guest's HTTP endpoint, by libcurl.
#include "hypercall/host/base/http.h"
#include "hypercall/host/machine/endpoint.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BODY_MOST = 1 << 20 };

struct endpoint {
    CURL *curl;
    struct curl_slist *headers;
    char base[128];
    char *body;
    size_t bytes;
};

bool endpoint_is_loopback(const char *address)
{
    struct in_addr a;
    return !address || (inet_pton(AF_INET, address, &a) == 1 && ntohl(a.s_addr) >> 24 == 127);
}

bool endpoint_port_is_free(const char *address, uint32_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, address ? address : "127.0.0.1", &a.sin_addr) != 1) {
        return false;
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    if (fd < 0) {
        return false;
    }
    // As servers do: connections of the last one that still linger are no hindrance.
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    bool free_now = bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 1) == 0;
    close(fd);
    return free_now;
}

uint32_t endpoint_next_port(const char *address, uint32_t from)
{
    for (uint32_t port = from; port >= 1 && port <= 65535; port++) {
        if (endpoint_port_is_free(address, port)) {
            return port;
        }
    }
    return 0;
}

struct endpoint *endpoint_new(const char *base, const char *key)
{
    if (!http_ready()) {
        return NULL;
    }
    struct endpoint *e = calloc(1, sizeof *e);
    if (!e) {
        return NULL;
    }
    snprintf(e->base, sizeof e->base, "%s", base);
    e->body = malloc(BODY_MOST + 1);
    e->curl = curl_easy_init();
    key = key && key[0] ? key : NULL;
    if (key) {
        char *line;
        if (asprintf(&line, "Authorization: Bearer %s", key) >= 0) {
            e->headers = curl_slist_append(NULL, line);
            free(line);
        }
    }
    if (!e->body || !e->curl || (key && !e->headers)) {
        endpoint_free(e);
        return NULL;
    }
    return e;
}

void endpoint_free(struct endpoint *e)
{
    if (e) {
        curl_easy_cleanup(e->curl);
        curl_slist_free_all(e->headers);
        free(e->body);
        free(e);
    }
}

static size_t take(char *data, size_t one, size_t count, void *context)
{
    struct endpoint *e = context;
    size_t n = one * count, room = BODY_MOST - e->bytes;
    n = n < room ? n : room;
    memcpy(e->body + e->bytes, data, n);
    e->bytes += n;
    return one * count;
}

int endpoint_get(struct endpoint *e, const char *path, const char **body)
{
    char url[384];
    long status = 0;
    snprintf(url, sizeof url, "%s%s", e->base, path);
    e->bytes = 0;
    curl_easy_setopt(e->curl, CURLOPT_URL, url);
    curl_easy_setopt(e->curl, CURLOPT_PROXY, ""); // never by a proxy of the environment
    curl_easy_setopt(e->curl, CURLOPT_HTTPHEADER, e->headers);
    curl_easy_setopt(e->curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(e->curl, CURLOPT_WRITEDATA, e);
    curl_easy_setopt(e->curl, CURLOPT_TIMEOUT_MS, 2000L);
    curl_easy_setopt(e->curl, CURLOPT_NOSIGNAL, 1L);
    CURLcode rc = curl_easy_perform(e->curl);
    e->body[e->bytes] = 0;
    *body = e->body;
    if (rc == CURLE_OK) {
        curl_easy_getinfo(e->curl, CURLINFO_RESPONSE_CODE, &status);
    }
    return rc == CURLE_OK                   ? (int)status
           : rc == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT
           : rc == CURLE_OUT_OF_MEMORY      ? -ENOMEM
                                            : -ECONNREFUSED;
}

void endpoint_message(const char *body, char *out, size_t out_bytes)
{
    json_t *answer = json_loads(body, 0, NULL);
    const char *text =
        json_string_value(json_object_get(json_object_get(answer, "error"), "message"));
    snprintf(out, out_bytes, "%s", text ? text : "");
    for (char *c = out; *c; c++) {
        // Guests may say what they like; ASCII is all that their messages are written in.
        *c = *c < 0x20 || *c >= 0x7f ? '?' : *c;
    }
    json_decref(answer);
}
