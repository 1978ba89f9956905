// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What machine a guest on another machine gets, held to what its libvirt says that it has.
#include "hypercall/host/guest/private.h"
#include "hypercall/host/remote/remote.h"

#include <errno.h>
#include <string.h>

// As who QEMU runs there: libvirt's own user, named so that libvirt gives him nothing that several
// guests share. With devices libvirt has to label: their nodes are root's.
static int choose_user(struct guest_host *h, struct guest *g, char *error, size_t error_bytes)
{
    struct hardware_user there;
    uint32_t group;
    g->plan.keeps_owners = h->is_system && g->plan.device_count;
    if (!h->is_system || g->plan.device_count) {
        return 0;
    }
    int rc = machine_qemu_user(h->libvirt, &there, &group, error, error_bytes);
    if (rc) {
        return rc == -ENOENT ? 0 : rc; // libvirt labels as it is configured
    }
    g->plan.runs_as_user = true;
    g->plan.user_id = there.uid;
    g->plan.group_id = group;
    return 0;
}

int guest_variant_remote(struct guest_host *h, const struct guest_request *q, struct guest *g,
                         char *error, size_t error_bytes)
{
    struct machine_plan *p = &g->plan;
    if (q->secure_boot || (q->boot && strcmp(q->boot, "uefi") == 0)) {
        return guest_refuse(error, error_bytes, -ENOTSUP,
                            "--boot uefi and --secure-boot: a guest's UEFI variables are a file "
                            "that is made on its own machine: run `tessera` there");
    }
    p->kind = q->machine && strcmp(q->machine, "microvm") == 0 ? MACHINE_MICROVM : MACHINE_Q35;
    p->weights = q->weights && strcmp(q->weights, "disk") == 0 ? MACHINE_WEIGHTS_DISK
                                                               : MACHINE_WEIGHTS_MAPPED;
    p->page_kb = !q->hugepages ? 0 : strcmp(q->hugepages, "1G") == 0 ? 1 << 20 : 2048;
    p->cpu = q->cpu;
    p->pin = q->pin;
    p->shared_memory = q->shared_memory;
    p->iommu = q->iommu;
    struct hardware_wishes wishes = {0};
    int rc = 0;
    for (uint32_t i = 0; i < q->device_count && !rc; i++) {
        rc = hardware_wishes_add(&wishes, q->devices[i], error, error_bytes);
    }
    rc = !rc && wishes.count && h->libvirt
             ? remote_check_devices(h->libvirt, &wishes, error, error_bytes)
             : rc;
    for (size_t i = 0; i < wishes.count && !rc; i++) {
        if (p->device_count == MACHINE_MOST_DEVICES || !wishes.wishes[i].address[0]) {
            return guest_refuse(error, error_bytes, -EINVAL,
                                "--device: at most %d PCI functions, by address",
                                MACHINE_MOST_DEVICES);
        }
        snprintf(p->devices[p->device_count++], 16, "%s", wishes.wishes[i].address);
    }
    if (!rc && h->libvirt && q->pin) {
        rc = remote_check_pin(h->libvirt, q->pin, error, error_bytes);
    }
    if (!rc && h->libvirt && q->numa) {
        rc = remote_cells(h->libvirt, q->numa, p->cells, &p->cell_count, error, error_bytes);
    }
    return !rc && h->libvirt ? choose_user(h, g, error, error_bytes) : rc;
}

int guest_options_remote(struct guest_host *h, const struct guest_request *q, struct guest *g,
                         char *error, size_t error_bytes)
{
    struct machine_plan *p = &g->plan;
    if (q->cpu && !p->kvm && strcspn(q->cpu, ",") == 4 && strncmp(q->cpu, "host", 4) == 0) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "--cpu host needs hardware KVM, and the guest is emulated there: --cpu "
                            "max gives it all that QEMU emulates");
    }
    if (q->nested) {
        p->nested = h->libvirt ? remote_nested(h->libvirt, p->kvm) : "svm";
        if (!p->nested) {
            return guest_refuse(error, error_bytes, -ENOTSUP,
                                "--nested: KVM on the other machine gives guests no "
                                "virtualisation (`tessera doctor` there says why)");
        }
    }
    if (p->vcpus < p->cell_count) {
        return guest_refuse(error, error_bytes, -EINVAL,
                            "--numa: %u nodes need as many CPUs, and --vcpus is %u", p->cell_count,
                            p->vcpus);
    }
    uint64_t unit = (p->page_kb ? p->page_kb / 1024 : 1) * (p->cell_count ? p->cell_count : 1);
    uint64_t mb = (p->memory_mb + unit - 1) / unit * unit;
    if (mb > UINT32_MAX) {
        return guest_refuse(error, error_bytes, -EINVAL, "--memory: too much");
    }
    p->memory_mb = (uint32_t)mb;
    return p->page_kb && h->libvirt
               ? remote_check_pages(h->libvirt, p->page_kb, mb, error, error_bytes)
               : 0;
}
