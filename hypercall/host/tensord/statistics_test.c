// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Statistics are JSON, metrics are Prometheus' text format (prometheus.io, "Exposition formats"),
// by function and by HTTP.
//
// Links: @tensor tensor/core/pool_host.c @tensord hypercall/host/tensord/still_host.c
// Libs: -lmbedcrypto -lseccomp -lmicrohttpd
#include "hypercall/host/tensord/still_host.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <jansson.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

// Two guests, of which one has done something.
static struct still *open_busy(void)
{
    struct still *s = still_open();
    struct still_guest *a = still_come(s, &still_policy);
    still_come(s, &still_policy);
    still_attach(a);
    guest_serve(a->guest, 32);
    still_submit(a, HC_ALLOC, 5000, 0);
    still_submit(a, HC_ALLOC, 0, 0);
    while (guest_serve(a->guest, 32)) { // a turn ends early where this CPU was somebody else's
    }
    a->guest->statistics.compute_ns = 1500000000;
    a->guest->statistics.made_tokens = 1ull << 40;
    s->w.passes = 4;
    s->w.pass_sequences = 10;
    return s;
}

static char *unlocked(struct still *s, char *(*make)(struct worker *w))
{
    pthread_mutex_unlock(&s->w.lock);
    char *text = make(&s->w);
    pthread_mutex_lock(&s->w.lock);
    assert_non_null(text);
    return text;
}

static void statistics_are_json(void **unused)
{
    (void)unused;
    struct still *s = open_busy();
    char *text = unlocked(s, statistics_json);
    json_error_t error;
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!o) {
        fail_msg("%s", error.text);
    }
    assert_null(strchr(text, '\n')); // goes into one line of the control socket
    assert_true(json_real_value(json_object_get(o, "mean_batch")) == 2.5);
    json_t *guests = json_object_get(o, "guests");
    assert_int_equal(json_array_size(guests), 2);
    json_t *a = json_array_get(guests, 0);
    assert_string_equal(json_string_value(json_object_get(a, "name")), "g0");
    assert_true(json_is_true(json_object_get(a, "attached")));
    assert_int_equal(json_integer_value(json_object_get(a, "calls")), 2);
    assert_int_equal(json_integer_value(json_object_get(a, "refused")), 1);
    assert_int_equal(json_integer_value(json_object_get(a, "lent_bytes")), 8192);
    assert_int_equal(json_integer_value(json_object_get(a, "made_tokens")), 1ll << 40);
    assert_true(json_real_value(json_object_get(a, "compute_seconds")) == 1.5);
    assert_true(json_is_false(json_object_get(json_array_get(guests, 1), "attached")));
    json_decref(o);
    free(text);
    still_close(s);
}

static bool is_metric(const char *t, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!isalpha((unsigned char)t[i]) && t[i] != '_' && t[i] != ':' &&
            !(i && isdigit((unsigned char)t[i]))) {
            return false;
        }
    }
    return n > 0;
}

// Every sample has a TYPE before it, a name and labels as they must be, and a number; counters are
// named so. Returns the samples.
static unsigned check_prometheus(char *text)
{
    char *rest = text, *line, name[128] = "", kind[16] = "";
    unsigned samples = 0;
    assert_int_equal(text[strlen(text) - 1], '\n');
    while ((line = strsep(&rest, "\n")) && rest) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            assert_true(strlen(line) > 8 + strcspn(line + 7, " "));
            continue;
        }
        if (sscanf(line, "# TYPE %127s %15s", name, kind) == 2) {
            assert_true(is_metric(name, strlen(name)));
            size_t n = strlen(name);
            bool total = n > 6 && strcmp(name + n - 6, "_total") == 0;
            assert_true(strcmp(kind, total ? "counter" : "gauge") == 0);
            continue;
        }
        size_t n = strcspn(line, "{ ");
        assert_true(is_metric(line, n) && strlen(name) == n && strncmp(line, name, n) == 0);
        char *value = line + n;
        if (*value == '{') {
            char label[64];
            int used = 0;
            assert_int_equal(sscanf(value, "{guest=\"%63[^\"\\]\"}%n", label, &used), 1);
            assert_true(used > 0);
            value += used;
        }
        assert_int_equal(*value++, ' ');
        char *end;
        strtod(value, &end);
        assert_true(end != value && *end == 0);
        samples++;
    }
    return samples;
}

static void metrics_are_prometheus_text(void **unused)
{
    (void)unused;
    struct still *s = open_busy();
    char *text = unlocked(s, statistics_prometheus);
    assert_non_null(strstr(text, "\ntensord_guest_refused_total{guest=\"g0\"} 1\n"));
    assert_non_null(strstr(text, "\ntensord_guest_attached{guest=\"g1\"} 0\n"));
    assert_non_null(strstr(text, "\ntensord_guest_compute_seconds_total{guest=\"g0\"} 1.5\n"));
    assert_true(check_prometheus(text) >= 4 + 2 * 8);
    free(text);
    still_close(s);
}

// One request, the whole answer.
static char *ask(uint16_t port, const char *request)
{
    enum { MOST = 1 << 16 };
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval limit = {20, 0};
    char *text = calloc(1, MOST);
    size_t n = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_non_null(text);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    for (ssize_t got; n < MOST - 1 && (got = recv(fd, text + n, MOST - 1 - n, 0)) > 0;) {
        n += (size_t)got;
    }
    close(fd);
    return text;
}

static void both_by_http(void **unused)
{
    (void)unused;
    struct still *s = open_busy();
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    char error[200];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    s->w.options.metrics = fd;
    assert_int_equal(metrics_start(&s->w, error, sizeof error), 0);
    pthread_mutex_unlock(&s->w.lock);
    char *text = ask(a.sin_port, "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_int_equal(strncmp(text, "HTTP/1.1 200", 12), 0);
    assert_non_null(strstr(text, "Content-Type: text/plain; version=0.0.4"));
    char *body = strstr(text, "\r\n\r\n");
    assert_non_null(body);
    assert_true(check_prometheus(body + 4) > 0);
    free(text);
    text = ask(a.sin_port, "GET /statistics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(text, "Content-Type: application/json"));
    body = strstr(text, "\r\n\r\n");
    assert_non_null(body);
    json_t *o = json_loads(body + 4, 0, NULL);
    assert_non_null(o);
    json_decref(o);
    free(text);
    static const char *const others[][2] = {
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 404"},
        {"GET /../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 404"},
        {"DELETE /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 405"},
        {"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
         "HTTP/1.1 405"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        text = ask(a.sin_port, others[i][0]);
        assert_int_equal(strncmp(text, others[i][1], 12), 0);
        free(text);
    }
    text = ask(a.sin_port, "\x16\x03\x01\x02garbage\r\n\r\n");
    free(text);
    // The server lasts as long as the process; so does the worker it asks.
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(statistics_are_json),
        cmocka_unit_test(metrics_are_prometheus_text),
        cmocka_unit_test(both_by_http),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
