// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The devices that libvirt has elements for.
#include "hypercall/host/machine/xml.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_QUEUES = 8 }; // that guests use

// microvm's devices are on virtio's own bus, which has no slots.
static void add_address(struct text *t, const struct machine_plan *p, const char *slot)
{
    if (p->kind == MACHINE_MICROVM) {
        text_add(t, "      <address type='virtio-mmio'/>\n");
    } else {
        text_add(t,
                 "      <address type='pci' domain='0x0000' bus='0x00' slot='%s' "
                 "function='0x0'/>\n",
                 slot);
    }
}

// The log is emptied before, by the tool: a system's libvirt would make a new one that is root's.
static void add_console(struct text *t, const struct machine_plan *p)
{
    text_add(t, "    <serial type='pty'>\n      <log file='");
    text_add_escaped(t, p->console_log);
    text_add(t, "' append='on'/>\n      <target port='0'/>\n    </serial>\n"
                "    <console type='pty'/>\n");
}

static void add_disk(struct text *t, const struct machine_plan *p, const char *file, bool qcow2,
                     const char *target, const char *slot)
{
    text_add(t,
             "    <disk type='file' device='disk'>\n      <driver name='qemu' type='%s'/>\n"
             "      <source file='",
             qcow2 ? "qcow2" : "raw");
    text_add_escaped(t, file);
    text_add(t, p->keeps_owners
                    ? "'>\n        <seclabel model='dac' relabel='no'/>\n      </source>\n"
                    : "'/>\n");
    text_add(t, "      <target dev='%s' bus='virtio'/>\n      <readonly/>\n", target);
    add_address(t, p, slot);
    text_add(t, "    </disk>\n");
}

// QEMU's user network is in the command line: it has no forwarded ports here.
static void add_interface(struct text *t, const struct machine_plan *p)
{
    bool bridge = strncmp(p->network, "bridge=", 7) == 0;
    text_add(t, "    <interface type='%s'>\n      <source %s='", bridge ? "bridge" : "network",
             bridge ? "bridge" : "network");
    text_add_escaped(t, bridge ? p->network + 7 : p->network);
    text_add(t, "'/>\n      <model type='virtio'/>\n");
    if (p->vcpus > 1) {
        text_add(t, "      <driver queues='%u'/>\n",
                 p->vcpus > MOST_QUEUES ? MOST_QUEUES : p->vcpus);
    }
    text_add(t, "      <rom enabled='no'/>\n");
    add_address(t, p, SLOT_NETWORK);
    text_add(t, "    </interface>\n");
}

// Its driver on the host changes with the guest's start and end: managed. Functions of one card
// get slots of their own, since only the root bus is set up in the guest.
static void add_host_device(struct text *t, const char *address, uint32_t slot)
{
    unsigned domain, bus, device, function;
    if (sscanf(address, "%x:%x:%x.%u", &domain, &bus, &device, &function) != 4) {
        return; // not so: machine_address_is_valid
    }
    text_add(
        t,
        "    <hostdev mode='subsystem' type='pci' managed='yes'>\n      <driver name='vfio'/>\n"
        "      <source>\n        <address domain='0x%04x' bus='0x%02x' slot='0x%02x' "
        "function='0x%x'/>\n      </source>\n      <rom bar='off'/>\n"
        "      <address type='pci' domain='0x0000' bus='0x00' slot='0x%02x' "
        "function='0x0'/>\n    </hostdev>\n",
        domain, bus, device, function, slot);
}

static void add_tensor_calls(struct text *t, const struct machine_plan *p)
{
    text_add(t, "    <shmem name='tessera-");
    text_add_escaped(t, p->name);
    text_add(t, "' role='master'>\n      <model type='ivshmem-doorbell'/>\n      <server path='");
    text_add_escaped(t, p->offload_socket);
    text_add(t, "'/>\n      <msi vectors='%u' ioeventfd='on'/>\n", p->offload_vectors);
    add_address(t, p, SLOT_CALLS);
    text_add(t, "    </shmem>\n");
}

void xml_add_devices(struct text *t, const struct machine_plan *p)
{
    text_add(t, "  <devices>\n    <emulator>/usr/bin/qemu-system-x86_64</emulator>\n"
                "    <controller type='usb' model='none'/>\n");
    if (p->disk) {
        add_disk(t, p, p->disk, p->disk_is_qcow2, "vda", SLOT_BOOT);
    }
    if (p->weights == MACHINE_WEIGHTS_DISK) {
        add_disk(t, p, p->mapped, false, "vdb", SLOT_WEIGHTS);
    }
    add_console(t, p);
    text_add(t, "    <rng model='virtio'>\n      <backend model='random'>/dev/urandom</backend>\n");
    add_address(t, p, SLOT_RANDOM);
    text_add(t, "    </rng>\n    <memballoon model='none'/>\n");
    if (p->network) {
        add_interface(t, p);
    }
    for (uint32_t i = 0; i < p->device_count; i++) {
        add_host_device(t, p->devices[i], SLOT_FIRST_DEVICE + i);
    }
    if (p->iommu) {
        text_add(t, "    <iommu model='intel'>\n"
                    "      <driver intremap='on' caching_mode='on'/>\n    </iommu>\n");
    }
    if (p->offload && p->kind == MACHINE_Q35) {
        add_tensor_calls(t, p);
    }
    text_add(t, "  </devices>\n");
}
