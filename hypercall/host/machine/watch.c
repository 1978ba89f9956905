// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What becomes of a guest: libvirt's lifecycle events, and the orderly stop.
#include "hypercall/host/machine/host.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

// One loop for the whole program; machine_connect registered it.
static void *run_events(void *unused)
{
    while (virEventRunDefaultImpl() == 0) {
    }
    return unused;
}

int machine_events_start(void)
{
    static bool started;
    pthread_t thread;
    if (started) {
        return 0;
    }
    int rc = pthread_create(&thread, NULL, run_events, NULL);
    if (rc == 0) {
        pthread_detach(thread);
        started = true;
    }
    return -rc;
}

static void on_event(virConnectPtr c, virDomainPtr domain, int event, int detail, void *opaque)
{
    struct machine_watch *w = opaque;
    const char *name = virDomainGetName(domain);
    (void)c;
    if (!name || strcmp(name, w->name) != 0) {
        return;
    }
    if (event == VIR_DOMAIN_EVENT_CRASHED) {
        atomic_store(&w->end, MACHINE_CRASHED);
    } else if (event == VIR_DOMAIN_EVENT_STOPPED && atomic_load(&w->end) == MACHINE_RUNS) {
        bool crashed =
            detail == VIR_DOMAIN_EVENT_STOPPED_CRASHED || detail == VIR_DOMAIN_EVENT_STOPPED_FAILED;
        atomic_store(&w->end, crashed                                       ? MACHINE_CRASHED
                              : detail == VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN ? MACHINE_POWERED_OFF
                                                                            : MACHINE_DESTROYED);
    }
}

int machine_watch_start(virConnectPtr c, const char *name, struct machine_watch *w, char *error,
                        size_t error_bytes)
{
    snprintf(w->name, sizeof w->name, "%s", name);
    atomic_init(&w->end, MACHINE_RUNS);
    w->callback = -1;
    int rc = machine_events_start();
    if (rc) {
        snprintf(error, error_bytes, "no thread for libvirt's events: %s", strerror(-rc));
        return rc;
    }
    w->callback = virConnectDomainEventRegisterAny(c, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                                   VIR_DOMAIN_EVENT_CALLBACK(on_event), w, NULL);
    return w->callback < 0 ? machine_say_libvirt("listening for events", error, error_bytes) : 0;
}

void machine_watch_stop(virConnectPtr c, struct machine_watch *w)
{
    if (w->callback >= 0) {
        virConnectDomainEventDeregisterAny(c, w->callback);
        w->callback = -1;
    }
}

enum machine_end machine_watch_look(struct machine_watch *w)
{
    return (enum machine_end)atomic_load(&w->end);
}

static bool is_gone(virDomainPtr domain)
{
    int state, reason;
    if (virDomainGetState(domain, &state, &reason, 0) != 0) {
        const virError *e = virGetLastError();
        return e && e->code == VIR_ERR_NO_DOMAIN;
    }
    return state == VIR_DOMAIN_SHUTOFF;
}

int machine_stop(virDomainPtr domain, unsigned seconds, const volatile int *hurry, bool *in_order,
                 char *error, size_t error_bytes)
{
    *in_order = true;
    if (is_gone(domain)) {
        return 0;
    }
    // One that is paused hears of no power button.
    int state = VIR_DOMAIN_NOSTATE, reason;
    if (virDomainGetState(domain, &state, &reason, 0) == 0 && state == VIR_DOMAIN_PAUSED) {
        virDomainResume(domain);
    }
    if (virDomainShutdown(domain) == 0) {
        for (unsigned i = 0; i < seconds * 20 && !(hurry && *hurry); i++) {
            if (is_gone(domain)) {
                return 0;
            }
            nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        }
    }
    *in_order = false;
    if (virDomainDestroy(domain) != 0 && !is_gone(domain)) {
        return machine_say_libvirt("stopping the guest", error, error_bytes);
    }
    return 0;
}
