// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What machine a guest gets: its kind, CPU and memory, held to what the host has.
#include "hypercall/host/guest/private.h"
#include "hypercall/host/hardware/hardware.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_one_of(const char *text, const char *a, const char *b)
{
    return !text || strcmp(text, a) == 0 || strcmp(text, b) == 0;
}

static int check_words(const struct guest_request *q, char *error, size_t error_bytes)
{
    const struct {
        const char *option, *value, *a, *b;
    } words[] = {{"--machine", q->machine, "q35", "microvm"},
                 {"--hugepages", q->hugepages, "2M", "1G"},
                 {"--boot", q->boot, "pvh", "uefi"},
                 {"--weights", q->weights, "mapped", "disk"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!is_one_of(words[i].value, words[i].a, words[i].b)) {
            return guest_refuse(error, error_bytes, -EINVAL, "%s: '%s' is none of %s, %s",
                                words[i].option, words[i].value, words[i].a, words[i].b);
        }
    }
    if (!is_one_of(q->secure_boot, "ms", "snakeoil") && q->secure_boot[0] != '/') {
        return guest_refuse(
            error, error_bytes, -EINVAL,
            "--secure-boot: '%s' is none of ms, snakeoil, and no absolute path of a "
            "file of UEFI variables",
            q->secure_boot);
    }
    return 0;
}

static int check_sets(const struct guest_request *q, char *error, size_t error_bytes)
{
    uint32_t unused;
    if (q->cpu && !machine_cpu_is_valid(q->cpu)) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "--cpu: host, max or a model's name (`virsh cpu-models x86_64` lists "
                            "them), then ,+FEATURE or ,-FEATURE");
    }
    if (q->pin && machine_set_member(q->pin, 0, &unused) != 0) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "--pin: '%s' is no set of CPUs like 0-3,8, in rising order", q->pin);
    }
    if (q->numa && machine_set_member(q->numa, 0, &unused) != 0) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "--numa: '%s' is no set of nodes like 0,1, in rising order", q->numa);
    }
    if (q->numa && machine_set_member(q->numa, MACHINE_MOST_CELLS, &unused) == 0) {
        return guest_refuse(error, error_bytes, -EINVAL, "--numa: at most %d nodes",
                            MACHINE_MOST_CELLS);
    }
    return 0;
}

int guest_check_variant(const struct guest_request *q, char *error, size_t error_bytes)
{
    int rc = check_words(q, error, error_bytes);
    rc = rc ? rc : check_sets(q, error, error_bytes);
    if (rc) {
        return rc;
    }
    bool microvm = q->machine && strcmp(q->machine, "microvm") == 0;
    bool uefi = q->secure_boot || (q->boot && strcmp(q->boot, "uefi") == 0);
    const char *cannot = q->device_count ? "--device"
                         : q->iommu      ? "--iommu"
                         : q->numa       ? "--numa"
                         : uefi          ? "UEFI"
                                         : NULL;
    if (microvm && cannot) {
        return guest_refuse(error, error_bytes, -EINVAL, "microvm has no %s: --machine q35 has",
                            cannot);
    }
    if (q->secure_boot && q->boot && strcmp(q->boot, "pvh") == 0) {
        return guest_refuse(error, error_bytes, -EINVAL, "--secure-boot is UEFI's: --boot uefi");
    }
    return 0;
}

// ---- the CPU -----------------------------------------------------------------------------------

static int choose_nested(const struct guest_host *h, struct guest *g, char *error,
                         size_t error_bytes)
{
    struct hardware_cpu cpu;
    if (!g->plan.kvm) {
        g->plan.nested = "svm"; // QEMU emulates AMD's, and only that
        return 0;
    }
    hardware_cpu("", &cpu);
    bool intel = cpu.vmx || (!cpu.svm && strcmp(cpu.vendor, "GenuineIntel") == 0);
    g->plan.nested = intel ? "vmx" : "svm";
    if (!h->libvirt) {
        return 0;
    }
    if (!cpu.vmx && !cpu.svm) {
        return guest_refuse(error, error_bytes, -ENOTSUP,
                            "--nested: this machine's processor shows neither VT-x nor AMD-V; it "
                            "may be off in its firmware, or this machine is a guest itself that "
                            "was not given it");
    }
    if (cpu.nested == 0) {
        const char *module = intel ? "kvm_intel" : "kvm_amd";
        return guest_refuse(error, error_bytes, -ENOTSUP,
                            "--nested: KVM here gives guests no virtualisation; as root, with no "
                            "guest running: modprobe -r %s && modprobe %s nested=1",
                            module, module);
    }
    return 0;
}

static int choose_cpu(const struct guest_host *h, const struct guest_request *q, struct guest *g,
                      char *error, size_t error_bytes)
{
    g->plan.cpu = q->cpu;
    if (q->cpu && !g->plan.kvm && strcspn(q->cpu, ",") == 4 && strncmp(q->cpu, "host", 4) == 0) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "--cpu host needs hardware KVM, and this guest is emulated: --cpu max "
                            "gives it all that QEMU emulates");
    }
    return q->nested ? choose_nested(h, g, error, error_bytes) : 0;
}

// ---- where on the host -------------------------------------------------------------------------

static int check_pin(const struct guest_request *q, char *error, size_t error_bytes)
{
    long have = sysconf(_SC_NPROCESSORS_CONF);
    uint32_t cpu;
    for (uint32_t i = 0; machine_set_member(q->pin, i, &cpu) == 0; i++) {
        if (cpu >= have) {
            return guest_refuse(error, error_bytes, -ENODEV,
                                "--pin: this machine has no CPU %u, only 0 to %ld", cpu, have - 1);
        }
    }
    return 0;
}

static const struct hardware_node *find_node(const struct hardware_memory *m, uint32_t id)
{
    for (unsigned i = 0; i < m->node_count; i++) {
        if (m->nodes[i].id == (int)id) {
            return &m->nodes[i];
        }
    }
    return NULL;
}

static int choose_cells(const struct guest_host *h, const struct guest_request *q, struct guest *g,
                        char *error, size_t error_bytes)
{
    struct hardware_memory *m = malloc(sizeof *m);
    uint32_t node;
    if (!m) {
        return guest_refuse(error, error_bytes, -ENOMEM, "no memory");
    }
    hardware_memory("", m);
    int rc = 0;
    for (uint32_t i = 0; !rc && machine_set_member(q->numa, i, &node) == 0; i++) {
        const struct hardware_node *n = find_node(m, node);
        struct machine_cell *c = &g->plan.cells[g->plan.cell_count++];
        c->node = node;
        snprintf(c->cpus, sizeof c->cpus, "%s", n ? n->cpus : "");
        if (!n && h->libvirt) {
            rc = guest_refuse(error, error_bytes, -ENODEV,
                              "--numa: this machine has no memory node %u (`lscpu` lists them)",
                              node);
        }
    }
    free(m);
    return rc;
}

int guest_choose_variant(const struct guest_host *h, const struct guest_request *q, struct guest *g,
                         char *error, size_t error_bytes)
{
    struct machine_plan *p = &g->plan;
    p->kind = q->machine && strcmp(q->machine, "microvm") == 0 ? MACHINE_MICROVM : MACHINE_Q35;
    p->weights = q->weights && strcmp(q->weights, "disk") == 0 ? MACHINE_WEIGHTS_DISK
                                                               : MACHINE_WEIGHTS_MAPPED;
    p->boot = q->secure_boot || (q->boot && strcmp(q->boot, "uefi") == 0) ? MACHINE_BOOT_UEFI
                                                                          : MACHINE_BOOT_PVH;
    p->page_kb = !q->hugepages ? 0 : strcmp(q->hugepages, "1G") == 0 ? 1 << 20 : 2048;
    p->shared_memory = q->shared_memory;
    p->iommu = q->iommu;
    p->pin = q->pin;
    int rc = choose_cpu(h, q, g, error, error_bytes);
    rc = !rc && q->pin && h->libvirt ? check_pin(q, error, error_bytes) : rc;
    return !rc && q->numa ? choose_cells(h, q, g, error, error_bytes) : rc;
}

// ---- memory ------------------------------------------------------------------------------------

int guest_fit_memory(const struct guest_host *h, struct guest *g, char *error, size_t error_bytes)
{
    struct machine_plan *p = &g->plan;
    uint64_t page_mb = p->page_kb ? p->page_kb / 1024 : 1;
    uint64_t unit = page_mb * (p->cell_count ? p->cell_count : 1);
    uint64_t mb = (p->memory_mb + unit - 1) / unit * unit;
    if (mb > UINT32_MAX) {
        return guest_refuse(error, error_bytes, -EINVAL, "--memory: too much");
    }
    p->memory_mb = (uint32_t)mb;
    if (!p->page_kb || !h->libvirt) {
        return 0;
    }
    struct hardware_memory *m = malloc(sizeof *m);
    if (!m) {
        return guest_refuse(error, error_bytes, -ENOMEM, "no memory");
    }
    hardware_memory("", m);
    bool huge = page_mb > 2;
    uint64_t have = huge ? m->pages_1g_free : m->pages_2m_free, need = mb / page_mb;
    uint64_t all = (huge ? m->pages_1g : m->pages_2m) + need - have;
    free(m);
    if (have >= need) {
        return 0;
    }
    return guest_refuse(error, error_bytes, -ENOMEM,
                        "--hugepages: the guest's %llu MB take %llu pages of %s, and this machine "
                        "has %llu free; as root: echo %llu "
                        ">/sys/kernel/mm/hugepages/hugepages-%ukB/nr_hugepages%s",
                        (unsigned long long)mb, (unsigned long long)need, huge ? "1 GB" : "2 MB",
                        (unsigned long long)have, (unsigned long long)all, p->page_kb,
                        huge ? " (or hugepagesz=1G hugepages=N on the kernel's command line: later "
                               "memory may be too scattered)"
                             : "");
}
