// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What tensord answers. Its lines are held to what the tool needs: the socket goes into QEMU's
// arguments.
#include "hypercall/host/machine/tensord.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static json_t *read_object(const char *line, size_t bytes, int *rc, char *error, size_t error_bytes)
{
    json_t *answer = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, NULL);
    json_t *good = answer ? json_object_get(answer, "ok") : NULL;
    *rc = 0;
    if (!json_is_boolean(good)) {
        snprintf(error, error_bytes, "tensord's answer cannot be read: '%.*s'",
                 (int)(bytes < 80 ? bytes : 80), line);
        *rc = -EPROTO;
    } else if (json_is_false(good)) {
        const char *why = json_string_value(json_object_get(answer, "error"));
        snprintf(error, error_bytes, "tensord refused: %s", why ? why : "it does not say why");
        *rc = -EIO;
    }
    if (*rc) {
        json_decref(answer);
        return NULL;
    }
    return answer;
}

int tensord_read_answer(const char *line, size_t bytes, char *error, size_t error_bytes)
{
    int rc;
    json_decref(read_object(line, bytes, &rc, error, error_bytes));
    return rc;
}

int tensord_read_guest(const char *line, size_t bytes, struct tensord_guest *out, char *error,
                       size_t error_bytes)
{
    int rc;
    json_t *answer = read_object(line, bytes, &rc, error, error_bytes);
    if (!answer) {
        return rc;
    }
    const char *socket = json_string_value(json_object_get(answer, "socket"));
    json_int_t vectors = json_integer_value(json_object_get(answer, "vectors"));
    bool good = socket && socket[0] == '/' && strlen(socket) < sizeof out->socket && vectors >= 1 &&
                vectors <= 64;
    if (good) {
        snprintf(out->socket, sizeof out->socket, "%s", socket);
        out->vectors = (uint32_t)vectors;
    } else {
        rc = -EPROTO;
        snprintf(error, error_bytes,
                 "tensord's answer names no socket and vectors for the guest: '%.*s'",
                 (int)(bytes < 120 ? bytes : 120), line);
    }
    json_decref(answer);
    return rc;
}
