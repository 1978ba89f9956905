// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera run`: one guest from a model file, by libvirt.
#include "hypercall/host/tool/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct run {
    struct guest_request q;
    const char *uri, *memory, *key_file;
    char key[TOOL_KEY];
    uint32_t timeout;
    bool detach, dry_run;
    struct tool_texts devices;
};

static int print_xml(struct guest_host *h, struct run *r)
{
    char error[900], *xml;
    struct guest g;
    int rc = guest_plan(h, &r->q, &g, error, sizeof error);
    rc = rc ? rc : guest_choose_free_name(h, &r->q, &g, error, sizeof error);
    rc = rc ? rc : guest_xml(h, &g, &xml, error, sizeof error);
    guest_free(h, &g);
    if (rc) {
        return run_failed(rc, error);
    }
    fputs(xml, stdout);
    if (g.key_file[0]) {
        fprintf(stderr, "(`tessera run` makes %s, for its owner alone, with the key in it)\n",
                g.key_file);
    }
    free(xml);
    return TOOL_OK;
}

static void tell_detached(const struct run *r, const struct guest *g)
{
    char to[300] = "", virsh[300] = "";
    if (r->uri) {
        snprintf(to, sizeof to, " --connect '%.250s'", r->uri);
        snprintf(virsh, sizeof virsh, " -c '%.250s'", r->uri);
    }
    run_say("detached  `tessera logs %s%s`, `tessera stop %s%s`, `virsh%s console %s`", g->name, to,
            g->name, to, virsh, g->name);
}

// The milliseconds since *since, which is moved to now.
static double lap(uint64_t *since)
{
    uint64_t now = tool_now_ns();
    double ms = (double)(now - *since) / 1e6;
    *since = now;
    return ms;
}

static int make_guest(struct guest_host *h, struct run *r, struct guest *g, uint64_t *since,
                      struct run_times *times)
{
    char error[900];
    int rc = guest_create(h, &r->q, g, error, sizeof error);
    if (rc) {
        return run_failed(rc, error);
    }
    times->create = lap(since);
    rc = guest_wait(h, g, r->timeout, &run_interrupts, error, sizeof error);
    if (rc) {
        if (rc != -EINTR) {
            run_show_guest_console(h, g);
        }
        guest_give_up(h, g);
        return run_failed(rc, error);
    }
    times->guest = lap(since);
    run_print_guest_ready(h, g, times);
    endpoint_free(g->endpoint); // an idle connection is the guest's to keep, too
    g->endpoint = NULL;
    if (r->detach) {
        tell_detached(r, g);
        return TOOL_OK;
    }
    return run_stay(h, g);
}

static int start(struct run *r)
{
    char error[900];
    struct guest g;
    struct guest_host h = {.progress = weights_progress_on_terminal()};
    if (r->dry_run) {
        int rc = guest_host_open(&h, r->uri, true, error, sizeof error);
        return rc ? run_failed(rc, error) : print_xml(&h, r);
    }
    uint64_t since = tool_now_ns();
    int status = run_connect(&h, r->uri, false);
    if (status) {
        return status;
    }
    struct run_times times = {.connect = lap(&since)};
    run_catch_interrupts();
    int rc = guest_plan(&h, &r->q, &g, error, sizeof error);
    times.plan = lap(&since);
    status = rc ? run_failed(rc, error) : make_guest(&h, r, &g, &since, &times);
    guest_free(&h, &g);
    guest_host_close(&h);
    return status;
}

static int run(int argc, char **argv)
{
    const char *words[1];
    size_t word_count;
    struct run r = {.timeout = 120};
    struct tool_option options[] = {
        {"--name", OPTION_TEXT, &r.q.name, false},
        {"--vcpus", OPTION_COUNT, &r.q.vcpus, false},
        {"--memory", OPTION_TEXT, &r.memory, false},
        {"--port", OPTION_COUNT, &r.q.port, false},
        {"--network", OPTION_TEXT, &r.q.network, false},
        {"--listen", OPTION_TEXT, &r.q.listen, false},
        {"--insecure", OPTION_FLAG, &r.q.insecure, false},
        {"--accel", OPTION_TEXT, &r.q.accel, false},
        {"--offload", OPTION_OPTIONAL, &r.q.offload, false},
        {"--region", OPTION_COUNT, &r.q.region_mb, false},
        {"--connect", OPTION_TEXT, &r.uri, false},
        {"--detach", OPTION_FLAG, &r.detach, false},
        {"--autostart", OPTION_FLAG, &r.q.autostart, false},
        {"--dry-run", OPTION_FLAG, &r.dry_run, false},
        {"--image", OPTION_TEXT, &r.q.image, false},
        {"--key", OPTION_TEXT, &r.q.key, false},
        {"--key-file", OPTION_TEXT, &r.key_file, false},
        {"--machine", OPTION_TEXT, &r.q.machine, false},
        {"--cpu", OPTION_TEXT, &r.q.cpu, false},
        {"--nested", OPTION_FLAG, &r.q.nested, false},
        {"--hugepages", OPTION_OPTIONAL, &r.q.hugepages, false},
        {"--shared-memory", OPTION_FLAG, &r.q.shared_memory, false},
        {"--pin", OPTION_TEXT, &r.q.pin, false},
        {"--numa", OPTION_TEXT, &r.q.numa, false},
        {"--device", OPTION_TEXTS, &r.devices, false},
        {"--iommu", OPTION_FLAG, &r.q.iommu, false},
        {"--boot", OPTION_TEXT, &r.q.boot, false},
        {"--secure-boot", OPTION_OPTIONAL, &r.q.secure_boot, false},
        {"--weights", OPTION_TEXT, &r.q.weights, false},
        {"--timeout", OPTION_COUNT, &r.timeout, false},
    };
    int status =
        tool_options(argc, argv, options, sizeof options / sizeof *options, words, 1, &word_count);
    status = status ? status : tool_key(r.key_file, r.key, &r.q.key);
    if (status) {
        return status;
    }
    if (word_count != 1) {
        return tool_misuse("wanted: MODEL, a GGUF file, or IMAGE");
    }
    if (options[3].given && r.q.port == 0) {
        return tool_misuse("--port: 1 to 65535");
    }
    if (options[1].given && r.q.vcpus == 0) {
        return tool_misuse("--vcpus: at least 1");
    }
    if (r.memory && machine_parse_memory(r.memory, &r.q.memory_mb) != 0) {
        return tool_misuse("--memory: '%s' is no size like 512M or 2G (16M to 4096G)", r.memory);
    }
    if (r.q.offload && !r.q.offload[0]) {
        r.q.offload = "auto";
    }
    if (r.q.hugepages && !r.q.hugepages[0]) {
        r.q.hugepages = "2M";
    }
    if (r.q.secure_boot && !r.q.secure_boot[0]) {
        r.q.secure_boot = "ms";
    }
    r.q.device_count = r.devices.count;
    memcpy(r.q.devices, r.devices.values, sizeof r.q.devices);
    if (r.q.autostart && !r.detach) {
        return tool_misuse("--autostart is of guests that stay: with --detach");
    }
    r.q.model = words[0];
    r.q.persistent = r.detach;
    return start(&r);
}

const struct tool_command tool_run_guest = {
    .name = "run",
    .summary = "a model as a virtual machine of its own, by libvirt",
    .help =
        "Usage: tessera run MODEL|IMAGE [OPTIONS]\n\n"
        "Boots a guest that serves the GGUF file over HTTP on 127.0.0.1, prints its URL and stays\n"
        "until Ctrl-C, which shuts the guest down in order and removes it. It is an ordinary\n"
        "libvirt domain: virsh shows and handles it. The weights are mapped read-only; all guests\n"
        "share one copy. MODEL may also be a name that `tessera\n"
        "pkg` installed. An IMAGE (ELF, EFI, raw or qcow2 disk) boots with the model in it.\n\n"
        "  --detach             return when it serves; it stays defined when it is off. See\n"
        "                       `tessera ls`, `logs`, `console`, `chat`, `stop`, `start`, `rm`\n"
        "  --autostart          with --detach: libvirt starts it with the host\n"
        "  --name NAME          the guest's name (from the file's)\n"
        "  --vcpus N            CPUs (the host's; with --offload 1)\n"
        "  --memory SIZE        like 512M or 2G (by the model's size)\n"
        "  --port N             on the host (the first free one from 8080)\n"
        "  --listen ADDRESS     where the port is open (127.0.0.1)\n"
        "  --network NET        user (QEMU's own, one queue; default), a libvirt network's name, "
        "or\n"
        "                       bridge=BRIDGE; there the guest has an address of its own\n"
        "  --key-file FILE      the API wants the key that is in this file (-: standard input)\n"
        "  --key KEY            the same; while `tessera` starts others may see it\n"
        "  --insecure           others may reach the API without a key\n"
        "  --accel WAY          auto, kvm or tcg: hardware or emulation (auto)\n"
        "  --offload[=WAY]      the host computes, by tensord, which is started where none runs:\n"
        "                       auto (chosen by measurement) or host (always)\n"
        "  --region MB          memory shared with the host for that, a power of two (by the "
        "model)\n"
        "  --dry-run            print the domain's XML and start nothing\n"
        "  --image FILE         the guest's image (../images/llm.elf beside this program)\n"
        "  --machine KIND       q35, or microvm: fewer devices, starts sooner (q35)\n"
        "  --cpu MODEL[,±FEATURE...]  host (what KVM has), max (what QEMU emulates) or a model of\n"
        "                       `virsh cpu-models x86_64`, as Skylake-Server,-avx512f\n"
        "  --nested             the guest may have guests: VT-x/EPT or AMD-V/NPT\n"
        "  --hugepages[=SIZE]   its memory in pages of 2M (default) or 1G\n"
        "  --shared-memory      other processes may map its memory (memfd)\n"
        "  --pin CPUS           on these CPUs of the host, like 0-3,8, one after the other\n"
        "  --numa NODES         memory and CPUs on these nodes of the host, a cell each\n"
        "  --device DEVICE      a PCI device of the host (VFIO), also several: pci:ADDRESS,\n"
        "                       nic:ADDRESS, gpu:ADDRESS, gpu:auto\n"
        "  --iommu              the guest has an IOMMU (Intel's)\n"
        "  --boot WAY           pvh or uefi (pvh, at once; uefi takes seconds)\n"
        "  --secure-boot[=KEYS] UEFI boots signed images only: keys of ms (default), snakeoil "
        "(test\n"
        "                       keys of Debian's OVMF), or of /FILE, OVMF variables with your own\n"
        "  --weights WAY        mapped (shared by all guests) or disk: read into its memory\n"
        "  --timeout SECONDS    for the guest to serve (120)\n"
        "  --connect URI        libvirt's connection (LIBVIRT_DEFAULT_URI, else qemu:///session;\n"
        "                       for root qemu:///system). On another machine, like\n"
        "                       qemu+ssh://HOST/system, model and image are sent there, once\n",
    .run = run,
};
