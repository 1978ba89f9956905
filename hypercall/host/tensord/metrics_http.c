// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// GET /metrics (Prometheus) and /statistics (JSON) on a listening socket that the holder opened.
#include "hypercall/host/tensord/worker.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

static enum MHD_Result answer(void *ctx, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *body,
                              size_t *body_bytes, void **state)
{
    struct worker *w = ctx;
    char *text = NULL;
    unsigned status = MHD_HTTP_OK;
    (void)version;
    (void)body;
    (void)state;
    if (*body_bytes) {
        *body_bytes = 0;
        return MHD_YES;
    }
    if (strcmp(method, "GET") != 0) {
        status = MHD_HTTP_METHOD_NOT_ALLOWED;
    } else if (strcmp(url, "/metrics") == 0) {
        text = statistics_prometheus(w);
    } else if (strcmp(url, "/statistics") == 0) {
        text = statistics_json(w);
    } else {
        status = MHD_HTTP_NOT_FOUND;
    }
    if (!text) {
        status = status == MHD_HTTP_OK ? MHD_HTTP_SERVICE_UNAVAILABLE : status;
        text = strdup("GET /metrics or /statistics\n");
    }
    struct MHD_Response *r =
        MHD_create_response_from_buffer(text ? strlen(text) : 0, text, MHD_RESPMEM_MUST_FREE);
    if (!r) {
        free(text);
        return MHD_NO;
    }
    bool json = status == MHD_HTTP_OK && strcmp(url, "/statistics") == 0;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE,
                            json ? "application/json" : "text/plain; version=0.0.4");
    enum MHD_Result result = MHD_queue_response(connection, status, r);
    MHD_destroy_response(r);
    return result;
}

int metrics_start(struct worker *w, char *error, size_t error_bytes)
{
    struct MHD_Daemon *d =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL, answer, w,
                         MHD_OPTION_LISTEN_SOCKET, w->options.metrics, MHD_OPTION_CONNECTION_LIMIT,
                         16u, MHD_OPTION_CONNECTION_TIMEOUT, 10u,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)8192, MHD_OPTION_END);
    if (!d) {
        snprintf(error, error_bytes, "the HTTP server does not start");
        return -EIO;
    }
    return 0;
}
