// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A fleet's keys beside its carrier: in a file for the user alone who brought the fleet up.
#include "hypercall/host/fleet/carrier.h"
#include "hypercall/host/fleet/secrets.h"
#include "hypercall/host/machine/key.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

int carrier_key_path(virConnectPtr c, const char *domain, char *out, size_t out_bytes, char *error,
                     size_t error_bytes)
{
    char *uri = virConnectGetURI(c);
    int rc = key_path(domain, uri ? uri : "", out, out_bytes, error, error_bytes);
    free(uri);
    return rc;
}

// The guests have it in files of their own.
static void find_internal_key(virConnectPtr c, const char *domain, char out[MACHINE_KEY])
{
    char fleet[FLEET_NAME], unused[300];
    struct carrier_guest *guests;
    size_t count;
    snprintf(fleet, sizeof fleet, "%.*s", (int)strcspn(domain, "."), domain);
    out[0] = 0;
    if (carrier_guests(c, fleet, &guests, &count, unused, sizeof unused) != 0) {
        return;
    }
    for (size_t i = 0; i < count && !out[0]; i++) {
        key_take(guests[i].name, &guests[i].facts);
        snprintf(out, MACHINE_KEY, "%s", guests[i].facts.key);
    }
    carrier_guests_free(guests, count);
}

static bool is_own(const char *record)
{
    char unused[300];
    struct fleet_record r;
    char *whole = fleet_secrets_show(record, NULL, NULL);
    bool own = whole && fleet_record_parse(whole, strlen(whole), &r, unused, sizeof unused) == 0;
    if (own) {
        own = fleet_is_own(&r);
        fleet_record_free(&r);
    }
    free(whole);
    return own;
}

// `down` may have ended meanwhile: nobody else would remove the file.
static void forget_if_gone(virConnectPtr c, const char *domain, const char *path)
{
    virDomainPtr d = virDomainLookupByName(c, domain);
    const virError *e = d ? NULL : virGetLastError();
    if (d) {
        virDomainFree(d);
    } else if (e && e->code == VIR_ERR_NO_DOMAIN) {
        key_forget(path, domain);
    }
}

// Keys that nobody knows any more are made anew, once.
static int make_anew(virConnectPtr c, const char *domain, const char *record, const char *path,
                     char *keys, char *why, size_t why_bytes)
{
    char key[MACHINE_KEY], *made = NULL;
    find_internal_key(c, domain, key);
    char *whole = fleet_secrets_show(record, NULL, key[0] ? key : NULL);
    char *rest = whole ? fleet_secrets_hide(whole, path, &made) : NULL;
    int rc = made ? key_write(path, made, why, why_bytes) : -ENOMEM;
    if (!rc) {
        snprintf(keys, FLEET_SECRETS_MOST_BYTES, "%s", made);
        forget_if_gone(c, domain, path);
    } else if (!made) {
        snprintf(why, why_bytes, "no memory");
    }
    free(made);
    free(rest);
    free(whole);
    return rc;
}

// -EPERM: they are another user's, which is no error.
static int read_keys(virConnectPtr c, const char *domain, const char *record, char *path,
                     size_t path_bytes, char *keys, char *why, size_t why_bytes)
{
    char here[FLEET_PATH];
    int rc = key_read(path, domain, keys, FLEET_SECRETS_MOST_BYTES);
    if (rc && !is_own(record)) {
        return -EPERM;
    }
    // The user's folders may be others by now.
    if (rc == -ENOENT && carrier_key_path(c, domain, here, sizeof here, why, why_bytes) == 0) {
        snprintf(path, path_bytes, "%s", here);
        rc = key_read(path, domain, keys, FLEET_SECRETS_MOST_BYTES);
    }
    if (rc == -ENOENT) {
        return make_anew(c, domain, record, path, keys, why, why_bytes);
    }
    if (rc) {
        snprintf(why, why_bytes, "%s: %s", path,
                 rc == -EPERM ? "it is no plain file of this user's" : strerror(-rc));
    }
    return rc;
}

char *carrier_show(virConnectPtr c, const char *domain, const char *record, char *path,
                   size_t path_bytes, bool *unknown, char *error, size_t error_bytes)
{
    char why[400] = "";
    int rc = fleet_secrets_path(record, path, path_bytes);
    char *keys = malloc(FLEET_SECRETS_MOST_BYTES), *whole = NULL;
    *unknown = false;
    if (rc) { // no record: who parses it says so
        free(keys);
        return strdup(record);
    }
    if (keys && !path[0]) { // of an earlier version: the next change moves them
        rc = carrier_key_path(c, domain, path, path_bytes, error, error_bytes);
        free(keys);
        return rc ? NULL : strdup(record);
    }
    if (keys) {
        rc = read_keys(c, domain, record, path, path_bytes, keys, why, sizeof why);
        *unknown = rc != 0;
        whole = fleet_secrets_show(record, rc ? NULL : keys, NULL);
    }
    free(keys);
    if (!whole) {
        snprintf(error, error_bytes,
                 "the fleet's keys in %s are damaged: `rm` that file, then "
                 "`tessera up` with the fleet's fleet.yaml",
                 path[0] ? path : "its file");
    } else if (*unknown) {
        snprintf(error, error_bytes,
                 "the fleet's keys cannot be read (%s): mend that, or remove the file, then "
                 "`tessera up` with the fleet's fleet.yaml",
                 why);
    }
    return whole;
}

char *carrier_hide(const char *domain, const char *record, const char *path, bool unknown,
                   char *error, size_t error_bytes)
{
    char *keys, *rest = fleet_secrets_hide(record, path, &keys);
    char *now = malloc(FLEET_SECRETS_MOST_BYTES);
    snprintf(error, error_bytes, "no memory");
    bool same =
        unknown || (rest && now && key_read(path, domain, now, FLEET_SECRETS_MOST_BYTES) == 0 &&
                    strcmp(now, keys) == 0);
    if (!now || (rest && !same && key_write(path, keys, error, error_bytes) != 0)) {
        free(rest);
        rest = NULL;
    }
    free(now);
    free(keys);
    return rest;
}
