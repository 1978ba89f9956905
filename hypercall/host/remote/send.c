// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A file to another machine, in pieces that libvirt acknowledges; then all of it back, for its
// hash.
#include "hypercall/host/base/clock.h"
#include "hypercall/host/machine/host.h"
#include "hypercall/host/remote/private.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <mbedtls/sha256.h>
#include <stdio.h>
#include <string.h>

// A piece grows until it takes about two seconds: what is lost when a transfer breaks off.
enum { PIECE_FIRST = 1 << 20, PIECE_MOST = 256 << 20 };

struct transfer {
    struct remote *r;
    virConnectPtr c;
    const struct remote_file *f;
    const struct weights_progress *progress;
    const volatile int *stop;
    virStorageVolPtr volume, state_volume;
    struct remote_state state;
    mbedtls_sha256_context hash; // of what is read back
    uint64_t read;
};

static double now_s(void)
{
    return (double)monotonic_ns() / 1e9;
}

static void show(const struct transfer *t, const char *what, uint64_t done)
{
    if (t->progress && t->progress->show) {
        t->progress->show(t->progress->context, what, done, t->f->bytes);
    }
}

// ---- the state beside a volume -----------------------------------------------------------------

static int keep_state(struct transfer *t)
{
    char text[REMOTE_STATE];
    remote_state_print(&t->state, text);
    return volume_write(t->c, t->state_volume, 0, (const uint8_t *)text, sizeof text);
}

struct kept {
    char bytes[REMOTE_STATE];
    size_t used;
};

static int take_text(void *context, const char *bytes, size_t count)
{
    struct kept *t = context;
    size_t room = sizeof t->bytes - t->used, n = count < room ? count : room;
    memcpy(t->bytes + t->used, bytes, n);
    t->used += n;
    return 0;
}

// What is not readable counts as nothing arrived.
static int read_state(struct transfer *t)
{
    struct kept text = {0};
    int rc = volume_read(t->c, t->state_volume, 0, REMOTE_STATE, take_text, &text);
    if (rc) {
        return rc;
    }
    if (remote_state_parse(text.bytes, &t->state) != 0 || t->state.acknowledged > t->f->bytes) {
        t->state = (struct remote_state){0};
    }
    return 0;
}

static int open_volumes(struct transfer *t)
{
    char name[160];
    bool made, state_made;
    virStorageVolInfo info;
    snprintf(name, sizeof name, "%s.state", t->f->volume);
    t->volume = volume_make(t->r, t->f->volume, t->f->capacity, &made);
    t->state_volume = t->volume ? volume_make(t->r, name, REMOTE_STATE, &state_made) : NULL;
    if (!t->state_volume || virStorageVolGetInfo(t->volume, &info) != 0) {
        return -EIO;
    }
    if (info.capacity != t->f->capacity && virStorageVolResize(t->volume, t->f->capacity, 0) != 0) {
        return -EIO;
    }
    // What a state says of a volume that has gone, or was another's size, is void.
    bool void_state = made || state_made || info.capacity != t->f->capacity;
    return void_state ? keep_state(t) : read_state(t);
}

// ---- there and back ----------------------------------------------------------------------------

static int send_rest(struct transfer *t, uint64_t *sent)
{
    uint64_t piece = PIECE_FIRST;
    while (t->state.acknowledged < t->f->bytes) {
        uint64_t at = t->state.acknowledged, left = t->f->bytes - at;
        uint64_t n = left < piece ? left : piece;
        if (t->stop && *t->stop) {
            return -EINTR;
        }
        show(t, "Sending the model", at);
        double begun = now_s();
        int rc = volume_write(t->c, t->volume, at, t->f->data + at, n);
        t->state.acknowledged = at + n;
        rc = rc ? rc : keep_state(t);
        if (rc) {
            return rc;
        }
        *sent += n;
        double took = now_s() - begun;
        piece = took < 1 && piece < PIECE_MOST    ? piece * 2
                : took > 4 && piece > PIECE_FIRST ? piece / 2
                                                  : piece;
    }
    show(t, "Sending the model", t->f->bytes);
    return 0;
}

static int take_bytes(void *context, const char *bytes, size_t count)
{
    struct transfer *t = context;
    mbedtls_sha256_update_ret(&t->hash, (const unsigned char *)bytes, count);
    t->read += count;
    show(t, "Checking the model there", t->read);
    return t->stop && *t->stop ? -EINTR : 0;
}

// -EBADMSG: it is not what was sent.
static int check(struct transfer *t)
{
    unsigned char found[32];
    t->read = 0;
    volume_modified(t->volume, t->state.modified); // before: a change from now on is seen
    mbedtls_sha256_init(&t->hash);
    mbedtls_sha256_starts_ret(&t->hash, 0);
    int rc = volume_read(t->c, t->volume, 0, t->f->bytes, take_bytes, t);
    mbedtls_sha256_finish_ret(&t->hash, found);
    mbedtls_sha256_free(&t->hash);
    if (rc) {
        return rc;
    }
    t->state.checked = t->read == t->f->bytes && memcmp(found, t->f->sha256, sizeof found) == 0;
    if (!t->state.checked) {
        t->state = (struct remote_state){0};
    }
    rc = keep_state(t);
    return rc ? rc : t->state.checked ? 0 : -EBADMSG;
}

static bool is_unchanged(struct transfer *t)
{
    char modified[40];
    volume_modified(t->volume, modified);
    return modified[0] && strcmp(modified, t->state.modified) == 0;
}

static int transfer(struct transfer *t, struct remote_sent *out)
{
    int rc = open_volumes(t);
    if (rc) {
        return rc;
    }
    out->found = t->state.acknowledged;
    if (t->state.checked && is_unchanged(t)) {
        out->was_there = true;
        return 0;
    }
    for (int attempt = 0; attempt < 2; attempt++) {
        t->state.checked = false;
        double begun = now_s();
        rc = send_rest(t, &out->sent);
        double sent = now_s();
        out->send_s += sent - begun;
        rc = rc ? rc : check(t);
        out->check_s += now_s() - sent;
        if (rc != -EBADMSG) {
            return rc;
        }
        out->again = true;
    }
    return rc;
}

int remote_send(struct remote *r, const struct remote_file *f,
                const struct weights_progress *progress, const volatile int *stop,
                struct remote_sent *out, char *error, size_t error_bytes)
{
    struct transfer t = {
        .r = r, .c = virStoragePoolGetConnect(r->pool), .f = f, .progress = progress, .stop = stop};
    *out = (struct remote_sent){0};
    snprintf(out->path, sizeof out->path, "%s/%s", r->folder, f->volume);
    int rc = transfer(&t, out);
    if (rc == -EINTR) {
        remote_fail(error, error_bytes, rc,
                    "interrupted; what has arrived stays, and the next run goes on from there");
    } else if (rc == -EBADMSG) {
        remote_fail(error, error_bytes, rc,
                    "%s arrives damaged, twice in a row: the file was changed meanwhile, or the "
                    "other machine's disk or memory is at fault",
                    out->path);
    } else if (rc == -ENOMEM) {
        remote_fail(error, error_bytes, rc, "no memory");
    } else if (rc) {
        machine_say_libvirt("sending to the other machine (a further run goes on from where this "
                            "one stopped)",
                            error, error_bytes);
    }
    if (t.volume) {
        virStorageVolFree(t.volume);
    }
    if (t.state_volume) {
        virStorageVolFree(t.state_volume);
    }
    return rc;
}
