// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the options of a machine need of the other one, as its libvirt says: CPUs to pin to, memory
// nodes, huge pages, nesting.
#include "hypercall/host/machine/host.h"
#include "hypercall/host/remote/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int remote_check_pin(virConnectPtr c, const char *pin, char *error, size_t error_bytes)
{
    unsigned char *map = NULL;
    unsigned online;
    int have = virNodeGetCPUMap(c, &map, &online, 0), rc = 0;
    if (have < 0) {
        return machine_say_libvirt("asking the other machine for its CPUs", error, error_bytes);
    }
    uint32_t cpu;
    for (uint32_t i = 0; !rc && machine_set_member(pin, i, &cpu) == 0; i++) {
        if (cpu >= (uint32_t)have || !VIR_CPU_USED(map, cpu)) {
            rc = remote_fail(error, error_bytes, -ENODEV,
                             "--pin: the other machine has no CPU %u, or it is off (%u are on)",
                             cpu, online);
        }
    }
    free(map);
    return rc;
}

// ---- memory nodes ------------------------------------------------------------------------------

// The CPUs of <cell id='node'> in libvirt's capabilities, as "0,1,2". False: no such cell.
static bool cell_cpus(const char *capabilities, uint32_t node, char *out, size_t out_bytes)
{
    char wanted[32];
    snprintf(wanted, sizeof wanted, "<cell id='%u'", node);
    const char *cells = strstr(capabilities, "<cells "), *at = cells ? strstr(cells, wanted) : NULL;
    const char *end = at ? strstr(at, "</cell>") : NULL;
    size_t n = 0;
    out[0] = 0;
    for (; end && (at = strstr(at, "<cpu id='")) && at < end; at++) {
        n += (size_t)snprintf(out + n, out_bytes - n, "%s%lu", n ? "," : "",
                              strtoul(at + 9, NULL, 10));
        if (n >= out_bytes) { // more than can be told: not pinned
            out[0] = 0;
            return true;
        }
    }
    return end != NULL;
}

int remote_cells(virConnectPtr c, const char *nodes, struct machine_cell *cells, uint32_t *count,
                 char *error, size_t error_bytes)
{
    char *capabilities = virConnectGetCapabilities(c);
    uint32_t node;
    int rc = capabilities
                 ? 0
                 : machine_say_libvirt("asking the other machine what it has", error, error_bytes);
    *count = 0;
    while (!rc && *count < MACHINE_MOST_CELLS && machine_set_member(nodes, *count, &node) == 0) {
        struct machine_cell *cell = &cells[*count];
        cell->node = node;
        if (!cell_cpus(capabilities, node, cell->cpus, sizeof cell->cpus)) {
            rc = remote_fail(error, error_bytes, -ENODEV,
                             "--numa: the other machine has no memory node %u", node);
        }
        ++*count;
    }
    free(capabilities);
    return rc;
}

// ---- huge pages --------------------------------------------------------------------------------

int remote_check_pages(virConnectPtr c, uint32_t page_kb, uint64_t memory_mb, char *error,
                       size_t error_bytes)
{
    enum { NODES = 64 };
    unsigned page = page_kb;
    unsigned long long counts[NODES] = {0}, have = 0, need = memory_mb * 1024 / page_kb;
    virNodeInfo info;
    unsigned nodes = virNodeGetInfo(c, &info) == 0 && info.nodes > 0 ? info.nodes : 1;
    if (virNodeGetFreePages(c, 1, &page, 0, nodes < NODES ? nodes : NODES, counts, 0) < 0) {
        return machine_say_libvirt("--hugepages: asking the other machine for its free pages",
                                   error, error_bytes);
    }
    for (unsigned i = 0; i < NODES; i++) {
        have += counts[i];
    }
    return have >= need
               ? 0
               : remote_fail(error, error_bytes, -ENOMEM,
                             "--hugepages: the guest's %llu MB take %llu pages of %s, and the "
                             "other machine has %llu free; as root there: echo N "
                             ">/sys/kernel/mm/hugepages/hugepages-%ukB/nr_hugepages",
                             (unsigned long long)memory_mb, need, page_kb > 2048 ? "1 GB" : "2 MB",
                             have, page_kb);
}

// ---- nesting -----------------------------------------------------------------------------------

const char *remote_nested(virConnectPtr c, bool kvm)
{
    if (!kvm) {
        return "svm"; // QEMU emulates AMD's, and only that
    }
    // KVM offers a guest the feature only where its parameter `nested` is on.
    char *all = virConnectGetDomainCapabilities(c, NULL, "x86_64", NULL, "kvm", 0);
    const char *model = all ? strstr(all, "<mode name='host-model'") : NULL;
    const char *end = model ? strstr(model, "</mode>") : NULL, *found = NULL;
    static const char *const features[] = {"vmx", "svm"};
    for (size_t i = 0; i < 2 && end; i++) {
        char wanted[48];
        snprintf(wanted, sizeof wanted, "policy='require' name='%s'", features[i]);
        const char *at = strstr(model, wanted);
        found = at && at < end ? features[i] : found;
    }
    free(all);
    return found;
}
