// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// HAProxy's statistics as CSV (management.txt, 9.1).
#include "hypercall/host/fleet/proxy_runtime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 256, MOST_ROWS = 4096 };

enum column {
    PXNAME,
    SVNAME,
    QCUR,
    SCUR,
    STOT,
    STATUS,
    WEIGHT,
    BCK,
    LASTCHG,
    TYPE,
    HRSP_1XX,
    HRSP_2XX,
    HRSP_3XX,
    HRSP_4XX,
    HRSP_5XX,
    HRSP_OTHER,
    ECON,
    ERESP,
    WRETR,
    WREDIS,
    TTIME,
    LASTSESS,
    ADDR,
    COLUMNS
};
static const char *const names[COLUMNS] = {
    "pxname",  "svname", "qcur",     "scur",     "stot",     "status",   "weight",   "bck",
    "lastchg", "type",   "hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other",
    "econ",    "eresp",  "wretr",    "wredis",   "ttime",    "lastsess", "addr"};

static int fail(char *error, size_t error_bytes, const char *what)
{
    snprintf(error, error_bytes, "HAProxy's statistics cannot be read: %s", what);
    return -EPROTO;
}

struct line {
    const char *at, *end;
};

// The next field; quotes around it are taken off. False: the line has ended.
static bool next_field(struct line *l, char *out, size_t room)
{
    if (l->at >= l->end) {
        return false;
    }
    size_t n = 0;
    bool quoted = *l->at == '"';
    l->at += quoted;
    while (l->at < l->end) {
        char c = *l->at;
        if (quoted && c == '"') {
            if (l->at + 1 < l->end && l->at[1] == '"') {
                l->at++; // doubled: itself
            } else {
                l->at++;
                quoted = false;
                continue;
            }
        } else if (!quoted && c == ',') {
            break;
        }
        if (n + 1 < room) {
            out[n++] = c;
        }
        l->at++;
    }
    out[n] = 0;
    l->at += l->at < l->end; // the comma
    return true;
}

static uint64_t number(const char *text, uint64_t otherwise)
{
    uint64_t v = 0;
    if (*text < '0' || *text > '9') {
        return otherwise;
    }
    for (; *text >= '0' && *text <= '9' && v < UINT64_MAX / 20; text++) {
        v = 10 * v + (uint64_t)(*text - '0');
    }
    return *text ? otherwise : v;
}

// "UP", "UP 1/3", "DOWN 1/2", "MAINT", "MAINT (via a/b)", "DRAIN", "NOLB", "no check", "OPEN".
static enum proxy_health health_of(const char *status)
{
    if (strncmp(status, "UP", 2) == 0 || strcmp(status, "no check") == 0) {
        return PROXY_UP;
    }
    if (strncmp(status, "DRAIN", 5) == 0) {
        return PROXY_DRAINING;
    }
    return strncmp(status, "MAINT", 5) == 0 ? PROXY_MAINT : PROXY_DOWN;
}

static void fill(struct proxy_row *r, char (*f)[64])
{
    memcpy(r->backend, f[PXNAME], sizeof r->backend);
    memcpy(r->server, f[SVNAME], sizeof r->server);
    uint64_t type = number(f[TYPE], 3);
    r->type = type == 0   ? PROXY_ROW_FRONTEND
              : type == 1 ? PROXY_ROW_BACKEND
              : type == 2 ? PROXY_ROW_SERVER
                          : PROXY_ROW_LISTENER;
    r->health = health_of(f[STATUS]);
    r->backup = type == 2 && number(f[BCK], 0) > 0;
    const char *colon = strrchr(f[ADDR], ':');
    uint64_t port = colon ? number(colon + 1, 0) : 0;
    r->port = port <= 65535 ? (uint32_t)port : 0;
    r->queued = number(f[QCUR], 0);
    r->sessions = number(f[SCUR], 0);
    r->requests = number(f[STOT], 0);
    for (int i = HRSP_1XX; i <= HRSP_OTHER; i++) {
        r->responses += number(f[i], 0);
    }
    r->errors_5xx = number(f[HRSP_5XX], 0);
    r->errors_connection = number(f[ECON], 0);
    r->errors_response = number(f[ERESP], 0);
    r->retries = number(f[WRETR], 0);
    r->redispatches = number(f[WREDIS], 0);
    r->latency_ms = number(f[TTIME], 0);
    r->weight = number(f[WEIGHT], 0);
    r->last_session_s = number(f[LASTSESS], UINT64_MAX); // "-1": none
    r->changed_s = number(f[LASTCHG], 0);
}

// Which column of ours stands at each place of the header.
static int read_header(struct line l, int places[MOST_COLUMNS], size_t *count)
{
    char name[64];
    unsigned found = 0;
    *count = 0;
    while (*count < MOST_COLUMNS && next_field(&l, name, sizeof name)) {
        places[*count] = -1;
        for (int i = 0; i < COLUMNS; i++) {
            if (strcmp(name, names[i]) == 0) {
                places[*count] = i;
                found |= 1u << i;
            }
        }
        ++*count;
    }
    return found == (1u << COLUMNS) - 1 ? 0 : -EPROTO;
}

static bool next_line(const char **at, const char *end, struct line *l)
{
    if (*at >= end) {
        return false;
    }
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    l->at = *at;
    l->end = stop ? stop : end;
    *at = l->end + (stop != NULL);
    return true;
}

int proxy_stats_parse(const char *csv, size_t bytes, struct proxy_row **rows, size_t *count,
                      char *error, size_t error_bytes)
{
    const char *at = csv, *end = csv + bytes;
    int places[MOST_COLUMNS];
    size_t columns, room = 0;
    struct line l;
    *rows = NULL;
    *count = 0;
    if (bytes < 2 || memcmp(csv, "# ", 2) != 0) {
        return fail(error, error_bytes, "they do not begin with the columns' names");
    }
    at += 2;
    if (!next_line(&at, end, &l) || read_header(l, places, &columns) != 0) {
        return fail(error, error_bytes, "a column is missing");
    }
    while (next_line(&at, end, &l)) {
        char fields[COLUMNS][64] = {{0}}, other[64];
        if (l.at == l.end) {
            continue;
        }
        for (size_t i = 0; i < columns; i++) {
            if (!next_field(&l, places[i] >= 0 ? fields[places[i]] : other, sizeof other)) {
                break;
            }
        }
        if (*count == MOST_ROWS) {
            break;
        }
        if (*count == room) {
            room = room ? 2 * room : 32;
            struct proxy_row *more = realloc(*rows, room * sizeof **rows);
            if (!more) {
                free(*rows);
                *rows = NULL;
                *count = 0;
                fail(error, error_bytes, "no memory");
                return -ENOMEM;
            }
            *rows = more;
        }
        struct proxy_row *r = &(*rows)[(*count)++];
        memset(r, 0, sizeof *r);
        fill(r, fields);
    }
    return 0;
}

bool proxy_member_row(const struct proxy_row *rows, size_t count, const char *member,
                      struct proxy_row *sum)
{
    static const enum proxy_health order[] = {PROXY_UP, PROXY_DRAINING, PROXY_DOWN, PROXY_MAINT};
    bool found = false;
    memset(sum, 0, sizeof *sum);
    for (size_t i = 0; i < count; i++) {
        const struct proxy_row *r = &rows[i];
        if (r->type != PROXY_ROW_SERVER || strcmp(r->server, member) != 0) {
            continue;
        }
        if (!found) {
            *sum = *r;
            found = true;
            continue;
        }
        for (size_t j = 0; j < sizeof order / sizeof *order; j++) {
            if (r->health == order[j] || sum->health == order[j]) {
                sum->health = order[j];
                break;
            }
        }
        uint64_t done = sum->requests + r->requests;
        sum->latency_ms =
            done ? (sum->latency_ms * sum->requests + r->latency_ms * r->requests) / done : 0;
        sum->queued += r->queued;
        sum->sessions += r->sessions;
        sum->requests += r->requests;
        sum->responses += r->responses;
        sum->errors_5xx += r->errors_5xx;
        sum->errors_connection += r->errors_connection;
        sum->errors_response += r->errors_response;
        sum->retries += r->retries;
        sum->redispatches += r->redispatches;
        sum->last_session_s =
            r->last_session_s < sum->last_session_s ? r->last_session_s : sum->last_session_s;
    }
    return found;
}
