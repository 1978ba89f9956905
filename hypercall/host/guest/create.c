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
    (void)h;
    int rc = g->plan.offload ? guest_seat_imagine(g, error, error_bytes) : 0;
    return rc ? rc : machine_xml(&g->plan, xml, error, error_bytes);
}

// A definition that nobody started is of no use to its user.
static void undefine(struct guest *g)
{
    if (g->domain && g->persistent) {
        virDomainUndefineFlags(g->domain,
                               VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_NVRAM);
    }
    if (g->domain) {
        virDomainFree(g->domain);
        g->domain = NULL;
    }
}

static int start_domain(struct guest_host *h, struct guest *g, const char *xml, char *error,
                        size_t error_bytes)
{
    if (!g->persistent) {
        g->domain = virDomainCreateXML(h->libvirt, xml, VIR_DOMAIN_NONE);
    } else {
        g->domain = virDomainDefineXML(h->libvirt, xml);
        if (g->domain && ((g->autostart && virDomainSetAutostart(g->domain, 1) != 0) ||
                          virDomainCreate(g->domain) != 0)) {
            machine_say_libvirt("the guest cannot be started", error, error_bytes);
            undefine(g);
            return -EIO;
        }
    }
    return g->domain ? 0 : machine_say_libvirt("the guest cannot be started", error, error_bytes);
}

static int start(struct guest_host *h, struct guest *g, char *error, size_t error_bytes)
{
    char why[700], *xml;
    int rc = machine_xml(&g->plan, &xml, why, sizeof why);
    if (rc) {
        return guest_refuse(error, error_bytes, rc, "%s", why);
    }
    rc = start_domain(h, g, xml, why, sizeof why);
    free(xml);
    // QEMU runs as this user, who read the files a moment ago.
    return rc ? guest_refuse(error, error_bytes, rc, "%s%s", why,
                             h->is_system && strstr(why, "Permission denied")
                                 ? " (a system's libvirt may confine QEMU by AppArmor or SELinux; "
                                   "a user's own, qemu:///session, does not)"
                                 : "")
              : 0;
}

int guest_create(struct guest_host *h, const struct guest_request *q, struct guest *g, char *error,
                 size_t error_bytes)
{
    int lock = guest_lock(error, error_bytes);
    if (lock < 0) {
        return lock;
    }
    // Again: meanwhile another may have taken the port.
    int rc = guest_choose_port(q, g, error, error_bytes);
    rc = rc ? rc : guest_choose_name(h, q, g, true, error, error_bytes);
    if (!rc && g->plan.offload) {
        rc = guest_seat_take(g, error, error_bytes);
    }
    rc = rc ? rc : machine_watch_start(h->libvirt, g->name, &g->watch, error, error_bytes);
    if (!rc) {
        guest_say(h, "Booting %s on q35: %u CPU%s, %u MB, %s%s", g->name, g->plan.vcpus,
                  g->plan.vcpus == 1 ? "" : "s", g->plan.memory_mb,
                  g->plan.kvm ? "hardware KVM" : "emulated (TCG: no hardware virtualisation used)",
                  g->plan.offload ? ", tensor calls to the host" : "");
        rc = start(h, g, error, error_bytes);
    }
    // Port and name are taken now, or will not be.
    close(lock);
    if (rc && g->plan.offload && g->plan.offload_folder) {
        guest_leave_tensord(g->tensord_folder, g->name);
    }
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
    free(g->model_path);
    free(g->mapped);
    free(g->image_path);
    g->domain = NULL;
    g->model_path = g->mapped = g->image_path = NULL;
}

void guest_give_up(struct guest_host *h, struct guest *g)
{
    char error[400];
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
    if (g->plan.offload || g->tensord_folder[0]) {
        guest_leave_tensord(g->tensord_folder, g->name);
    }
}
