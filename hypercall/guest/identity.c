// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The text form of an identity of weights.
#include "hypercall/guest/runner.h"

#include <errno.h>
#include <string.h>

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hc_identity_parse(const char *text, struct hc_identity *out)
{
    static const char scheme[] = "sha256:", packed[] = "+packed";
    *out = (struct hc_identity){0};
    if (strncmp(text, scheme, sizeof scheme - 1) != 0) {
        return -EINVAL;
    }
    text += sizeof scheme - 1;
    for (int i = 0; i < 32; i++, text += 2) {
        int high = digit(text[0]), low = high < 0 ? -1 : digit(text[1]);
        if (low < 0) {
            return -EINVAL;
        }
        out->sha256[i] = (uint8_t)(high << 4 | low);
    }
    if (*text == 0) {
        return 0;
    }
    if (strncmp(text, packed, sizeof packed - 1) != 0) {
        return -EINVAL;
    }
    text += sizeof packed - 1;
    size_t length = strlen(text);
    if (length == 0 || length > 6 || text[strspn(text, "0123456789")] != 0) {
        return -EINVAL;
    }
    for (; *text; text++) {
        out->packing = out->packing * 10 + (uint32_t)(*text - '0');
    }
    return out->packing ? 0 : -EINVAL;
}
