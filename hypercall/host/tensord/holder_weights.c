// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Weights that guests may use: files of the allow-list, and of the store by their hash. The holder
// opens them and vouches for the identity; the worker gets descriptors only.
#include "hypercall/host/store/weights.h"
#include "hypercall/host/tensord/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void held_announce(struct holder *h, const struct held_weights *w)
{
    struct link_message m = {.kind = LINK_WEIGHTS, .bytes = w->bytes, .identity = w->identity};
    const char *slash = strrchr(w->path, '/');
    snprintf(m.name, sizeof m.name, "%.255s", slash ? slash + 1 : w->path);
    if (h->link >= 0) {
        link_send(h->link, &m, NULL, &w->fd, 1);
    }
}

static struct held_weights *find(struct holder *h, const struct hc_identity *identity)
{
    for (uint32_t i = 0; i < h->weights_count; i++) {
        if (memcmp(&h->weights[i].identity, identity, sizeof *identity) == 0) {
            return &h->weights[i];
        }
    }
    return NULL;
}

static int open_file(const char *path, int *fd, uint64_t *bytes)
{
    struct stat s;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (*fd < 0) {
        return -errno;
    }
    if (fstat(*fd, &s) || !S_ISREG(s.st_mode) || s.st_size <= 0) {
        close(*fd);
        return -EINVAL;
    }
    *bytes = (uint64_t)s.st_size;
    return 0;
}

static int keep(struct holder *h, const char *path, const struct hc_identity *identity,
                struct held_weights **out)
{
    struct held_weights *w = find(h, identity);
    if (!w) {
        if (h->weights_count == HOLDER_WEIGHTS || strlen(path) >= sizeof w->path) {
            return -ENOSPC;
        }
        w = &h->weights[h->weights_count];
        *w = (struct held_weights){.identity = *identity};
        snprintf(w->path, sizeof w->path, "%s", path);
        int rc = open_file(path, &w->fd, &w->bytes);
        if (rc) {
            return rc;
        }
        h->weights_count++;
        held_announce(h, w);
    }
    *out = w;
    return 0;
}

int held_add(struct holder *h, const char *path, struct held_weights **out, char *error,
             size_t bytes)
{
    struct weights_identity found;
    struct hc_identity identity = {0};
    int rc = weights_identity(path, NULL, &found, error, bytes);
    if (rc) {
        return rc;
    }
    memcpy(identity.sha256, found.sha256, sizeof identity.sha256);
    identity.packing = found.packed_version;
    rc = keep(h, path, &identity, out);
    if (rc) {
        snprintf(error, bytes, "%s: %s", path, strerror(-rc));
    }
    return rc;
}

void held_want(struct holder *h, const struct hc_identity *identity)
{
    char text[WEIGHTS_TEXT], path[PATH_MAX];
    struct weights_identity named = {.packed_version = identity->packing};
    struct held_weights *w = find(h, identity);
    const struct link_message none = {.kind = LINK_NO_WEIGHTS, .identity = *identity};
    memcpy(named.sha256, identity->sha256, sizeof named.sha256);
    weights_identity_text(&named, text);
    if (!w && h->options.store) {
        // Files of the store are named by the hash that was checked when they were installed.
        const char *hex = strchr(text, ':') + 1;
        int n = snprintf(path, sizeof path, "%s/%s.gguf", h->options.store, hex);
        if (n > 0 && (size_t)n < sizeof path && keep(h, path, identity, &w) == 0) {
            return;
        }
    }
    if (w) {
        held_announce(h, w);
    } else if (h->link >= 0) {
        link_send(h->link, &none, NULL, NULL, 0);
    }
}
