// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Saved states of a guest. Suspended: libvirt's managed save, which the next start goes on from,
// once. Ready: a file taken before the first request, from which any number of starts begin.
#include "hypercall/host/guest/private.h"
#include "hypercall/host/machine/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOOK_MS = 50, ANSWER_MS = 5000 };

// ---- what it does now --------------------------------------------------------------------------

// The sum of a metric's lines, -1: there is none.
static double metric(const char *text, const char *name)
{
    double sum = 0;
    bool found = false;
    size_t length = strlen(name);
    for (const char *at = text; at; at = strchr(at, '\n'), at = at ? at + 1 : NULL) {
        if (strncmp(at, name, length) != 0 || (at[length] != ' ' && at[length] != '{')) {
            continue;
        }
        const char *value = at + length;
        value = *value == '{' ? strchr(value, '}') : value;
        if (value) {
            sum += strtod(value + 1, NULL);
            found = true;
        }
    }
    return found ? sum : -1;
}

struct activity {
    double busy, done; // requests under way; that ended
};

// -EAGAIN: it does not answer.
static int look(const struct guest *g, const struct machine_facts *facts, struct activity *out)
{
    const char *body;
    struct endpoint *e = g->url[0] ? endpoint_new(g->url, facts->key) : NULL;
    int rc = e && endpoint_get(e, "/metrics", &body) == 200 ? 0 : -EAGAIN;
    if (!rc) {
        double running = metric(body, "tessera_requests_processing"),
               waiting = metric(body, "tessera_requests_deferred"),
               done = metric(body, "tessera_requests_total");
        *out = (struct activity){running + waiting, done};
        rc = running < 0 || waiting < 0 || done < 0 ? -EAGAIN : 0;
    }
    endpoint_free(e);
    return rc;
}

static int find_running(struct guest_host *h, const char *name, struct guest *g,
                        struct machine_facts *facts, char *error, size_t error_bytes)
{
    int rc = guest_find(h, name, g, facts, error, error_bytes);
    if (!rc && h->is_remote) {
        rc = guest_refuse(error, error_bytes, -ENOTSUP,
                          "'%s' is on another machine: run `tessera` there to save it", name);
    }
    if (!rc && virDomainIsActive(g->domain) != 1) {
        rc = guest_refuse(error, error_bytes, -EALREADY, "'%s' does not run%s", name,
                          virDomainHasManagedSaveImage(g->domain, 0) == 1
                              ? ": it is suspended (`tessera resume` goes on)"
                              : "");
    }
    if (!rc && strcmp(facts->machine, "microvm") == 0 && facts->mapped[0]) {
        rc = guest_refuse(error, error_bytes, -ENOTSUP,
                          "'%s' is a microvm with mapped weights (ivshmem), which QEMU cannot "
                          "save: guests of --machine q35 can be",
                          name);
    }
    if (!rc && !g->persistent) {
        rc =
            guest_refuse(error, error_bytes, -ENOTSUP,
                         "'%s' belongs to a `tessera run` in the foreground and is gone when it is "
                         "off: only guests of `tessera run --detach` can be saved",
                         name);
    }
    return rc;
}

// ---- suspend -----------------------------------------------------------------------------------

// Until nothing is under way.
static int drain(const struct guest *g, const struct machine_facts *facts, unsigned seconds,
                 const volatile int *hurry, char *error, size_t error_bytes)
{
    uint64_t now = guest_now_ms(), until = now + seconds * 1000ull, silent = now + ANSWER_MS;
    for (;;) {
        struct activity a;
        int rc = look(g, facts, &a);
        now = guest_now_ms();
        if (!rc && a.busy == 0) {
            return 0;
        }
        silent = rc ? silent : now + ANSWER_MS;
        if (now > silent) {
            return guest_refuse(error, error_bytes, -EBUSY,
                                "'%s' does not say whether it computes answers (/metrics): "
                                "--force suspends it all the same",
                                g->name);
        }
        if (!rc && now > until) {
            return guest_refuse(error, error_bytes, -EBUSY,
                                "'%s' still computes %.0f answer(s) after %u seconds: --timeout "
                                "waits longer, --force suspends it with them (their clients lose "
                                "their connections)",
                                g->name, a.busy, seconds);
        }
        if (hurry && *hurry) {
            return guest_refuse(error, error_bytes, -EINTR, "interrupted; the guest goes on");
        }
        guest_sleep_ms(LOOK_MS);
    }
}

static int suspend_found(struct guest_host *h, struct guest *g, struct machine_facts *facts,
                         char *error, size_t error_bytes)
{
    char path[PATH_MAX];
    struct record r;
    int rc = record_take(h->libvirt, g->domain, facts, NULL, &r, error, error_bytes);
    rc = rc ? rc
            : record_path(g->name, RECORD_SUSPENDED, true, path, sizeof path, error, error_bytes);
    rc = rc ? rc : record_write(path, &r, error, error_bytes);
    if (!rc && virDomainManagedSave(g->domain, VIR_DOMAIN_SAVE_RUNNING) != 0) {
        rc = machine_say_libvirt(g->name, error, error_bytes);
        unlink(path);
    }
    // Its region is in the saved state; a place is taken again with the next start.
    if (!rc && facts->offload[0]) {
        guest_leave_tensord(facts->offload_folder, g->name);
    }
    return rc;
}

int guest_suspend(struct guest_host *h, const char *name, unsigned seconds, bool force,
                  const volatile int *hurry, char *error, size_t error_bytes)
{
    struct guest g;
    struct machine_facts facts;
    int rc = find_running(h, name, &g, &facts, error, error_bytes);
    if (!rc && !force) {
        rc = drain(&g, &facts, seconds, hurry, error, error_bytes);
    }
    rc = rc ? rc : suspend_found(h, &g, &facts, error, error_bytes);
    guest_free(h, &g);
    return rc;
}

// ---- the ready state ---------------------------------------------------------------------------

static int check_fresh(const struct guest *g, const struct machine_facts *facts, char *error,
                       size_t error_bytes)
{
    struct activity a;
    if (look(g, facts, &a) != 0) {
        return guest_refuse(error, error_bytes, -EBUSY,
                            "'%s' does not serve yet: no ready state can be taken", g->name);
    }
    if (a.busy + a.done > 0) {
        return guest_refuse(error, error_bytes, -EBUSY,
                            "'%s' has had requests, whose texts its memory may still hold: a ready "
                            "state is taken before the first one (`tessera stop %s`, `tessera "
                            "start --cold %s`)",
                            g->name, g->name, g->name);
    }
    return 0;
}

static int save_ready(struct guest_host *h, struct guest *g, struct machine_facts *facts,
                      uint64_t *bytes, char *error, size_t error_bytes)
{
    char made[PATH_MAX], state[PATH_MAX], path[PATH_MAX];
    struct record r;
    struct stat s;
    int rc = record_take(h->libvirt, g->domain, facts, NULL, &r, error, error_bytes);
    rc = rc ? rc
            : record_path(g->name, RECORD_READY_STATE_NEW, true, made, sizeof made, error,
                          error_bytes);
    rc = rc ? rc
            : record_path(g->name, RECORD_READY_STATE, false, state, sizeof state, error,
                          error_bytes);
    rc = rc ? rc : record_path(g->name, RECORD_READY, false, path, sizeof path, error, error_bytes);
    if (rc) {
        return rc;
    }
    unlink(path); // whatever happens from here on, no record tells of another state than there is
    if (virDomainSaveFlags(g->domain, made, NULL, VIR_DOMAIN_SAVE_RUNNING) != 0) {
        rc = machine_say_libvirt(g->name, error, error_bytes);
        unlink(made);
        return rc;
    }
    if (facts->offload[0]) {
        guest_leave_tensord(facts->offload_folder, g->name);
    }
    if (rename(made, state) != 0 || stat(state, &s) != 0) {
        rc = guest_refuse(error, error_bytes, -errno, "%s: %s", state, strerror(errno));
        unlink(made);
        return rc;
    }
    *bytes = (uint64_t)s.st_size;
    return record_write(path, &r, error, error_bytes);
}

int guest_save_ready(struct guest_host *h, const char *name, uint64_t *bytes, char *error,
                     size_t error_bytes)
{
    struct guest g;
    struct machine_facts facts;
    int rc = find_running(h, name, &g, &facts, error, error_bytes);
    rc = rc ? rc : check_fresh(&g, &facts, error, error_bytes);
    rc = rc ? rc : save_ready(h, &g, &facts, bytes, error, error_bytes);
    guest_free(h, &g);
    return rc;
}

// ---- starting from one -------------------------------------------------------------------------

// 0: the state's record holds for how things are now. -ENOENT: no record. -ESTALE.
static int check_record(struct guest_host *h, const struct guest *g,
                        const struct machine_facts *facts, enum record_kind kind, char *error,
                        size_t error_bytes)
{
    char path[PATH_MAX];
    struct record saved, now;
    int rc = record_path(g->name, kind, false, path, sizeof path, error, error_bytes);
    rc = rc ? rc : record_read(path, &saved, error, error_bytes);
    if (rc) {
        return rc;
    }
    rc = record_take(h->libvirt, g->domain, facts, &saved, &now, error, error_bytes);
    // -ENOENT is for a record that is not there: a file that is missing has changed.
    return rc == -ENOENT ? -ESTALE : rc ? rc : record_compare(&saved, &now, error, error_bytes);
}

static int choose_suspended(struct guest_host *h, struct guest *g,
                            const struct machine_facts *facts, char *error, size_t error_bytes)
{
    char why[900];
    int rc = check_record(h, g, facts, RECORD_SUSPENDED, why, sizeof why);
    if (rc == -ENOENT) { // by `virsh managedsave`
        guest_say(h, "%s was suspended by another tool: nothing is known of what it needs",
                  g->name);
        rc = 0;
    }
    return rc == 0 ? 0
                   : guest_refuse(error, error_bytes, rc,
                                  rc == -ESTALE
                                      ? "'%s' cannot go on, for since it was suspended this has "
                                        "changed: %s. `tessera start --cold %s` drops the saved "
                                        "state and boots"
                                      : "'%s': the saved state cannot be checked: %s. `tessera "
                                        "start --cold %s` drops it and boots",
                                  g->name, why, g->name);
}

// Whether the ready state can be used, and by `any` whether it is the faster.
static int choose_ready(struct guest_host *h, struct guest *g, const struct machine_facts *facts,
                        bool any, char *error, size_t error_bytes)
{
    char state[PATH_MAX], path[PATH_MAX], why[900];
    struct record_times times = {0};
    int rc =
        record_path(g->name, RECORD_READY_STATE, false, state, sizeof state, error, error_bytes);
    rc = rc ? rc : record_path(g->name, RECORD_TIMES, false, path, sizeof path, error, error_bytes);
    if (rc) {
        return rc;
    }
    rc = access(state, F_OK) != 0 ? -errno : 0;
    rc = rc ? rc : check_record(h, g, facts, RECORD_READY, why, sizeof why);
    if (rc == -ENOENT) {
        return any ? -ENOENT
                   : guest_refuse(error, error_bytes, rc,
                                  "'%s' has no ready state: `tessera suspend --ready %s` takes one",
                                  g->name, g->name);
    }
    if (rc) {
        return guest_refuse(error, error_bytes, rc,
                            "the ready state of '%s' is of no use: %s: %s. `tessera suspend "
                            "--ready %s` takes a new one",
                            g->name, rc == -ESTALE ? "changed since" : "it cannot be checked", why,
                            g->name);
    }
    record_times_read(path, &times);
    return any && record_times_choose(&times) == RECORD_COLD ? -ENOENT : 0;
}

int guest_choose_origin(struct guest_host *h, struct guest *g, const struct machine_facts *facts,
                        enum guest_from from, char *error, size_t error_bytes)
{
    char why[900];
    bool suspended = virDomainHasManagedSaveImage(g->domain, 0) == 1;
    g->from = GUEST_FROM_BOOT;
    if (h->is_remote) {
        // What a state belongs to, files and CPU, can only be looked at on its own machine.
        return from == GUEST_FROM_BOOT || (from == GUEST_FROM_ANY && !suspended)
                   ? 0
                   : guest_refuse(error, error_bytes, -ENOTSUP,
                                  "saved states of '%s' are for `tessera` on its own machine "
                                  "(`tessera start --cold` boots it)",
                                  g->name);
    }
    if (from == GUEST_FROM_SUSPENDED && !suspended) {
        return guest_refuse(error, error_bytes, -ENOENT,
                            "'%s' is not suspended: `tessera start %s` starts it", g->name,
                            g->name);
    }
    if (from == GUEST_FROM_READY && suspended) {
        return guest_refuse(error, error_bytes, -EBUSY,
                            "'%s' is suspended: `tessera resume %s` goes on with that, `tessera "
                            "start --cold %s` drops it",
                            g->name, g->name, g->name);
    }
    if (from == GUEST_FROM_BOOT) {
        return 0;
    }
    if (suspended) {
        g->from = GUEST_FROM_SUSPENDED;
        return choose_suspended(h, g, facts, error, error_bytes);
    }
    int rc = choose_ready(h, g, facts, from == GUEST_FROM_ANY, why, sizeof why);
    if (rc == 0) {
        g->from = GUEST_FROM_READY;
    } else if (from == GUEST_FROM_READY) {
        return guest_refuse(error, error_bytes, rc, "%s", why);
    } else if (rc != -ENOENT) {
        guest_say(h, "%s; it boots anew", why);
    }
    return 0;
}

static int restore(struct guest_host *h, struct guest *g, char *error, size_t error_bytes)
{
    char state[PATH_MAX];
    int rc =
        record_path(g->name, RECORD_READY_STATE, false, state, sizeof state, error, error_bytes);
    if (!rc && virDomainRestoreFlags(h->libvirt, state, NULL, VIR_DOMAIN_SAVE_RUNNING) != 0) {
        rc = machine_say_libvirt("the guest cannot be started from its ready state", error,
                                 error_bytes);
    }
    return rc;
}

int guest_launch(struct guest_host *h, struct guest *g, enum guest_from from, char *error,
                 size_t error_bytes)
{
    char path[PATH_MAX], why[700];
    if (g->from == GUEST_FROM_READY) {
        int rc = restore(h, g, why, sizeof why);
        if (rc == 0) {
            return 0;
        }
        if (from == GUEST_FROM_READY) {
            return guest_refuse(error, error_bytes, rc, "%s", why);
        }
        guest_say(h, "%s; it boots anew", why);
        g->from = GUEST_FROM_BOOT;
    }
    // Booting anew is what makes libvirt drop a suspended state.
    unsigned flags = g->from == GUEST_FROM_SUSPENDED ? 0 : VIR_DOMAIN_START_FORCE_BOOT;
    if (virDomainCreateWithFlags(g->domain, flags) != 0) {
        return machine_say_libvirt("the guest cannot be started", error, error_bytes);
    }
    if (record_path(g->name, RECORD_SUSPENDED, false, path, sizeof path, why, sizeof why) == 0) {
        unlink(path);
    }
    return 0;
}

void guest_note_start(const struct guest *g, double ms)
{
    char path[PATH_MAX], state[PATH_MAX], unused[300];
    struct record_times times;
    if (g->from == GUEST_FROM_SUSPENDED ||
        record_path(g->name, RECORD_READY_STATE, false, state, sizeof state, unused,
                    sizeof unused) != 0 ||
        access(state, F_OK) != 0 || // there is no choice to make
        record_path(g->name, RECORD_TIMES, true, path, sizeof path, unused, sizeof unused) != 0) {
        return;
    }
    record_times_read(path, &times);
    record_times_add(&times, g->from == GUEST_FROM_READY ? RECORD_FROM_READY : RECORD_COLD, ms);
    record_times_write(path, &times, unused, sizeof unused);
}

const char *guest_from_name(enum guest_from from)
{
    return from == GUEST_FROM_READY       ? "from its ready state"
           : from == GUEST_FROM_SUSPENDED ? "from where it was suspended"
                                          : "booted";
}
