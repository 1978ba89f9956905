// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reading options: "--name value", "--name=value", "-n value". Every number is checked.
#include "hypercall/host/tool/tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_count(const char *text, char **end, uint32_t *out)
{
    errno = 0;
    if (*text < '0' || *text > '9') {
        return false;
    }
    unsigned long long v = strtoull(text, end, 10);
    *out = (uint32_t)v;
    return errno == 0 && v <= UINT32_MAX;
}

static bool read_counts(const char *text, struct tool_counts *out)
{
    out->count = 0;
    for (;;) {
        char *end;
        if (out->count == sizeof out->values / sizeof *out->values ||
            !read_count(text, &end, &out->values[out->count++])) {
            return false;
        }
        if (*end != ',') {
            return *end == 0;
        }
        text = end + 1;
    }
}

static int set(struct tool_option *o, const char *text)
{
    char *end;
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)o->value = true;
        return TOOL_OK;
    case OPTION_TEXT:
    case OPTION_OPTIONAL:
        *(const char **)o->value = text;
        return TOOL_OK;
    case OPTION_TEXTS: {
        struct tool_texts *texts = o->value;
        if (texts->count == sizeof texts->values / sizeof *texts->values) {
            return tool_misuse("%s: at most %u", o->name, texts->count);
        }
        texts->values[texts->count++] = text;
        return TOOL_OK;
    }
    case OPTION_COUNT:
        if (read_count(text, &end, o->value) && *end == 0) {
            return TOOL_OK;
        }
        return tool_misuse("%s: '%s' is not a whole number", o->name, text);
    case OPTION_NUMBER:
        *(double *)o->value = strtod(text, &end);
        if (end != text && *end == 0) {
            return TOOL_OK;
        }
        return tool_misuse("%s: '%s' is not a number", o->name, text);
    case OPTION_COUNTS:
        if (read_counts(text, o->value)) {
            return TOOL_OK;
        }
        return tool_misuse("%s: '%s' is not a list of whole numbers like 1,2", o->name, text);
    }
    return TOOL_USAGE;
}

static struct tool_option *find(struct tool_option *options, size_t count, const char *word,
                                const char **value)
{
    const char *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    for (size_t i = 0; i < count; i++) {
        if (strncmp(options[i].name, word, length) == 0 && options[i].name[length] == 0) {
            *value = equals ? equals + 1 : NULL;
            return &options[i];
        }
    }
    return NULL;
}

static int complain(const struct tool_option *options, size_t count, const char *word)
{
    char name[32];
    const char *meant = NULL;
    unsigned best = UINT_MAX;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
    for (size_t i = 0; i < count; i++) {
        // After "--": a slip in a short option's name would be any other one.
        if (strlen(options[i].name) > 3 && strlen(name) > 3 &&
            tool_is_near(name, options[i].name, &best)) {
            meant = options[i].name;
        }
    }
    return meant ? tool_misuse("no option '%s'; '%s' perhaps?", word, meant)
                 : tool_misuse("no option '%s'", word);
}

int tool_options(int argc, char **argv, struct tool_option *options, size_t option_count,
                 const char **words, size_t most, size_t *word_count)
{
    *word_count = 0;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' || argv[i][1] == 0) {
            if (*word_count == most) {
                return tool_misuse("'%s' is one word too many", argv[i]);
            }
            words[(*word_count)++] = argv[i];
            continue;
        }
        const char *value;
        struct tool_option *o = find(options, option_count, argv[i], &value);
        if (!o) {
            return complain(options, option_count, argv[i]);
        }
        if (o->kind == OPTION_FLAG && value) {
            return tool_misuse("%s takes no value", o->name);
        }
        if (o->kind == OPTION_OPTIONAL && !value) {
            value = "";
        }
        if (o->kind != OPTION_FLAG && !value) {
            if (i + 1 == argc) {
                return tool_misuse("%s needs a value", o->name);
            }
            value = argv[++i];
        }
        int status = set(o, value);
        if (status) {
            return status;
        }
        o->given = true;
    }
    return TOOL_OK;
}

int32_t *tool_ids(const char *text, size_t *count)
{
    size_t most = 1;
    for (const char *c = text; *c; c++) {
        most += *c == ',';
    }
    int32_t *ids = malloc(most * sizeof *ids);
    *count = 0;
    while (ids) {
        char *end;
        uint32_t id;
        if (!read_count(text, &end, &id) || id > INT32_MAX || (*end != ',' && *end != 0)) {
            tool_misuse("'%s' is not a list of token ids like 1,5,9", text);
            free(ids);
            return NULL;
        }
        ids[(*count)++] = (int32_t)id;
        if (*end == 0) {
            return ids;
        }
        text = end + 1;
    }
    tool_fail("no memory");
    return NULL;
}
