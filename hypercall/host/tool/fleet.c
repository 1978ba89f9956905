// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the commands of fleets share: the connection, the record under its lock, waiting.
#include "hypercall/host/tool/fleet.h"

#include "hypercall/host/packages/packages.h"
#include "hypercall/host/tool/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_SECONDS = 30, TURN_MS = 250 };

int fleet_tool_open(struct fleet_tool *t, const char *uri)
{
    *t = (struct fleet_tool){.lock = -1};
    t->host.progress = weights_progress_on_terminal();
    int status = run_connect(&t->host, uri, true);
    if (!status && t->host.is_remote) {
        status = tool_fail("%s is another machine's: a fleet's agent and endpoint run beside its "
                           "guests; use `tessera` there (`tessera run` makes single guests from "
                           "here)",
                           t->host.uri);
        guest_host_close(&t->host);
    }
    return status;
}

static void unlock(struct fleet_tool *t)
{
    if (t->lock >= 0) {
        close(t->lock);
    }
    t->lock = -1;
}

void fleet_tool_close(struct fleet_tool *t)
{
    unlock(t);
    guest_host_close(&t->host);
}

// The image beside this program, as `tessera run` takes it.
static char *installed_image(const struct fleet_tool *t)
{
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/../images/llm.elf", t->host.programs);
    return realpath(path, NULL);
}

static int installed_model(const char *name, char *path, size_t path_bytes, char *error,
                           size_t error_bytes)
{
    char found[PATH_MAX];
    int rc = packages_resolve(name, found, error, error_bytes);
    if (rc == -ENOENT) {
        snprintf(error, error_bytes,
                 "%s: is neither a file (write ./%s) nor an installed model (`tessera pkg list`)",
                 name, name);
    } else if (!rc && snprintf(path, path_bytes, "%s", found) >= (int)path_bytes) {
        rc = -ENAMETOOLONG;
        snprintf(error, error_bytes, "%s: its path is too long", found);
    }
    return rc;
}

// What fleet.yaml can say and guests cannot be made with is refused rather than left out.
static int check_variant(const struct fleet_tool *t, const char *name,
                         const struct fleet_variant *v)
{
    if (!t->host.is_system && (v->priority != 1024 || v->policy != FLEET_POLICY_NORMAL)) {
        return tool_fail("models (%s): priority and policy need a system's libvirt (--connect "
                         "qemu:///system): a user's own has no CPU shares to give",
                         name);
    }
    return TOOL_OK;
}

static int check_variants(const struct fleet_tool *t, const struct fleet_spec *s)
{
    int status = TOOL_OK;
    for (size_t i = 0; i < s->model_count && !status; i++) {
        status = check_variant(t, s->models[i].name, &s->models[i].variant);
        if (!status && s->models[i].has_canary) {
            status = check_variant(t, s->models[i].name, &s->models[i].canary);
        }
    }
    return status;
}

int fleet_tool_spec(const struct fleet_tool *t, const char *path, struct fleet_spec *out)
{
    char error[900];
    char *image = installed_image(t);
    int rc = fleet_spec_read(path, out, error, sizeof error);
    if (!rc) {
        rc = fleet_resolve(out, image, installed_model, &t->host.progress, error, sizeof error);
        if (rc) {
            fleet_spec_free(out);
        }
    }
    free(image);
    if (rc) {
        return tool_fail("%s", error);
    }
    rc = check_variants(t, out);
    if (rc) {
        fleet_spec_free(out);
    }
    return rc;
}

int fleet_tool_resolve(const struct fleet_tool *t, struct fleet_variant *v)
{
    char error[900];
    char *image = installed_image(t);
    int rc =
        fleet_resolve_variant(v, image, installed_model, &t->host.progress, error, sizeof error);
    free(image);
    return rc ? tool_fail("%s", error) : TOOL_OK;
}

int fleet_tool_begin(struct fleet_tool *t, const char *fleet, struct fleet_record *out)
{
    char error[900];
    int rc = carrier_lock(t->host.uri, LOCK_SECONDS, &t->lock, error, sizeof error);
    rc = rc ? rc : carrier_read(t->host.libvirt, fleet, out, error, sizeof error);
    if (!rc && out->down) {
        fleet_record_free(out);
        snprintf(error, sizeof error, "the fleet '%s' is being taken down", fleet);
        rc = -EBUSY;
    }
    if (rc) {
        unlock(t);
    }
    return rc ? tool_fail("%s", error) : TOOL_OK;
}

int fleet_tool_agent(struct fleet_tool *t)
{
    char error[600];
    unlock(t);
    if (agent_ensure(t->host.uri, NULL, error, sizeof error) != 0) {
        return tool_fail("what is wanted is noted, and nobody acts on it: %s", error);
    }
    agent_poke(t->host.uri);
    return TOOL_OK;
}

int fleet_tool_commit(struct fleet_tool *t, struct fleet_record *r)
{
    char error[900];
    if (carrier_write(t->host.libvirt, r, error, sizeof error) != 0) {
        unlock(t);
        return tool_fail("%s", error);
    }
    return fleet_tool_agent(t);
}

int fleet_tool_split(const char *word, char fleet[FLEET_NAME], char service[FLEET_SERVICE])
{
    const char *slash = strchr(word, '/');
    size_t n = slash ? (size_t)(slash - word) : strlen(word);
    fleet[0] = service[0] = 0;
    if (n >= FLEET_NAME || (slash && strlen(slash + 1) >= FLEET_SERVICE)) {
        return tool_misuse("'%s' is no FLEET or FLEET/SERVICE", word);
    }
    snprintf(fleet, FLEET_NAME, "%.*s", (int)n, word);
    snprintf(service, FLEET_SERVICE, "%s", slash ? slash + 1 : "");
    if (!fleet_name_is_valid(fleet) || (slash && !fleet_name_is_valid(service))) {
        return tool_misuse("'%s' is no FLEET or FLEET/SERVICE", word);
    }
    return TOOL_OK;
}

int fleet_tool_name(const char *word, char fleet[FLEET_NAME])
{
    char error[900], service[FLEET_SERVICE];
    struct fleet_spec spec;
    if (!strchr(word, '/') && !strchr(word, '.')) {
        return fleet_tool_split(word, fleet, service);
    }
    if (fleet_spec_read(word, &spec, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    memcpy(fleet, spec.name, FLEET_NAME);
    fleet_spec_free(&spec);
    return TOOL_OK;
}

// ---- waiting -----------------------------------------------------------------------------------

int fleet_tool_settled(void *unused, const struct fleet_view *v)
{
    (void)unused;
    if (!v) {
        tool_fail("the fleet was taken down meanwhile");
        return -1;
    }
    return fleet_view_settled(v, INT64_MAX);
}

static void print_change(const struct fleet_view *v, struct text *last)
{
    struct text line = {0};
    fleet_view_summary(v, &line);
    if (line.data && (!last->data || strcmp(last->data, line.data) != 0)) {
        run_say("%s", line.data);
        free(last->data);
        *last = line;
        return;
    }
    free(line.data);
}

// Each once, as it appears.
static void print_problems(json_t *before, json_t *now)
{
    size_t i, j;
    json_t *p, *old;
    json_array_foreach(now, i, p)
    {
        bool known = false;
        json_array_foreach(before, j, old)
        {
            known = known || json_equal(old, p);
        }
        if (!known) {
            fprintf(stderr, "  %s\n", json_string_value(p));
        }
    }
}

// One look. 1 done, 0 not yet, -1 failed; -2: libvirt does not answer now.
static int look(struct fleet_tool *t, const char *fleet, struct text *last, json_t *problems,
                int (*done)(void *, const struct fleet_view *), void *context, char *error,
                size_t error_bytes)
{
    struct fleet_view v;
    int rc = fleet_view_take(t->host.libvirt, t->host.uri, fleet, false, &v, error, error_bytes);
    if (rc == -ENOENT) {
        return done(context, NULL);
    }
    if (rc) {
        guest_host_reopen(&t->host, error, error_bytes);
        return -2;
    }
    if (!v.agent_runs) { // it may have ended meanwhile
        agent_ensure(t->host.uri, NULL, error, error_bytes);
    }
    print_change(&v, last);
    int result = done(context, &v);
    print_problems(problems, v.problems);
    if (json_array_size(v.problems)) {
        json_array_extend(problems, v.problems);
    }
    fleet_view_free(&v);
    return result;
}

int fleet_tool_wait(struct fleet_tool *t, const char *fleet, uint32_t seconds,
                    int (*done)(void *context, const struct fleet_view *v), void *context)
{
    char error[900] = "";
    struct text last = {0};
    json_t *problems = json_array();
    uint64_t until = tool_now_ns() + seconds * 1000000000ull;
    int result = 0;
    run_catch_interrupts();
    while (!run_interrupts) {
        result = look(t, fleet, &last, problems, done, context, error, sizeof error);
        if (result == 1 || result == -1 || tool_now_ns() > until) {
            break;
        }
        nanosleep(&(struct timespec){.tv_nsec = TURN_MS * 1000000l}, NULL);
    }
    int status = result == 1 ? TOOL_OK : TOOL_FAILED;
    if (result == 0 || result == -2) {
        status = run_interrupts
                     ? tool_fail("interrupted; the agent goes on: `tessera status %s`", fleet)
                 : result == -2 ? tool_fail("%s", error)
                                : tool_fail("not done after %u seconds (%s); the agent goes on: "
                                            "`tessera status %s`",
                                            seconds, last.data ? last.data : "nothing seen", fleet);
    }
    json_decref(problems);
    free(last.data);
    return status;
}
