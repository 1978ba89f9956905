// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The texts of all files of an endpoint, those of keys and TLS included.
#include "hypercall/host/fleet/proxy_private.h"

#include "hypercall/host/base/error.h"
#include "hypercall/host/base/files.h"
#include "hypercall/host/base/hex.h"
#include "hypercall/host/base/sha256.h"
#include "hypercall/host/machine/machine.h"

#include <errno.h>
#include <mbedtls/sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FILE = 1 << 20 };

static int read_file(const char *path, char **out, size_t *bytes, char *error, size_t error_bytes)
{
    int rc = file_load(path, MOST_FILE, out, bytes);
    return rc ? error_say(error, error_bytes, rc, "%s: %s", path,
                          rc == -EFBIG ? "has more than 1 MB" : strerror(-rc))
              : 0;
}

// ---- keys --------------------------------------------------------------------------------------

static void add_key(struct text *t, const char *key)
{
    char hex[65];
    sha256_bytes_text(key, strlen(key), hex);
    text_add(t, "%s\n", hex);
}

// One key a line; empty lines and those that begin with '#' are none.
static int add_key_file(const char *path, struct text *t, char *error, size_t error_bytes)
{
    char *text, *at, *line;
    size_t bytes, number = 0, keys = 0;
    int rc = read_file(path, &text, &bytes, error, error_bytes);
    if (rc) {
        return rc;
    }
    if (strlen(text) != bytes) {
        rc = error_say(error, error_bytes, -EINVAL, "%s: is no text", path);
    }
    for (at = text; rc == 0 && (line = strsep(&at, "\n"));) {
        number++;
        line += strspn(line, " \t\r");
        size_t n = strlen(line);
        while (n && strchr(" \t\r", line[n - 1])) {
            line[--n] = 0;
        }
        if (n == 0 || line[0] == '#') {
            continue;
        }
        if (n >= FLEET_WORD || !machine_word_is_valid(line)) {
            rc = error_say(
                error, error_bytes, -EINVAL,
                "%s:%zu: a key must be printable ASCII without blanks and quotes, at most %d "
                "characters",
                path, number, FLEET_WORD - 1);
            break;
        }
        add_key(t, line);
        keys++;
    }
    free(text);
    if (rc == 0 && keys == 0) {
        rc = error_say(error, error_bytes, -EINVAL,
                       "%s: has no key; write one a line, or take `keys:` out of fleet.yaml", path);
    }
    return rc;
}

// ---- TLS ---------------------------------------------------------------------------------------

static int add_pem(const char *path, const char *begins, const char *what, struct text *t,
                   char *error, size_t error_bytes)
{
    char *text;
    size_t bytes;
    int rc = read_file(path, &text, &bytes, error, error_bytes);
    if (rc) {
        return rc;
    }
    if (strlen(text) != bytes || !strstr(text, begins)) {
        rc = error_say(error, error_bytes, -EINVAL, "%s: has no %s in PEM (-----BEGIN …)", path,
                       what);
    } else {
        text_add(t, "%s\n", text);
    }
    free(text);
    return rc;
}

// ---- maps --------------------------------------------------------------------------------------

static void add_entry(void *context, enum proxy_file_name map, const char *key, const char *value)
{
    struct text *texts = context;
    text_add(&texts[map], "%s %s\n", key, value);
}

static void add_names(const struct fleet_spec *s, struct text *models, struct text *list)
{
    text_add(list, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < s->model_count; i++) {
        const struct fleet_model *m = &s->models[i];
        for (size_t j = 0; j <= m->alias_count; j++) {
            const char *name = j ? m->aliases[j - 1] : m->name;
            text_add(models, "%s %s\n", name, m->name);
            text_add(
                list,
                "%s{\"id\":\"%s\",\"object\":\"model\",\"created\":0,\"owned_by\":\"tessera\"}",
                i + j ? "," : "", name);
        }
    }
    text_add(list, "]}\n");
}

// ---- all ---------------------------------------------------------------------------------------

const char *proxy_file_basename(enum proxy_file_name name)
{
    static const char *const names[PROXY_FILES] = {
        "haproxy.cfg", "models.map", "shares.map",    "stable.map",
        "other.map",   "canary.map", "version-a.map", "version-b.map",
        "health.map",  "keys.acl",   "models.json",   "endpoint.pem"};
    return names[name];
}

void proxy_files_free(struct proxy_files *f)
{
    for (size_t i = 0; i < PROXY_FILES; i++) {
        free(f->file[i].data);
    }
    memset(f, 0, sizeof *f);
}

static int add_secrets(const struct fleet_endpoint *e, struct text *texts, char *error,
                       size_t error_bytes)
{
    int rc = 0;
    for (size_t i = 0; i < e->key_count; i++) {
        add_key(&texts[PROXY_KEYS], e->keys[i]);
    }
    if (e->keys_file[0]) {
        rc = add_key_file(e->keys_file, &texts[PROXY_KEYS], error, error_bytes);
    }
    if (rc == 0 && e->certificate[0]) {
        rc = add_pem(e->certificate, "-----BEGIN CERTIFICATE-----", "certificate",
                     &texts[PROXY_PEM], error, error_bytes);
        rc = rc ? rc
                : add_pem(e->key, "PRIVATE KEY-----", "private key", &texts[PROXY_PEM], error,
                          error_bytes);
    }
    return rc;
}

// What a running HAProxy reads only at its start.
static void hash_structure(const struct text *configuration, const struct text *texts, char out[65])
{
    static const enum proxy_file_name fixed[] = {PROXY_MODELS, PROXY_KEYS, PROXY_LIST, PROXY_PEM};
    mbedtls_sha256_context sha;
    uint8_t sha256[32];
    mbedtls_sha256_init(&sha);
    mbedtls_sha256_starts_ret(&sha, 0);
    mbedtls_sha256_update_ret(&sha, (const uint8_t *)configuration->data, configuration->bytes + 1);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        const struct text *t = &texts[fixed[i]];
        mbedtls_sha256_update_ret(&sha, (const uint8_t *)(t->data ? t->data : ""), t->bytes + 1);
    }
    mbedtls_sha256_finish_ret(&sha, sha256);
    mbedtls_sha256_free(&sha);
    hex_write(sha256, sizeof sha256, out);
}

int proxy_files(const struct proxy_input *in, struct proxy_files *out, char *error,
                size_t error_bytes)
{
    struct text texts[PROXY_FILES] = {0}, bare = {0};
    struct proxy_server *servers;
    size_t count;
    memset(out, 0, sizeof *out);
    int rc = proxy_servers(in, NULL, 0, &servers, &count);
    if (rc == 0) {
        proxy_configuration(in, NULL, 0, &bare);
        add_names(&in->record->spec, &texts[PROXY_MODELS], &texts[PROXY_LIST]);
        proxy_maps(in, servers, count, add_entry, texts);
        rc = add_secrets(&in->record->spec.endpoint, texts, error, error_bytes);
    }
    if (rc == 0 && !bare.failed) {
        hash_structure(&bare, texts, out->structure);
        // So that the running process can be asked what it was started with.
        text_add(&texts[PROXY_CFG], "global\n    setenv " PROXY_STRUCTURE " %s\n", out->structure);
        proxy_configuration(in, servers, count, &texts[PROXY_CFG]);
    }
    bool failed = bare.failed;
    for (size_t i = 0; i < PROXY_FILES; i++) {
        failed = failed || texts[i].failed;
        out->file[i].data = texts[i].data ? texts[i].data : strdup("");
        out->file[i].bytes = texts[i].bytes;
        failed = failed || !out->file[i].data;
    }
    if (rc == 0 && failed) {
        rc = error_say(error, error_bytes, -ENOMEM, "no memory");
    }
    if (rc) {
        proxy_files_free(out);
    }
    free(bare.data);
    free(servers);
    return rc;
}
