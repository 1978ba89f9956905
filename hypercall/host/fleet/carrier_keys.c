// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A fleet's keys beside its carrier: in a file for the user alone who brought the fleet up.
#include "hypercall/host/fleet/carrier.h"
#include "hypercall/host/fleet/secrets.h"
#include "hypercall/host/machine/key.h"

#include <errno.h>
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

// Keys that nobody knows any more are made anew, once; another user's are never.
static char *make_anew(virConnectPtr c, const char *domain, const char *record, const char *path,
                       bool *unknown)
{
    char key[MACHINE_KEY], own[FLEET_PATH], why[400], *keys = NULL;
    find_internal_key(c, domain, key);
    char *whole = fleet_secrets_show(record, NULL, key[0] ? key : NULL);
    char *rest = whole ? fleet_secrets_hide(whole, path, &keys) : NULL;
    *unknown = !keys || carrier_key_path(c, domain, own, sizeof own, why, sizeof why) != 0 ||
               strcmp(own, path) != 0 || key_write(path, keys, why, sizeof why) != 0;
    free(keys);
    free(rest);
    return whole;
}

char *carrier_show(virConnectPtr c, const char *domain, const char *record, char *path,
                   size_t path_bytes, bool *unknown, char *error, size_t error_bytes)
{
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
        rc = key_read(path, domain, keys, FLEET_SECRETS_MOST_BYTES);
        whole = rc == 0         ? fleet_secrets_show(record, keys, NULL)
                : rc == -ENOENT ? make_anew(c, domain, record, path, unknown)
                                : fleet_secrets_show(record, NULL, NULL);
        *unknown = *unknown || (rc && rc != -ENOENT);
    }
    free(keys);
    if (!whole) {
        snprintf(error, error_bytes,
                 "the fleet's keys in %s are damaged: `rm` that file, then "
                 "`tessera up` with the fleet's fleet.yaml",
                 path[0] ? path : "its file");
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
