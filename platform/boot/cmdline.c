// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Words of the kernel command line: `key=value` or a bare `key`, separated by blanks. A value may
// stand in double quotes. Where a key comes twice, the last one counts.
#include "platform/boot/cmdline.h"

#include <errno.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

int pf_cmdline_find(const char *line, const char *key, char *buf, size_t size)
{
    const char *found = NULL;
    size_t found_length = 0;

    while (*line != '\0') {
        while (is_blank(*line)) {
            line++;
        }
        const char *k = key;
        while (*k != '\0' && *line == *k) {
            line++;
            k++;
        }
        bool match = *k == '\0' && (*line == '=' || *line == '\0' || is_blank(*line));
        while (*line != '\0' && *line != '=' && !is_blank(*line)) {
            line++;
        }
        if (*line == '=') {
            line++;
        }
        bool quoted = *line == '"';
        if (quoted) {
            line++;
        }
        const char *value = line;
        while (*line != '\0' && (quoted ? *line != '"' : !is_blank(*line))) {
            line++;
        }
        if (match) {
            found = value;
            found_length = (size_t)(line - value);
        }
        if (quoted && *line == '"') {
            line++;
        }
    }
    if (found == NULL) {
        return -ENOENT;
    }
    if (found_length >= size) {
        return -ERANGE;
    }
    for (size_t i = 0; i < found_length; i++) {
        buf[i] = found[i];
    }
    buf[found_length] = '\0';
    return (int)found_length;
}

bool pf_cmdline_listed(const char *line, const char *key, const char *item)
{
    char list[128];
    if (pf_cmdline_find(line, key, list, sizeof list) < 0) {
        return false;
    }
    for (const char *p = list; *p != '\0';) {
        const char *i = item;
        while (*i != '\0' && *p == *i) {
            p++;
            i++;
        }
        if (*i == '\0' && (*p == ',' || *p == '\0')) {
            return true;
        }
        while (*p != '\0' && *p != ',') {
            p++;
        }
        if (*p == ',') {
            p++;
        }
    }
    return false;
}
