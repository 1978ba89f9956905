// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// JSON bodies from outside: depth and number of values are bounded before jansson, which recurses
// and allocates for each value, sees them.
#include "apps/llm/request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH  32
#define MAX_VALUES 140000

int fault_set(struct fault *f, int status, const char *type, const char *format, ...)
{
    char raw[sizeof f->message], whole[3 * (sizeof raw + 4)];
    struct utf8_stream u = {0};
    va_list args;
    va_start(args, format);
    f->status = status;
    f->type = type;
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    // What was quoted may have been cut inside a character: the answer is JSON, so UTF-8.
    size_t n = utf8_stream_push(&u, raw, strlen(raw), true, whole);
    if (n >= sizeof f->message)
        for (n = sizeof f->message - 1; n && ((unsigned char)whole[n] & 0xc0) == 0x80; n--) {
        }
    memcpy(f->message, whole, n);
    f->message[n] = 0;
    return -EINVAL;
}

// Strings are skipped; whether the rest is JSON at all is the parser's business.
static int check_shape(const char *body, size_t bytes, struct fault *f)
{
    unsigned depth = 0, values = 1;
    bool in_string = false;
    for (size_t i = 0; i < bytes; i++) {
        char c = body[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH)
                return fault_set(f, BAD_REQUEST, "the JSON nests deeper than %d", MAX_DEPTH);
            values++;
        } else if (c == '}' || c == ']') {
            depth -= depth > 0;
        } else if (c == ',' && ++values > MAX_VALUES) {
            return fault_set(f, 413, "invalid_request_error", "the JSON has more than %d values",
                             MAX_VALUES);
        }
    }
    return 0;
}

static void (*on_pause)(void);

void body_set_pause(void (*fn)(void))
{
    on_pause = fn;
}

struct source {
    const char *at;
    size_t left;
};

// jansson asks for about a kilobyte at a time: places to let others run.
static size_t take(void *to, size_t room, void *ctx)
{
    struct source *s = ctx;
    size_t n = s->left < room ? s->left : room;
    if (on_pause)
        on_pause();
    memcpy(to, s->at, n);
    s->at += n;
    s->left -= n;
    return n;
}

json_t *body_parse(const char *body, size_t bytes, struct fault *f)
{
    json_error_t e;
    if (!bytes) {
        fault_set(f, BAD_REQUEST, "the body is empty; a JSON object is expected");
        return NULL;
    }
    if (check_shape(body, bytes, f))
        return NULL;
    struct source source = {body, bytes};
    json_t *root = json_load_callback(take, &source, JSON_ALLOW_NUL, &e);
    if (!root) {
        if (json_error_code(&e) == json_error_out_of_memory)
            fault_set(f, UNAVAILABLE, "not enough memory for a body of %zu bytes", bytes);
        else
            fault_set(f, BAD_REQUEST, "the body is not valid JSON: %s (line %d, column %d)", e.text,
                      e.line, e.column);
        return NULL;
    }
    if (!json_is_object(root)) {
        json_decref(root);
        fault_set(f, BAD_REQUEST, "the body must be a JSON object");
        return NULL;
    }
    return root;
}

int ids_parse(const json_t *array, const char *field, int32_t **out, size_t *count, struct fault *f)
{
    size_t n = json_array_size(array);
    int32_t *ids = malloc((n ? n : 1) * sizeof *ids);
    if (!ids)
        return fault_set(f, UNAVAILABLE, "not enough memory for %zu tokens", n);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(array, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX) {
            free(ids);
            return fault_set(f, BAD_REQUEST, "%s[%zu] must be a token id, a whole number from 0",
                             field, i);
        }
        ids[i] = (int32_t)json_integer_value(v);
    }
    *out = ids;
    *count = n;
    return 0;
}
