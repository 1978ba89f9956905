// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The control socket: one JSON object a line, one answer a line. Whoever may open the socket (its
// folder is ours alone) is the operator.
#include "hypercall/host/store/weights.h"
#include "hypercall/host/tensord/devices.h"
#include "hypercall/host/tensord/holder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define TENSORD_VERSION "0.1.0"

static void control_close(struct control *c)
{
    if (c->fd >= 0) {
        close(c->fd);
    }
    c->fd = -1;
    c->ended = false;
    c->request = 0;
    c->filled = 0;
}

static void reply_text(struct control *c, const char *text)
{
    size_t n = strlen(text);
    // Answers are far smaller than a socket's buffer: who does not read them loses the connection.
    if (c->fd >= 0 && (send(c->fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)n ||
                       send(c->fd, "\n", 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)) {
        control_close(c);
    }
}

// Takes the answer.
static void control_reply(struct control *c, json_t *answer)
{
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    reply_text(c, text ? text : "{\"ok\":false,\"error\":\"no memory\"}");
    free(text);
    json_decref(answer);
}

static void refuse(struct control *c, const char *error)
{
    control_reply(c, json_pack("{s:b, s:s}", "ok", 0, "error", error));
}

void control_text(struct holder *h, uint32_t request, const char *json)
{
    for (int i = 0; i < HOLDER_CONTROLS; i++) {
        struct control *c = &h->controls[i];
        if (c->fd < 0 || c->request != request || !request) {
            continue;
        }
        c->request = 0;
        json_t *o = json_loads(json, 0, NULL);
        if (o) {
            json_object_set_new(o, "ok", json_true());
        }
        control_reply(c, o);
        if (c->ended) {
            control_close(c);
        }
    }
}

void control_no_worker(struct holder *h)
{
    for (int i = 0; i < HOLDER_CONTROLS; i++) {
        if (h->controls[i].fd >= 0 && h->controls[i].request) {
            h->controls[i].request = 0;
            refuse(&h->controls[i], "the worker is being restarted; ask again");
            if (h->controls[i].ended) {
                control_close(&h->controls[i]);
            }
        }
    }
}

// ---- requests ----------------------------------------------------------------------------------

static bool number(const json_t *o, const char *key, uint64_t least, uint64_t most, uint64_t usual,
                   uint64_t *out, char *error, size_t bytes)
{
    const json_t *v = json_object_get(o, key);
    *out = usual;
    if (!v) {
        return true;
    }
    if (!json_is_integer(v) || json_integer_value(v) < (json_int_t)least ||
        json_integer_value(v) > (json_int_t)most) {
        snprintf(error, bytes, "%s must be a whole number from %llu to %llu", key,
                 (unsigned long long)least, (unsigned long long)most);
        return false;
    }
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static void add_guest(struct holder *h, struct control *c, const json_t *o)
{
    char error[256];
    const char *name = json_string_value(json_object_get(o, "name"));
    uint64_t mb, weight, percent, runs, calls, memory;
    struct seat *s;
    if (!name) {
        refuse(c, "add-guest needs a name");
        return;
    }
    if (!number(o, "region_mb", 1, 1 << 20, 64, &mb, error, sizeof error) ||
        !number(o, "weight", 1, 10000, 100, &weight, error, sizeof error) ||
        !number(o, "compute_percent", 0, 100, 0, &percent, error, sizeof error) ||
        !number(o, "most_runs", 1, HC_MOST_RUNS, 32, &runs, error, sizeof error) ||
        !number(o, "calls_per_second", 0, 10000000, 200000, &calls, error, sizeof error) ||
        !number(o, "memory_mb", 1, 1 << 20, 64, &memory, error, sizeof error)) {
        refuse(c, error);
        return;
    }
    if (mb & (mb - 1)) {
        refuse(c, "region_mb must be a power of two");
        return;
    }
    const struct guest_policy policy = {.weight = (uint32_t)weight,
                                        .compute_percent = (uint32_t)percent,
                                        .most_runs = (uint32_t)runs,
                                        .calls_per_second = (uint32_t)calls,
                                        .memory_bytes = memory << 20};
    if (seat_add(h, name, mb << 20, &policy, &s, error, sizeof error)) {
        refuse(c, error);
        return;
    }
    control_reply(c, json_pack("{s:b, s:s, s:i}", "ok", 1, "socket", s->path, "vectors",
                               (int)HC_VECTOR_COUNT));
}

static void add_model(struct holder *h, struct control *c, const json_t *o)
{
    char error[400], text[WEIGHTS_TEXT];
    const char *path = json_string_value(json_object_get(o, "path"));
    const char *claimed = json_string_value(json_object_get(o, "identity"));
    struct held_weights *w;
    if (!path || path[0] != '/') {
        refuse(c, "add-model needs an absolute path");
        return;
    }
    if (held_add(h, path, &w, error, sizeof error)) {
        refuse(c, error);
        return;
    }
    struct weights_identity found = {.packed_version = w->identity.packing};
    memcpy(found.sha256, w->identity.sha256, sizeof found.sha256);
    weights_identity_text(&found, text);
    if (claimed && strcmp(claimed, text) != 0) {
        snprintf(error, sizeof error, "%s is %s, not %s", path, text, claimed);
        refuse(c, error);
        return;
    }
    control_reply(c, json_pack("{s:b, s:s}", "ok", 1, "identity", text));
}

static void remove_guest(struct holder *h, struct control *c, const json_t *o)
{
    const char *name = json_string_value(json_object_get(o, "name"));
    struct seat *s = name ? seat_find(h, name) : NULL;
    if (!s) {
        refuse(c, "no guest of that name");
        return;
    }
    seat_remove(h, s);
    control_reply(c, json_pack("{s:b}", "ok", 1));
}

static void list_devices(struct control *c)
{
    struct device d[MOST_DEVICES];
    control_reply(c, json_pack("{s:b, s:o}", "ok", 1, "devices", devices_json(d, devices_find(d))));
}

static void ask_worker(struct holder *h, struct control *c)
{
    c->request = ++h->next_request;
    const struct link_message m = {.kind = LINK_STATISTICS, .request = c->request};
    if (h->link < 0 || link_send(h->link, &m, NULL, NULL, 0)) {
        c->request = 0;
        refuse(c, "the worker is being restarted; ask again");
    }
}

static void answer(struct holder *h, struct control *c, const char *line, size_t bytes)
{
    json_error_t e;
    json_t *o = json_loadb(line, bytes, 0, &e);
    const char *op = json_string_value(json_object_get(o, "op"));
    if (!o) {
        char text[300];
        snprintf(text, sizeof text, "not JSON: %s", e.text);
        refuse(c, text);
    } else if (!op) {
        refuse(c, "expected an object with \"op\"");
    } else if (strcmp(op, "ping") == 0) {
        control_reply(c, json_pack("{s:b, s:s, s:i, s:i, s:i}", "ok", 1, "version", TENSORD_VERSION,
                                   "holder", (int)getpid(), "worker", (int)h->worker, "epoch",
                                   (int)h->epoch));
    } else if (strcmp(op, "add-guest") == 0) {
        add_guest(h, c, o);
    } else if (strcmp(op, "remove-guest") == 0) {
        remove_guest(h, c, o);
    } else if (strcmp(op, "add-model") == 0) {
        add_model(h, c, o);
    } else if (strcmp(op, "devices") == 0) {
        list_devices(c);
    } else if (strcmp(op, "statistics") == 0) {
        ask_worker(h, c);
    } else {
        refuse(c, "op must be ping, add-guest, remove-guest, add-model, devices or statistics");
    }
    json_decref(o);
}

// ---- connections -------------------------------------------------------------------------------

int control_open(struct holder *h, char *error, size_t bytes)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    const char *path = h->options.control;
    int rc = 0;
    for (int i = 0; i < HOLDER_CONTROLS; i++) {
        h->controls[i].fd = -1;
    }
    if (strlen(path) >= sizeof a.sun_path) {
        snprintf(error, bytes, "%s: longer than a socket's path may be", path);
        return -ENAMETOOLONG;
    }
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0) {
        close(fd);
        snprintf(error, bytes, "another tensord listens at %s", path);
        return -EADDRINUSE;
    }
    if (fd >= 0) {
        close(fd);
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(path);
    mode_t before = umask(0177);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, HOLDER_CONTROLS)) {
        rc = -errno;
        snprintf(error, bytes, "cannot listen at %s: %s", path, strerror(-rc));
    }
    umask(before);
    h->control_listener = fd;
    return rc;
}

void control_accept(struct holder *h)
{
    int fd = accept4(h->control_listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct control *c = &h->controls[0];
    if (fd < 0) {
        return;
    }
    // A free place, or that of the one that has been silent for longest.
    for (int i = 0; i < HOLDER_CONTROLS && c->fd >= 0; i++) {
        if (h->controls[i].fd < 0 || h->controls[i].used < c->used) {
            c = &h->controls[i];
        }
    }
    control_close(c);
    *c = (struct control){.fd = fd, .used = ++h->control_uses};
}

void control_read(struct holder *h, struct control *c)
{
    ssize_t n = recv(c->fd, c->line + c->filled, sizeof c->line - c->filled, MSG_DONTWAIT);
    if (n == 0 && c->request) {
        c->ended = true; // it still wants the worker's answer
        return;
    }
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            control_close(c);
        }
        return;
    }
    c->filled += (size_t)n;
    c->used = ++h->control_uses;
    char *end;
    while (c->fd >= 0 && (end = memchr(c->line, '\n', c->filled)) != NULL) {
        size_t bytes = (size_t)(end - c->line);
        answer(h, c, c->line, bytes);
        if (c->fd >= 0) {
            c->filled -= bytes + 1;
            memmove(c->line, end + 1, c->filled);
        }
    }
    if (c->filled == sizeof c->line) {
        refuse(c, "a request is a line of at most 8191 characters");
        control_close(c);
    }
}
