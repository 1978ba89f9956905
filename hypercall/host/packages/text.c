// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Names, hashes as text, and texts from outside made harmless.
#include "hypercall/host/packages/private.h"

#include <errno.h>
#include <strings.h>

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool packages_name_is_valid(const char *name)
{
    if (!is_alphanumeric(name[0])) {
        return false;
    }
    size_t n = 0;
    for (; name[n]; n++) {
        if (!is_alphanumeric(name[n]) && name[n] != '.' && name[n] != '_' && name[n] != '-') {
            return false;
        }
    }
    return n < PACKAGES_NAME;
}

bool pk_is_sha256(const char *hex)
{
    return strspn(hex, "0123456789abcdef") == 64 && hex[64] == 0;
}

bool pk_is_url(const char *place)
{
    return strncasecmp(place, "http://", 7) == 0 || strncasecmp(place, "https://", 8) == 0;
}

// The bytes of the UTF-8 character at c, 0: none that a terminal may get, which are also control
// characters of ASCII and Latin 1.
static size_t character(const unsigned char *c)
{
    static const uint32_t least[] = {0, 0, 0xa0, 0x800, 0x10000};
    if (*c < 0x80) {
        return *c >= 0x20 && *c != 0x7f;
    }
    size_t bytes = *c < 0xc2 ? 0 : *c < 0xe0 ? 2 : *c < 0xf0 ? 3 : *c < 0xf5 ? 4 : 0;
    uint32_t code = bytes ? *c & (0xffu >> (bytes + 1)) : 0;
    for (size_t i = 1; i < bytes; i++) {
        if ((c[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (c[i] & 0x3fu);
    }
    bool surrogate = code >= 0xd800 && code < 0xe000;
    return code >= least[bytes] && code <= 0x10ffff && !surrogate ? bytes : 0;
}

void pk_plain(char *out, size_t room, const char *text)
{
    size_t n = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        size_t bytes = character(c);
        // A character is copied whole or not at all.
        if (n + (bytes ? bytes : 1) >= room) {
            break;
        }
        if (bytes) {
            memcpy(out + n, c, bytes);
            n += bytes;
            c += bytes;
        } else {
            out[n++] = '?';
            c++;
        }
    }
    out[n] = 0;
}

void pk_name_of(const char *place, char out[PACKAGES_NAME])
{
    size_t end = pk_is_url(place) ? strcspn(place, "?#") : strlen(place);
    while (end && place[end - 1] == '/') {
        end--;
    }
    size_t from = end;
    while (from && place[from - 1] != '/') {
        from--;
    }
    if (end - from > 5 && strncasecmp(place + end - 5, ".gguf", 5) == 0) {
        end -= 5;
    }
    size_t n = 0;
    for (; from < end && n + 1 < PACKAGES_NAME; from++) {
        char c = place[from];
        bool good = is_alphanumeric(c) || (n && (c == '.' || c == '_' || c == '-'));
        if (good) {
            out[n++] = c;
        } else if (n && out[n - 1] != '-') {
            out[n++] = '-';
        }
    }
    while (n && out[n - 1] == '-') {
        n--;
    }
    out[n] = 0;
    if (n == 0) {
        strcpy(out, "model");
    }
}

static bool read_number(const char **text, uint64_t *out)
{
    const char *c = *text;
    uint64_t v = 0;
    size_t digits = 0;
    for (; *c >= '0' && *c <= '9'; c++) {
        if (++digits > 18) {
            return false;
        }
        v = 10 * v + (uint64_t)(*c - '0');
    }
    *text = c;
    *out = v;
    return digits > 0;
}

int pk_content_range_parse(const char *text, uint64_t *first, uint64_t *last, uint64_t *total)
{
    if (strncasecmp(text, "bytes ", 6) != 0) {
        return -EINVAL;
    }
    text += 6;
    bool good = read_number(&text, first) && *text++ == '-' && read_number(&text, last) &&
                *text++ == '/' && read_number(&text, total) && *text == 0;
    return good && *first <= *last && *last < *total ? 0 : -EINVAL;
}
