// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A record and its keys, taken apart and put together; see secrets.h.
#include "hypercall/host/fleet/secrets.h"
#include "hypercall/host/fleet/spec.h"
#include "hypercall/host/machine/text.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { RANDOM_WORD = 41 };

static char *print(json_t *o)
{
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(o);
    return text;
}

static json_t *endpoint_of(const json_t *record)
{
    return json_object_get(json_object_get(record, "spec"), "endpoint");
}

// ---- apart -------------------------------------------------------------------------------------

char *fleet_secrets_hide(const char *record, const char *path, char **keys)
{
    json_t *o = json_loads(record, 0, NULL), *endpoint = endpoint_of(o), *one;
    json_t *list = json_object_get(endpoint, "keys");
    struct text t = {0};
    size_t i, count = json_is_array(list) ? json_array_size(list) : 0;
    *keys = NULL;
    const char *internal_key = json_string_value(json_object_get(o, "internal_key"));
    t.failed = internal_key == NULL;
    text_add(&t, "%s\n", internal_key ? internal_key : "");
    json_array_foreach(list, i, one)
    {
        t.failed = t.failed || !json_is_string(one);
        text_add(&t, "%s\n", json_is_string(one) ? json_string_value(one) : "");
    }
    json_object_del(o, "internal_key");
    if (count) {
        json_object_set_new(endpoint, "keys", json_null());
    }
    json_t *where = json_pack("{s:s,s:I}", "file", path, "listed", (json_int_t)count);
    if (t.failed || !where || json_object_set_new(o, "keys", where) != 0) {
        json_decref(o);
        free(t.data);
        return NULL;
    }
    char *text = print(o);
    *keys = text ? t.data : NULL;
    if (!text) {
        free(t.data);
    }
    return text;
}

// ---- together ----------------------------------------------------------------------------------

int fleet_secrets_path(const char *record, char *path, size_t room)
{
    json_t *o = json_loads(record, 0, NULL);
    const json_t *where = json_object_get(o, "keys");
    const char *file = json_string_value(json_object_get(where, "file"));
    int rc = !json_is_object(o) || (where && (!file || strlen(file) >= room)) ? -EINVAL : 0;
    snprintf(path, room, "%s", rc || !file ? "" : file);
    json_decref(o);
    return rc;
}

static json_t *random_word(void)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    unsigned char random[RANDOM_WORD - 1];
    char word[RANDOM_WORD] = "";
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof random; i++) {
        word[i] = letters[random[i] & 63];
    }
    return json_string(word);
}

// The next line, which may not be empty; NULL: none.
static json_t *next_line(const char **at)
{
    size_t n = strcspn(*at, "\n");
    const char *line = *at;
    *at += n + (line[n] == '\n');
    return n ? json_stringn(line, n) : NULL;
}

static bool append(json_t *list, json_t *key)
{
    return key && json_array_append_new(list, key) == 0;
}

char *fleet_secrets_show(const char *record, const char *keys, const char *internal_key)
{
    json_t *o = json_loads(record, 0, NULL), *endpoint = endpoint_of(o), *list = json_array();
    json_int_t listed = json_integer_value(json_object_get(json_object_get(o, "keys"), "listed"));
    json_t *first = keys           ? next_line(&keys)
                    : internal_key ? json_string(internal_key)
                                   : random_word();
    bool good = first && list && json_object_set_new(o, "internal_key", first) == 0 &&
                json_object_del(o, "keys") == 0 && listed >= 0 && listed <= FLEET_MOST_KEYS;
    while (good && keys && *keys) {
        good = append(list, next_line(&keys)) && json_array_size(list) <= FLEET_MOST_KEYS;
    }
    // Keys of another number are those of a change whose record was not written any more.
    // Where there are none any more, nobody gets in until `up` is run again.
    bool none = list && json_array_size(list) == 0;
    for (json_int_t i = 0; good && none && i < listed; i++) {
        good = append(list, random_word());
    }
    if (good && json_array_size(list)) {
        good = json_object_set(endpoint, "keys", list) == 0;
    }
    json_decref(list);
    if (!good) {
        json_decref(o);
        return NULL;
    }
    return print(o);
}
