// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera run`: one guest from a model file, by libvirt. Here what is asked for becomes a plan.
#include "hypercall/host/tool/run.h"

#include "hypercall/host/machine/console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { FIRST_PORT = 8080, REGION_MOST_MB = 64 << 10 };

void run_say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs(isatty(STDOUT_FILENO) ? "\033[1m==>\033[0m " : "==> ", stdout);
    vprintf(format, args);
    putchar('\n');
    fflush(stdout);
    va_end(args);
}

void run_say_line(const char *line)
{
    run_say("%s", line);
}

// ---- what the host has -------------------------------------------------------------------------

static int choose_accel(struct run *r)
{
    const char *choice = r->accel ? r->accel : "auto";
    if (strcmp(choice, "kvm") != 0 && strcmp(choice, "tcg") != 0 && strcmp(choice, "auto") != 0) {
        return tool_misuse("--accel: '%s' is none of auto, kvm, tcg", choice);
    }
    r->plan.kvm = strcmp(choice, "kvm") == 0;
    if (strcmp(choice, "auto") == 0) {
        // A /dev/kvm on a CPU that shows no virtualisation interprets guests, and badly.
        FILE *f = fopen("/proc/cpuinfo", "re");
        char *text = calloc(1, 64 << 10);
        if (f && text && fread(text, 1, (64 << 10) - 1, f) > 0) {
            int fd = machine_cpu_virtualises(text) ? open("/dev/kvm", O_RDWR | O_CLOEXEC) : -1;
            r->plan.kvm = fd >= 0;
            if (fd >= 0) {
                close(fd);
            }
        }
        free(text);
        if (f) {
            fclose(f);
        }
    }
    return TOOL_OK;
}

static int choose_sizes(struct run *r)
{
    r->plan.vcpus = r->vcpus ? r->vcpus : r->offload ? 1 : tool_cpus();
    if (r->plan.vcpus > 255) {
        if (r->vcpus) {
            return tool_misuse("--vcpus: at most 255");
        }
        r->plan.vcpus = 255;
    }
    r->plan.memory_mb = machine_memory_mb(r->plan.mapped_bytes);
    if (r->memory && machine_parse_memory(r->memory, &r->plan.memory_mb) != 0) {
        return tool_misuse("--memory: '%s' is no size like 512M or 2G (16M to 4096G)", r->memory);
    }
    uint64_t host_mb = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) >> 20;
    if (r->plan.memory_mb > host_mb) {
        return tool_fail("the guest would get %u MB of memory, and this machine has %llu MB; "
                         "--memory sets another size",
                         r->plan.memory_mb, (unsigned long long)host_mb);
    }
    return TOOL_OK;
}

static int choose_port(struct run *r)
{
    if (r->port_given && (r->port < 1 || r->port > 65535)) {
        return tool_misuse("--port: 1 to 65535");
    }
    uint32_t wanted = r->port_given ? r->port : FIRST_PORT, next = endpoint_next_port(wanted);
    if (r->port_given && next != wanted) {
        return next ? tool_fail("port %u is in use on this machine; the next free one is %u: "
                                "--port %u",
                                wanted, next, next)
                    : tool_fail("port %u is in use on this machine, as are all above it", wanted);
    }
    if (!next) {
        return tool_fail("no port from %u on is free on this machine", wanted);
    }
    r->plan.port = next;
    return TOOL_OK;
}

// ---- files -------------------------------------------------------------------------------------

static int find_program_folder(struct run *r)
{
    ssize_t n = readlink("/proc/self/exe", r->program_folder, sizeof r->program_folder - 1);
    if (n <= 0) {
        return tool_fail("/proc/self/exe: %s", strerror(errno));
    }
    r->program_folder[n] = 0;
    *strrchr(r->program_folder, '/') = 0;
    return TOOL_OK;
}

static int find_image(struct run *r)
{
    char beside[PATH_MAX + 32];
    snprintf(beside, sizeof beside, "%s/../images/llm.elf", r->program_folder);
    const char *path = r->image ? r->image : beside;
    r->image_path = realpath(path, NULL);
    if (!r->image_path) {
        return tool_fail("the guest's image %s: %s%s", path, strerror(errno),
                         r->image ? "" : " (`make` builds it; --image names another)");
    }
    unsigned char magic[4] = {0};
    FILE *f = fopen(r->image_path, "re");
    size_t n = f ? fread(magic, 1, sizeof magic, f) : 0;
    int why = errno;
    if (f) {
        fclose(f);
    }
    if (n != sizeof magic || memcmp(magic, "\177ELF", 4) != 0) {
        return f ? tool_fail("%s is no image for a guest: it is no ELF file", path)
                 : tool_fail("the guest's image %s: %s", path, strerror(why));
    }
    r->plan.image = r->image_path;
    return TOOL_OK;
}

static int find_weights(struct run *r)
{
    char error[900] = "";
    struct weights_identity id;
    struct weights_progress progress = weights_progress_on_terminal();
    if (weights_identity(r->model, &progress, &id, error, sizeof error) != 0) {
        return tool_fail("%s%s", error,
                         strstr(error, "split.count")
                             ? " in one file: `tessera pack IN OUT` makes it of them"
                             : "");
    }
    weights_identity_text(&id, r->identity);
    if (weights_mappable(r->model, &progress, &r->mapped, &r->plan.mapped_bytes, error,
                         sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    r->model_path = realpath(r->model, NULL);
    if (!r->model_path) {
        return tool_fail("%s: %s", r->model, strerror(errno));
    }
    if (!r->dry_run) {
        run_say("Model %s: %llu MB, %s%s", r->model_path,
                (unsigned long long)(r->plan.mapped_bytes >> 20), r->identity,
                strcmp(r->mapped, r->model_path) ? "; mapped from a copy in whole pages" : "");
    }
    r->plan.model = r->model_path;
    r->plan.mapped = r->mapped;
    r->plan.identity = r->identity;
    return TOOL_OK;
}

// ---- names -------------------------------------------------------------------------------------

static bool is_taken(struct run *r, const char *name)
{
    virDomainPtr d = virDomainLookupByName(r->libvirt, name);
    if (d) {
        virDomainFree(d);
    }
    return d != NULL;
}

// Runs at the same time take port and name one after the other.
static int lock(struct run *r)
{
    char error[400], path[PATH_MAX];
    // No guest's name begins with a dot.
    if (console_log_path(".lock", 1, path, sizeof path, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    r->lock = open(path, O_RDWR | O_CLOEXEC);
    int rc = r->lock < 0 ? -1 : flock(r->lock, LOCK_EX);
    return rc ? tool_fail("%s: cannot be locked: %s", path, strerror(errno)) : TOOL_OK;
}

static int choose_name(struct run *r)
{
    char error[400], base[49];
    if (r->name) {
        snprintf(r->guest_name, sizeof r->guest_name, "%s", r->name);
        if (r->libvirt && is_taken(r, r->name)) {
            return tool_fail("a guest named '%s' exists already: `tessera stop %s` ends it, --name "
                             "gives another name",
                             r->name, r->name);
        }
    } else {
        machine_name_of(r->model, base);
        snprintf(r->guest_name, sizeof r->guest_name, "%s", base);
        for (unsigned i = 2; r->libvirt && is_taken(r, r->guest_name); i++) {
            snprintf(r->guest_name, sizeof r->guest_name, "%.40s-%u", base, i);
        }
    }
    r->plan.name = r->guest_name;
    if (console_log_path(r->guest_name, !r->dry_run, r->console_log, sizeof r->console_log, error,
                         sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    r->plan.console_log = r->console_log;
    return TOOL_OK;
}

// ---- the command -------------------------------------------------------------------------------

static int check_options(struct run *r)
{
    if (r->name && !machine_name_is_valid(r->name)) {
        return tool_misuse(
            "--name: letters, digits, '.', '_' and '-', at most 48, a letter or digit "
            "first");
    }
    if (r->key && !machine_word_is_valid(r->key)) {
        return tool_misuse("--key: printable ASCII without blanks and double quotes");
    }
    if (r->offload && !r->offload[0]) {
        r->offload = "auto";
    }
    if (r->offload && strcmp(r->offload, "auto") != 0 && strcmp(r->offload, "host") != 0) {
        return tool_misuse("--offload: '%s' is none of auto, host", r->offload);
    }
    if (r->region & (r->region - 1) || r->region > REGION_MOST_MB) {
        return tool_misuse("--region: a power of two of MB, at most %d", REGION_MOST_MB);
    }
    r->timeout = r->timeout ? r->timeout : 120;
    r->plan.key = r->key;
    r->plan.offload = r->offload;
    return TOOL_OK;
}

// Where tensord would put things; it is not asked.
static int print_xml(struct run *r)
{
    char error[400], *xml;
    if (r->offload) {
        if (tensord_folder(r->tensord_folder, sizeof r->tensord_folder, error, sizeof error) != 0) {
            return tool_fail("%s", error);
        }
        snprintf(r->calls.socket, sizeof r->calls.socket, "%.40s/%.48s.ivshmem", r->tensord_folder,
                 r->guest_name);
        r->calls.vectors = 2;
        r->plan.offload_folder = r->tensord_folder;
        r->plan.offload_socket = r->calls.socket;
        r->plan.offload_vectors = r->calls.vectors;
    }
    if (machine_xml(&r->plan, &xml, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    fputs(xml, stdout);
    free(xml);
    return TOOL_OK;
}

static int prepare(struct run *r)
{
    char error[900];
    int status = check_options(r);
    status = status ? status : choose_accel(r);
    status = status ? status : choose_port(r);
    status = status ? status : find_program_folder(r);
    status = status ? status : find_image(r);
    if (!status && machine_uri(r->uri, &r->libvirt_uri, &r->is_system, error, sizeof error) != 0) {
        status = tool_misuse("%s", error);
    }
    status = status ? status : find_weights(r);
    status = status ? status : choose_sizes(r);
    if (status) {
        return status;
    }
    // A system's libvirt would run QEMU as a user of its own, who may not read this user's files.
    r->plan.runs_as_user = r->is_system;
    r->plan.user_id = getuid();
    r->plan.group_id = getgid();
    if (r->dry_run) {
        return choose_name(r);
    }
    run_say("Connecting to libvirt (%s)", r->libvirt_uri);
    if (machine_connect(r->libvirt_uri, run_say_line, &r->libvirt, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    status = r->offload ? run_offload_model(r) : TOOL_OK;
    status = status ? status : lock(r);
    status = status ? status : choose_port(r); // again: meanwhile another may have taken it
    return status ? status : choose_name(r);
}

static int run(int argc, char **argv)
{
    const char *words[1];
    size_t word_count;
    struct run r = {.watch.callback = -1, .lock = -1};
    struct tool_option options[] = {
        {"--name", OPTION_TEXT, &r.name, false},
        {"--vcpus", OPTION_COUNT, &r.vcpus, false},
        {"--memory", OPTION_TEXT, &r.memory, false},
        {"--port", OPTION_COUNT, &r.port, false},
        {"--accel", OPTION_TEXT, &r.accel, false},
        {"--offload", OPTION_OPTIONAL, &r.offload, false},
        {"--region", OPTION_COUNT, &r.region, false},
        {"--connect", OPTION_TEXT, &r.uri, false},
        {"--detach", OPTION_FLAG, &r.detach, false},
        {"--dry-run", OPTION_FLAG, &r.dry_run, false},
        {"--image", OPTION_TEXT, &r.image, false},
        {"--key", OPTION_TEXT, &r.key, false},
        {"--timeout", OPTION_COUNT, &r.timeout, false},
    };
    int status =
        tool_options(argc, argv, options, sizeof options / sizeof *options, words, 1, &word_count);
    if (status) {
        return status;
    }
    if (word_count != 1) {
        return tool_misuse("wanted: MODEL");
    }
    r.model = words[0];
    r.port_given = options[3].given;
    status = prepare(&r);
    if (!status) {
        status = r.dry_run ? print_xml(&r) : run_guest(&r);
    }
    if (r.lock >= 0) {
        close(r.lock);
    }
    if (r.domain) {
        virDomainFree(r.domain);
    }
    if (r.libvirt) {
        virConnectClose(r.libvirt);
    }
    free(r.model_path);
    free(r.mapped);
    free(r.image_path);
    return status;
}

const struct tool_command tool_run_guest = {
    .name = "run",
    .summary = "a model as a virtual machine of its own, by libvirt",
    .help =
        "Usage: tessera run MODEL [OPTIONS]\n\n"
        "Boots a guest that serves the GGUF file over HTTP on 127.0.0.1, prints its URL and stays\n"
        "until Ctrl-C, which shuts the guest down in order. It is an ordinary libvirt domain: "
        "virsh\n"
        "shows and handles it. The weights are mapped read-only; all guests share one copy.\n\n"
        "  --name NAME          the guest's name (from the file's)\n"
        "  --vcpus N            CPUs (the host's; with --offload 1)\n"
        "  --memory SIZE        like 512M or 2G (by the model's size)\n"
        "  --port N             on 127.0.0.1 (the first free one from 8080)\n"
        "  --accel WAY          auto, kvm or tcg: hardware or emulation (auto)\n"
        "  --offload[=WAY]      the host computes, by tensord, which is started where none runs:\n"
        "                       auto (chosen by measurement) or host (always)\n"
        "  --region MB          memory shared with the host for that, a power of two (by the "
        "model)\n"
        "  --key KEY            the API wants this key\n"
        "  --detach             return when it serves; see `tessera ls`, `logs`, `stop`\n"
        "  --dry-run            print the domain's XML and start nothing\n"
        "  --image FILE         the guest's image (../images/llm.elf beside this program)\n"
        "  --timeout SECONDS    for the guest to serve (120)\n"
        "  --connect URI        libvirt's connection (LIBVIRT_DEFAULT_URI, else qemu:///session;\n"
        "                       for root qemu:///system)\n",
    .run = run,
};
