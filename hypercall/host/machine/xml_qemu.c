// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What libvirt has no elements for, as arguments of QEMU: weights mapped from a file that guests
// cannot write to, ports forwarded to the user network, PCIe on microvm.
#include "hypercall/host/machine/key.h"
#include "hypercall/host/machine/xml.h"

#include <stdlib.h>

// The argument is built in *value, which is empty afterwards.
static void argument(struct text *t, const char *option, struct text *value)
{
    text_add(t, "    <qemu:arg value='%s'/>\n    <qemu:arg value='", option);
    t->failed = t->failed || value->failed;
    if (!t->failed) {
        text_add_escaped(t, value->data);
    }
    text_add(t, "'/>\n");
    value->bytes = 0;
}

// In QEMU's option lists a comma in a value is doubled.
static void add_value(struct text *t, const char *value)
{
    for (; *value; value++) {
        text_add(t, *value == ',' ? ",," : "%c", *value);
    }
}

static void add_weights(struct text *t, const struct machine_plan *p, struct text *value)
{
    bool microvm = p->kind == MACHINE_MICROVM;
    if (!microvm) {
        // Room in the address space, rounded up: plugged memory begins at a multiple.
        uint64_t slot_mb = p->mapped_bytes / 1048576 / 128 * 128 + 1152;
        text_add(value, "slots=1,maxmem=%lluM", (unsigned long long)(p->memory_mb + slot_mb));
        argument(t, "-m", value);
    }
    text_add(value, "memory-backend-file,id=weights,mem-path=");
    add_value(value, p->mapped);
    text_add(value, ",size=%llu,share=on,readonly=on", (unsigned long long)p->mapped_bytes);
    argument(t, "-object", value);
    // microvm has no memory to plug in, which virtio-pmem wants.
    text_add(value, microvm
                        ? "ivshmem-plain,id=pmem0,memdev=weights,bus=pcie.0,addr=" SLOT_WEIGHTS
                        : "virtio-pmem-pci,id=pmem0,memdev=weights,bus=pcie.0,addr=" SLOT_WEIGHTS);
    argument(t, "-device", value);
}

static void add_network(struct text *t, const struct machine_plan *p, struct text *value)
{
    text_add(value, "user,id=net0,hostfwd=tcp:%s:%u-:%u", p->listen ? p->listen : "127.0.0.1",
             p->port, p->guest_port ? p->guest_port : 80);
    argument(t, "-netdev", value);
    text_add(value, p->kind == MACHINE_MICROVM
                        ? "virtio-net-device,netdev=net0"
                        : "virtio-net-pci,netdev=net0,romfile=,bus=pcie.0,addr=" SLOT_NETWORK);
    argument(t, "-device", value);
}

// libvirt knows no PCI bus on microvm, and there no <shmem>.
static void add_tensor_calls(struct text *t, const struct machine_plan *p, struct text *value)
{
    text_add(value, "socket,id=calls,path=");
    add_value(value, p->offload_socket);
    argument(t, "-chardev", value);
    text_add(value,
             "ivshmem-doorbell,chardev=calls,vectors=%u,ioeventfd=on,bus=pcie.0,addr=" SLOT_CALLS,
             p->offload_vectors);
    argument(t, "-device", value);
}

void xml_add_command_line(struct text *t, const struct machine_plan *p)
{
    bool microvm = p->kind == MACHINE_MICROVM, mapped = p->weights == MACHINE_WEIGHTS_MAPPED;
    struct text value = {0};
    text_add(t, "  <qemu:commandline>\n");
    // Where AppArmor confines guests, libvirt's helper refuses a <loader> below /usr/share that is
    // none of its list, and with it the guest. QEMU itself may read it there.
    if (p->boot == MACHINE_BOOT_PVH && p->is_system) {
        text_add(&value, "qboot.rom");
        argument(t, "-bios", &value);
    }
    if (microvm) {
        text_add(&value, "virtio-mmio.force-legacy=false");
        argument(t, "-global", &value);
        if (mapped || p->offload) {
            text_add(&value, "pcie=on");
            argument(t, "-machine", &value);
        }
    }
    if (mapped) {
        add_weights(t, p, &value);
    }
    if (!p->network) {
        add_network(t, p, &value);
    }
    // Another text in each process of QEMU, by which a restored guest knows that it is one.
    text_add(&value, "name=opt/org.tessera/generation,file=/proc/sys/kernel/random/uuid");
    argument(t, "-fw_cfg", &value);
    if (p->key_file) { // whoever may read QEMU's command line sees its name alone
        text_add(&value, "name=" KEY_HOST_FILE ",file=");
        add_value(&value, p->key_file);
        argument(t, "-fw_cfg", &value);
    }
    if (p->offload) { // as role='master', which libvirt 9.0 does not tell QEMU
        text_add(&value, "ivshmem-doorbell.master=on");
        argument(t, "-global", &value);
    }
    if (microvm && p->offload) {
        add_tensor_calls(t, p, &value);
    }
    if (!microvm) {
        text_add(&value, "pvpanic-pci,bus=pcie.0,addr=" SLOT_PANIC);
        argument(t, "-device", &value);
    }
    text_add(t, "  </qemu:commandline>\n");
    free(value.data);
    // With this capability libvirt asks QEMU for each of the CPU's features one by one: 400 of the
    // 413 questions of a start. Without, it asks for all of them at once, and checks them the same.
    text_add(t, "  <qemu:capabilities>\n    <qemu:del capability='cpu-unavailable-features'/>\n"
                "  </qemu:capabilities>\n");
}
