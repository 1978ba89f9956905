// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The agent's worker: a loop that looks at every fleet twice a second, at once when libvirt tells
// of something, when it is poked, or when a request waits.
#include "hypercall/host/fleet/agent_parts.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { POLLS = 128 };

// ---- libvirt -----------------------------------------------------------------------------------

static void on_event(virConnectPtr c, virDomainPtr domain, int event, int detail, void *opaque)
{
    (void)c;
    (void)domain;
    (void)event;
    (void)detail;
    eventfd_write(*(int *)opaque, 1);
}

static bool connect_again(struct agent *a)
{
    char error[900];
    if (a->connected && virConnectIsAlive(a->host.libvirt) == 1) {
        return true;
    }
    uint64_t now = agent_now_ms();
    if (now < a->retry_ms) {
        return false;
    }
    a->retry_ms = now + 1000;
    bool first = !a->host.uri;
    int rc = first ? guest_host_open(&a->host, a->uri, false, error, sizeof error)
                   : guest_host_reopen(&a->host, error, sizeof error);
    if (rc) {
        if (a->connected || first) {
            agent_log("%s", error);
        }
        a->connected = false;
        return false;
    }
    machine_events_start();
    virConnectSetKeepAlive(a->host.libvirt, 5, 3);
    virConnectDomainEventRegisterAny(a->host.libvirt, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                     VIR_DOMAIN_EVENT_CALLBACK(on_event), &a->events, NULL);
    if (!a->connected) {
        agent_log("connected to libvirt at %s", a->host.uri);
    }
    a->connected = true;
    return true;
}

// ---- all fleets --------------------------------------------------------------------------------

static void mark(struct agent *a, const char *name)
{
    struct agent_fleet *f = agent_fleet(a, name);
    if (f) {
        f->present = true;
    }
}

// Those with a carrier, and those of which guests are left.
static int find_fleets(struct agent *a)
{
    char error[600], **names = NULL;
    struct carrier_guest *guests;
    size_t count = 0;
    int rc = carrier_list(a->host.libvirt, &names, &count, error, sizeof error);
    if (rc) {
        return rc;
    }
    for (size_t i = 0; i < a->fleet_count; i++) {
        a->fleets[i].present = false;
    }
    for (size_t i = 0; i < count; i++) {
        mark(a, names[i]);
        free(names[i]);
    }
    free(names);
    rc = carrier_guests(a->host.libvirt, NULL, &guests, &count, error, sizeof error);
    for (size_t i = 0; !rc && i < count; i++) {
        if (fleet_name_is_valid(guests[i].facts.fleet)) {
            mark(a, guests[i].facts.fleet);
        }
    }
    carrier_guests_free(guests, rc ? 0 : count);
    if (!rc) {
        agent_forget_absent(a);
    }
    return rc;
}

// Milliseconds until the next look.
static int look(struct agent *a)
{
    int next = AGENT_TICK_MS;
    agent_jobs_take(a);
    if (!connect_again(a) || find_fleets(a) != 0) {
        return next;
    }
    a->idle_ms = a->fleet_count ? 0 : a->idle_ms ? a->idle_ms : agent_now_ms();
    for (size_t i = 0; i < a->fleet_count; i++) {
        struct agent_fleet *f = &a->fleets[i];
        agent_converge(a, f);
        for (int n = 0; f->again && n < 4; n++) {
            agent_converge(a, f);
        }
        for (size_t s = 0; s < f->service_count; s++) {
            next =
                f->services[s].wake[0].count + f->services[s].wake[1].count ? AGENT_HURRY_MS : next;
        }
    }
    return next;
}

// ---- the loop ----------------------------------------------------------------------------------

static void look_at_wakes(struct agent *a, bool *new_ones)
{
    uint64_t now = agent_now_ms();
    for (size_t i = 0; i < a->fleet_count; i++) {
        for (size_t s = 0; s < a->fleets[i].service_count; s++) {
            for (unsigned slot = 0; slot < 2; slot++) {
                struct agent_wake *w = &a->fleets[i].services[s].wake[slot];
                unsigned before = w->count;
                agent_wake_look(w, now);
                *new_ones = *new_ones || w->count > before;
            }
        }
    }
}

static size_t list_polls(struct agent *a, struct agent_clients *c, struct pollfd *p)
{
    size_t n = 0;
    p[n++] = (struct pollfd){.fd = a->link, .events = POLLIN};
    p[n++] = (struct pollfd){.fd = a->events, .events = POLLIN};
    p[n++] = (struct pollfd){.fd = a->control, .events = POLLIN};
    n += agent_clients_poll(c, p + n, 40);
    for (size_t i = 0; i < a->fleet_count; i++) {
        for (size_t s = 0; s < a->fleets[i].service_count; s++) {
            for (unsigned slot = 0; slot < 2 && n < POLLS; slot++) {
                const struct agent_wake *w = &a->fleets[i].services[s].wake[slot];
                if (w->listener >= 0 && w->count < AGENT_HELD) {
                    p[n++] = (struct pollfd){.fd = w->listener, .events = POLLIN};
                }
            }
        }
    }
    return n;
}

// False: the end is wanted.
static bool look_at_supervisor(struct agent *a)
{
    int got = a->link >= 0 ? agent_link_receive(a->link, &a->shelf) : -1;
    if (got == 'q') {
        return false;
    }
    if (got < 0) {
        if (a->link >= 0) {
            close(a->link);
            agent_log("the supervisor ended; the next one starts");
        }
        int rc = agent_spawn(a->uri, false, a->idle_exit, a->lock, &a->link, &a->supervisor);
        if (rc) {
            agent_log("no supervisor can be started: %s", strerror(-rc));
            a->link = -1;
        } else {
            agent_link_send_shelf(a->link, &a->shelf);
        }
    }
    if (a->supervisor > 0 && waitpid(a->supervisor, NULL, WNOHANG) == a->supervisor) {
        a->supervisor = 0;
    }
    return true;
}

static void run(struct agent *a, struct agent_clients *clients)
{
    struct pollfd polls[POLLS];
    uint64_t next_ms = 0;
    while (!agent_is_ending()) {
        uint64_t now = agent_now_ms();
        bool at_once = now >= next_ms, stop = false;
        if (a->idle_exit && a->idle_ms && now - a->idle_ms > AGENT_IDLE_EXIT_MS) {
            agent_log("no fleet is there: the agent ends; `tessera up` starts it again");
            return;
        }
        if (at_once) {
            next_ms = agent_now_ms() + (uint64_t)look(a);
        }
        size_t n = list_polls(a, clients, polls);
        now = agent_now_ms();
        poll(polls, n, next_ms > now ? (int)(next_ms - now) : 0);
        eventfd_t events = 0;
        bool poked = eventfd_read(a->events, &events) == 0;
        agent_clients_look(clients, a, &poked, &stop);
        look_at_wakes(a, &poked);
        if (poked) {
            next_ms = 0;
        }
        if (stop || !look_at_supervisor(a)) {
            return;
        }
    }
}

int agent_work(const char *uri, const char *descriptors, bool idle_exit)
{
    char error[600];
    static struct agent a; // the shelf is large
    a.uri = uri;
    a.idle_exit = idle_exit;
    a.control = -1;
    agent_catch_signals();
    if (!agent_read_descriptors(descriptors, &a.lock, &a.link)) {
        return -EINVAL;
    }
    agent_link_receive_shelf(a.link, &a.shelf);
    a.events = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct agent_clients *clients = agent_clients_new();
    int rc = a.events < 0 ? -errno : !clients ? -ENOMEM : 0;
    rc = rc ? rc : agent_control_open(uri, &a.control, error, sizeof error);
    if (!rc) {
        run(&a, clients);
    } else {
        agent_log("%s", a.control < 0 ? error : strerror(-rc));
    }
    // Told before the end, so that no other worker follows. Guests and endpoints go on.
    if (!rc && a.link >= 0) {
        agent_link_send(a.link, 'q', "", -1);
    }
    if (!agent_jobs_end(&a, AGENT_JOBS_END_MS)) {
        _exit(rc ? 1 : 0); // a thread that works on may not meet what exit() takes away
    }
    agent_clients_free(clients);
    guest_host_close(&a.host);
    return rc;
}
