// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The agent's control socket: a JSON object a line.
#include "hypercall/host/fleet/agent_parts.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { CLIENTS = 32, REQUEST = 4096, IDLE_MS = 30000 };

struct client {
    int fd;
    uint64_t heard_ms;
    size_t bytes;
    char line[REQUEST];
};
struct agent_clients {
    struct client client[CLIENTS];
    size_t count;
};

int agent_control_open(const char *uri, int *out, char *error, size_t error_bytes)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int rc = carrier_path("agent", uri, a.sun_path, sizeof a.sun_path, error, error_bytes);
    if (rc) {
        return rc;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(a.sun_path); // ours: the lock is held
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || chmod(a.sun_path, 0600) != 0 ||
        listen(fd, CLIENTS) != 0) {
        rc = -errno;
        snprintf(error, error_bytes, "%s: %s", a.sun_path, strerror(-rc));
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    *out = fd;
    return 0;
}

struct agent_clients *agent_clients_new(void)
{
    return calloc(1, sizeof(struct agent_clients));
}

void agent_clients_free(struct agent_clients *c)
{
    for (size_t i = 0; c && i < c->count; i++) {
        close(c->client[i].fd);
    }
    free(c);
}

size_t agent_clients_poll(struct agent_clients *c, struct pollfd *out, size_t most)
{
    size_t n = 0;
    for (size_t i = 0; i < c->count && n < most; i++) {
        out[n++] = (struct pollfd){.fd = c->client[i].fd, .events = POLLIN};
    }
    return n;
}

static json_t *status(struct agent *a, const char *name)
{
    json_t *notes = json_object(), *problems = json_array();
    for (size_t i = 0; i < a->fleet_count; i++) {
        struct agent_fleet *f = &a->fleets[i];
        if (!name || strcmp(f->name, name) != 0) {
            continue;
        }
        for (size_t p = 0; p < f->logged_count; p++) {
            json_array_append_new(problems, json_string(f->logged[p]));
        }
        uint64_t now = agent_now_ms();
        for (size_t m = 0; m < f->member_count; m++) {
            const struct agent_member *g = &f->members[m];
            uint64_t wait = g->backoff.next_ms > now ? (g->backoff.next_ms - now + 999) / 1000 : 0;
            if (g->backoff.failures && !g->healthy) {
                char text[120];
                snprintf(text, sizeof text, "%sended %u time%s; next start in %llu s",
                         g->backoff.flapping ? "flapping: " : "", g->backoff.failures,
                         g->backoff.failures == 1 ? "" : "s", (unsigned long long)wait);
                json_object_set_new(notes, g->name, json_string(text));
            }
        }
    }
    if (!a->connected) {
        json_array_append_new(problems, json_string("libvirt does not answer"));
    }
    return json_pack("{s:b,s:o,s:o,s:i}", "ok", 1, "notes", notes, "problems", problems, "making",
                     name ? (int)agent_jobs_making(a, name) : 0);
}

static json_t *answer_to(struct agent *a, const char *line, bool *poke, bool *stop)
{
    json_t *request = json_loads(line, 0, NULL), *answer;
    const char *op = json_string_value(json_object_get(request, "op"));
    if (op && strcmp(op, "ping") == 0) {
        answer = json_pack("{s:b,s:i,s:i}", "ok", 1, "pid", (int)getpid(), "version", 1);
    } else if (op && strcmp(op, "poke") == 0) {
        *poke = true;
        answer = json_pack("{s:b}", "ok", 1);
    } else if (op && strcmp(op, "stop") == 0) {
        *stop = true;
        answer = json_pack("{s:b}", "ok", 1);
    } else if (op && strcmp(op, "status") == 0) {
        answer = status(a, json_string_value(json_object_get(request, "fleet")));
    } else {
        answer = json_pack("{s:b,s:s}", "ok", 0, "error",
                           "wanted: {\"op\":\"ping\"|\"poke\"|\"status\"|\"stop\"}");
    }
    json_decref(request);
    return answer;
}

static bool answer_line(struct client *c, struct agent *a, bool *poke, bool *stop)
{
    json_t *answer = answer_to(a, c->line, poke, stop);
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    size_t bytes = text ? strlen(text) : 0;
    bool sent = text != NULL;
    if (text) {
        text[bytes] = '\n'; // instead of the NUL; a client that does not read is dropped
        sent = send(c->fd, text, bytes + 1, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)bytes + 1;
    }
    free(text);
    json_decref(answer);
    return sent;
}

// False: it is to be dropped.
static bool look(struct client *c, struct agent *a, uint64_t now, bool *poke, bool *stop)
{
    ssize_t n = recv(c->fd, c->line + c->bytes, sizeof c->line - 1 - c->bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return now - c->heard_ms < IDLE_MS;
    }
    if (n <= 0) {
        return false;
    }
    c->heard_ms = now;
    c->bytes += (size_t)n;
    char *end;
    while ((end = memchr(c->line, '\n', c->bytes))) {
        *end = 0;
        if (!answer_line(c, a, poke, stop)) {
            return false;
        }
        size_t used = (size_t)(end + 1 - c->line);
        memmove(c->line, end + 1, c->bytes - used);
        c->bytes -= used;
    }
    return c->bytes < sizeof c->line - 1;
}

void agent_clients_look(struct agent_clients *c, struct agent *a, bool *poke, bool *stop)
{
    uint64_t now = agent_now_ms();
    while (c->count < CLIENTS) {
        int fd = accept4(a->control, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            break;
        }
        c->client[c->count++] = (struct client){.fd = fd, .heard_ms = now};
    }
    for (size_t i = 0; i < c->count;) {
        if (look(&c->client[i], a, now, poke, stop)) {
            i++;
        } else {
            close(c->client[i].fd);
            c->client[i] = c->client[--c->count];
        }
    }
}
