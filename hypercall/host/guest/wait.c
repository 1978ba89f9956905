// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Waiting until a guest serves, or says why it does not.
#include "hypercall/host/guest/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// What became of it, 0: nothing yet.
static int look_at_domain(struct guest_host *h, struct guest *g, char *error, size_t error_bytes)
{
    char why[400];
    enum machine_end end = machine_watch_look(&g->watch);
    if (end != MACHINE_RUNS) {
        return guest_refuse(error, error_bytes, -ESHUTDOWN, "the guest %s before it served",
                            end == MACHINE_CRASHED       ? "crashed"
                            : end == MACHINE_POWERED_OFF ? "powered off"
                                                         : "was destroyed");
    }
    if (virConnectIsAlive(h->libvirt) == 1) {
        return 0;
    }
    // Its daemon was restarted; the guest goes on without.
    g->watch.callback = -1;
    if (g->domain) {
        virDomainFree(g->domain);
        g->domain = NULL;
    }
    if (guest_host_reopen(h, why, sizeof why) != 0) {
        return 0; // not known
    }
    g->domain = virDomainLookupByName(h->libvirt, g->name);
    if (!g->domain || virDomainIsActive(g->domain) != 1) {
        return guest_refuse(error, error_bytes, -ESHUTDOWN,
                            "the guest is gone, and so was libvirt's daemon: it cannot say why");
    }
    machine_watch_start(h->libvirt, g->name, &g->watch, why, sizeof why);
    return 0;
}

static int ask(struct endpoint *e, int *http, char *error, size_t error_bytes)
{
    const char *body = "";
    char why[300];
    *http = endpoint_get(e, "/health", &body);
    if (*http != 503) {
        return 0;
    }
    endpoint_message(body, why, sizeof why);
    // A guest that cannot serve this model stays and says so.
    return strcmp(why, "Loading model") == 0
               ? 0
               : guest_refuse(error, error_bytes, -ENOEXEC, "the guest cannot serve this model: %s",
                              why);
}

int guest_wait(struct guest_host *h, struct guest *g, uint32_t seconds, const volatile int *hurry,
               char *error, size_t error_bytes)
{
    struct machine_facts facts;
    uint64_t until = guest_now_ms() + seconds * 1000ull;
    int http = 0, rc = 0;
    bool told = false;
    long pause_ms =
        1; // most guests serve within a tenth of a second; who waits long is not in a hurry
    while (!hurry || !*hurry) {
        if (!g->url[0] && g->domain) { // an address by a lease comes when the guest asks for it
            char *xml =
                virDomainGetMetadata(g->domain, VIR_DOMAIN_METADATA_ELEMENT, MACHINE_NAMESPACE, 0);
            if (xml && machine_facts_parse(xml, &facts) == 0) {
                guest_url(g->domain, &facts, g->url, sizeof g->url);
            }
            free(xml);
        }
        if (g->url[0] && !g->endpoint) {
            g->endpoint = endpoint_new(g->url, g->plan.key);
            if (!g->endpoint) {
                rc = guest_refuse(error, error_bytes, -ENOMEM, "no memory");
                goto out;
            }
        }
        if (!told && g->url[0]) {
            guest_say(h, "Waiting for %s/health", g->url);
            told = true;
        }
        rc = g->endpoint ? ask(g->endpoint, &http, error, error_bytes) : 0;
        if (rc || http == 200) {
            goto out;
        }
        rc = look_at_domain(h, g, error, error_bytes);
        if (rc) {
            goto out;
        }
        // Where it is not reached from here, its console tells.
        if (h->is_remote && http <= 0 && (rc = guest_is_ready_remote(h, g->name))) {
            rc = rc > 0 ? 0
                        : guest_refuse(error, error_bytes, rc, "the guest cannot serve this model");
            goto out;
        }
        if (guest_now_ms() > until) {
            rc = http > 0 ? guest_refuse(error, error_bytes, -ETIMEDOUT,
                                         "the guest is not ready after %u seconds: /health says %d "
                                         "(--timeout waits longer)",
                                         seconds, http)
                 : g->url[0]
                     ? guest_refuse(error, error_bytes, -ETIMEDOUT,
                                    "the guest does not answer after %u seconds (--timeout "
                                    "waits longer)",
                                    seconds)
                     : guest_refuse(error, error_bytes, -ETIMEDOUT,
                                    "the guest got no address in its network within %u seconds",
                                    seconds);
            goto out;
        }
        guest_sleep_ms(h->is_remote ? 200 : pause_ms);
        pause_ms = pause_ms < 32 ? 2 * pause_ms : pause_ms;
    }
    rc = guest_refuse(error, error_bytes, -EINTR, "interrupted; the guest is ended");
out:
    return rc;
}
