// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Fuzzer of the HTTP core: the first byte chooses the client's manners, the rest is what it sends.
// Each input runs whole and in pieces; both must end in the same answer, and nothing may stay
// behind.
//
// Links: libos/net/http_server.c libos/net/http_conn.c libos/net/http_parse.c
// Links: libos/net/http_request.c libos/net/http_reply.c libos/net/http_route.c
// Links: libos/net/http_buffer.c
// Links: /usr/share/llhttp/api.c /usr/share/llhttp/http.c /usr/share/llhttp/llhttp.c
#include "libos/net/http_fake.h"
#include "libos/net/http_test_app.h"

static void answer_held(struct test_app *app)
{
    for (int i = 0; i < 50 && app->held; i++) {
        struct http_request *r = app->held;
        app->held = NULL;
        http_reply_json(r, 200, "{}");
        fake_settle(app->server);
    }
}

static char *run(const uint8_t *data, size_t bytes, uint8_t manners, size_t piece)
{
    struct http_limits limits = {.body_bytes = 4096, .header_bytes = 2048, .send_bytes = 2000};
    struct test_app app;
    struct fake_client f;
    test_app_start(&app, &limits);
    if (manners & 1)
        http_set_key(app.server, "k");
    fake_connect(app.server, &f);
    for (size_t at = 0; at < bytes; at += piece) {
        fake_send(app.server, &f, data + at, bytes - at < piece ? bytes - at : piece);
        answer_held(&app);
        // A waiting request cannot be answered here: on_gone owns it until the client goes.
    }
    if (manners & 2)
        fake_eof(app.server, &f);
    else if (manners & 4)
        fake_reset(app.server, &f);
    answer_held(&app);
    if (f.got && f.got_bytes > 0 && strncmp(f.got, "HTTP/1.1 ", 9) != 0)
        abort();
    fake_time(app.server, 1000000);
    answer_held(&app);
    fake_time(app.server, 1000000);
    if (app.waiting)
        fake_reset(app.server, &f);
    if (app.server->conn_count || app.server->memory || app.server->running)
        abort();
    char *got = f.got ? f.got : strdup("");
    test_app_stop(&app);
    return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2 || bytes > 60000)
        return 0;
    char *whole = run(data + 1, bytes - 1, data[0] & 7, bytes);
    char *split = run(data + 1, bytes - 1, data[0] & 7, 1 + data[0] / 8);
    // Time stands still while bytes arrive, so the split must not show, but for the Date line.
    char *a = strstr(whole, "Date: "), *b = strstr(split, "Date: ");
    if ((a == NULL) != (b == NULL) || strncmp(whole, split, a ? (size_t)(a - whole) : 0) != 0 ||
        strlen(whole) != strlen(split))
        abort();
    free(whole);
    free(split);
    return 0;
}
