// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// index.json for a folder: what its GGUF files are, by reading them.
#include "hypercall/host/packages/private.h"
#include "hypercall/host/packages/model.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

static bool is_gguf(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && name[0] != '.' && strcasecmp(name + n - 5, ".gguf") == 0;
}

static int describe(struct packages *p, const char *folder, const char *file,
                    struct packages_model *m)
{
    char path[PATH_MAX];
    struct model_facts facts;
    *m = (struct packages_model){0};
    int n = snprintf(path, sizeof path, "%s/%s", folder, file);
    if (n < 0 || n >= PATH_MAX || strlen(file) >= sizeof m->file) {
        return pk_fail(p, -ENAMETOOLONG, "%s: the name is too long", file);
    }
    int rc = model_facts_read(p, path, &facts);
    if (rc) {
        return rc;
    }
    pk_name_of(file, m->name);
    strcpy(m->file, file);
    strcpy(m->type, facts.type);
    strcpy(m->architecture, facts.architecture);
    strcpy(m->description, facts.description);
    strcpy(m->licence, facts.licence);
    return pk_hash_file(p, path, "computing the model's SHA-256", m->sha256, &m->size);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct packages_model *)a)->name,
                  ((const struct packages_model *)b)->name);
}

static int write_index(struct packages *p, const char *folder, const struct packages_model *models,
                       size_t count)
{
    char path[PATH_MAX], fresh[PATH_MAX], *text = pk_index_text(models, count);
    int n = snprintf(path, sizeof path, "%s/index.json", folder);
    int m = snprintf(fresh, sizeof fresh, "%s/.index.json.%d", folder, (int)getpid());
    int rc = n < 0 || m < 0 || n >= PATH_MAX || m >= PATH_MAX
                 ? pk_fail(p, -ENAMETOOLONG, "%s: the path is too long", folder)
             : text ? pk_write_atomic(p, path, fresh, text, strlen(text))
                    : pk_fail(p, -ENOMEM, "no memory, or a file's name is no UTF-8");
    free(text);
    return rc;
}

int packages_index_make(struct packages *p, const char *folder, size_t *count)
{
    struct dirent **names;
    struct packages_model *models = NULL;
    int found = scandir(folder, &names, NULL, alphasort), rc = 0;
    *count = 0;
    if (found < 0) {
        return pk_fail(p, -errno, "%s: %s", folder, strerror(errno));
    }
    for (int i = 0; i < found; i++) {
        if (rc || !is_gguf(names[i]->d_name)) {
            free(names[i]);
            continue;
        }
        struct packages_model *more = realloc(models, (*count + 1) * sizeof *models);
        models = more ? more : models;
        rc = more ? 0 : pk_fail(p, -ENOMEM, "no memory");
        if (!rc && describe(p, folder, names[i]->d_name, &models[*count]) == 0) {
            ++*count;
        } else if (!rc) {
            pk_say(p, "Left out: %s", p->error); // a shard, or no model
        }
        free(names[i]);
    }
    free(names);
    if (!rc && *count) {
        qsort(models, *count, sizeof *models, by_name);
    }
    for (size_t i = 1; i < *count && !rc; i++) {
        if (strcmp(models[i].name, models[i - 1].name) == 0) {
            rc = pk_fail(p, -EEXIST, "%s: %s and %s would both be named '%s': rename one", folder,
                         models[i - 1].file, models[i].file, models[i].name);
        }
    }
    rc = rc       ? rc
         : *count ? write_index(p, folder, models, *count)
                  : pk_fail(p, -ENOENT, "%s: has no GGUF file that could be read", folder);
    free(models);
    return rc;
}
