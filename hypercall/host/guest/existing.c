// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Guests that exist: found, started again, stopped, removed.
#include "hypercall/host/guest/private.h"
#include "hypercall/host/machine/console.h"
#include "hypercall/host/machine/key.h"
#include "hypercall/host/machine/record.h"
#include "hypercall/host/machine/text.h"
#include "hypercall/host/remote/remote.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The first IPv4 address of an interface that a source of libvirt's knows.
static bool find_address(virDomainPtr domain, unsigned source, char *out, size_t out_bytes)
{
    virDomainInterfacePtr *list = NULL;
    int n = virDomainInterfaceAddresses(domain, &list, source, 0);
    bool found = false;
    for (int i = 0; i < n; i++) {
        for (unsigned j = 0; j < list[i]->naddrs && !found; j++) {
            if (list[i]->addrs[j].type == VIR_IP_ADDR_TYPE_IPV4 &&
                strncmp(list[i]->addrs[j].addr, "127.", 4) != 0) {
                snprintf(out, out_bytes, "%s", list[i]->addrs[j].addr);
                found = true;
            }
        }
        virDomainInterfaceFree(list[i]);
    }
    free(list);
    return found;
}

// A port of the machine that the guest runs on.
static int user_url(virDomainPtr domain, const struct machine_facts *facts, char *url,
                    size_t url_bytes)
{
    struct remote_machine there = {0};
    char *uri = virConnectGetURI(virDomainGetConnect(domain));
    if (uri) {
        remote_machine_of(uri, &there);
    }
    free(uri);
    const char *listen = facts->listen[0] ? facts->listen : "127.0.0.1";
    if (there.host[0] && endpoint_is_loopback(listen)) {
        return -EHOSTUNREACH;
    }
    bool any = strcmp(listen, "0.0.0.0") == 0, six = strchr(there.host, ':') != NULL;
    snprintf(url, url_bytes, "http://%s%s%s:%u", any && six ? "[" : "",
             !any            ? listen
             : there.host[0] ? there.host
                             : "127.0.0.1",
             any && six ? "]" : "", facts->port);
    return 0;
}

int guest_url(virDomainPtr domain, const struct machine_facts *facts, char *url, size_t url_bytes)
{
    char address[64];
    url[0] = 0;
    if (!facts->network[0]) {
        return facts->port ? user_url(domain, facts, url, url_bytes) : -EAGAIN;
    }
    if (find_address(domain, VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE, address, sizeof address) ||
        find_address(domain, VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP, address, sizeof address)) {
        if (facts->guest_port && facts->guest_port != 80) {
            snprintf(url, url_bytes, "http://%s:%u", address, facts->guest_port);
        } else {
            snprintf(url, url_bytes, "http://%s", address);
        }
        return 0;
    }
    return -EAGAIN;
}

int guest_find(struct guest_host *h, const char *name, struct guest *g, struct machine_facts *facts,
               char *error, size_t error_bytes)
{
    *g = (struct guest){.watch.callback = -1};
    int rc = machine_find(h->libvirt, name, &g->domain, facts, error, error_bytes);
    if (rc) {
        return rc;
    }
    snprintf(g->name, sizeof g->name, "%s", name);
    snprintf(g->console_log, sizeof g->console_log, "%s", facts->console_log);
    snprintf(g->tensord_folder, sizeof g->tensord_folder, "%s", facts->offload_folder);
    snprintf(g->identity, sizeof g->identity, "%.*s", WEIGHTS_TEXT - 1, facts->identity);
    g->plan.name = g->name;
    g->plan.port = facts->port;
    g->persistent = virDomainIsPersistent(g->domain) == 1;
    guest_url(g->domain, facts, g->url, sizeof g->url);
    guest_take_key(g->domain, facts);
    return 0;
}

bool guest_is_paused(virDomainPtr domain)
{
    int state = VIR_DOMAIN_NOSTATE, reason;
    return virDomainGetState(domain, &state, &reason, 0) == 0 && state == VIR_DOMAIN_PAUSED;
}

// ---- start -------------------------------------------------------------------------------------

// text with every `from` in it as `to`; the caller frees.
static char *replaced(const char *text, const char *from, const char *to)
{
    struct text out = {0};
    for (const char *at; (at = strstr(text, from)); text = at + strlen(from)) {
        text_add(&out, "%.*s%s", (int)(at - text), text, to);
    }
    text_add(&out, "%s", text);
    if (out.failed) {
        free(out.data);
        return NULL;
    }
    return out.data;
}

// The port is in the command line of QEMU and in our own element.
static int move_port(struct guest_host *h, struct guest *g, struct machine_facts *facts,
                     uint32_t port, char *error, size_t error_bytes)
{
    char from[128], to[128];
    char *xml = virDomainGetXMLDesc(g->domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
    const char *listen = facts->listen[0] ? facts->listen : "127.0.0.1";
    snprintf(from, sizeof from, "hostfwd=tcp:%s:%u-:", listen, facts->port);
    snprintf(to, sizeof to, "hostfwd=tcp:%s:%u-:", listen, port);
    char *half = xml ? replaced(xml, from, to) : NULL;
    snprintf(from, sizeof from, ":port>%u<", facts->port);
    snprintf(to, sizeof to, ":port>%u<", port);
    char *whole = half ? replaced(half, from, to) : NULL;
    virDomainPtr moved = whole ? virDomainDefineXML(h->libvirt, whole) : NULL;
    int rc = moved ? 0 : machine_say_libvirt("moving the guest's port", error, error_bytes);
    free(xml);
    free(half);
    free(whole);
    if (moved) {
        virDomainFree(g->domain);
        g->domain = moved;
        facts->port = g->plan.port = port;
        guest_url(g->domain, facts, g->url, sizeof g->url);
    }
    return rc;
}

static int take_port(struct guest_host *h, struct guest *g, struct machine_facts *facts,
                     uint32_t port, int claims, char *error, size_t error_bytes)
{
    if (facts->network[0]) {
        return port ? guest_refuse(error, error_bytes, -EINVAL,
                                   "--port: '%s' has an address of its own in '%s'", g->name,
                                   facts->network)
                    : 0;
    }
    const char *listen = facts->listen[0] ? facts->listen : NULL;
    uint32_t wanted = port ? port : facts->port;
    // Another machine's ports cannot be tried from here: libvirt will say.
    if (!h->is_remote &&
        (!guest_claim_port(claims, wanted) || !endpoint_port_is_free(listen, wanted))) {
        return guest_refuse(error, error_bytes, -EADDRINUSE,
                            "port %u is in use on this machine; the next free one is %u: "
                            "--port %u moves the guest there",
                            wanted, endpoint_next_port(listen, wanted),
                            endpoint_next_port(listen, wanted));
    }
    return wanted == facts->port ? 0 : move_port(h, g, facts, wanted, error, error_bytes);
}

static int check_files(const struct machine_facts *facts, char *error, size_t error_bytes)
{
    if (facts->mapped[0] && access(facts->mapped, R_OK) != 0) {
        return guest_refuse(error, error_bytes, -errno,
                            "the guest's weights %s: %s (of the model %s)", facts->mapped,
                            strerror(errno), facts->model);
    }
    // QEMU would refuse to start, in words of its own.
    if (facts->key_file[0] && access(facts->key_file, R_OK) != 0) {
        return guest_refuse(error, error_bytes, -errno,
                            "the file of the guest's key %s: %s; write the key into it anew, for "
                            "its owner alone (mode 600), or `tessera rm` the guest",
                            facts->key_file, strerror(errno));
    }
    return 0;
}

static int take_seat(struct guest_host *h, struct guest *g, const struct machine_facts *facts,
                     char *error, size_t error_bytes)
{
    g->plan.mapped = facts->mapped;
    g->plan.identity = g->identity;
    g->plan.region_mb = facts->region_mb;
    g->plan.offload_weight = facts->offload_weight;
    g->plan.offload = facts->offload;
    int rc = guest_find_reader(h, g, error, error_bytes);
    rc = rc ? rc : guest_seat_model(h, g, error, error_bytes);
    return rc ? rc : guest_seat_take(g, error, error_bytes);
}

// What a start takes, under the lock. Port and name stay claimed by this run until it runs.
static int prepare(struct guest_host *h, struct guest *g, struct machine_facts *facts,
                   uint32_t port, enum guest_from from, int claims, char *error, size_t error_bytes)
{
    char unused[400], path[PATH_MAX];
    if (virDomainIsActive(g->domain) == 1) {
        return guest_refuse(error, error_bytes, -EALREADY,
                            guest_is_paused(g->domain)
                                ? "'%s' is paused: `virsh resume %s` lets it go on"
                                : "'%s' runs already",
                            g->name, g->name);
    }
    if (!guest_claim_name(claims, g->name)) {
        return guest_refuse(error, error_bytes, -EALREADY, "'%s' is being started by another run",
                            g->name);
    }
    int rc = h->is_remote ? guest_prepare_remote(h, facts, g->name, error, error_bytes)
                          : check_files(facts, error, error_bytes);
    if (!rc && !h->is_remote && facts->key_file[0]) {
        rc = guest_give_key(h, g, facts, error, error_bytes);
    }
    if (!rc && port && port != facts->port && from != GUEST_FROM_BOOT &&
        virDomainHasManagedSaveImage(g->domain, 0) == 1) {
        rc = guest_refuse(error, error_bytes, -EINVAL,
                          "--port: '%s' is suspended with port %u (`tessera start --cold` drops "
                          "that state)",
                          g->name, facts->port);
    }
    rc = rc ? rc : take_port(h, g, facts, port, claims, error, error_bytes);
    rc = rc ? rc : guest_choose_origin(h, g, facts, from, error, error_bytes);
    if (rc) {
        return rc;
    }
    // A new life has a new log; one that was suspended goes on with its own.
    if (!h->is_remote && g->from != GUEST_FROM_SUSPENDED) {
        console_log_path(g->name, 1, path, sizeof path, unused, sizeof unused);
    }
    return 0;
}

static int start_found(struct guest_host *h, struct guest *g, const struct machine_facts *facts,
                       enum guest_from from, char *error, size_t error_bytes)
{
    int rc = machine_watch_start(h->libvirt, g->name, &g->watch, error, error_bytes);
    guest_say(h, g->from == GUEST_FROM_BOOT ? "Starting %s" : "Starting %s %s", g->name,
              guest_from_name(g->from));
    rc = rc ? rc : guest_launch(h, g, from, error, error_bytes);
    if (rc && guest_port_was_taken(error)) {
        rc = guest_refuse(error, error_bytes, -EADDRINUSE,
                          "port %u is in use on the guest's machine: --port N moves the guest",
                          facts->port);
    }
    if (rc && facts->offload[0]) {
        guest_leave_tensord(g->tensord_folder, g->name);
    }
    return rc;
}

int guest_start(struct guest_host *h, const char *name, uint32_t port, struct guest *g, char *error,
                size_t error_bytes)
{
    return guest_start_from(h, name, port, GUEST_FROM_ANY, g, error, error_bytes);
}

int guest_start_from(struct guest_host *h, const char *name, uint32_t port, enum guest_from from,
                     struct guest *g, char *error, size_t error_bytes)
{
    struct machine_facts facts;
    *g = (struct guest){.watch.callback = -1};
    int claims = guest_claims_open(error, error_bytes);
    int lock = claims < 0 ? claims : guest_lock(error, error_bytes);
    if (lock < 0) {
        if (claims >= 0) {
            close(claims);
        }
        return lock;
    }
    int rc = guest_find(h, name, g, &facts, error, error_bytes);
    rc = rc ? rc : prepare(h, g, &facts, port, from, claims, error, error_bytes);
    close(lock);
    if (!rc && facts.offload[0]) { // tensord may take long to open the model; the name is claimed
        rc = take_seat(h, g, &facts, error, error_bytes);
    }
    rc = rc ? rc : start_found(h, g, &facts, from, error, error_bytes);
    close(claims);
    // The texts end with this function.
    g->plan.mapped = g->plan.identity = g->plan.offload = NULL;
    return rc;
}

// ---- stop and remove ---------------------------------------------------------------------------

static bool has_left(struct guest_host *h, const char *name, const unsigned char *uuid)
{
    for (int attempt = 0; attempt < 20; attempt++) {
        unsigned char now[VIR_UUID_BUFLEN];
        virDomainPtr d = virDomainLookupByName(h->libvirt, name);
        if (!d) {
            const virError *e = virGetLastError();
            return e && e->code == VIR_ERR_NO_DOMAIN;
        }
        bool other = virDomainGetUUID(d, now) != 0 || memcmp(now, uuid, sizeof now) != 0;
        virDomainFree(d);
        if (other) {
            return false;
        }
        guest_sleep_ms(100); // libvirt tells of the end a moment before the guest is gone
    }
    return false;
}

// A guest of a run in the foreground has ended: its files go, unless another has the name by now,
// or is being made. What is left then, `doctor` finds.
static void forget_ended(struct guest_host *h, const char *name, const unsigned char *uuid,
                         struct guest *g, const char *key_file)
{
    char unused[300];
    int claims = guest_claims_open(unused, sizeof unused);
    if (claims < 0) {
        return;
    }
    if (h->libvirt && guest_claim_name(claims, name) && has_left(h, name, uuid)) {
        if (h->is_remote) {
            guest_forget_remote(h, name);
        } else if (g) {
            guest_forget_files(g);
        } else {
            key_forget(key_file, name);
        }
    }
    close(claims);
}

void guest_forget_ended(struct guest_host *h, struct guest *g, const unsigned char *uuid)
{
    char unused[400];
    if (guest_host_reopen(h, unused, sizeof unused) == 0) {
        forget_ended(h, g->name, uuid, g, NULL);
    }
}

int guest_stop(struct guest_host *h, const char *name, unsigned seconds, const volatile int *hurry,
               bool *in_order, char *error, size_t error_bytes)
{
    char why[400];
    virDomainPtr d;
    struct machine_facts facts;
    int rc = machine_find(h->libvirt, name, &d, &facts, error, error_bytes);
    if (rc) {
        return rc;
    }
    unsigned char uuid[VIR_UUID_BUFLEN];
    bool stays = virDomainIsPersistent(d) != 0; // or is not known
    stays = virDomainGetUUID(d, uuid) != 0 || stays;
    rc = machine_stop(d, seconds, hurry, in_order, why, sizeof why);
    virDomainFree(d);
    if (!rc && !stays) { // of a run in the foreground, which may have been killed
        forget_ended(h, name, uuid, NULL, facts.key_file);
    }
    if (rc) {
        return guest_refuse(error, error_bytes, rc, "%s: %s", name, why);
    }
    if (facts.offload[0]) {
        guest_leave_tensord(facts.offload_folder, name);
    }
    return 0;
}

static int remove_claimed(struct guest_host *h, const char *name, char *error, size_t error_bytes)
{
    virDomainPtr d;
    struct machine_facts facts;
    int rc = machine_find(h->libvirt, name, &d, &facts, error, error_bytes);
    if (rc) {
        return rc;
    }
    if (virDomainIsActive(d) == 1) {
        rc = guest_refuse(error, error_bytes, -EBUSY,
                          "'%s' runs: `tessera stop %s` first, or `tessera rm --force %s`", name,
                          name, name);
    } else if (virDomainUndefineFlags(d, VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
                                             VIR_DOMAIN_UNDEFINE_NVRAM) != 0) {
        const virError *e = virGetLastError();
        if (!e || e->code != VIR_ERR_NO_DOMAIN) {
            rc = machine_say_libvirt(name, error, error_bytes);
        }
    }
    virDomainFree(d);
    if (rc) {
        return rc;
    }
    if (facts.offload[0]) {
        guest_leave_tensord(facts.offload_folder, name);
    }
    if (h->is_remote) {
        guest_forget_remote(h, name);
        return 0;
    }
    record_forget(name);
    key_forget(facts.key_file, name);
    // Only where we put it: whoever may define domains may have written another path.
    char log[PATH_MAX], unused[200];
    if (console_log_path(name, 0, log, sizeof log, unused, sizeof unused) == 0) {
        unlink(log);
    }
    return 0;
}

int guest_remove(struct guest_host *h, const char *name, char *error, size_t error_bytes)
{
    int claims = guest_claims_open(error, error_bytes);
    if (claims < 0) {
        return claims;
    }
    int rc = guest_claim_name(claims, name)
                 ? remove_claimed(h, name, error, error_bytes)
                 : guest_refuse(error, error_bytes, -EBUSY, "'%s' is being started by another run",
                                name);
    close(claims);
    return rc;
}
