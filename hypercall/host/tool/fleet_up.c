// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera up` and `down`: a fleet as fleet.yaml says, and no fleet.
#include "hypercall/host/tool/fleet.h"
#include "hypercall/host/fleet/proxy_process.h"
#include "hypercall/host/tool/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { UP_SECONDS = 300, DOWN_SECONDS = 60 };

// ---- up ----------------------------------------------------------------------------------------

// A model whose guests change is deployed rather than overwritten: the old version serves until the
// new one does, and stays if that never happens.
static void deploy_changes(struct fleet_record *r, const struct fleet_spec *before)
{
    int64_t now = (int64_t)time(NULL) * 1000;
    for (size_t i = 0; i < r->spec.model_count; i++) {
        struct fleet_model *m = &r->spec.models[i];
        const struct fleet_model *old = fleet_find(before, m->name);
        struct fleet_service *s = fleet_service(r, m->name);
        if (!old || !s || !fleet_variant_differs(&old->variant, &m->variant)) {
            continue;
        }
        struct fleet_deployment d = {.strategy = FLEET_ROLLING,
                                     .variant = m->variant,
                                     .started_ms = now,
                                     .since_ms = now,
                                     .limits = fleet_default_limits};
        fleet_version(&old->variant, d.from);
        fleet_version(&m->variant, d.to);
        // Under way already: it goes on where it is.
        bool same = s->has_deployment && deploy_is_running(&s->deployment) &&
                    strcmp(s->deployment.to, d.to) == 0 &&
                    s->deployment.phase != FLEET_ROLLING_BACK;
        m->variant = old->variant;
        if (!same) {
            s->deployment = d;
            s->has_deployment = true;
        }
    }
}

static int apply(struct fleet_tool *t, struct fleet_spec *spec)
{
    char error[900];
    bool made = false;
    struct fleet_record r = {0};
    int rc = carrier_lock(t->host.uri, 30, &t->lock, error, sizeof error);
    rc = rc ? rc : carrier_read(t->host.libvirt, spec->name, &r, error, sizeof error);
    if (rc == -ENOENT) {
        rc = fleet_record_new(spec, &r, error, sizeof error);
        rc = rc ? rc : carrier_make(t->host.libvirt, &r, error, sizeof error);
        if (rc == -EEXIST) { // since a moment: it is altered instead
            *spec = r.spec;
            memset(&r.spec, 0, sizeof r.spec);
            fleet_record_free(&r);
            rc = carrier_read(t->host.libvirt, spec->name, &r, error, sizeof error);
        } else if (!rc) {
            made = true;
        }
    }
    if (!rc && !made) {
        // The variants of now, for what changes; the rest of the old specification goes.
        struct fleet_record before = {0};
        char *text = fleet_record_print(&r);
        rc = text ? fleet_record_parse(text, strlen(text), &before, error, sizeof error) : -ENOMEM;
        free(text);
        rc = rc ? rc : fleet_record_respecify(&r, spec, error, sizeof error);
        if (!rc) {
            deploy_changes(&r, &before.spec);
            r.down = false;
            rc = carrier_write(t->host.libvirt, &r, error, sizeof error);
        }
        fleet_record_free(&before);
    }
    fleet_record_free(&r);
    return rc ? tool_fail("%s", error) : fleet_tool_agent(t);
}

// True: go on.
static bool confirmed(const struct fleet_plan *p, bool yes)
{
    bool asks = false;
    for (size_t i = 0; i < p->count; i++) {
        asks = asks || p->lines[i].change == FLEET_REMOVE || p->lines[i].change == FLEET_ALTER;
    }
    if (yes || !asks || !isatty(STDIN_FILENO)) {
        return true;
    }
    char answer[16] = "";
    fputs("Do that? [y/N] ", stdout);
    fflush(stdout);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

// context: since when (UNIX time in ms) a deployment is of this run.
static int is_up(void *context, const struct fleet_view *v)
{
    const int64_t *since_ms = context;
    if (!v) {
        tool_fail("the fleet was taken down meanwhile");
        return -1;
    }
    if (fleet_view_settled(v, *since_ms)) {
        for (size_t i = 0; i < v->record.service_count; i++) {
            const struct fleet_service *s = &v->record.services[i];
            if (s->has_deployment && s->deployment.phase == FLEET_ROLLED_BACK &&
                s->deployment.started_ms >= *since_ms) {
                tool_fail("%s: the new version was rolled back: %s", s->name, s->deployment.reason);
                return -1;
            }
        }
        return 1;
    }
    return 0;
}

static int take_view(struct fleet_tool *t, const char *fleet, struct fleet_view *v, bool *there)
{
    char error[900];
    int rc = fleet_view_take(t->host.libvirt, t->host.uri, fleet, false, v, error, sizeof error);
    *there = rc == 0;
    return rc == 0 || rc == -ENOENT ? TOOL_OK : tool_fail("%s", error);
}

static int check_endpoint(const char *uri, const struct fleet_spec *s, const struct fleet_view *v,
                          bool there)
{
    char error[600], program[PATH_MAX];
    if (proxy_program(program, sizeof program, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    const struct fleet_endpoint *e = &s->endpoint, *old = there ? &v->record.spec.endpoint : NULL;
    bool wanted = old && old->port == e->port && strcmp(old->host, e->host) == 0;
    bool same = wanted && v->endpoint_runs;
    // An agent may just be starting it, on behalf of an earlier `up`.
    char folder[PATH_MAX];
    for (int i = 0; i < 50 && wanted && !same && proxy_port_is_taken(e->host, e->port) &&
                    proxy_folder(uri, s->name, folder, sizeof folder, error, sizeof error) == 0;
         i++) {
        same = proxy_master(folder) > 0;
        nanosleep(&(struct timespec){.tv_nsec = same ? 0 : 100000000}, NULL);
    }
    if (!same && proxy_port_is_taken(e->host, e->port)) {
        uint32_t next = endpoint_next_port(e->host, e->port + 1);
        return tool_fail("endpoint.listen: port %u of %s is in use on this machine; the next free "
                         "one is %u",
                         e->port, e->host, next);
    }
    return TOOL_OK;
}

static int up_with(struct fleet_tool *t, struct fleet_spec *spec, bool yes, bool dry_run,
                   bool no_wait, uint32_t seconds)
{
    char error[900], name[FLEET_NAME], url[200];
    struct fleet_view v = {0};
    struct fleet_plan plan = {0};
    struct text text = {0};
    bool there;
    memcpy(name, spec->name, sizeof name);
    int status = take_view(t, name, &v, &there);
    if (!status && fleet_plan(there && !v.record.down ? &v.record : NULL, spec, v.members,
                              v.guest_count, &plan, error, sizeof error) != 0) {
        status = tool_fail("%s", error);
    }
    if (!status) {
        fleet_plan_print(&plan, &text);
        fputs(text.data ? text.data : "", stdout);
        fflush(stdout);
    }
    bool changes = plan.changes > 0 || !there || v.record.down;
    bool settled = there && fleet_view_settled(&v, INT64_MAX);
    status = status || dry_run ? status : check_endpoint(t->host.uri, spec, &v, there);
    if (status || dry_run || (!changes && settled && v.agent_runs)) {
        goto out;
    }
    if (changes && !confirmed(&plan, yes)) {
        status = tool_fail("nothing was changed");
        goto out;
    }
    snprintf(url, sizeof url, "%s://%s:%u", spec->endpoint.certificate[0] ? "https" : "http",
             spec->endpoint.host, spec->endpoint.port);
    uint64_t begun = tool_now_ns();
    int64_t since_ms = (int64_t)time(NULL) * 1000;
    status = changes ? apply(t, spec) : fleet_tool_agent(t);
    if (!status && !no_wait) {
        status = fleet_tool_wait(t, name, seconds, is_up, &since_ms);
        if (!status) {
            run_say("%s is up after %.1f s: %s/v1/chat/completions", name,
                    (double)(tool_now_ns() - begun) / 1e9, url);
        }
    }
out:
    free(text.data);
    fleet_plan_free(&plan);
    fleet_view_free(&v);
    return status;
}

static int up(int argc, char **argv)
{
    const char *uri = NULL, *words[1] = {"fleet.yaml"};
    size_t word_count;
    bool yes = false, dry_run = false, no_wait = false;
    uint32_t seconds = 0;
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--yes", OPTION_FLAG, &yes, false},
                                    {"--dry-run", OPTION_FLAG, &dry_run, false},
                                    {"--no-wait", OPTION_FLAG, &no_wait, false},
                                    {"--timeout", OPTION_COUNT, &seconds, false}};
    struct fleet_tool t;
    struct fleet_spec spec;
    int status = tool_options(argc, argv, options, 5, words, 1, &word_count);
    status = status ? status : fleet_tool_open(&t, uri);
    if (status) {
        return status;
    }
    status = fleet_tool_spec(&t, words[0], &spec);
    if (!status) {
        seconds = seconds ? seconds : UP_SECONDS + spec.endpoint.drain_ms / 1000;
        status = up_with(&t, &spec, yes, dry_run, no_wait, seconds);
        fleet_spec_free(&spec);
    }
    fleet_tool_close(&t);
    return status;
}

// ---- down --------------------------------------------------------------------------------------

static int is_down(void *context, const struct fleet_view *v)
{
    (void)context;
    if (v && !v->record.down) {
        tool_fail("the fleet was brought up again meanwhile");
        return -1;
    }
    return v == NULL;
}

static int down(int argc, char **argv)
{
    char fleet[FLEET_NAME], error[900];
    const char *uri = NULL, *words[1] = {"fleet.yaml"};
    size_t word_count;
    uint32_t seconds = 0;
    struct tool_option options[] = {{"--connect", OPTION_TEXT, &uri, false},
                                    {"--timeout", OPTION_COUNT, &seconds, false}};
    struct fleet_tool t;
    struct fleet_record r;
    int status = tool_options(argc, argv, options, 2, words, 1, &word_count);
    status = status ? status : fleet_tool_name(words[0], fleet);
    status = status ? status : fleet_tool_open(&t, uri);
    if (status) {
        return status;
    }
    int rc = carrier_lock(t.host.uri, 30, &t.lock, error, sizeof error);
    rc = rc ? rc : carrier_read(t.host.libvirt, fleet, &r, error, sizeof error);
    if (rc == -ENOENT) { // a second run after one that was killed finds this
        printf("There is no fleet '%s': nothing to do.\n", fleet);
    } else if (rc) {
        status = tool_fail("%s", error);
    } else {
        seconds = seconds ? seconds : DOWN_SECONDS + r.spec.endpoint.drain_ms / 1000;
        if (r.down) { // somebody else began it
            status = fleet_tool_agent(&t);
        } else {
            r.down = true;
            status = fleet_tool_commit(&t, &r);
        }
        fleet_record_free(&r);
        status = status ? status : fleet_tool_wait(&t, fleet, seconds, is_down, NULL);
        if (!status) {
            // A look of this command may have made it again a moment ago.
            char folder[PATH_MAX];
            if (proxy_folder(t.host.uri, fleet, folder, sizeof folder, error, sizeof error) == 0) {
                proxy_remove_folder(folder, error, sizeof error);
            }
            run_say("%s is down", fleet);
        }
    }
    fleet_tool_close(&t);
    return status;
}

const struct tool_command tool_up = {
    .name = "up",
    .summary = "a fleet of guests with one endpoint, as fleet.yaml says",
    .help =
        "Usage: tessera up [FILE] [OPTIONS]\n\n"
        "Prints what differs from what runs, changes only that, and waits until the fleet serves. "
        "The\n"
        "guests are libvirt domains FLEET-SERVICE-xxxx; FLEET.fleet, which never runs, carries "
        "what "
        "is\n"
        "wanted. An agent, which is started where none runs, makes it true and keeps it so. A "
        "model\n"
        "whose guests change is replaced one by one; if the new ones do not serve, the old ones "
        "stay.\n"
        "FILE: fleet.yaml; `tessera check --schema` tells its fields.\n\n"
        "  --yes                do not ask before guests are replaced or removed\n"
        "  --dry-run            print the plan only\n"
        "  --no-wait            return when it is noted\n"
        "  --timeout SECONDS    to wait (300, and `drain` of fleet.yaml)\n"
        "  --connect URI        libvirt's connection\n",
    .run = up,
};
const struct tool_command tool_down = {
    .name = "down",
    .summary = "takes a fleet down: its guests, its endpoint, its record",
    .help =
        "Usage: tessera down NAME|FILE [OPTIONS]\n\n"
        "Requests that run are let end (`drain` of fleet.yaml at most, two minutes where it says\n"
        "nothing), guests power off, nothing stays.\n\n"
        "  --timeout SECONDS    to wait (a minute more than that)\n"
        "  --connect URI        libvirt's connection\n",
    .run = down,
};
