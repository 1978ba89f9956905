// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Guests of another machine: planned by what that one has, their files sent there first, started on
// a port that is free there, watched by their console where their endpoint is out of reach.
#include "hypercall/host/guest/private.h"
#include "hypercall/host/machine/console.h"
#include "hypercall/host/remote/remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_PORT = 8080, PORT_TRIES = 50 };

// ---- the plan ----------------------------------------------------------------------------------

static int find_files(struct guest_host *h, const struct guest_request *q, struct guest *g,
                      char *error, size_t error_bytes)
{
    char beside[PATH_MAX + 32], why[900] = "";
    struct weights_identity id;
    snprintf(beside, sizeof beside, "%s/../images/llm.elf", h->programs);
    const char *image = q->image ? q->image : beside;
    g->image_path = realpath(image, NULL);
    if (!g->image_path) {
        return guest_refuse(error, error_bytes, -errno, "the guest's image %s: %s", image,
                            strerror(errno));
    }
    int rc = weights_identity(q->model, &h->progress, &id, why, sizeof why);
    if (rc) {
        return guest_refuse(error, error_bytes, rc == -EINVAL ? -ENOEXEC : rc, "%s", why);
    }
    weights_identity_text(&id, g->identity);
    g->model_path = realpath(q->model, NULL);
    if (!g->model_path) {
        return guest_refuse(error, error_bytes, -errno, "%s: %s", q->model, strerror(errno));
    }
    g->plan.image = g->image_path;
    g->plan.model = g->model_path;
    g->plan.identity = g->identity;
    return 0;
}

// CPUs that were named are as many of the guest's.
static uint32_t usual_cpus(const struct guest *g, uint32_t all)
{
    uint32_t pins = 0, unused;
    while (g->plan.pin && pins < all && machine_set_member(g->plan.pin, pins, &unused) == 0) {
        pins++;
    }
    uint32_t cpus = pins ? pins : all > 255 ? 255 : all;
    return cpus < g->plan.cell_count ? g->plan.cell_count : cpus;
}

static int choose_sizes(struct guest_host *h, const struct guest_request *q, struct guest *g,
                        char *error, size_t error_bytes)
{
    struct remote_file f;
    uint32_t cpus = 1;
    uint64_t memory_mb = 0;
    bool kvm = false;
    int rc = h->libvirt ? remote_sizes(h->libvirt, &cpus, &memory_mb, &kvm, error, error_bytes) : 0;
    rc = rc ? rc
            : remote_file_map_model(g->model_path, g->identity, g->plan.kind == MACHINE_MICROVM,
                                    &h->progress, &f, error, error_bytes);
    if (rc) {
        return rc;
    }
    g->plan.mapped_bytes = f.capacity;
    remote_file_unmap(&f);
    bool automatic = !q->accel || strcmp(q->accel, "auto") == 0;
    g->plan.kvm = automatic ? kvm : strcmp(q->accel, "kvm") == 0;
    g->plan.vcpus = q->vcpus ? q->vcpus : usual_cpus(g, cpus);
    uint64_t read_mb = g->plan.weights == MACHINE_WEIGHTS_DISK ? g->plan.mapped_bytes >> 20 : 0;
    g->plan.memory_mb =
        q->memory_mb ? q->memory_mb : machine_memory_mb(g->plan.mapped_bytes) + (uint32_t)read_mb;
    rc = guest_options_remote(h, q, g, error, error_bytes);
    if (rc) {
        return rc;
    }
    if (memory_mb && g->plan.memory_mb > memory_mb) {
        return guest_refuse(error, error_bytes, -ENOMEM,
                            "the guest would get %u MB of memory, and the other machine has %llu "
                            "MB; --memory sets another size",
                            g->plan.memory_mb, (unsigned long long)memory_mb);
    }
    return 0;
}

int guest_plan_remote(struct guest_host *h, const struct guest_request *q, struct guest *g,
                      char *error, size_t error_bytes)
{
    if (q->accel && strcmp(q->accel, "auto") != 0 && strcmp(q->accel, "kvm") != 0 &&
        strcmp(q->accel, "tcg") != 0) {
        return guest_refuse(error, error_bytes, -EINVAL, "--accel: '%s' is none of auto, kvm, tcg",
                            q->accel);
    }
    if (g->plan.offload) {
        return guest_refuse(error, error_bytes, -ENOTSUP,
                            "--offload: tensord has to run on the guest's own machine: run "
                            "`tessera` there");
    }
    int rc = guest_variant_remote(h, q, g, error, error_bytes);
    rc = rc ? rc : find_files(h, q, g, error, error_bytes);
    rc = rc ? rc : choose_sizes(h, q, g, error, error_bytes);
    g->plan.port = g->plan.network ? 0
                   : q->port       ? q->port
                   : q->first_port ? q->first_port
                                   : FIRST_PORT;
    return rc;
}

int guest_imagine_remote(struct guest *g, char *error, size_t error_bytes)
{
    struct remote_file f;
    struct remote there = {.folder = "/var/lib/tessera/images"};
    int rc = remote_file_map_model(g->model_path, g->identity, g->plan.kind == MACHINE_MICROVM,
                                   NULL, &f, error, error_bytes);
    if (rc) {
        return rc;
    }
    free(g->mapped);
    g->mapped = asprintf(&g->mapped, "%s/%s", there.folder, f.volume) < 0 ? NULL : g->mapped;
    g->plan.mapped = g->mapped;
    remote_log_path(&there, g->name, g->console_log, sizeof g->console_log);
    guest_name_remote_key(&there, g);
    remote_file_unmap(&f);
    return g->mapped ? 0 : guest_refuse(error, error_bytes, -ENOMEM, "no memory");
}

// ---- files -------------------------------------------------------------------------------------

static void tell(struct guest_host *h, const char *what, const struct remote_sent *s)
{
    double mb = (double)s->sent / 1048576;
    if (s->was_there) {
        guest_say(h, "%s is there: %s", what, s->path);
        return;
    }
    guest_say(h, "%s sent: %.1f MB in %.1f s%s, checked by reading it back in %.1f s%s: %s", what,
              mb, s->send_s, s->found ? " (the rest was there)" : "", s->check_s,
              s->again ? "; it had arrived damaged and was sent again" : "", s->path);
}

static int send_one(struct guest_host *h, struct remote *r, const char *what,
                    const struct remote_file *f, char **path, char *error, size_t error_bytes)
{
    struct remote_sent sent;
    int rc = remote_send(r, f, &h->progress, h->stop, &sent, error, error_bytes);
    if (rc) {
        return rc;
    }
    tell(h, what, &sent);
    free(*path);
    *path = strdup(sent.path);
    return *path ? 0 : guest_refuse(error, error_bytes, -ENOMEM, "no memory");
}

static int send_files(struct guest_host *h, struct remote *r, struct guest *g, char *error,
                      size_t error_bytes)
{
    struct remote_file model, image;
    int rc = remote_file_map(g->image_path, ".elf", &image, error, error_bytes);
    if (rc) {
        return rc;
    }
    rc = remote_file_map_model(g->model_path, g->identity, g->plan.kind == MACHINE_MICROVM,
                               &h->progress, &model, error, error_bytes);
    if (!rc) {
        rc = send_one(h, r, "Image", &image, &g->image_path, error, error_bytes);
        rc = rc ? rc : send_one(h, r, "Model", &model, &g->mapped, error, error_bytes);
        remote_file_unmap(&model);
    }
    remote_file_unmap(&image);
    g->plan.image = g->image_path;
    g->plan.mapped = g->mapped;
    return rc;
}

// ---- the domain --------------------------------------------------------------------------------

bool guest_port_was_taken(const char *message)
{
    return strstr(message, "host forwarding rule") != NULL;
}

static bool is_taken(struct guest_host *h, const char *name)
{
    virDomainPtr d = virDomainLookupByName(h->libvirt, name);
    if (d) {
        virDomainFree(d);
    }
    return d != NULL;
}

static int choose_name(struct guest_host *h, const struct guest_request *q, struct guest *g,
                       char *error, size_t error_bytes)
{
    char base[49];
    if (q->name && is_taken(h, q->name)) {
        return guest_refuse(error, error_bytes, -EEXIST,
                            "a guest named '%s' exists there already: `tessera rm` removes it, "
                            "--name gives another name",
                            q->name);
    }
    machine_name_of(q->model, base);
    snprintf(g->name, sizeof g->name, "%s", q->name ? q->name : base);
    for (unsigned i = 2; !q->name && is_taken(h, g->name); i++) {
        snprintf(g->name, sizeof g->name, "%.40s-%u", base, i);
    }
    g->plan.name = g->name;
    return 0;
}

// QEMU alone can tell whether a port is free there.
static int start(struct guest_host *h, const struct guest_request *q, struct guest *g, char *error,
                 size_t error_bytes)
{
    int rc = 0;
    for (int tries = 0; tries < PORT_TRIES; tries++) {
        rc = guest_start_plan(h, g, error, error_bytes);
        if (!rc || !guest_port_was_taken(error)) {
            return rc;
        }
        if (q->port || g->plan.port == 65535) {
            return guest_refuse(error, error_bytes, -EADDRINUSE,
                                "port %u is in use on the other machine: --port N takes another, "
                                "without it the first free one is taken",
                                g->plan.port);
        }
        g->plan.port++;
        atomic_store(&g->watch.end, MACHINE_RUNS); // of the one that did not start
    }
    return guest_refuse(error, error_bytes, -EADDRINUSE,
                        "no port from %u to %u is free on the other machine",
                        g->plan.port - PORT_TRIES, g->plan.port - 1);
}

int guest_create_remote(struct guest_host *h, const struct guest_request *q, struct guest *g,
                        char *error, size_t error_bytes)
{
    struct remote r;
    char why[400];
    int rc = remote_open(h->libvirt, h->is_system, &r, error, error_bytes);
    if (rc) {
        return rc;
    }
    rc = send_files(h, &r, g, error, error_bytes);
    int lock = rc ? -1 : guest_lock(error, error_bytes);
    rc = rc ? rc : lock < 0 ? lock : choose_name(h, q, g, error, error_bytes);
    if (!rc) {
        remote_log_path(&r, g->name, g->console_log, sizeof g->console_log);
        g->plan.console_log = g->console_log;
        remote_log_remove(&r, g->name, why, sizeof why); // of an earlier one by that name
        rc = machine_watch_start(h->libvirt, g->name, &g->watch, error, error_bytes);
        rc = rc ? rc : guest_write_remote_key(&r, g, error, error_bytes);
    }
    if (!rc) {
        guest_tell_boot(h, &g->plan);
        rc = start(h, q, g, error, error_bytes);
        if (rc) {
            // The name may have been taken meanwhile, from another machine: its files are its own.
            if (!is_taken(h, g->name)) {
                remote_log_remove(&r, g->name, why, sizeof why);
                remote_key_remove(&r, g->name);
            }
        }
    }
    if (lock >= 0) {
        close(lock);
    }
    if (!rc) {
        struct machine_facts f = {.port = g->plan.port};
        snprintf(f.listen, sizeof f.listen, "%s", g->plan.listen ? g->plan.listen : "");
        snprintf(f.network, sizeof f.network, "%s", g->plan.network ? g->plan.network : "");
        guest_url(g->domain, &f, g->url, sizeof g->url);
    }
    remote_close(&r);
    return rc;
}

int guest_prepare_remote(struct guest_host *h, const struct machine_facts *facts, const char *name,
                         char *error, size_t error_bytes)
{
    struct remote r;
    virStorageVolPtr v = NULL;
    int rc = remote_open(h->libvirt, h->is_system, &r, error, error_bytes);
    if (rc) {
        return rc;
    }
    v = virStorageVolLookupByPath(h->libvirt, facts->mapped);
    if (!v) {
        rc = guest_refuse(error, error_bytes, -ENOENT,
                          "the guest's weights %s are gone from its machine (of the model %s)",
                          facts->mapped, facts->model);
    } else {
        virStorageVolFree(v);
        char why[400];
        remote_log_remove(&r, name, why, sizeof why); // a new life has a new log
    }
    remote_close(&r);
    return rc;
}

void guest_forget_remote(struct guest_host *h, const char *name)
{
    struct remote r;
    char why[400];
    if (remote_open(h->libvirt, h->is_system, &r, why, sizeof why) == 0) {
        remote_log_remove(&r, name, why, sizeof why);
        remote_key_remove(&r, name);
        remote_close(&r);
    }
}

// ---- ready? ------------------------------------------------------------------------------------

int guest_is_ready_remote(struct guest_host *h, const char *name)
{
    struct remote r;
    char why[400], *text = NULL;
    size_t bytes;
    uint64_t from = 0;
    if (remote_open(h->libvirt, h->is_system, &r, why, sizeof why) != 0) {
        return 0; // libvirt's daemon may be away for a moment
    }
    int rc = remote_log_read(&r, name, &from, &text, &bytes, why, sizeof why);
    remote_close(&r);
    // The list of stages comes once it listens and has loaded the model, or has failed to.
    const char *stages = rc || !bytes ? NULL : memmem(text, bytes, "boot, time since", 16);
    size_t left = stages ? bytes - (size_t)(stages - text) : 0;
    bool done = left && memmem(stages, left, "listening ", 10);
    rc = !done ? 0 : memmem(stages, left, "engine ready ", 13) ? 1 : -ENOEXEC;
    free(text);
    return rc;
}

void guest_explain_reach(struct guest_host *h, const struct guest *g, char *out, size_t out_bytes)
{
    struct remote_machine m;
    const char *body;
    remote_machine_of(h->uri, &m);
    out[0] = 0;
    if (!h->is_remote) {
        return;
    }
    if (!g->url[0] && !g->plan.network) {
        unsigned port = g->plan.port;
        if (m.ssh[0]) {
            snprintf(out, out_bytes,
                     "it is on 127.0.0.1:%u of %s alone. `ssh -N -L %u:127.0.0.1:%u %s` brings it "
                     "to http://127.0.0.1:%u here; `--listen ADDRESS --key-file FILE` opens it to "
                     "others",
                     port, m.host, port, port, m.ssh, port);
        } else {
            snprintf(
                out, out_bytes,
                "it is on 127.0.0.1:%u of %s alone; `--listen ADDRESS --key-file FILE` opens it to "
                "others",
                port, m.host);
        }
        return;
    }
    struct endpoint *e = g->url[0] ? endpoint_new(g->url, g->plan.key) : NULL;
    int http = e ? endpoint_get(e, "/health", &body) : -EAGAIN;
    endpoint_free(e);
    if (http <= 0) {
        snprintf(out, out_bytes, "%s %s: %s%s", g->url[0] ? g->url : "the guest",
                 g->url[0] ? "is not reached from here" : "has no address yet",
                 http == -ETIMEDOUT      ? "nothing comes back (a firewall?)"
                 : http == -ECONNREFUSED ? "the connection is refused"
                                         : "",
                 g->plan.network ? " (its network may be one of its machine only)" : "");
    }
}

// ---- its log -----------------------------------------------------------------------------------

int guest_print_remote_log(struct guest_host *h, FILE *out, const char *name, unsigned lines,
                           uint64_t *at, char *error, size_t error_bytes)
{
    struct remote r;
    char *text = NULL;
    size_t bytes = 1;
    int rc = remote_open(h->libvirt, h->is_system, &r, error, error_bytes);
    if (rc) {
        return rc;
    }
    while (!rc && bytes) {
        rc = remote_log_read(&r, name, at, &text, &bytes, error, error_bytes);
        if (!rc) {
            size_t from = lines ? bytes : 0;
            for (unsigned seen = 0; from > 0; from--) {
                if (text[from - 1] == '\n' && from != bytes && ++seen == lines) {
                    break;
                }
            }
            console_print(out, text + from, bytes - from);
            *at += bytes;
        }
        free(text);
    }
    remote_close(&r);
    return rc;
}
