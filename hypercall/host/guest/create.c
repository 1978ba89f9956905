// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A plan becomes a domain. Whatever goes wrong, nothing is left half-made.
#include "hypercall/host/guest/private.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int guest_xml(struct guest_host *h, struct guest *g, char **xml, char *error, size_t error_bytes)
{
    if (h->is_remote) {
        int rc = guest_imagine_remote(g, error, error_bytes);
        return rc ? rc : machine_xml(&g->plan, xml, error, error_bytes);
    }
    int rc = g->plan.offload ? guest_seat_imagine(g, error, error_bytes) : 0;
    return rc ? rc : machine_xml(&g->plan, xml, error, error_bytes);
}

// A definition that nobody started is of no use to its user. Where it cannot be taken back,
// libvirt's daemon having gone away, it needs its key's file still: without it nobody could start
// it.
static void undefine(struct guest *g)
{
    if (g->domain && g->persistent &&
        virDomainUndefineFlags(g->domain,
                               VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_NVRAM) != 0) {
        const virError *e = virGetLastError();
        if (!e || e->code != VIR_ERR_NO_DOMAIN) {
            g->key_file[0] = 0;
        }
    }
    if (g->domain) {
        virDomainFree(g->domain);
        g->domain = NULL;
    }
}

// A persistent guest is defined, which takes its name; a transient one is only when it starts.
static int define(struct guest_host *h, struct guest *g, const char *xml, char *error,
                  size_t error_bytes)
{
    if (!g->persistent) {
        return 0;
    }
    g->domain = virDomainDefineXML(h->libvirt, xml);
    return g->domain ? 0 : machine_say_libvirt("the guest cannot be defined", error, error_bytes);
}

static int start(struct guest_host *h, struct guest *g, const char *xml, char *error,
                 size_t error_bytes)
{
    char why[700];
    bool started;
    if (g->persistent) {
        // virDomainCreate would ask for the domain once more.
        started = (!g->autostart || virDomainSetAutostart(g->domain, 1) == 0) &&
                  virDomainCreateWithFlags(g->domain, VIR_DOMAIN_NONE) == 0;
    } else {
        g->domain = virDomainCreateXML(h->libvirt, xml, VIR_DOMAIN_NONE);
        started = g->domain != NULL;
    }
    if (started) {
        return 0;
    }
    machine_say_libvirt("the guest cannot be started", why, sizeof why);
    undefine(g);
    // QEMU's user may read the files: that was looked at.
    return guest_refuse(error, error_bytes, -EIO, "%s%s", why,
                        h->is_system && strstr(why, "Permission denied")
                            ? " (a system's libvirt may confine QEMU by AppArmor or SELinux; "
                              "a user's own, qemu:///session, does not)"
                            : "");
}

int guest_start_plan(struct guest_host *h, struct guest *g, char *error, size_t error_bytes)
{
    char *xml;
    int rc = machine_xml(&g->plan, &xml, error, error_bytes);
    if (rc) {
        return rc;
    }
    rc = define(h, g, xml, error, error_bytes);
    rc = rc ? rc : start(h, g, xml, error, error_bytes);
    free(xml);
    return rc;
}

void guest_tell_boot(struct guest_host *h, const struct machine_plan *p)
{
    guest_say(h, "Booting %s on %s: %u CPU%s, %u MB%s, %s%s%s", p->name,
              p->kind == MACHINE_MICROVM ? "microvm" : "q35", p->vcpus, p->vcpus == 1 ? "" : "s",
              p->memory_mb,
              p->page_kb == 2048 ? " in pages of 2 MB"
              : p->page_kb       ? " in pages of 1 GB"
                                 : "",
              p->kvm ? "hardware KVM" : "emulated (TCG: no hardware virtualisation used)",
              p->secure_boot                 ? ", UEFI with Secure Boot"
              : p->boot == MACHINE_BOOT_UEFI ? ", UEFI"
                                             : "",
              p->offload ? ", tensor calls to the host" : "");
}

// Takes port, name and place at tensord while no other run does; what it took is claimed until the
// guest has it. The definition comes last.
static int take(struct guest_host *h, const struct guest_request *q, struct guest *g, int claims,
                char **xml, char *error, size_t error_bytes)
{
    int lock = guest_lock(error, error_bytes);
    if (lock < 0) {
        return lock;
    }
    // Again: meanwhile another may have taken the port.
    int rc = guest_choose_port(q, g, claims, error, error_bytes);
    rc = rc ? rc : guest_choose_name(h, q, g, claims, error, error_bytes);
    if (!rc && g->plan.offload) {
        rc = guest_seat_take(g, error, error_bytes);
    }
    close(lock);
    rc = rc ? rc : guest_own_image(g, error, error_bytes);
    rc = rc ? rc : machine_watch_start(h->libvirt, g->name, &g->watch, error, error_bytes);
    rc = rc ? rc : machine_xml(&g->plan, xml, error, error_bytes);
    return rc ? rc : define(h, g, *xml, error, error_bytes);
}

static int try_once(struct guest_host *h, const struct guest_request *q, struct guest *g,
                    int claims, char *error, size_t error_bytes)
{
    char *xml = NULL;
    int rc = take(h, q, g, claims, &xml, error, error_bytes);
    if (!rc) {
        guest_tell_boot(h, &g->plan);
        rc = start(h, g, xml, error, error_bytes);
    }
    free(xml);
    if (rc) {
        guest_forget_files(g);
        if (g->watch.callback >= 0) {
            machine_watch_stop(h->libvirt, &g->watch);
        }
    }
    if (rc && g->plan.offload && g->plan.offload_folder) {
        guest_leave_tensord(g->tensord_folder, g->name);
    }
    return rc;
}

// Who does not ask here, another user or another program, may take a port after it was found free.
static bool lost_its_port(const struct guest *g, const char *error)
{
    return !g->plan.network && guest_port_was_taken(error);
}

int guest_create(struct guest_host *h, const struct guest_request *q, struct guest *g, char *error,
                 size_t error_bytes)
{
    enum { TRIES = 5 };
    if (h->is_remote) {
        return guest_create_remote(h, q, g, error, error_bytes);
    }
    int claims = guest_claims_open(error, error_bytes);
    if (claims < 0) {
        return claims;
    }
    struct guest_request again = *q;
    int rc = 0;
    for (int i = 0; i < TRIES; i++) {
        rc = try_once(h, &again, g, claims, error, error_bytes);
        if (!rc || !lost_its_port(g, error)) {
            break;
        }
        if (q->port) {
            rc = guest_refuse(error, error_bytes, -EADDRINUSE,
                              "port %u was taken on this machine in this moment; the next free "
                              "one is %u: --port %u",
                              q->port, endpoint_next_port(q->listen, q->port + 1),
                              endpoint_next_port(q->listen, q->port + 1));
            break;
        }
        guest_say(h, "Port %u was taken in this moment", g->plan.port);
        again.first_port = g->plan.port + 1;
    }
    // Port and name are taken now, or will not be.
    close(claims);
    return rc;
}

void guest_free(struct guest_host *h, struct guest *g)
{
    if (g->watch.callback >= 0 && h->libvirt) {
        machine_watch_stop(h->libvirt, &g->watch);
    }
    if (g->domain) {
        virDomainFree(g->domain);
    }
    endpoint_free(g->endpoint);
    g->endpoint = NULL;
    free(g->model_path);
    free(g->mapped);
    free(g->image_path);
    g->domain = NULL;
    g->model_path = g->mapped = g->image_path = NULL;
}

void guest_give_up(struct guest_host *h, struct guest *g)
{
    char error[400];
    if (!g->domain && g->name[0]) { // libvirt's daemon went away while the guest was waited for
        g->watch.callback = -1;
        if (guest_host_reopen(h, error, sizeof error) == 0) {
            g->domain = virDomainLookupByName(h->libvirt, g->name);
        }
    }
    for (int attempt = 0; g->domain && attempt < 2; attempt++) {
        if (virDomainDestroy(g->domain) == 0 || virConnectIsAlive(h->libvirt) == 1) {
            break;
        }
        // libvirt's daemon went away: the guest goes on, and a new one knows it.
        virDomainFree(g->domain);
        g->domain = NULL;
        g->watch.callback = -1;
        if (guest_host_reopen(h, error, sizeof error) == 0) {
            g->domain = virDomainLookupByName(h->libvirt, g->name);
        }
    }
    undefine(g);
    guest_forget_files(g);
    if (h->is_remote && h->libvirt) {
        guest_forget_remote(h, g->name);
    }
    if (g->plan.offload || g->tensord_folder[0]) {
        guest_leave_tensord(g->tensord_folder, g->name);
    }
}
