// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Manifest keys on the kernel command line: `section.name=value`, or `name=value` for those of
// the root. Words that are none are somebody else's (debug-exit=…, an application's own) and
// ignored; an unknown name in a known section may be a slip of the pen and is remembered for a
// warning.
#include "libos/manifest/keys.h"

#include <stdio.h>
#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int take_word(struct manifest_builder *b, const char *key, size_t key_length,
                     const char *value, size_t length, bool has_value)
{
    char where[96];
    const char *dot = memchr(key, '.', key_length);
    size_t section = dot ? (size_t)(dot - key) : 0;
    const char *name = dot ? dot + 1 : key;
    size_t name_length = key_length - (size_t)(name - key);
    snprintf(where, sizeof(where), "command line, %.*s", key_length > 64 ? 64 : (int)key_length,
             key);
    const struct manifest_key *k = manifest_key_find(key, section, name, name_length);
    if (k == NULL) {
        if (dot && manifest_section_known(key, section)) {
            snprintf(b->m->unknown, sizeof(b->m->unknown), "%.*s",
                     key_length > 64 ? 64 : (int)key_length, key);
        }
        return 0;
    }
    if (k->kind == KEY_ELSEWHERE) {
        return 0;
    }
    if (!has_value) {
        if (k->kind == KEY_BOOL) {
            return manifest_set_text(b, k, "on", 2, where);
        }
        return manifest_error(b, where, "has no value; expected %s", k->expected);
    }
    return manifest_set_text(b, k, value, length, where);
}

int manifest_from_cmdline(struct manifest_builder *b, const char *at)
{
    while (*at) {
        while (is_blank(*at)) {
            at++;
        }
        const char *key = at;
        while (*at && *at != '=' && !is_blank(*at)) {
            at++;
        }
        size_t key_length = (size_t)(at - key);
        bool has_value = *at == '=';
        at += has_value;
        bool quoted = has_value && *at == '"';
        at += quoted;
        const char *value = at;
        while (*at && (quoted ? *at != '"' : !is_blank(*at))) {
            at++;
        }
        size_t length = (size_t)(at - value);
        at += quoted && *at == '"';
        if (key_length) {
            int error = take_word(b, key, key_length, value, length, has_value);
            if (error) {
                return error;
            }
        }
    }
    return 0;
}
