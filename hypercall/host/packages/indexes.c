// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which indexes there are, and where the files are that they name.
#include "hypercall/host/base/folders.h"
#include "hypercall/host/base/files.h"
#include "hypercall/host/packages/private.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

static const char index_name[] = "index.json";

// The document's own path or URL. A URL without '/' at its end is taken as it is.
static int document(struct packages *p, const char *place, char out[PACKAGES_PLACE + 16])
{
    struct stat s;
    size_t n = strlen(place);
    if (n == 0 || n >= PACKAGES_PLACE) {
        return pk_fail(p, -EINVAL, "an index's place is empty or too long");
    }
    bool slash = place[n - 1] == '/';
    bool inside = pk_is_url(place) ? slash : stat(place, &s) == 0 && S_ISDIR(s.st_mode);
    snprintf(out, PACKAGES_PLACE + 16, "%s%s%s", place, inside && !slash ? "/" : "",
             inside ? index_name : "");
    return 0;
}

static int place_by_url(struct packages *p, const char *index, struct packages_model *m)
{
    CURLU *u = curl_url();
    char *whole = NULL;
    int rc = -EINVAL;
    if (u && curl_url_set(u, CURLUPART_URL, index, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_URL, m->file, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_URL, &whole, 0) == CURLUE_OK && pk_is_url(whole) &&
        strlen(whole) < sizeof m->place) {
        strcpy(m->place, whole);
        rc = pk_check_url(p, whole);
    } else {
        pk_fail(p, rc, "%s: %s: its file '%s' is no HTTP(S) URL", index, m->name, m->file);
    }
    curl_free(whole);
    curl_url_cleanup(u);
    return rc;
}

// A folder's index speaks of the folder's own files: it cannot have others' files installed.
static bool stays_inside(const char *file)
{
    if (file[0] == '/') {
        return false;
    }
    for (const char *part = file; part; part = strchr(part, '/')) {
        part += *part == '/';
        size_t n = strcspn(part, "/");
        if (n == 0 || (n == 2 && part[0] == '.' && part[1] == '.')) {
            return false;
        }
    }
    return true;
}

int pk_index_place(struct packages *p, const char *index, struct packages_model *m)
{
    if (pk_is_url(index) || pk_is_url(m->file)) {
        return place_by_url(p, pk_is_url(index) ? index : m->file, m);
    }
    const char *slash = strrchr(index, '/');
    int folder = slash ? (int)(slash - index) + 1 : 0;
    if (!stays_inside(m->file) || strstr(m->file, "://")) {
        return pk_fail(p, -EINVAL, "%s: %s: its file '%s' is not below the index's folder", index,
                       m->name, m->file);
    }
    int n = snprintf(m->place, sizeof m->place, "%.*s%s", folder, index, m->file);
    return n < 0 || (size_t)n >= sizeof m->place
               ? pk_fail(p, -ENAMETOOLONG, "%s: %s: its file's path is too long", index, m->name)
               : 0;
}

int packages_index_load(struct packages *p, const char *place, struct packages_model **out,
                        size_t *count)
{
    char path[PACKAGES_PLACE + 16], *text = NULL, why[400];
    size_t bytes;
    int rc = document(p, place, path);
    if (!rc && pk_is_url(path)) {
        rc = pk_fetch_small(p, path, INDEX_MOST_BYTES, &text, &bytes);
    } else if (!rc && (rc = file_load(path, INDEX_MOST_BYTES, &text, &bytes)) != 0) {
        pk_fail(p, rc, "the index %s: %s%s", path, strerror(-rc),
                rc == -ENOENT ? " (`tessera pkg index FOLDER` writes one)" : "");
    }
    if (rc) {
        return rc;
    }
    rc = pk_index_parse(text, bytes, out, count, why, sizeof why);
    free(text);
    if (rc) {
        return pk_fail(p, rc, "the index %s: %s", path, why);
    }
    for (size_t i = 0; i < *count && !rc; i++) {
        rc = pk_index_place(p, path, &(*out)[i]);
    }
    if (rc) {
        free(*out);
    }
    return rc;
}

static int visit_words(char *words, const char *between,
                       int (*visit)(void *context, const char *place), void *context)
{
    int rc = 0;
    char *rest = NULL;
    for (char *w = strtok_r(words, between, &rest); w && !rc; w = strtok_r(NULL, between, &rest)) {
        w += strspn(w, " \t\r");
        for (size_t n = strlen(w); n && strchr(" \t\r", w[n - 1]); n--) {
            w[n - 1] = 0;
        }
        rc = *w && *w != '#' ? visit(context, w) : 0;
    }
    return rc;
}

static int visit_file(struct packages *p, const char *path,
                      int (*visit)(void *context, const char *place), void *context)
{
    char *text;
    size_t bytes;
    int rc = file_load(path, 1 << 20, &text, &bytes);
    if (rc) {
        return rc == -ENOENT ? 0 : pk_fail(p, rc, "%s: %s", path, strerror(-rc));
    }
    rc = visit_words(text, "\n", visit, context);
    free(text);
    return rc;
}

int packages_index_places(struct packages *p, int (*visit)(void *context, const char *place),
                          void *context)
{
    const char *given = getenv("TESSERA_INDEX");
    char config[PATH_MAX], path[PATH_MAX + 32];
    if (given) {
        char *words = strdup(given);
        int rc =
            words ? visit_words(words, " \n", visit, context) : pk_fail(p, -ENOMEM, "no memory");
        free(words);
        return rc;
    }
    int rc = 0;
    if (folder_of_user(FOLDER_CONFIG, config, sizeof config) == 0) {
        snprintf(path, sizeof path, "%s/tessera/indexes", config);
        rc = visit_file(p, path, visit, context);
    }
    return rc ? rc : visit_file(p, "/etc/tessera/indexes", visit, context);
}
