// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The whole workload over sockets with a small random model: what clients see.
// Links: apps/llm/text.c apps/llm/stop.c apps/llm/body.c apps/llm/request.c apps/llm/metrics.c
// Links: apps/llm/engine.c apps/llm/engine_open.c apps/llm/frames.c apps/llm/exchange.c
// Links: apps/llm/server.c apps/llm/reader.c apps/llm/tokenize.c apps/llm/info.c
// Links: apps/llm/embeddings.c apps/llm/offload.c apps/llm/offload_bench.c
// Links: hypercall/guest/client.c hypercall/guest/client_names.c hypercall/guest/runner.c
// Links: hypercall/guest/runner_setup.c hypercall/guest/runner_measure.c hypercall/guest/identity.c
// Links: hypercall/guest/connect_host.c
// Links: apps/llm/port_native_host.c tensor/core/pool_host.c @tensor
// Links: libos/net/http_server.c libos/net/http_conn.c libos/net/http_parse.c
// Links: libos/net/http_request.c libos/net/http_reply.c libos/net/http_route.c
// Links: libos/net/http_buffer.c libos/net/http_sockets_host.c
// Links: /usr/share/llhttp/api.c /usr/share/llhttp/http.c /usr/share/llhttp/llhttp.c
// Libs: -ljansson
#include "apps/llm/llm.h"
#include "apps/llm/port_native.h"
#include "libos/http_host.h"
#include "tensor/format/test_gguf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

const char app_name[] = "llm";
const char app_version[] = "0.0.0";

static struct llm llm;
static atomic_bool stop;
static uint16_t port;

// ---- a small client ----------------------------------------------------------------------------
static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval limit = {.tv_sec = 20};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static int ask(const char *method, const char *path, const char *body, size_t bytes)
{
    char head[256];
    int fd = dial();
    int n =
        snprintf(head, sizeof head,
                 "%s %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
                 method, path, bytes);
    assert_int_equal(write(fd, head, (size_t)n), n);
    for (size_t at = 0; at < bytes;) {
        ssize_t k = write(fd, body + at, bytes - at);
        if (k <= 0)
            break;
        at += (size_t)k;
    }
    return fd;
}

struct answer {
    int status;
    size_t bytes;
    char head[1024];
    char body[1 << 16]; // chunks joined
};

static void hear(int fd, struct answer *a)
{
    static char raw[1 << 17];
    size_t n = 0;
    for (ssize_t k; n < sizeof raw - 1 && (k = read(fd, raw + n, sizeof raw - 1 - n)) > 0;)
        n += (size_t)k;
    close(fd);
    raw[n] = 0;
    char *end = strstr(raw, "\r\n\r\n");
    assert_non_null(end);
    snprintf(a->head, sizeof a->head, "%.*s", (int)(end - raw), raw);
    a->status = atoi(raw + 9);
    char *body = end + 4;
    a->bytes = 0;
    if (strstr(a->head, "chunked")) {
        for (size_t size; (size = strtoul(body, &end, 16)) > 0; body = end + 2 + size + 2) {
            memcpy(a->body + a->bytes, end + 2, size);
            a->bytes += size;
        }
    } else {
        a->bytes = n - (size_t)(body - raw);
        memcpy(a->body, body, a->bytes);
    }
    a->body[a->bytes] = 0;
}

static struct answer *get(const char *path)
{
    static struct answer a;
    hear(ask("GET", path, "", 0), &a);
    return &a;
}

static struct answer *post(const char *path, const char *body)
{
    static struct answer a;
    hear(ask("POST", path, body, strlen(body)), &a);
    return &a;
}

static json_t *parsed(const struct answer *a)
{
    json_t *j = json_loadb(a->body, a->bytes, 0, NULL);
    if (!j)
        fail_msg("no JSON: %s", a->body);
    return j;
}

static void is_error(const struct answer *a, int status, const char *type, const char *what)
{
    json_t *j = parsed(a), *e = json_object_get(j, "error");
    const char *message = json_string_value(json_object_get(e, "message"));
    if (a->status != status || json_integer_value(json_object_get(e, "code")) != status ||
        !message || !strstr(message, what) ||
        strcmp(json_string_value(json_object_get(e, "type")), type))
        fail_msg("%d %s, wanted %d %s '%s'", a->status, a->body, status, type, what);
    json_decref(j);
}

// choices[0]'s text, whichever kind of answer or event it is; "" if there is none.
static const char *text_of(const json_t *j)
{
    const json_t *c = json_array_get(json_object_get(j, "choices"), 0);
    const json_t *text = json_object_get(c, "text");
    if (!text)
        text = json_object_get(json_object_get(c, "message"), "content");
    if (!text)
        text = json_object_get(json_object_get(c, "delta"), "content");
    return json_is_string(text) ? json_string_value(text) : "";
}

static const char *finish_of(const json_t *j)
{
    const char *s = json_string_value(
        json_object_get(json_array_get(json_object_get(j, "choices"), 0), "finish_reason"));
    return s ? s : "";
}

static double metric(const char *name)
{
    struct answer *a = get("/metrics");
    char line[96];
    snprintf(line, sizeof line, "\ntessera_%s ", name);
    const char *at = strstr(a->body, line);
    if (!at)
        fail_msg("no metric %s", name);
    return strtod(at + strlen(line), NULL);
}

// ---- the server
// ----------------------------------------------------------------------------------
static void *serve(void *arg)
{
    (void)arg;
    http_host_run(llm.http, &stop);
    return NULL;
}

static int start(void **state)
{
    static pthread_t server;
    static struct maker model;
    struct engine_options o = {.slots = 3, .queue = 12, .isa = "scalar"};
    (void)state;
    setenv("LLM_NATIVE_MB", "64", 1);
    if (port_native_init(2) || http_host_listen("127.0.0.1", 0, NULL, &llm.http))
        return -1;
    llm_routes(&llm);
    port = http_host_port(llm.http);
    pthread_create(&server, NULL, serve, NULL);
    is_error(get("/health"), 503, "unavailable_error", "Loading model");
    is_error(post("/v1/completions", "{}"), 503, "unavailable_error", "Loading model");
    test_model(&model, "{{ '<|im_start|>' + role }}");
    struct gguf *g;
    char error[200];
    if (llm_open(&llm, model.data, model.bytes / 2, "", "half a file", &o) == 0)
        return -1;
    is_error(get("/health"), 503, "unavailable_error", "past the end");
    is_error(post("/tokenize", "{}"), 503, "unavailable_error", "half a file");
    if (gguf_open(model.data, model.bytes, &g, error, sizeof error))
        return -1;
    gguf_close(g);
    return llm_open(&llm, model.data, model.bytes, "", "memory", &o);
}

// ---- tests -------------------------------------------------------------------------------------
static void the_public_pages_are_there(void **state)
{
    (void)state;
    assert_string_equal(get("/health")->body, "{\"status\":\"ok\"}");
    json_t *j = parsed(get("/v1/models"));
    const json_t *m = json_array_get(json_object_get(j, "data"), 0);
    assert_string_equal(json_string_value(json_object_get(m, "id")), "test \"model\"");
    assert_string_equal(json_string_value(json_object_get(m, "object")), "model");
    json_decref(j);
    j = parsed(get("/props"));
    assert_string_equal(json_string_value(json_object_get(j, "chat_format")), "chatml");
    assert_int_equal(json_integer_value(json_object_get(j, "total_slots")), 3);
    json_decref(j);
    assert_non_null(strstr(get("/")->body, "/v1/chat/completions"));
    assert_int_equal(get("/nothing")->status, 404);
    assert_int_equal(get("/v1/completions")->status, 405);
}

static void a_completion_has_text_reason_and_usage(void **state)
{
    (void)state;
    json_t *j =
        parsed(post("/v1/completions", "{\"prompt\":\"ab\",\"max_tokens\":9,\"temperature\":0,"
                                       "\"ignore_eos\":true}"));
    const json_t *u = json_object_get(j, "usage");
    assert_string_equal(json_string_value(json_object_get(j, "object")), "text_completion");
    assert_string_equal(finish_of(j), "length");
    assert_int_equal(json_integer_value(json_object_get(u, "completion_tokens")), 9);
    json_int_t prompt = json_integer_value(json_object_get(u, "prompt_tokens"));
    assert_true(prompt >= 2 && prompt <= 4);
    assert_int_equal(json_integer_value(json_object_get(u, "total_tokens")), prompt + 9);
    json_decref(j);
}

static void the_same_seed_gives_the_same_text(void **state)
{
    (void)state;
    static const char body[] =
        "{\"prompt\":[5,6,300],\"max_tokens\":30,\"temperature\":1.5,\"seed\":9,"
        "\"ignore_eos\":true}";
    json_t *a = parsed(post("/v1/completions", body)), *b = parsed(post("/v1/completions", body));
    assert_string_equal(text_of(a), text_of(b));
    assert_true(strlen(text_of(a)) > 5);
    json_decref(a);
    json_decref(b);
}

// Joins the text of an event stream; checks its shape.
static void join_events(const struct answer *a, bool usage, char *out, size_t room, int *events)
{
    const char *at = a->body;
    bool done = false, finished = false, used = false;
    assert_non_null(strstr(a->head, "text/event-stream"));
    out[0] = 0;
    *events = 0;
    while (*at) {
        const char *end = strstr(at, "\n\n");
        assert_non_null(end);
        assert_memory_equal(at, "data: ", 6);
        assert_false(done);
        if (!strncmp(at + 6, "[DONE]", 6)) {
            done = true;
        } else {
            json_t *j = json_loadb(at + 6, (size_t)(end - at - 6), 0, NULL);
            assert_non_null(j);
            snprintf(out + strlen(out), room - strlen(out), "%s", text_of(j));
            finished |= finish_of(j)[0] != 0;
            used |= json_is_object(json_object_get(j, "usage"));
            json_decref(j);
            ++*events;
        }
        at = end + 2;
    }
    assert_true(done && finished);
    assert_int_equal(used, usage);
}

static void a_stream_says_what_the_whole_answer_says(void **state)
{
    (void)state;
    static char joined[4096];
    int events;
    for (int chat = 0; chat < 2; chat++) {
        const char *path = chat ? "/v1/chat/completions" : "/v1/completions";
        const char *what =
            chat ? "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]" : "\"prompt\":\"hi\"";
        char body[300];
        snprintf(body, sizeof body, "{%s,\"max_tokens\":40,\"temperature\":1,\"seed\":3}", what);
        json_t *whole = parsed(post(path, body));
        snprintf(body, sizeof body,
                 "{%s,\"max_tokens\":40,\"temperature\":1,\"seed\":3,\"stream\":true,"
                 "\"stream_options\":{\"include_usage\":%s}}",
                 what, chat ? "true" : "false");
        join_events(post(path, body), chat, joined, sizeof joined, &events);
        assert_string_equal(joined, text_of(whole));
        assert_true(events >= 2);
        json_decref(whole);
    }
}

static void a_stop_string_ends_the_text_before_it(void **state)
{
    (void)state;
    static char joined[4096];
    char want[64], body[400];
    int events;
    static const char common[] = "\"prompt\":\"on\",\"max_tokens\":60,\"temperature\":0,"
                                 "\"ignore_eos\":true";
    snprintf(body, sizeof body, "{%s}", common);
    json_t *free_run = parsed(post("/v1/completions", body));
    const char *text = text_of(free_run);
    size_t at = 0;
    for (at = 10; at + 4 < strlen(text); at++) { // four plain letters that cross tokens
        size_t k = 0;
        while (k < 4 && text[at + k] > ' ' && text[at + k] != '"' && text[at + k] != '\\' &&
               text[at + k] < 0x7f)
            k++;
        if (k == 4)
            break;
    }
    snprintf(want, sizeof want, "%.4s", text + at);
    size_t before = (size_t)(strstr(text, want) - text);
    snprintf(body, sizeof body, "{%s,\"stop\":[\"%s\",\"never seen\"]}", common, want);
    json_t *stopped = parsed(post("/v1/completions", body));
    assert_int_equal(strlen(text_of(stopped)), before);
    assert_memory_equal(text_of(stopped), text, before);
    assert_string_equal(finish_of(stopped), "stop");
    snprintf(body, sizeof body, "{%s,\"stop\":\"%s\",\"stream\":true}", common, want);
    join_events(post("/v1/completions", body), false, joined, sizeof joined, &events);
    assert_string_equal(joined, text_of(stopped));
    json_decref(stopped);
    json_decref(free_run);
}

static void wrong_requests_name_the_field(void **state)
{
    (void)state;
    static const char bad[] = "invalid_request_error";
    is_error(post("/v1/completions", "{\"prompt\":"), 400, bad, "JSON");
    is_error(post("/v1/completions", "{\"prompt\":[512]}"), 400, bad, "prompt[0]");
    is_error(post("/v1/completions", "{\"prompt\":\"a\",\"top_p\":2}"), 400, bad, "top_p");
    is_error(post("/v1/completions", "{\"prompt\":\"a\",\"n\":2}"), 400, "not_supported_error",
             "n");
    is_error(post("/v1/chat/completions", "{\"messages\":[{\"role\":\"x\",\"content\":\"a\"}]}"),
             400, bad, "messages[0].role");
    is_error(post("/v1/embeddings", "{\"input\":\"a\"}"), 400, "not_supported_error",
             "makes no embeddings");
    is_error(post("/tokenize", "{\"content\":5}"), 400, bad, "content");
    is_error(post("/tokenize", "{\"content\":\"a\",\"add_special\":1}"), 400, bad, "add_special");
    is_error(post("/detokenize", "{\"tokens\":[1,512]}"), 400, bad, "tokens[1]");
    is_error(post("/detokenize", "{}"), 400, bad, "tokens");
    is_error(post("/logits", "{}"), 400, bad, "prompt");
}

static void too_long_a_prompt_is_refused_whatever_its_size(void **state)
{
    (void)state;
    static const char type[] = "exceed_context_size_error";
    char ids[1200] = "{\"prompt\":[5";
    for (int i = 1; i < 128; i++)
        strcat(ids, ",5");
    strcat(ids, "]}");
    is_error(post("/v1/completions", ids), 400, type, "128 tokens");
    size_t n = 1000000;
    char *body = malloc(n + 64);
    strcpy(body, "{\"prompt\":\"");
    memset(body + 11, 'a', n);
    strcpy(body + 11 + n, "\"}");
    is_error(post("/v1/completions", body), 400, type, "context");
    free(body);
    assert_int_equal(get("/health")->status, 200);
}

static void text_becomes_ids_and_text_again(void **state)
{
    (void)state;
    json_t *j = parsed(post("/tokenize", "{\"content\":\"in the \\u20ac zone\"}"));
    char *ids = json_dumps(json_object_get(j, "tokens"), JSON_COMPACT), body[600];
    json_decref(j);
    snprintf(body, sizeof body, "{\"tokens\":%s}", ids);
    free(ids);
    j = parsed(post("/detokenize", body));
    assert_string_equal(json_string_value(json_object_get(j, "content")),
                        "in the \xe2\x82\xac zone");
    json_decref(j);
    j = parsed(post("/tokenize",
                    "{\"content\":\"\\u00e9<s>\",\"add_special\":true,\"with_pieces\":true}"));
    const json_t *t = json_object_get(j, "tokens");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(t, 0), "id")), 1);
    assert_true(json_is_array(json_object_get(json_array_get(t, 2), "piece"))); // half of é
    json_decref(j);
}

static void a_large_body_does_not_hold_the_server_up(void **state)
{
    (void)state;
    size_t n = 3000000;
    char *body = malloc(n + 64);
    strcpy(body, "{\"content\":\"");
    memset(body + 12, 'a', n);
    strcpy(body + 12 + n, "\"}");
    int fd = ask("POST", "/tokenize", body, 12 + n + 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(get("/health")->status, 200);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0); // still at work
    struct linger reset = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd); // gone in the middle: the next one has its turn after it
    free(body);
    assert_int_equal(post("/tokenize", "{\"content\":\"a\"}")->status, 200);
}

static void a_half_closed_client_gets_its_tokens(void **state)
{
    (void)state;
    static struct answer a;
    for (int i = 0; i < 20; i++) {
        int fd = ask("POST", "/tokenize", "{\"content\":\"a b\"}", 17);
        shutdown(fd, SHUT_WR);
        hear(fd, &a);
        assert_int_equal(a.status, 200);
    }
}

static void logits_are_a_row_of_floats(void **state)
{
    (void)state;
    struct answer first = *post("/logits", "{\"prompt\":\"some text\"}");
    assert_int_equal(first.status, 200);
    assert_int_equal(first.bytes, TEST_MODEL_VOCABULARY * 4);
    struct answer *again = post("/logits", "{\"prompt\":\"some text\"}");
    assert_memory_equal(first.body, again->body, first.bytes);
}

static void many_at_once_get_what_each_gets_alone(void **state)
{
    (void)state;
    enum { MANY = 12 };
    int fd[MANY];
    char body[MANY][128];
    static struct answer together[MANY];
    for (int i = 0; i < MANY; i++) {
        snprintf(
            body[i], sizeof body[i],
            "{\"prompt\":\"number %d\",\"max_tokens\":50,\"temperature\":0,\"ignore_eos\":true}",
            i);
        fd[i] = ask("POST", "/v1/completions", body[i], strlen(body[i]));
    }
    for (int i = 0; i < MANY; i++)
        hear(fd[i], &together[i]);
    for (int i = 0; i < MANY; i++) {
        json_t *a = parsed(&together[i]), *b = parsed(post("/v1/completions", body[i]));
        assert_string_equal(text_of(a), text_of(b));
        json_decref(a);
        json_decref(b);
    }
}

static void more_than_the_queue_holds_get_a_503_or_an_answer(void **state)
{
    (void)state;
    enum { MANY = 60 };
    static const char body[] =
        "{\"prompt\":\"x\",\"max_tokens\":100,\"temperature\":0,\"ignore_eos\":true}";
    int fd[MANY], good = 0;
    double away = metric("requests_total{finish_reason=\"turned_away\"}"),
           invalid = metric("requests_total{finish_reason=\"invalid\"}");
    static struct answer a;
    for (int i = 0; i < MANY; i++)
        fd[i] = ask("POST", "/v1/completions", body, strlen(body));
    for (int i = 0; i < MANY; i++) {
        hear(fd[i], &a);
        if (a.status == 200)
            good++;
        else
            is_error(&a, 503, "unavailable_error", "too many requests");
    }
    assert_true(good >= 3 + 12);
    assert_true(metric("requests_total{finish_reason=\"turned_away\"}") == away + MANY - good);
    assert_true(metric("requests_total{finish_reason=\"invalid\"}") == invalid);
}

static void vanished_clients_free_their_requests(void **state)
{
    (void)state;
    static const char body[] =
        "{\"prompt\":\"x\",\"max_tokens\":120,\"stream\":true,\"ignore_eos\":true}";
    double cancelled = metric("requests_total{finish_reason=\"cancelled\"}");
    for (int i = 0; i < 30; i++) {
        int fd = ask("POST", "/v1/completions", body, strlen(body));
        struct linger reset = {.l_onoff = 1};
        if (i % 2)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd);
    }
    for (int i = 0; i < 100; i++) {
        if (metric("requests_processing") == 0 && metric("requests_deferred") == 0 &&
            metric("kv_cache_usage") == 0 && llm.live == 0 && llm.aside == 0) {
            // Ended early, not left to run to their last token.
            assert_true(metric("requests_total{finish_reason=\"cancelled\"}") > cancelled);
            return;
        }
        usleep(20000);
    }
    fail_msg("%u requests are still there", llm.live);
}

static void metrics_count_what_happened(void **state)
{
    (void)state;
    double made = metric("tokens_predicted_total"),
           stops = metric("requests_total{finish_reason=\"length\"}"),
           first = metric("time_to_first_token_seconds_count");
    post("/v1/completions", "{\"prompt\":\"abc\",\"max_tokens\":11,\"ignore_eos\":true}");
    assert_true(metric("tokens_predicted_total") == made + 11);
    assert_true(metric("requests_total{finish_reason=\"length\"}") == stops + 1);
    assert_true(metric("time_to_first_token_seconds_count") == first + 1);
    assert_true(metric("request_prefill_time_seconds_count") > 0);
    assert_true(metric("inter_token_latency_seconds_count") >= 10);
    // The same long prompt once more is read from its cached pages.
    static const char again[] =
        "{\"prompt\":\"the quick brown fox jumps over the lazy dog, and then again and again\","
        "\"max_tokens\":3,\"ignore_eos\":true,\"temperature\":0}";
    post("/v1/completions", again);
    double reused = metric("prompt_tokens_reused_total");
    post("/v1/completions", again);
    assert_true(metric("prompt_tokens_reused_total") >= reused + 32);
    assert_true(metric("kv_pages_cached") >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_public_pages_are_there),
        cmocka_unit_test(a_completion_has_text_reason_and_usage),
        cmocka_unit_test(the_same_seed_gives_the_same_text),
        cmocka_unit_test(a_stream_says_what_the_whole_answer_says),
        cmocka_unit_test(a_stop_string_ends_the_text_before_it),
        cmocka_unit_test(wrong_requests_name_the_field),
        cmocka_unit_test(too_long_a_prompt_is_refused_whatever_its_size),
        cmocka_unit_test(text_becomes_ids_and_text_again),
        cmocka_unit_test(a_large_body_does_not_hold_the_server_up),
        cmocka_unit_test(a_half_closed_client_gets_its_tokens),
        cmocka_unit_test(logits_are_a_row_of_floats),
        cmocka_unit_test(many_at_once_get_what_each_gets_alone),
        cmocka_unit_test(more_than_the_queue_holds_get_a_503_or_an_answer),
        cmocka_unit_test(vanished_clients_free_their_requests),
        cmocka_unit_test(metrics_count_what_happened),
    };
    int failed = cmocka_run_group_tests(tests, start, NULL);
    _exit(failed != 0); // the engine's thread lives as long as the process
}
