// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Defaults, then the device tree, then the command line, then what follows from all of them.
#include "libos/manifest/keys.h"

#include <string.h>

int manifest_parse(const void *dtb, size_t bytes, const char *cmdline, struct manifest *out,
                   char *error, size_t error_bytes)
{
    memset(out, 0, sizeof(*out));
    out->http_port = 80;
    out->model_source = MODEL_AUTO;
    out->log = LOG_INFO;
    out->shell = true;
    out->offload_spin = 20;
    struct manifest_builder b = {.m = out, .error = error, .error_bytes = error_bytes};
    int result = dtb ? manifest_from_dtb(&b, dtb, bytes) : 0;
    if (result == 0 && cmdline) {
        result = manifest_from_cmdline(&b, cmdline);
    }
    if (result == 0 && !b.dhcp_given) {
        out->net.dhcp = out->net.address == NULL;
    }
    if (result == 0 && out->net.hostname == NULL && out->name[0] &&
        strchr(out->name, '_') == NULL) {
        out->net.hostname = out->name;
    }
    return result;
}

int manifest_set_host_key(struct manifest *m, const char *text, size_t bytes, char *error,
                          size_t error_bytes)
{
    static const char where[] = MANIFEST_HOST_KEY;
    struct manifest_builder b = {.m = m, .error = error, .error_bytes = error_bytes};
    bytes -= bytes && text[bytes - 1] == '\n'; // as editors and `echo` leave it
    if (bytes == 0) {
        return manifest_error(&b, where, "is empty; expected a key");
    }
    return manifest_set_text(&b, manifest_key_find("http", 4, "key", 3), text, bytes, where);
}
