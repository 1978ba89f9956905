// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Identities as text.
#include "hypercall/host/store/private.h"

#include <errno.h>
#include <stdlib.h>

static const char prefix[] = "sha256:", packed[] = "+packed";

void weights_identity_text(const struct weights_identity *identity, char text[WEIGHTS_TEXT])
{
    char hex[65];
    hex_write(identity->sha256, sizeof identity->sha256, hex);
    if (identity->packed_version) {
        snprintf(text, WEIGHTS_TEXT, "%s%s%s%u", prefix, hex, packed, identity->packed_version);
    } else {
        snprintf(text, WEIGHTS_TEXT, "%s%s", prefix, hex);
    }
}

int weights_identity_parse(const char *text, struct weights_identity *out)
{
    struct weights_identity id = {0};
    if (strncmp(text, prefix, sizeof prefix - 1) != 0 ||
        !hex_read(text + sizeof prefix - 1, id.sha256, sizeof id.sha256)) {
        return -EINVAL;
    }
    const char *rest = text + sizeof prefix - 1 + 2 * sizeof id.sha256;
    if (*rest) {
        if (strncmp(rest, packed, sizeof packed - 1) != 0) {
            return -EINVAL;
        }
        rest += sizeof packed - 1;
        // No zero in front: one identity has one text.
        if (*rest < '1' || *rest > '9') {
            return -EINVAL;
        }
        uint64_t version = 0;
        for (; *rest >= '0' && *rest <= '9' && version <= UINT32_MAX; rest++) {
            version = 10 * version + (uint64_t)(*rest - '0');
        }
        if (*rest || version > UINT32_MAX) {
            return -EINVAL;
        }
        id.packed_version = (uint32_t)version;
    }
    *out = id;
    return 0;
}

bool weights_identity_equal(const struct weights_identity *a, const struct weights_identity *b)
{
    return a->packed_version == b->packed_version &&
           memcmp(a->sha256, b->sha256, sizeof a->sha256) == 0;
}
