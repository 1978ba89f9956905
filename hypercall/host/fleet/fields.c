// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reading a JSON value by a table of fields, and writing it.
#include "hypercall/host/fleet/fields.h"

#include "hypercall/host/machine/machine.h"
#include "hypercall/host/machine/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail_va(struct reader *r, const char *format, va_list args)
{
    size_t n = 0, room = r->error_bytes;
    for (size_t i = 0; i < r->depth && n < room; i++) {
        const struct step *s = &r->steps[i];
        int more = s->key ? snprintf(r->error + n, room - n, "%s%.60s", i ? "." : "", s->key)
                          : snprintf(r->error + n, room - n, "[%zu]", s->index);
        n += more > 0 ? (size_t)more : 0;
    }
    if (n < room && r->depth) {
        n += (size_t)snprintf(r->error + n, room - n, ": ");
    }
    if (n < room) {
        vsnprintf(r->error + n, room - n, format, args);
    }
    return -EINVAL;
}

int reader_fail(struct reader *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fail_va(r, format, args);
    va_end(args);
    return -EINVAL;
}

int reader_fail_at(struct reader *r, const char *key, const char *format, ...)
{
    va_list args;
    if (r->depth < READER_DEPTH) {
        r->steps[r->depth++].key = key;
    }
    va_start(args, format);
    fail_va(r, format, args);
    va_end(args);
    return -EINVAL;
}

// ---- names -------------------------------------------------------------------------------------

enum { LONGEST = 24 };

// How many letters are to be added, removed or replaced.
static size_t distance(const char *a, const char *b)
{
    size_t row[LONGEST + 1], n = strlen(b);
    if (n > LONGEST || strlen(a) > LONGEST) {
        return LONGEST;
    }
    for (size_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t replaced = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            size_t least = (row[j] < diagonal ? row[j] : diagonal) + 1;
            row[j + 1] = replaced < least ? replaced : least;
        }
    }
    return row[n];
}

const char *nearest_name(const char *word, const char *const *names, size_t count)
{
    const char *best = NULL;
    size_t least = strlen(word) < 5 ? 2 : 3; // fewer than that
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(word, names[i]);
        if (d < least) {
            least = d;
            best = names[i];
        }
    }
    return best;
}

static int refuse_unknown(struct reader *r, const struct field *table, const char *key)
{
    const char *names[64];
    size_t n = 0;
    for (const struct field *f = table; f->name; f++) {
        for (const struct field *part = f->table; part && part->name && n < 64; part++) {
            if (!part->is_internal) {
                names[n++] = part->name;
            }
        }
        if (!f->table && !f->is_internal && n < 64) {
            names[n++] = f->name;
        }
    }
    const char *near = nearest_name(key, names, n);
    return near ? reader_fail_at(r, key, "no such field; did you mean '%s'?", near)
                : reader_fail_at(r, key, "no such field");
}

// ---- values ------------------------------------------------------------------------------------

bool scalar_text(const json_t *value, char *out, size_t out_bytes)
{
    int n = -1;
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        if (strlen(text) != json_string_length(value) || !text_is_clean(text)) {
            return false;
        }
        n = snprintf(out, out_bytes, "%s", text);
    } else if (json_is_integer(value)) {
        n = snprintf(out, out_bytes, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_boolean(value)) {
        n = snprintf(out, out_bytes, "%s", json_is_true(value) ? "true" : "false");
    }
    return n >= 0 && (size_t)n < out_bytes;
}

static bool whole_number(const char *text, const char **end, uint64_t *out)
{
    if (*text < '0' || *text > '9') {
        return false;
    }
    uint64_t v = 0;
    for (; *text >= '0' && *text <= '9'; text++) {
        v = v > UINT32_MAX ? v : 10 * v + (uint64_t)(*text - '0');
    }
    *end = text;
    *out = v;
    return true;
}

static int read_count(struct reader *r, const struct field *f, const char *text, uint32_t *out)
{
    const char *end;
    uint64_t v;
    if (!whole_number(text, &end, &v) || *end || v < f->least || v > f->most) {
        return reader_fail(r, "'%.60s' is no whole number (%u to %u)", text, f->least, f->most);
    }
    *out = (uint32_t)v;
    return 0;
}

static int read_time(struct reader *r, const struct field *f, const json_t *value, const char *text,
                     uint32_t *out)
{
    static const struct {
        const char *unit;
        uint32_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    const char *end;
    uint64_t v, ms = 0;
    bool good = whole_number(text, &end, &v);
    if (good && json_is_integer(value)) { // the normal form: milliseconds
        ms = v;
    } else {
        for (size_t i = 0; good && i < sizeof units / sizeof *units; i++) {
            ms = strcmp(end, units[i].unit) == 0 ? v * units[i].ms : ms;
        }
        good = good && (ms > 0 || (v == 0 && (*end == 0 || strchr("msh", *end))));
    }
    if (!good) {
        return reader_fail(r, "'%.60s' is no time; write it with its unit: 500ms, 2s, 5m, 1h",
                           text);
    }
    if (ms < f->least || ms > f->most) {
        return reader_fail(r, "'%.60s' is out of bounds (%u ms to %u s)", text, f->least,
                           f->most / 1000);
    }
    *out = (uint32_t)ms;
    return 0;
}

static int read_choice(struct reader *r, const struct field *f, const char *text, void *out)
{
    char all[200] = "";
    size_t n = 0;
    for (int i = 0; f->choices[i]; i++) {
        if (strcmp(text, f->choices[i]) == 0) {
            memcpy(out, &i, sizeof i);
            return 0;
        }
        n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", i ? ", " : "", f->choices[i]);
    }
    return reader_fail(r, "'%.60s' is none of %s", text, all);
}

static int read_path(struct reader *r, const struct field *f, const char *text, char *out)
{
    int n = 0;
    if (*text == 0 || (r->normal && text[0] == '/')) {
        n = snprintf(out, f->room, "%s", text);
    } else if (r->normal) {
        return reader_fail(r, "'%.60s' is no absolute path", text);
    } else {
        n = snprintf(out, f->room, "%s%s%s", text[0] == '/' ? "" : r->folder,
                     text[0] == '/' ? "" : "/", text);
    }
    return n >= 0 && (size_t)n < f->room ? 0 : reader_fail(r, "this path is too long");
}

static int read_value(struct reader *r, const struct field *f, const json_t *value, char *at)
{
    char text[FLEET_PATH];
    if (json_is_null(value)) {
        return reader_fail(r, "is empty");
    }
    if (!scalar_text(value, text, sizeof text)) {
        return reader_fail(r, json_is_object(value) || json_is_array(value)
                                  ? "must be a single value"
                                  : "is too long, or has characters that are none");
    }
    switch (f->kind) {
    case FIELD_TEXT:
        if (strlen(text) >= f->room) {
            return reader_fail(r, "is too long (at most %zu characters)", f->room - 1);
        }
        if (f->valid && !(r->normal && *text == 0) && !f->valid(text)) {
            return reader_fail(r, "'%.60s' is not valid; it must be %s", text, f->wanted);
        }
        memcpy(at, text, strlen(text) + 1);
        return 0;
    case FIELD_PATH:
        return read_path(r, f, text, at);
    case FIELD_COUNT:
        return read_count(r, f, text, (uint32_t *)(void *)at);
    case FIELD_MEMORY:
        if ((r->normal && strcmp(text, "0") == 0) ||
            machine_parse_memory(text, (uint32_t *)(void *)at) == 0) {
            return 0;
        }
        return reader_fail(r, "'%.60s' is no size like 512M or 2G (16M to 4096G)", text);
    case FIELD_TIME:
        return read_time(r, f, value, text, (uint32_t *)(void *)at);
    case FIELD_BOOL:
        *(bool *)(void *)at = strcmp(text, "true") == 0;
        return *(bool *)(void *)at || strcmp(text, "false") == 0
                   ? 0
                   : reader_fail(r, "'%.60s' is neither true nor false", text);
    case FIELD_CHOICE:
        return read_choice(r, f, text, at);
    case FIELD_OTHER:
    case FIELD_TABLE:
        break;
    }
    return -EINVAL;
}

static const struct field *find(const struct field *table, const char *name, bool normal,
                                size_t *base)
{
    for (const struct field *f = table; f->name; f++) {
        if (f->kind == FIELD_TABLE) {
            const struct field *inner = find(f->table, name, normal, base);
            if (inner) {
                *base += f->offset;
                return inner;
            }
        } else if (strcmp(f->name, name) == 0 && (normal || !f->is_internal)) {
            *base = 0;
            return f;
        }
    }
    return NULL;
}

static int look_for_needed(struct reader *r, const struct field *table, const json_t *value)
{
    for (const struct field *f = table; f->name; f++) {
        if (f->kind == FIELD_TABLE) {
            int rc = r->is_partial ? 0 : look_for_needed(r, f->table, value);
            if (rc) {
                return rc;
            }
        } else if (f->is_needed && !json_object_get(value, f->name)) {
            return reader_fail(r, "the field '%s' is missing", f->name);
        }
    }
    return 0;
}

int fields_read(struct reader *r, const struct field *table, const json_t *value, void *object)
{
    const char *key;
    json_t *member;
    if (!json_is_object(value)) {
        return reader_fail(r, "must be a group of fields (name: value)");
    }
    int rc = look_for_needed(r, table, value);
    // In the order of the document, but what looks at others after them.
    for (int last = 0; last < 2 && rc == 0; last++) {
        json_object_foreach((json_t *)(uintptr_t)value, key, member)
        {
            size_t base = 0;
            const struct field *f = find(table, key, r->normal, &base);
            if (!f) {
                return refuse_unknown(r, table, key);
            }
            if (f->is_last != (last == 1)) {
                continue;
            }
            if (r->depth == READER_DEPTH) {
                return reader_fail(r, "too deep");
            }
            r->steps[r->depth++].key = key;
            char *at = (char *)object + base;
            rc = f->kind == FIELD_OTHER ? f->read(r, member, at)
                                        : read_value(r, f, member, at + f->offset);
            if (rc) {
                return rc;
            }
            r->depth--;
        }
    }
    return rc;
}

// ---- writing -----------------------------------------------------------------------------------

static json_t *write_value(const struct field *f, const char *at)
{
    uint32_t number = 0;
    switch (f->kind) {
    case FIELD_TEXT:
    case FIELD_PATH:
        return json_string(at);
    case FIELD_COUNT:
    case FIELD_MEMORY:
    case FIELD_TIME:
        memcpy(&number, at, sizeof number);
        return json_integer(number);
    case FIELD_BOOL:
        return json_boolean(*(const bool *)(const void *)at);
    case FIELD_CHOICE:
        memcpy(&number, at, sizeof number);
        return json_string(f->choices[number]);
    case FIELD_OTHER:
    case FIELD_TABLE:
        break;
    }
    return NULL;
}

bool fields_write(const struct field *table, const void *object, json_t *to)
{
    for (const struct field *f = table; f->name; f++) {
        const char *at = (const char *)object + f->offset;
        if (f->kind == FIELD_TABLE) {
            if (!fields_write(f->table, at, to)) {
                return false;
            }
            continue;
        }
        json_t *value = f->kind == FIELD_OTHER ? f->write(object) : write_value(f, at);
        if (json_is_null(value)) {
            continue;
        }
        if (!value || json_object_set_new(to, f->name, value) != 0) {
            return false;
        }
    }
    return true;
}
