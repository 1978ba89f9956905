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

static bool describes_machine(const char *word, size_t length)
{
    static const char allowed[] = "virtio_mmio.device=";
    if (length < sizeof allowed - 1) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        // A quote would let other words hide in this one.
        if ((i < sizeof allowed - 1 && word[i] != allowed[i]) || word[i] == '"') {
            return false;
        }
    }
    return true;
}

static void remember(char *first, size_t size, const char *word, size_t length)
{
    if (first[0] != '\0') {
        return;
    }
    size_t i = 0;
    for (; i < length && i < size - 1; i++) {
        first[i] = word[i];
    }
    first[i] = '\0';
}

void pf_cmdline_seal(char *line, char *refused, char *dropped, size_t size)
{
    char *to = line;
    refused[0] = dropped[0] = '\0';
    for (const char *at = line; *at != '\0';) {
        while (is_blank(*at)) {
            at++;
        }
        const char *word = at;
        bool value = false;
        while (*at != '\0' && !is_blank(*at)) {
            value |= *at++ == '=';
        }
        size_t length = (size_t)(at - word);
        if (length > 0 && !describes_machine(word, length)) {
            remember(value ? refused : dropped, size, word, length);
        } else if (length > 0) {
            if (to > line) {
                *to++ = ' ';
            }
            while (word < at) {
                *to++ = *word++;
            }
        }
    }
    *to = '\0';
}
