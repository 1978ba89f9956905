// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What is asked for becomes a plan: what the model and this host leave open is chosen here.
#include "hypercall/host/guest/private.h"
#include "hypercall/host/hardware/hardware.h"
#include "hypercall/host/machine/console.h"
#include "hypercall/host/packages/packages.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
    return 0;
}

// A sealed image brings its own key or none.
static int check_open(const struct guest_request *q, const struct guest *g, char *error,
                      size_t error_bytes)
{
    if ((g->plan.network || !endpoint_is_loopback(q->listen)) && !q->key && !g->image_has_key &&
        !q->insecure) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "others than this machine would reach the API without a key: %s, "
                            "--insecure does without",
                            g->plan.sealed ? "build the image with one (`tessera image build --set "
                                             "http.key=KEY`)"
                                           : "--key-file FILE sets one");
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
    if (q->key && !machine_key_is_valid(q->key)) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "--key: printable ASCII without blanks and double quotes, at most %d "
                            "characters",
                            MACHINE_KEY - 1);
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
    int rc = guest_check_variant(q, error, error_bytes);
    return rc ? rc : check_network(q, error, error_bytes);
}

// ---- what the host has -------------------------------------------------------------------------

static bool kvm_works(void)
{
    struct hardware_cpu cpu;
    hardware_cpu("", &cpu);
    return hardware_kvm("", &cpu) == HARDWARE_KVM_READY;
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

// CPUs of the host that were named are as many of the guest's.
static uint32_t usual_cpus(const struct guest *g)
{
    uint32_t pins = 0, unused;
    while (g->plan.pin && pins < CPUS_MOST && machine_set_member(g->plan.pin, pins, &unused) == 0) {
        pins++;
    }
    uint32_t cpus = pins ? pins : g->plan.offload ? 1 : host_cpus();
    return cpus < g->plan.cell_count ? g->plan.cell_count : cpus;
}

static uint32_t usual_memory_mb(const struct guest *g)
{
    enum { FIRMWARE_MB = 64 };
    uint32_t mb = machine_memory_mb(g->plan.mapped_bytes);
    // What is not mapped has to be read into memory.
    uint64_t all = mb + (g->plan.mapped_bytes >> 20);
    mb = g->plan.weights == MACHINE_WEIGHTS_MAPPED ? mb
         : all > UINT32_MAX                        ? UINT32_MAX
                                                   : (uint32_t)all;
    mb = g->plan.boot == MACHINE_BOOT_UEFI ? mb + FIRMWARE_MB : mb;
    uint32_t with_image = g->image_mb + machine_memory_mb(0);
    return mb < with_image ? with_image : mb;
}

static int choose_sizes(struct guest_host *h, const struct guest_request *q, struct guest *g,
                        char *error, size_t error_bytes)
{
    g->plan.vcpus = q->vcpus ? q->vcpus : usual_cpus(g);
    if (g->plan.vcpus < g->plan.cell_count) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "--numa: %u nodes need as many CPUs, and --vcpus is %u",
                            g->plan.cell_count, g->plan.vcpus);
    }
    g->plan.memory_mb = q->memory_mb ? q->memory_mb : usual_memory_mb(g);
    int rc = guest_fit_memory(h, g, error, error_bytes);
    if (rc) {
        return rc;
    }
    uint64_t host_mb = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) >> 20;
    if (g->plan.memory_mb > host_mb) {
        return guest_refuse(error, error_bytes, -ENOMEM,
                            "the guest would get %u MB of memory, and this machine has %llu MB; "
                            "--memory sets another size",
                            g->plan.memory_mb, (unsigned long long)host_mb);
    }
    return 0;
}

// A free one that no run at the same time is about to take. Whether it is free is tried by opening
// it, which would spoil the start of a QEMU that does so: only what is claimed is tried.
static uint32_t next_port(const struct guest_request *q, int claims, uint32_t from)
{
    for (uint32_t port = from; port >= 1 && port <= 65535; port++) {
        if ((claims < 0 || guest_claim_port(claims, port)) &&
            endpoint_port_is_free(q->listen, port)) {
            return port;
        }
    }
    return 0;
}

int guest_choose_port(const struct guest_request *q, struct guest *g, int claims, char *error,
                      size_t error_bytes)
{
    if (g->plan.network) {
        return 0;
    }
    uint32_t first = q->first_port ? q->first_port : FIRST_PORT, wanted = q->port ? q->port : first;
    uint32_t next = next_port(q, claims, wanted);
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

// The port as it would be now: a taken one is told before anything takes long.
static int foresee_port(const struct guest_host *h, const struct guest_request *q, struct guest *g,
                        char *error, size_t error_bytes)
{
    int claims = h->libvirt ? guest_claims_open(error, error_bytes) : -1;
    if (h->libvirt && claims < 0) {
        return claims;
    }
    int rc = guest_choose_port(q, g, claims, error, error_bytes);
    if (claims >= 0) {
        close(claims);
    }
    return rc;
}

// ---- files -------------------------------------------------------------------------------------

// The file as the guest gets it.
static int find_file(struct guest_host *h, const struct guest_request *q, struct guest *g,
                     char *error, size_t error_bytes)
{
    struct stat status;
    if (g->plan.weights == MACHINE_WEIGHTS_MAPPED) {
        return guest_map_weights(h, q->model, g, error, error_bytes);
    }
    // A disk needs no whole pages: it is the file itself.
    g->mapped = strdup(g->model_path);
    int rc =
        g->mapped ? guest_make_readable(h, g, "Model", &g->mapped, false, error, error_bytes) : 0;
    if (rc) {
        return rc;
    }
    if (!g->mapped || stat(g->mapped, &status) != 0) {
        return guest_refuse(error, error_bytes, -errno, "%s: %s", q->model, strerror(errno));
    }
    g->plan.mapped_bytes = (uint64_t)status.st_size;
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
    g->model_path = realpath(q->model, NULL);
    if (!g->model_path) {
        return guest_refuse(error, error_bytes, -errno, "%s: %s", q->model, strerror(errno));
    }
    rc = find_file(h, q, g, error, error_bytes);
    if (rc) {
        return rc == -EINVAL ? -ENOEXEC : rc;
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

static bool can_have_name(struct guest_host *h, const char *name, int claims)
{
    return (claims < 0 || guest_claim_name(claims, name)) && !is_taken(h, name);
}

int guest_choose_name(struct guest_host *h, const struct guest_request *q, struct guest *g,
                      int claims, char *error, size_t error_bytes)
{
    char base[49];
    bool make = claims >= 0;
    if (q->name) {
        snprintf(g->name, sizeof g->name, "%s", q->name);
        if (!can_have_name(h, q->name, claims)) {
            return guest_refuse(error, error_bytes, -EEXIST,
                                "a guest named '%s' exists already: `tessera rm %s` removes it, "
                                "`tessera start %s` starts it if it is off, --name gives another "
                                "name",
                                q->name, q->name, q->name);
        }
    } else {
        machine_name_of(q->model, base);
        snprintf(g->name, sizeof g->name, "%s", base);
        for (unsigned i = 2; !can_have_name(h, g->name, claims); i++) {
            snprintf(g->name, sizeof g->name, "%.40s-%u", base, i);
        }
    }
    g->plan.name = g->name;
    int rc =
        console_log_path(g->name, make, g->console_log, sizeof g->console_log, error, error_bytes);
    g->plan.console_log = g->console_log;
    rc = rc ? rc : guest_name_variables(g, make, error, error_bytes);
    return rc ? rc : guest_name_key(h, g, make, error, error_bytes);
}

int guest_choose_free_name(struct guest_host *h, const struct guest_request *q, struct guest *g,
                           char *error, size_t error_bytes)
{
    return guest_choose_name(h, q, g, -1, error, error_bytes);
}

// ---- the plan ----------------------------------------------------------------------------------

static void copy_texts(const struct guest_request *q, struct guest *g)
{
    g->persistent = q->persistent;
    g->autostart = q->autostart;
    g->plan.key = q->key;
    g->plan.owner_id = getuid();
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
}

// Where no file has the model's name, it may be that of an installed one.
static int find_model(struct guest_request *q, char path[PATH_MAX], char *error, size_t error_bytes)
{
    char why[900];
    if (access(q->model, F_OK) == 0 || strchr(q->model, '/')) {
        return 0;
    }
    int rc = packages_resolve(q->model, path, why, sizeof why);
    if (rc == -ENOENT) {
        return guest_refuse(error, error_bytes, -ENOENT,
                            "%s: No such file, and no model of this name is installed (`tessera "
                            "pkg list`)",
                            q->model);
    }
    q->model = rc ? q->model : path;
    return rc ? guest_refuse(error, error_bytes, rc, "%s", why) : 0;
}

int guest_plan(struct guest_host *h, const struct guest_request *asked, struct guest *g,
               char *error, size_t error_bytes)
{
    struct guest_request copy = *asked, *q = &copy;
    char path[PATH_MAX];
    *g = (struct guest){.watch.callback = -1};
    int rc = check(q, error, error_bytes);
    rc = rc ? rc : find_model(q, path, error, error_bytes);
    if (rc) {
        return rc;
    }
    copy_texts(q, g);
    g->plan.is_system = h->is_system;
    if (h->is_remote) { // which has no sealed images
        rc = check_open(q, g, error, error_bytes);
        return rc ? rc : guest_plan_remote(h, q, g, error, error_bytes);
    }
    rc = guest_find_reader(h, g, error, error_bytes);
    rc = rc ? rc : choose_accel(q, g, error, error_bytes);
    rc = rc ? rc : guest_choose_variant(h, q, g, error, error_bytes);
    rc = rc ? rc : guest_find_image(h, q, g, error, error_bytes);
    rc = rc ? rc : check_open(q, g, error, error_bytes);
    rc = rc ? rc : foresee_port(h, q, g, error, error_bytes);
    rc = rc ? rc : guest_choose_firmware(h, q, g, error, error_bytes);
    if (!rc && g->plan.weights != MACHINE_WEIGHTS_NONE) {
        rc = find_weights(h, q, g, error, error_bytes);
    }
    rc = rc ? rc : choose_sizes(h, q, g, error, error_bytes);
    rc = rc ? rc : guest_choose_devices(h, q, g, error, error_bytes);
    rc = rc ? rc : guest_place_image(h, g, error, error_bytes);
    if (!rc && h->libvirt && g->plan.offload) {
        rc = guest_seat_model(h, g, error, error_bytes);
    }
    return rc;
}
