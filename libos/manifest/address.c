// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Whether a text is an IP address, so that a wrong one is refused where it was written. Sources:
// RFC 6943 3.1.1 (strict dotted quad), RFC 4291 2.2 (IPv6 text).
#include "libos/manifest/keys.h"

#include <string.h>

// A decimal number up to max without leading zeros; moves *at behind it.
static bool decimal(const char **at, unsigned max)
{
    unsigned value = 0, digits = 0;
    const char *start = *at;
    while (**at >= '0' && **at <= '9' && digits < 4) {
        value = value * 10 + (unsigned)(**at - '0');
        ++*at;
        digits++;
    }
    return digits && value <= max && (digits == 1 || *start != '0');
}

static bool prefix(const char *at, bool wanted, unsigned max)
{
    if (!wanted) {
        return *at == '\0';
    }
    if (*at++ != '/') {
        return false;
    }
    return decimal(&at, max) && *at == '\0';
}

bool text_is_ipv4(const char *text, bool with_prefix)
{
    for (int i = 0; i < 4; i++) {
        if (i && *text++ != '.') {
            return false;
        }
        if (!decimal(&text, 255)) {
            return false;
        }
    }
    return prefix(text, with_prefix, 32);
}

bool text_is_ipv6(const char *text, bool with_prefix)
{
    int groups = 0;
    bool gap = false;
    if (text[0] == ':' && text[1] == ':') {
        gap = true;
        text += 2;
    }
    while (groups < 8) {
        size_t digits = strspn(text, "0123456789abcdefABCDEF");
        if (digits == 0) {
            break;
        }
        if (digits > 4) {
            return false;
        }
        groups++;
        text += digits;
        if (text[0] == ':' && text[1] == ':') {
            if (gap) {
                return false;
            }
            gap = true;
            text += 2;
        } else if (text[0] == ':') {
            text++;
            if (strspn(text, "0123456789abcdefABCDEF") == 0 || groups == 8) {
                return false; // ends in a single colon
            }
        } else {
            break;
        }
    }
    return (gap ? groups < 8 : groups == 8) && prefix(text, with_prefix, 128);
}
