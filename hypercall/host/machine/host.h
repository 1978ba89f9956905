// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// libvirt on this machine: the connection, guests of ours on it, and what becomes of one.
//
// Errors as in machine.h. Threads: one; libvirt's events come on a thread of their own and only set
// fields of a watch.
#ifndef TESSERA_MACHINE_HOST_H
#define TESSERA_MACHINE_HOST_H

#include "hypercall/host/hardware/hardware.h"
#include "hypercall/host/machine/machine.h"

#include <libvirt/libvirt.h>
#include <stdatomic.h>

// The connection's URI: `wanted` if not NULL, else LIBVIRT_DEFAULT_URI, else the user's own session
// (root has none: the system's). -EINVAL: of another driver.
int machine_uri(const char *wanted, const char **out, bool *is_system, char *error,
                size_t error_bytes);
// Connects; `say` (may be NULL) hears of what takes long. libvirt starts a user's daemon itself;
// where root has none and no service manager would start it, it is started here in the same way:
// for as long as it has guests or clients.
int machine_connect(const char *uri, void (*say)(const char *line), virConnectPtr *out, char *error,
                    size_t error_bytes);
// libvirt's last error as a message; `doing` says at what. Returns -EIO.
int machine_say_libvirt(const char *doing, char *error, size_t error_bytes);

// What libvirt says of a security model of its domains, by its capabilities: false, it has none of
// that name. "+64055:+108" for "dac", "" if there is no label.
bool machine_base_label(const char *capabilities, const char *model, char *out, size_t out_bytes);
// As who a system's QEMU runs, unless its domain says otherwise.
int machine_qemu_user(virConnectPtr c, struct hardware_user *out, uint32_t *group, char *error,
                      size_t error_bytes);

// -ENOENT: not there. -EPERM: there, but not one of ours.
int machine_find(virConnectPtr c, const char *name, virDomainPtr *out, struct machine_facts *facts,
                 char *error, size_t error_bytes);

// ---- lifecycle ---------------------------------------------------------------------------------

// The thread of libvirt's events: it also answers the daemon, which gives clients up that are
// silent for half a minute. machine_connect starts it. 0 or a negative errno.
int machine_events_start(void);

enum machine_end { MACHINE_RUNS, MACHINE_POWERED_OFF, MACHINE_DESTROYED, MACHINE_CRASHED };
struct machine_watch {
    char name[64];
    atomic_int end; // enum machine_end, written by the thread of events
    int callback;   // libvirt's number for it, -1: none
};
// The thread of libvirt's events, for all connections; once it runs, nothing. Also begun by a
// watch.
int machine_events_start(void);
// Begins before the guest is created, so that nothing is missed.
int machine_watch_start(virConnectPtr c, const char *name, struct machine_watch *w, char *error,
                        size_t error_bytes);
void machine_watch_stop(virConnectPtr c, struct machine_watch *w);
enum machine_end machine_watch_look(struct machine_watch *w);

// Presses the power button, waits up to `seconds`, or until *hurry is not zero (may be NULL), then
// pulls the plug. *in_order: it went by itself. A guest that is gone already is fine.
int machine_stop(virDomainPtr domain, unsigned seconds, const volatile int *hurry, bool *in_order,
                 char *error, size_t error_bytes);

#endif
