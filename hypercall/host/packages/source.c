// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Where a model comes from: a file, a folder, a URL, or a name in one of the indexes.
#include "hypercall/host/packages/install.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

struct search {
    struct install *in;
    size_t looked_at, broken;
    bool found;
    char last_error[900];
};

static int look_in(void *context, const char *place)
{
    struct search *s = context;
    struct install *in = s->in;
    struct packages_model *models;
    size_t count;
    int rc = packages_index_load(in->p, place, &models, &count);
    s->looked_at++;
    if (rc) {
        // The model may be in another one.
        pk_say(in->p, "%s", in->p->error);
        snprintf(s->last_error, sizeof s->last_error, "%.899s", in->p->error);
        s->broken++;
        return 0;
    }
    for (size_t i = 0; i < count && !s->found; i++) {
        const struct packages_model *m = &models[i];
        if (strcmp(m->name, in->request->source) != 0) {
            continue;
        }
        s->found = true;
        strcpy(in->origin.place, m->place);
        strcpy(in->origin.sha256, m->sha256);
        strcpy(in->origin.name, m->name);
        in->origin.size = m->size;
        in->origin.is_url = pk_is_url(m->place);
        in->origin.has_hash = in->origin.from_index = true;
    }
    free(models);
    return s->found ? 1 : 0;
}

static int find_in_indexes(struct install *in)
{
    struct search s = {.in = in};
    const char *name = in->request->source;
    if (!packages_name_is_valid(name)) {
        return pk_fail(in->p, -ENOENT, "%s: no such file, and no name that an index could have",
                       name);
    }
    int rc = in->request->index ? look_in(&s, in->request->index)
                                : packages_index_places(in->p, look_in, &s);
    if (rc < 0 || s.found) {
        return rc < 0 ? rc : 0;
    }
    if (s.looked_at == 0) {
        return pk_fail(in->p, -ENOENT,
                       "%s: no such file, and no index is configured in which it could be a name "
                       "(--index, TESSERA_INDEX or ~/.config/tessera/indexes)",
                       name);
    }
    return pk_fail(in->p, -ENOENT, "%s: no such file, and no such name in %zu %s%s", name,
                   s.looked_at, s.looked_at == 1 ? "index" : "indexes",
                   s.broken ? " (some could not be read)" : " (`tessera pkg search` lists them)");
}

static int find_file(struct install *in, const struct stat *s)
{
    struct origin *o = &in->origin;
    char *real = realpath(in->request->source, NULL);
    if (!real || strlen(real) >= sizeof o->place) {
        free(real);
        return pk_fail(in->p, -ENAMETOOLONG, "%s: its path cannot be found or is too long",
                       in->request->source);
    }
    strcpy(o->place, real);
    free(real);
    in->is_folder = S_ISDIR(s->st_mode);
    if (in->is_folder && !in->request->type) {
        return pk_fail(in->p, -EINVAL,
                       "%s: is a folder: with --type a Hugging Face model's folder is converted; "
                       "otherwise name a GGUF file, or --index %s and a name",
                       in->request->source, in->request->source);
    }
    pk_name_of(o->place, o->name);
    return 0;
}

int pk_find_source(struct install *in)
{
    const struct packages_request *q = in->request;
    struct origin *o = &in->origin;
    struct stat s;
    int rc;
    if (pk_is_url(q->source)) {
        if (strlen(q->source) >= sizeof o->place) {
            return pk_fail(in->p, -ENAMETOOLONG, "the URL is too long");
        }
        strcpy(o->place, q->source);
        o->is_url = true;
        pk_name_of(o->place, o->name);
        rc = pk_check_url(in->p, o->place);
    } else if (strstr(q->source, "://")) {
        rc = pk_fail(in->p, -EPROTONOSUPPORT, "%s: only http:// and https:// are fetched",
                     q->source);
    } else if (!q->index && stat(q->source, &s) == 0) {
        rc = find_file(in, &s);
    } else if (!q->index && (strchr(q->source, '/') || errno != ENOENT)) {
        rc = pk_fail(in->p, -errno, "%s: %s", q->source, strerror(errno));
    } else {
        rc = find_in_indexes(in);
    }
    if (rc || !q->sha256) {
        return rc;
    }
    char wanted[65];
    size_t n = strlen(q->sha256);
    for (size_t i = 0; i < n && i < 64; i++) {
        wanted[i] = (char)(q->sha256[i] | (q->sha256[i] >= 'A' && q->sha256[i] <= 'F' ? 0x20 : 0));
    }
    wanted[n < 64 ? n : 64] = 0;
    if (n != 64 || !pk_is_sha256(wanted)) {
        return pk_fail(in->p, -EINVAL, "--sha256: '%s' is not 64 hexadecimal digits", q->sha256);
    }
    if (o->has_hash && strcmp(o->sha256, wanted) != 0) {
        return pk_fail(in->p, -EBADMSG,
                       "%s: wanted is SHA-256\n  %s, but the index promises\n  %s: nothing was "
                       "installed",
                       q->source, wanted, o->sha256);
    }
    strcpy(o->sha256, wanted);
    o->has_hash = true;
    return 0;
}

static int is_model_file(const struct dirent *d)
{
    const char *end = strrchr(d->d_name, '.');
    return d->d_name[0] != '.' && end &&
           (strcmp(end, ".safetensors") == 0 || strcmp(end, ".json") == 0);
}

// The hash of "HASH  NAME\n" of each file, as `sha256sum * | sha256sum` prints it.
int pk_hash_folder(struct packages *p, const char *folder, char hex[65], uint64_t *bytes)
{
    struct dirent **names;
    mbedtls_sha256_context sha;
    uint8_t hash[32];
    int found = scandir(folder, &names, is_model_file, alphasort), rc = 0;
    *bytes = 0;
    if (found < 0) {
        return pk_fail(p, -errno, "%s: %s", folder, strerror(errno));
    }
    mbedtls_sha256_init(&sha);
    rc = mbedtls_sha256_starts_ret(&sha, 0) ? -EIO : 0;
    for (int i = 0; i < found; i++) {
        char path[PATH_MAX], line[400], one[65];
        uint64_t size = 0;
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        rc = rc ? rc : pk_hash_file(p, path, "computing the model's SHA-256", one, &size);
        if (!rc) {
            int n = snprintf(line, sizeof line, "%s  %s\n", one, names[i]->d_name);
            rc = mbedtls_sha256_update_ret(&sha, (const unsigned char *)line, (size_t)n) ? -EIO : 0;
        }
        *bytes += size;
        free(names[i]);
    }
    free(names);
    rc = !rc && mbedtls_sha256_finish_ret(&sha, hash) ? -EIO : rc;
    mbedtls_sha256_free(&sha);
    if (!rc) {
        hex_write(hash, sizeof hash, hex);
        rc = *bytes ? 0 : pk_fail(p, -EINVAL, "%s: has no safetensors file", folder);
    }
    return rc;
}
