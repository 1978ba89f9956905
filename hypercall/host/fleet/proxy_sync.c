// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What takes a running HAProxy to what is wanted, as commands of its runtime socket.
#include "hypercall/host/fleet/proxy_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COMMANDS = 512 };

struct commands {
    const struct proxy_input *in;
    struct text *out;
    unsigned count;
};

// What leaves maintenance counts as up until a check says otherwise. It has to show it first,
// unless it did already. In the same exchange, so that no request comes between.
static void end_enabling(struct commands *c, const struct proxy_server *s)
{
    if (!s->is_up) {
        text_add(c->out, ";set server %s/%s health down", s->backend, s->member->name);
    }
    text_add(c->out, "\n");
}

static void add_server(struct commands *c, const struct proxy_server *s)
{
    const struct proxy_member *m = s->member;
    const struct fleet_model *model = fleet_find(&c->in->record->spec, m->service);
    text_add(c->out, "add server %s/%s 127.0.0.1:%u ", s->backend, m->name, m->port);
    proxy_server_options(&model->health, c->out);
    text_add(c->out, "\n");
    text_add(c->out, "enable health %s/%s;enable server %s/%s", s->backend, m->name, s->backend,
             m->name);
    end_enabling(c, s);
    c->count += 2;
}

static void sync_server(struct commands *c, const struct proxy_server *s,
                        const struct proxy_row *row)
{
    const struct proxy_member *m = s->member;
    if (!row) {
        if (m->state == PROXY_READY) {
            add_server(c, s);
        }
        return;
    }
    if (row->port != m->port) {
        text_add(c->out, "set server %s/%s addr 127.0.0.1 port %u\n", s->backend, m->name, m->port);
        c->count++;
    }
    bool rests = row->health == PROXY_DRAINING || row->health == PROXY_MAINT;
    if (m->state == PROXY_READY && rests) {
        text_add(c->out, "set server %s/%s state ready", s->backend, m->name);
        end_enabling(c, s);
        c->count++;
    } else if (m->state == PROXY_DRAIN && !rests) {
        text_add(c->out, "set server %s/%s state drain\n", s->backend, m->name);
        c->count++;
    }
}

// Of a back end of this fleet, a server that is not wanted there any more.
static void remove_server(struct commands *c, const struct proxy_row *row)
{
    if (row->health != PROXY_MAINT) {
        text_add(c->out, "set server %s/%s state maint\n", row->backend, row->server);
        c->count++;
    } else if (row->sessions == 0 && row->queued == 0) {
        text_add(c->out, "del server %s/%s\n", row->backend, row->server);
        c->count++;
    }
}

static void set_map(void *context, enum proxy_file_name map, const char *key, const char *value)
{
    struct commands *c = context;
    text_add(c->out, "set map %s/%s %s %s\n", c->in->folder, proxy_file_basename(map), key, value);
}

static bool is_wanted(const struct proxy_server *servers, size_t count, const struct proxy_row *row)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(servers[i].backend, row->backend) == 0 &&
            strcmp(servers[i].member->name, row->server) == 0) {
            return true;
        }
    }
    return false;
}

// Back ends that are no longer (or not yet) ours come and go with a reload.
static bool has_backend(const struct proxy_row *rows, size_t count, const char *backend)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].type == PROXY_ROW_BACKEND && strcmp(rows[i].backend, backend) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_ours(const struct proxy_input *in, const char *backend)
{
    for (size_t i = 0; i < in->record->spec.model_count; i++) {
        for (unsigned slot = 0; slot < 2; slot++) {
            char own[PROXY_BACKEND];
            proxy_backend(in->record->spec.models[i].name, slot, own);
            if (strcmp(own, backend) == 0) {
                return true;
            }
        }
    }
    return false;
}

int proxy_sync(const struct proxy_input *in, const struct proxy_row *rows, size_t row_count,
               struct text *out)
{
    struct commands c = {.in = in, .out = out};
    struct proxy_server *servers;
    size_t count;
    int rc = proxy_servers(in, rows, row_count, &servers, &count);
    if (rc) {
        return rc;
    }
    for (size_t i = 0; i < count && c.count < MOST_COMMANDS - 4; i++) {
        if (has_backend(rows, row_count, servers[i].backend)) {
            sync_server(
                &c, &servers[i],
                proxy_find_row(rows, row_count, servers[i].backend, servers[i].member->name));
        }
    }
    // What is to go comes after what takes its place.
    proxy_maps(in, servers, count, set_map, &c);
    for (size_t i = 0; i < row_count && c.count < MOST_COMMANDS; i++) {
        if (rows[i].type == PROXY_ROW_SERVER && !rows[i].backup && is_ours(in, rows[i].backend) &&
            !is_wanted(servers, count, &rows[i])) {
            remove_server(&c, &rows[i]);
        }
    }
    free(servers);
    return out->failed ? -ENOMEM : 0;
}
