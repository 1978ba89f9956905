// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Carriers and guests of fleets on libvirt.
#include "hypercall/host/base/error.h"
#include "hypercall/host/fleet/carrier.h"
#include "hypercall/host/fleet/secrets.h"
#include "hypercall/host/machine/host.h"
#include "hypercall/host/machine/key.h"
#include "hypercall/host/machine/tensord.h"
#include "hypercall/host/machine/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <libvirt/virterror.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

static const char suffix[] = ".fleet";

// ---- one after the other -----------------------------------------------------------------------

int carrier_path(const char *kind, const char *uri, char *out, size_t out_bytes, char *error,
                 size_t error_bytes)
{
    char folder[PATH_MAX];
    uint64_t hash = 0xcbf29ce484222325u; // FNV-1a
    for (const char *c = uri; *c; c++) {
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    }
    int rc = tensord_folder(folder, sizeof folder, error, error_bytes);
    if (!rc && snprintf(out, out_bytes, "%s/%s-%08x", folder, kind,
                        (unsigned)(hash ^ hash >> 32)) >= (int)out_bytes) {
        rc = error_say(error, error_bytes, -ENAMETOOLONG, "XDG_RUNTIME_DIR is too long");
    }
    return rc;
}

int carrier_lock(const char *uri, unsigned seconds, int *lock, char *error, size_t error_bytes)
{
    char path[PATH_MAX];
    int rc = carrier_path("fleets.lock", uri, path, sizeof path, error, error_bytes);
    if (rc) {
        return rc;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return error_say(error, error_bytes, -errno, "%s: %s", path, strerror(errno));
    }
    for (unsigned i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if ((errno != EWOULDBLOCK && errno != EINTR) || i >= seconds * 50) {
            rc = errno == EWOULDBLOCK ? -ETIMEDOUT : -errno;
            close(fd);
            return error_say(
                error, error_bytes, rc,
                "another `tessera` has been changing fleets for %u seconds (it holds %s)", seconds,
                path);
        }
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    *lock = fd;
    return 0;
}

// ---- carriers ----------------------------------------------------------------------------------

// The text of the record. NULL: libvirt's error, or none can be read.
static char *read_text(virDomainPtr d)
{
    char *xml = virDomainGetMetadata(d, VIR_DOMAIN_METADATA_ELEMENT, FLEET_RECORD_NAMESPACE,
                                     VIR_DOMAIN_AFFECT_CONFIG);
    char *text = xml ? carrier_element_text(xml) : NULL;
    free(xml);
    return text;
}

static int read_domain(virDomainPtr d, struct fleet_record *out, char *error, size_t error_bytes)
{
    char why[400];
    char *xml = virDomainGetMetadata(d, VIR_DOMAIN_METADATA_ELEMENT, FLEET_RECORD_NAMESPACE,
                                     VIR_DOMAIN_AFFECT_CONFIG);
    if (!xml) {
        const virError *e = virGetLastError();
        return e && e->code == VIR_ERR_NO_DOMAIN_METADATA
                   ? error_say(error, error_bytes, -EPERM,
                               "the domain '%s' is none that `tessera` made: use virsh",
                               virDomainGetName(d))
                   : machine_say_libvirt(virDomainGetName(d), error, error_bytes);
    }
    char *text = carrier_element_text(xml);
    free(xml);
    if (!text) {
        return error_say(error, error_bytes, -EPERM,
                         "the domain '%s' carries a record of a fleet that cannot be read",
                         virDomainGetName(d));
    }
    char path[FLEET_PATH];
    bool unknown;
    char *whole = carrier_show(virDomainGetConnect(d), virDomainGetName(d), text, path, sizeof path,
                               &unknown, error, error_bytes);
    free(text);
    if (!whole) {
        return -EINVAL;
    }
    int rc = fleet_record_parse(whole, strlen(whole), out, why, sizeof why);
    free(whole);
    if (!rc) {
        memcpy(out->key_file, path, sizeof path);
        out->keys_unknown = unknown;
    }
    return rc ? error_say(error, error_bytes, rc, "the record in the domain '%s': %s",
                          virDomainGetName(d), why)
              : 0;
}

static int refuse_other(const struct fleet_record *r, char *error, size_t error_bytes)
{
    struct passwd p, *found = NULL;
    char room[4096];
    getpwuid_r((uid_t)r->owner, &p, room, sizeof room, &found);
    return error_say(
        error, error_bytes, -EACCES,
        "the fleet '%s' is another user's (%s, user id %lld), who alone can change it; give "
        "yours another name",
        r->spec.name, found ? found->pw_name : "without a name here", (long long)r->owner);
}

static int find(virConnectPtr c, const char *fleet, virDomainPtr *out, char *error,
                size_t error_bytes)
{
    char name[FLEET_NAME + sizeof suffix];
    snprintf(name, sizeof name, "%.*s%s", FLEET_NAME - 1, fleet, suffix);
    *out = virDomainLookupByName(c, name);
    if (*out) {
        return 0;
    }
    const virError *e = virGetLastError();
    return e && e->code == VIR_ERR_NO_DOMAIN
               ? error_say(error, error_bytes, -ENOENT,
                           "no fleet is named '%s' (`tessera fleets` lists them)", fleet)
               : machine_say_libvirt(name, error, error_bytes);
}

int carrier_read(virConnectPtr c, const char *fleet, struct fleet_record *out, char *error,
                 size_t error_bytes)
{
    virDomainPtr d;
    int rc = find(c, fleet, &d, error, error_bytes);
    if (rc) {
        return rc;
    }
    rc = read_domain(d, out, error, error_bytes);
    virDomainFree(d);
    if (!rc && strcmp(out->spec.name, fleet) != 0) {
        rc = error_say(error, error_bytes, -EPERM,
                       "the domain '%s%s' carries the record of another fleet, '%s'", fleet, suffix,
                       out->spec.name);
        fleet_record_free(out);
    } else if (!rc && !fleet_is_own(out)) {
        rc = refuse_other(out, error, error_bytes);
        fleet_record_free(out);
    } else if (!rc && out->keys_unknown) { // random words in their place would lock all out
        rc = -EIO;                         // with carrier_show's message
        fleet_record_free(out);
    }
    return rc;
}

int carrier_make(virConnectPtr c, const struct fleet_record *r, char *error, size_t error_bytes)
{
    char why[400];
    virDomainPtr d;
    int rc = find(c, r->spec.name, &d, error, error_bytes);
    if (rc != -ENOENT) {
        if (!rc) {
            virDomainFree(d);
            rc = error_say(error, error_bytes, -EEXIST, "a fleet or domain '%s%s' exists already",
                           r->spec.name, suffix);
        }
        return rc;
    }
    char path[FLEET_PATH], name[FLEET_NAME + sizeof suffix], *whole = fleet_record_print(r);
    snprintf(name, sizeof name, "%s%s", r->spec.name, suffix);
    rc = carrier_key_path(c, name, path, sizeof path, error, error_bytes);
    char *record = !rc && whole ? carrier_hide(name, whole, path, false, error, error_bytes) : NULL;
    char *xml = record ? carrier_xml(r->spec.name, record) : NULL;
    d = xml ? virDomainDefineXML(c, xml) : NULL;
    rc = rc        ? rc
         : !record ? -EIO
         : !xml    ? error_say(error, error_bytes, -ENOMEM, "no memory")
         : !d      ? machine_say_libvirt("the fleet cannot be defined", error, error_bytes)
                   : 0;
    free(whole);
    free(record);
    // What one that was killed had asked for may be done only now.
    if (rc == -EIO && find(c, r->spec.name, &d, why, sizeof why) == 0) {
        rc = -EEXIST;
    }
    free(xml);
    if (d) {
        virDomainFree(d);
    }
    return rc;
}

int carrier_write(virConnectPtr c, struct fleet_record *r, char *error, size_t error_bytes)
{
    virDomainPtr d;
    int rc = find(c, r->spec.name, &d, error, error_bytes);
    if (rc) {
        return rc;
    }
    r->generation++;
    struct text t = {0};
    char *whole = fleet_record_print(r);
    snprintf(error, error_bytes, "no memory");
    char *record = whole ? carrier_hide(virDomainGetName(d), whole, r->key_file, r->keys_unknown,
                                        error, error_bytes)
                         : NULL;
    free(whole);
    if (record) {
        text_add(&t, "<record>");
        text_add_escaped(&t, record);
        text_add(&t, "</record>");
    }
    if (!record) {
        rc = -EIO;
    } else if (t.failed) {
        rc = error_say(error, error_bytes, -ENOMEM, "no memory");
    } else if (virDomainSetMetadata(d, VIR_DOMAIN_METADATA_ELEMENT, t.data, "fleet",
                                    FLEET_RECORD_NAMESPACE, VIR_DOMAIN_AFFECT_CONFIG) != 0) {
        rc = machine_say_libvirt("the fleet's record", error, error_bytes);
    }
    free(record);
    free(t.data);
    virDomainFree(d);
    return rc;
}

int carrier_remove(virConnectPtr c, const char *fleet, char *error, size_t error_bytes)
{
    virDomainPtr d;
    int rc = find(c, fleet, &d, error, error_bytes);
    if (rc) {
        return rc;
    }
    if (virDomainIsActive(d) == 1) { // somebody started it by hand
        virDomainDestroy(d);
    }
    char path[FLEET_PATH] = "";
    char *text = read_text(d);
    fleet_secrets_path(text ? text : "", path, sizeof path);
    free(text);
    rc = virDomainUndefine(d) == 0 ? 0 : machine_say_libvirt(fleet, error, error_bytes);
    if (!rc) {
        key_forget(path, virDomainGetName(d));
    }
    virDomainFree(d);
    return rc;
}

// ---- lists -------------------------------------------------------------------------------------

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// A record that cannot be read is told of rather than passed over.
static bool is_others(virDomainPtr d)
{
    char unused[400];
    struct fleet_record r;
    bool others = read_domain(d, &r, unused, sizeof unused) == 0;
    if (others) {
        others = !fleet_is_own(&r);
        fleet_record_free(&r);
    }
    return others;
}

int carrier_list(virConnectPtr c, char ***names, size_t *count, char *error, size_t error_bytes)
{
    virDomainPtr *domains = NULL;
    int n = virConnectListAllDomains(c, &domains, VIR_CONNECT_LIST_DOMAINS_PERSISTENT);
    if (n < 0) {
        return machine_say_libvirt("listing fleets", error, error_bytes);
    }
    *count = 0;
    *names = calloc((size_t)n + 1, sizeof **names);
    int rc = *names ? 0 : error_say(error, error_bytes, -ENOMEM, "no memory");
    for (int i = 0; i < n; i++) {
        const char *name = virDomainGetName(domains[i]), *end = strrchr(name, '.');
        if (!rc && end && strcmp(end, suffix) == 0) {
            char *xml = virDomainGetMetadata(domains[i], VIR_DOMAIN_METADATA_ELEMENT,
                                             FLEET_RECORD_NAMESPACE, VIR_DOMAIN_AFFECT_CONFIG);
            if (xml && !is_others(domains[i])) {
                (*names)[*count] = strndup(name, (size_t)(end - name));
                *count += (*names)[*count] != NULL;
            }
            free(xml);
        }
        virDomainFree(domains[i]);
    }
    free(domains);
    if (!rc) {
        qsort(*names, *count, sizeof **names, compare_names);
    }
    return rc;
}

static int compare_guests(const void *a, const void *b)
{
    return strcmp(((const struct carrier_guest *)a)->name, ((const struct carrier_guest *)b)->name);
}

// 0: not one of a fleet's.
static bool read_guest(virDomainPtr d, const char *fleet, struct carrier_guest *g)
{
    int state = VIR_DOMAIN_NOSTATE, reason;
    char own[16];
    snprintf(own, sizeof own, "%u", (unsigned)getuid());
    char *xml = virDomainGetMetadata(d, VIR_DOMAIN_METADATA_ELEMENT, MACHINE_NAMESPACE, 0);
    bool found = xml && machine_facts_parse(xml, &g->facts) == 0 && g->facts.fleet[0] &&
                 (!g->facts.owner[0] || strcmp(g->facts.owner, own) == 0) &&
                 (!fleet || strcmp(g->facts.fleet, fleet) == 0) &&
                 virDomainGetState(d, &state, &reason, 0) == 0;
    free(xml);
    snprintf(g->name, sizeof g->name, "%s", virDomainGetName(d));
    g->active = state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_PAUSED ||
                state == VIR_DOMAIN_BLOCKED || state == VIR_DOMAIN_SHUTDOWN ||
                state == VIR_DOMAIN_PMSUSPENDED || state == VIR_DOMAIN_CRASHED;
    g->paused = state == VIR_DOMAIN_PAUSED;
    g->crashed = state == VIR_DOMAIN_CRASHED;
    return found;
}

int carrier_guests(virConnectPtr c, const char *fleet, struct carrier_guest **out, size_t *count,
                   char *error, size_t error_bytes)
{
    virDomainPtr *domains = NULL;
    *out = NULL;
    *count = 0;
    int n = virConnectListAllDomains(c, &domains, 0);
    if (n < 0) {
        return machine_say_libvirt("listing guests", error, error_bytes);
    }
    struct carrier_guest *list = calloc((size_t)n + 1, sizeof *list);
    for (int i = 0; i < n; i++) {
        if (list && read_guest(domains[i], fleet, &list[*count])) {
            list[(*count)++].domain = domains[i];
        } else {
            virDomainFree(domains[i]);
        }
    }
    free(domains);
    if (!list) {
        return error_say(error, error_bytes, -ENOMEM, "no memory");
    }
    qsort(list, *count, sizeof *list, compare_guests);
    *out = list;
    return 0;
}

void carrier_guests_free(struct carrier_guest *guests, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        virDomainFree(guests[i].domain);
    }
    free(guests);
}
