// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Where a fleet serves: of its record (../fleet/record.h) only the endpoint is read, so that a
// later version's other fields are no hindrance.
#include "hypercall/host/view/fleets.h"

#include "hypercall/host/fleet/secrets.h"
#include "hypercall/host/machine/key.h"
#include "hypercall/host/machine/text.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_NAMESPACE "urn:tessera:fleet:1"

// A key file's first key.
static void read_key(const char *path, char *key, size_t key_bytes)
{
    FILE *f = fopen(path, "re");
    char line[512];
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = 0;
        if (line[0] && line[0] != '#') {
            snprintf(key, key_bytes, "%s", line);
            break;
        }
    }
    if (f) {
        fclose(f);
    }
}

int view_fleet_record(const char *json, char *url, size_t url_bytes, char *key, size_t key_bytes)
{
    json_t *record = json_loads(json, 0, NULL);
    const json_t *endpoint = json_object_get(json_object_get(record, "spec"), "endpoint");
    const char *listen = json_string_value(json_object_get(endpoint, "listen"));
    const json_t *keys = json_object_get(endpoint, "keys");
    const char *first = json_string_value(json_array_get(keys, 0));
    const char *file = json_string_value(keys);
    bool tls = json_is_object(json_object_get(endpoint, "tls"));
    int rc = listen && listen[0] ? 0 : -EPROTO;
    url[0] = key[0] = 0;
    if (!rc) {
        const char *port = strrchr(listen, ':');
        bool any = strncmp(listen, "0.0.0.0:", 8) == 0 || strncmp(listen, "[::]:", 5) == 0;
        snprintf(url, url_bytes, "%s://%s", tls ? "https" : "http",
                 any && port ? "127.0.0.1" : listen);
        if (any && port) {
            snprintf(url + strlen(url), url_bytes - strlen(url), "%s", port);
        }
        for (char *c = url; *c; c++) {
            rc = *c <= 0x20 || *c >= 0x7f ? -EPROTO : rc;
        }
        if (first) {
            snprintf(key, key_bytes, "%s", first);
        } else if (file) {
            read_key(file, key, key_bytes);
        }
    }
    json_decref(record);
    return rc;
}

// The first of the keys that fleet.yaml lists: the second line of the fleet's own
// (../fleet/secrets.h).
static void read_listed_key(const char *record, const char *domain, char *key, size_t key_bytes)
{
    char path[1024], *keys = malloc(FLEET_SECRETS_MOST_BYTES);
    if (keys && fleet_secrets_path(record, path, sizeof path) == 0 &&
        key_read(path, domain, keys, FLEET_SECRETS_MOST_BYTES) == 0) {
        const char *line = strchr(keys, '\n');
        snprintf(key, key_bytes, "%.*s", line ? (int)strcspn(line + 1, "\n") : 0,
                 line ? line + 1 : "");
    }
    free(keys);
}

int view_fleet_url(virConnectPtr c, const char *fleet, char *url, size_t url_bytes, char *key,
                   size_t key_bytes)
{
    char name[80];
    snprintf(name, sizeof name, "%.60s.fleet", fleet);
    virDomainPtr d = virDomainLookupByName(c, name);
    char *xml =
        d ? virDomainGetMetadata(d, VIR_DOMAIN_METADATA_ELEMENT, RECORD_NAMESPACE, 0) : NULL;
    char *text = xml ? strchr(xml, '>') : NULL, *end = text ? strrchr(text, '<') : NULL;
    int rc = xml ? -EPROTO : -ENOENT;
    if (text && end) {
        size_t bytes = (size_t)(end - text) - 1;
        char *record = malloc(bytes + 1);
        if (record && text_unescape(text + 1, bytes, record, bytes + 1) == 0) {
            rc = view_fleet_record(record, url, url_bytes, key, key_bytes);
            if (!rc && !key[0]) {
                read_listed_key(record, name, key, key_bytes);
            }
        }
        free(record);
    }
    free(xml);
    if (d) {
        virDomainFree(d);
    }
    return rc;
}
