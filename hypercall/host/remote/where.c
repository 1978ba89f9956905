// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which machine a URI of libvirt's means (https://libvirt.org/uri.html): driver+transport://
// user@host:port/path?parameters.
#include "hypercall/host/remote/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The value of a parameter, "" where it is missing; with %XX decoded.
static void parameter(const char *uri, const char *name, char *out, size_t room)
{
    size_t n = strlen(name), used = 0;
    out[0] = 0;
    for (const char *at = strchr(uri, '?'); at; at = strchr(at + 1, '&')) {
        if (strncmp(at + 1, name, n) != 0 || at[1 + n] != '=') {
            continue;
        }
        for (at += 2 + n; *at && *at != '&' && used + 1 < room; at++) {
            char hex[3] = "";
            if (*at == '%' && at[1] && at[2]) {
                memcpy(hex, at + 1, 2);
                at += 2;
            }
            out[used++] = hex[0] ? (char)strtoul(hex, NULL, 16) : *at;
        }
        out[used] = 0;
        return;
    }
}

// Words that a shell takes as they stand.
static bool is_plain(const char *text)
{
    return text[0] && text[0] != '-' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@:/~") ==
               strlen(text);
}

void remote_machine_of(const char *uri, struct remote_machine *out)
{
    *out = (struct remote_machine){0};
    const char *at = strstr(uri, "://");
    if (!at || at[3] == '/' || !at[3]) {
        return;
    }
    char authority[256], key[200], user[100] = "", port[8] = "";
    size_t n = strcspn(at + 3, "/?#");
    snprintf(authority, sizeof authority, "%.*s", (int)(n < 255 ? n : 255), at + 3);
    char *host = strrchr(authority, '@');
    if (host) {
        *host++ = 0;
        snprintf(user, sizeof user, "%.90s@", authority);
    } else {
        host = authority;
    }
    char *colon = host[0] == '[' ? strchr(host, ']') : host;
    colon = colon ? strchr(colon, ':') : NULL;
    if (colon) {
        snprintf(port, sizeof port, "%.6s", colon + 1);
        *colon = 0;
    }
    if (host[0] == '[') {
        host[strcspn(host, "]")] = 0;
        host++;
    }
    snprintf(out->host, sizeof out->host, "%s", host);
    const char *plus = strchr(uri, '+');
    bool ssh =
        plus && plus < at && (strncmp(plus, "+ssh", 4) == 0 || strncmp(plus, "+libssh", 7) == 0);
    bool number = strspn(port, "0123456789") == strlen(port);
    if (!ssh || !number || !is_plain(host) || (user[0] && !is_plain(user))) {
        return;
    }
    parameter(uri, "keyfile", key, sizeof key);
    snprintf(out->ssh, sizeof out->ssh, "%s%s%s%s%s%s%s%s", port[0] ? "-p " : "", port,
             port[0] ? " " : "", is_plain(key) ? "-i " : "", is_plain(key) ? key : "",
             is_plain(key) ? " " : "", user, host);
    out->ssh[sizeof out->ssh - 1] = 0;
}
