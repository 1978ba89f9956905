// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera doctor`: the IOMMU, VFIO, and the devices that could be given to guests.
#include "hypercall/host/hardware/devices.h"
#include "hypercall/host/tool/doctor.h"

#include <string.h>
#include <unistd.h>

static void say_no_iommu(struct doctor *d, const struct hardware_iommu *i)
{
    bool amd = strcmp(d->cpu.vendor, "AuthenticAMD") == 0;
    doctor_say(d, DOCTOR_MISSING, "%s",
               i->off ? "the kernel's command line turns it off" : "there are no IOMMU groups");
    doctor_cost(d, "no device can be given to a guest (--device); guests run without");
    if (d->cpu.hypervisor) {
        doctor_advise(d, "this machine is a virtual machine: its host must give it an IOMMU "
                         "(libvirt: <iommu model='intel'/>)");
    } else if (i->intel_on || amd) {
        doctor_advise(d, "turn on %s in the machine's firmware%s", amd ? "AMD-Vi" : "VT-d",
                      i->off ? " and take iommu=off off the kernel's command line" : "");
    } else {
        doctor_mend(d,
                    "%ssed -i 's/^GRUB_CMDLINE_LINUX=\"/&intel_iommu=on iommu=pt /' "
                    "/etc/default/grub && %supdate-grub    # then reboot",
                    doctor_sudo(), doctor_sudo());
        doctor_advise(d, "turn on VT-d in the machine's firmware");
    }
}

void check_iommu(struct doctor *d)
{
    struct hardware_iommu i;
    hardware_iommu(d->root, &i);
    if (!i.groups) {
        say_no_iommu(d, &i);
        return;
    }
    doctor_say(d, DOCTOR_OK, "%u groups%s", i.groups,
               i.passthrough ? ", the host's own devices pass by it (iommu=pt)" : "");
    if (i.vfio) {
        doctor_say(d, DOCTOR_OK, "vfio-pci is loaded");
    } else {
        doctor_say(d, DOCTOR_MISSING, "vfio-pci is not loaded%s",
                   i.vfio_file ? "" : ", and this kernel has no such module");
        doctor_cost(d, "no device can be given to a guest (--device); guests run without");
        if (i.vfio_file) {
            doctor_mend(d,
                        "echo vfio-pci | %stee /etc/modules-load.d/vfio-pci.conf && "
                        "%smodprobe vfio-pci",
                        doctor_sudo(), doctor_sudo());
        } else {
            doctor_advise(d, "a kernel with CONFIG_VFIO_PCI, as Debian's linux-image-amd64 is");
        }
    }
    if (d->memory.memlock_bytes < d->memory.total_bytes && geteuid() != 0) {
        doctor_say(d, DOCTOR_WARNING, "this user may lock %llu MB of memory",
                   (unsigned long long)(d->memory.memlock_bytes >> 20));
        doctor_cost(d, "a guest with --device has all its memory locked: under qemu:///session it "
                       "must stay below that");
        doctor_mend(d,
                    "echo '%s - memlock unlimited' | %stee /etc/security/limits.d/tessera.conf"
                    "    # then log in anew",
                    doctor_user(), doctor_sudo());
    }
}

// ---- devices -----------------------------------------------------------------------------------

static bool is_worth_naming(const struct hardware_pci_device *d)
{
    uint32_t base = d->class_code >> 16;
    return base == HARDWARE_CLASS_NETWORK || base == HARDWARE_CLASS_DISPLAY || base == 0x12;
}

static void describe(const struct hardware_pci_device *p, char *out, size_t bytes)
{
    char node[24] = "", driver[48] = "no driver";
    uint64_t memory = 0;
    for (int i = 0; i < 6; i++) {
        memory += p->bar_bytes[i];
    }
    if (p->node >= 0) {
        snprintf(node, sizeof node, ", node %d", p->node);
    }
    if (p->driver[0]) {
        snprintf(driver, sizeof driver, "driver %s", p->driver);
    }
    snprintf(out, bytes, "%s [%04x:%04x] %s, %s, %llu MB of BARs%s", p->address, p->vendor,
             p->product, hardware_pci_kind(p), driver, (unsigned long long)(memory >> 20), node);
}

static void say_device(struct doctor *d, const struct hardware_pci *pci,
                       const struct hardware_pci_device *p)
{
    char text[300], who[600], what[300], name[16];
    describe(p, text, sizeof text);
    if (p->group < 0) {
        doctor_say(d, DOCTOR_OK, "%s", text);
    } else if (hardware_group_is_held(pci, p, NULL, who, sizeof who)) {
        doctor_say(d, DOCTOR_WARNING, "%s, group %d with %s", text, p->group, who);
        doctor_cost(d, "a guest gets the group as a whole: --device must name the others, too");
    } else {
        doctor_say(d, DOCTOR_OK, "%s, group %d alone", text, p->group);
    }
    if (hardware_pci_host_uses(d->root, p->address, what, sizeof what)) {
        doctor_advise(d, "keep it: %s", what);
    } else if (p->group >= 0 && p->driver[0] && strncmp(p->driver, "vfio", 4) != 0) {
        snprintf(name, sizeof name, "%s", p->address);
        for (char *c = name; *c; c++) {
            *c = *c == ':' || *c == '.' ? '_' : *c;
        }
        doctor_advise(d,
                      "`%svirsh nodedev-detach pci_%s` takes it from the host; under "
                      "qemu:///system a guest's start does that by itself",
                      doctor_sudo(), name);
    }
}

void check_devices(struct doctor *d)
{
    struct hardware_pci pci;
    if (hardware_pci(d->root, &pci) != 0) {
        doctor_say(d, DOCTOR_WARNING, "no memory for the list");
        return;
    }
    for (size_t i = 0; i < pci.count; i++) {
        if (is_worth_naming(&pci.devices[i])) {
            say_device(d, &pci, &pci.devices[i]);
        }
    }
    hardware_pci_free(&pci);
}
