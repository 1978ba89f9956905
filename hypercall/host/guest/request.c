// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What is asked for becomes a plan: what the model and this host leave open is chosen here.
#include "hypercall/host/guest/private.h"
#include "hypercall/host/machine/console.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_PORT = 8080, REGION_MOST_MB = 64 << 10, CPUS_MOST = 255 };

// ---- texts -------------------------------------------------------------------------------------

static int check_network(const struct guest_request *q, char *error, size_t error_bytes)
{
    struct in_addr address;
    bool user = !q->network || strcmp(q->network, "user") == 0;
    if (!user && (q->listen || q->port)) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "--listen and --port are of --network user; in '%s' the guest has an "
                            "address of its own and serves on its port 80",
                            q->network);
    }
    if (!user && (!q->network[0] || strcmp(q->network, "bridge=") == 0)) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "--network: user, a libvirt network's name, or bridge=BRIDGE");
    }
    if (q->listen && inet_pton(AF_INET, q->listen, &address) != 1) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "--listen: '%s' is no IPv4 address like 127.0.0.1", q->listen);
    }
    if ((!user || !endpoint_is_loopback(q->listen)) && !q->key && !q->insecure) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "others than this machine would reach the API without a key: --key "
                            "KEY sets one, --insecure does without");
    }
    return 0;
}

static int check(const struct guest_request *q, char *error, size_t error_bytes)
{
    if (q->name && !machine_name_is_valid(q->name)) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "--name: letters, digits, '.', '_' and '-', at most 48, a letter or "
                            "digit first");
    }
    if (q->key && !machine_word_is_valid(q->key)) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "--key: printable ASCII without blanks and double quotes");
    }
    if (q->offload && strcmp(q->offload, "auto") != 0 && strcmp(q->offload, "host") != 0 &&
        strcmp(q->offload, "off") != 0) {
        return guest_refuse(error, error_bytes, -EINVAL, "--offload: '%s' is none of auto, host",
                            q->offload);
    }
    if (q->region_mb & (q->region_mb - 1) || q->region_mb > REGION_MOST_MB) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "--region: a power of two of MB, at most %d", REGION_MOST_MB);
    }
    if (q->vcpus > CPUS_MOST) {
        return guest_refuse(error, error_bytes, -EINVAL, "--vcpus: at most %d", CPUS_MOST);
    }
    if (q->port > 65535) {
        return guest_refuse(error, error_bytes, -EINVAL, "--port: 1 to 65535");
    }
    return check_network(q, error, error_bytes);
}

// ---- what the host has -------------------------------------------------------------------------

// A /dev/kvm on a CPU that shows no virtualisation interprets guests, and badly.
static bool kvm_works(void)
{
    bool works = false;
    FILE *f = fopen("/proc/cpuinfo", "re");
    char *text = calloc(1, 64 << 10);
    if (f && text && fread(text, 1, (64 << 10) - 1, f) > 0) {
        int fd = machine_cpu_virtualises(text) ? open("/dev/kvm", O_RDWR | O_CLOEXEC) : -1;
        works = fd >= 0;
        if (fd >= 0) {
            close(fd);
        }
    }
    free(text);
    if (f) {
        fclose(f);
    }
    return works;
}

static int choose_accel(const struct guest_request *q, struct guest *g, char *error,
                        size_t error_bytes)
{
    const char *choice = q->accel ? q->accel : "auto";
    if (strcmp(choice, "kvm") != 0 && strcmp(choice, "tcg") != 0 && strcmp(choice, "auto") != 0) {
        return guest_refuse(error, error_bytes, -EINVAL, "--accel: '%s' is none of auto, kvm, tcg",
                            choice);
    }
    g->plan.kvm = strcmp(choice, "auto") == 0 ? kvm_works() : strcmp(choice, "kvm") == 0;
    return 0;
}

static uint32_t host_cpus(void)
{
    cpu_set_t set;
    uint32_t n = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
    return n > CPUS_MOST ? CPUS_MOST : n;
}

static int choose_sizes(const struct guest_request *q, struct guest *g, char *error,
                        size_t error_bytes)
{
    g->plan.vcpus = q->vcpus ? q->vcpus : g->plan.offload ? 1 : host_cpus();
    g->plan.memory_mb = q->memory_mb ? q->memory_mb : machine_memory_mb(g->plan.mapped_bytes);
    uint64_t host_mb = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) >> 20;
    if (g->plan.memory_mb > host_mb) {
        return guest_refuse(error, error_bytes, -ENOMEM,
                            "the guest would get %u MB of memory, and this machine has %llu MB; "
                            "--memory sets another size",
                            g->plan.memory_mb, (unsigned long long)host_mb);
    }
    return 0;
}

int guest_choose_port(const struct guest_request *q, struct guest *g, char *error,
                      size_t error_bytes)
{
    if (g->plan.network) {
        return 0;
    }
    uint32_t first = q->first_port ? q->first_port : FIRST_PORT, wanted = q->port ? q->port : first;
    uint32_t next = endpoint_next_port(q->listen, wanted);
    if (q->port && next != wanted) {
        return next
                   ? guest_refuse(error, error_bytes, -EADDRINUSE,
                                  "port %u is in use on this machine; the next free one is %u: "
                                  "--port %u",
                                  wanted, next, next)
                   : guest_refuse(error, error_bytes, -EADDRINUSE,
                                  "port %u is in use on this machine, as are all above it", wanted);
    }
    if (!next) {
        return guest_refuse(error, error_bytes, -EADDRINUSE,
                            "no port from %u on is free on this machine", wanted);
    }
    g->plan.port = next;
    snprintf(g->url, sizeof g->url, "http://%s:%u",
             q->listen && strcmp(q->listen, "0.0.0.0") != 0 ? q->listen : "127.0.0.1", next);
    return 0;
}

// ---- files -------------------------------------------------------------------------------------

static int find_image(const struct guest_host *h, const struct guest_request *q, struct guest *g,
                      char *error, size_t error_bytes)
{
    char beside[PATH_MAX + 32];
    snprintf(beside, sizeof beside, "%s/../images/llm.elf", h->programs);
    const char *path = q->image ? q->image : beside;
    g->image_path = realpath(path, NULL);
    if (!g->image_path) {
        return guest_refuse(error, error_bytes, -errno, "the guest's image %s: %s%s", path,
                            strerror(errno),
                            q->image ? "" : " (`make` builds it; --image names another)");
    }
    unsigned char magic[4] = {0};
    FILE *f = fopen(g->image_path, "re");
    size_t n = f ? fread(magic, 1, sizeof magic, f) : 0;
    int why = errno;
    if (f) {
        fclose(f);
    }
    if (n != sizeof magic || memcmp(magic, "\177ELF", 4) != 0) {
        return f ? guest_refuse(error, error_bytes, -ENOEXEC,
                                "%s is no image for a guest: it is no ELF file", path)
                 : guest_refuse(error, error_bytes, -why, "the guest's image %s: %s", path,
                                strerror(why));
    }
    g->plan.image = g->image_path;
    return 0;
}

static int find_weights(struct guest_host *h, const struct guest_request *q, struct guest *g,
                        char *error, size_t error_bytes)
{
    char why[900] = "";
    struct weights_identity id;
    int rc = weights_identity(q->model, &h->progress, &id, why, sizeof why);
    if (rc) {
        return guest_refuse(error, error_bytes, rc == -EINVAL ? -ENOEXEC : rc, "%s%s", why,
                            strstr(why, "split.count")
                                ? " in one file: `tessera pack IN OUT` makes it of them"
                                : "");
    }
    weights_identity_text(&id, g->identity);
    rc = weights_mappable(q->model, &h->progress, &g->mapped, &g->plan.mapped_bytes, error,
                          error_bytes);
    if (rc) {
        return rc == -EINVAL ? -ENOEXEC : rc;
    }
    g->model_path = realpath(q->model, NULL);
    if (!g->model_path) {
        return guest_refuse(error, error_bytes, -errno, "%s: %s", q->model, strerror(errno));
    }
    guest_say(h, "Model %s: %llu MB, %s%s", g->model_path,
              (unsigned long long)(g->plan.mapped_bytes >> 20), g->identity,
              strcmp(g->mapped, g->model_path) ? "; mapped from a copy in whole pages" : "");
    g->plan.model = g->model_path;
    g->plan.mapped = g->mapped;
    g->plan.identity = g->identity;
    return 0;
}

// ---- names -------------------------------------------------------------------------------------

static bool is_taken(struct guest_host *h, const char *name)
{
    virDomainPtr d = h->libvirt ? virDomainLookupByName(h->libvirt, name) : NULL;
    if (d) {
        virDomainFree(d);
    }
    return d != NULL;
}

int guest_choose_name(struct guest_host *h, const struct guest_request *q, struct guest *g,
                      bool make, char *error, size_t error_bytes)
{
    char base[49];
    if (q->name) {
        snprintf(g->name, sizeof g->name, "%s", q->name);
        if (is_taken(h, q->name)) {
            return guest_refuse(error, error_bytes, -EEXIST,
                                "a guest named '%s' exists already: `tessera rm %s` removes it, "
                                "`tessera start %s` starts it if it is off, --name gives another "
                                "name",
                                q->name, q->name, q->name);
        }
    } else {
        machine_name_of(q->model, base);
        snprintf(g->name, sizeof g->name, "%s", base);
        for (unsigned i = 2; is_taken(h, g->name); i++) {
            snprintf(g->name, sizeof g->name, "%.40s-%u", base, i);
        }
    }
    g->plan.name = g->name;
    int rc =
        console_log_path(g->name, make, g->console_log, sizeof g->console_log, error, error_bytes);
    g->plan.console_log = g->console_log;
    return rc;
}

int guest_choose_free_name(struct guest_host *h, const struct guest_request *q, struct guest *g,
                           char *error, size_t error_bytes)
{
    return guest_choose_name(h, q, g, false, error, error_bytes);
}

// ---- the plan ----------------------------------------------------------------------------------

static void copy_texts(const struct guest_host *h, const struct guest_request *q, struct guest *g)
{
    g->persistent = q->persistent;
    g->autostart = q->autostart;
    g->plan.key = q->key;
    g->plan.settings = q->settings;
    g->plan.listen = q->listen;
    g->plan.network = q->network && strcmp(q->network, "user") != 0 ? q->network : NULL;
    g->plan.offload = q->offload && strcmp(q->offload, "off") != 0 ? q->offload : NULL;
    g->plan.region_mb = q->region_mb;
    g->plan.offload_weight = q->offload_weight;
    g->plan.shares = q->shares;
    g->plan.fleet = q->fleet;
    g->plan.service = q->service;
    g->plan.version = q->version;
    // A system's libvirt would run QEMU as a user of its own, who may not read this user's files.
    g->plan.runs_as_user = h->is_system;
    g->plan.user_id = getuid();
    g->plan.group_id = getgid();
}

int guest_plan(struct guest_host *h, const struct guest_request *q, struct guest *g, char *error,
               size_t error_bytes)
{
    *g = (struct guest){.watch.callback = -1};
    int rc = check(q, error, error_bytes);
    if (rc) {
        return rc;
    }
    copy_texts(h, q, g);
    rc = choose_accel(q, g, error, error_bytes);
    rc = rc ? rc : guest_choose_port(q, g, error, error_bytes);
    rc = rc ? rc : find_image(h, q, g, error, error_bytes);
    rc = rc ? rc : find_weights(h, q, g, error, error_bytes);
    rc = rc ? rc : choose_sizes(q, g, error, error_bytes);
    if (!rc && h->libvirt && g->plan.offload) {
        rc = guest_seat_model(h, g, error, error_bytes);
    }
    return rc;
}
