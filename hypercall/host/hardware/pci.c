// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// PCI devices and IOMMU groups. Sources: the kernel's ABI/testing/sysfs-bus-pci and
// sysfs-kernel-iommu_groups; driver-api/vfio.
#include "hypercall/host/hardware/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct listing {
    const char *root;
    struct hardware_pci *out;
    bool failed;
};

// Lines of "start end flags", six BARs first.
static void read_bars(const char *path, struct hardware_pci_device *d)
{
    char *text = hw_read(path), *rest = text;
    for (int i = 0; i < 6 && rest; i++) {
        char *line = strsep(&rest, "\n"), *at;
        unsigned long long first = strtoull(line, &at, 16), last = strtoull(at, NULL, 16);
        d->bar_bytes[i] = last > first ? last - first + 1 : 0;
    }
    free(text);
}

static void add_device(void *context, const char *name)
{
    struct listing *l = context;
    char folder[PATH_MAX], path[PATH_MAX], text[32];
    if (strlen(name) >= sizeof l->out->devices->address || l->failed ||
        !hw_path(folder, l->root, "/sys/bus/pci/devices/%s", name)) {
        return;
    }
    if ((l->out->count & 63) == 0) {
        size_t bytes = (l->out->count + 64) * sizeof *l->out->devices;
        struct hardware_pci_device *more = realloc(l->out->devices, bytes);
        if (!more) {
            l->failed = true;
            return;
        }
        l->out->devices = more;
    }
    struct hardware_pci_device *d = &l->out->devices[l->out->count++];
    *d = (struct hardware_pci_device){.node = -1, .group = -1};
    strcpy(d->address, name);
    if (hw_path(path, folder, "/vendor")) {
        d->vendor = (uint16_t)hw_number(path, 0);
    }
    if (hw_path(path, folder, "/device")) {
        d->product = (uint16_t)hw_number(path, 0);
    }
    if (hw_path(path, folder, "/class")) {
        d->class_code = (uint32_t)hw_number(path, 0);
    }
    if (hw_path(path, folder, "/driver")) {
        hw_link_name(path, d->driver, sizeof d->driver);
    }
    if (hw_path(path, folder, "/iommu_group") && hw_link_name(path, text, sizeof text) &&
        text[0] >= '0' && text[0] <= '9') {
        d->group = atoi(text);
    }
    if (hw_path(path, folder, "/numa_node")) {
        uint64_t node = hw_number(path, INT_MAX); // "-1" is no number here
        d->node = node < INT_MAX ? (int)node : -1;
    }
    if (hw_path(path, folder, "/boot_vga")) {
        d->boot_display = hw_number(path, 0) == 1;
    }
    if (hw_path(path, folder, "/resource")) {
        read_bars(path, d);
    }
}

int hardware_pci(const char *root, struct hardware_pci *out)
{
    char path[PATH_MAX];
    struct listing l = {.root = root, .out = out};
    *out = (struct hardware_pci){0};
    if (hw_path(path, root, "/sys/bus/pci/devices")) {
        hw_entries(path, add_device, &l);
    }
    if (l.failed) {
        hardware_pci_free(out);
        return -ENOMEM;
    }
    return 0;
}

void hardware_pci_free(struct hardware_pci *pci)
{
    free(pci->devices);
    *pci = (struct hardware_pci){0};
}

const struct hardware_pci_device *hardware_pci_find(const struct hardware_pci *pci,
                                                    const char *address)
{
    for (size_t i = 0; i < pci->count; i++) {
        if (strcmp(pci->devices[i].address, address) == 0) {
            return &pci->devices[i];
        }
    }
    return NULL;
}

// Those with another header than endpoints have: PCI-to-PCI, CardBus, semi-transparent.
bool hardware_pci_is_bridge(const struct hardware_pci_device *d)
{
    uint32_t kind = d->class_code >> 8;
    return kind == 0x0604 || kind == 0x0607 || kind == 0x0609;
}

const char *hardware_pci_kind(const struct hardware_pci_device *d)
{
    static const char *const kinds[] = {
        "device",        "mass storage",  "network", "display", "multimedia", "memory",    "bridge",
        "communication", "system device", "input",   "docking", "processor",  "serial bus"};
    uint32_t base = d->class_code >> 16;
    return base < sizeof kinds / sizeof *kinds ? kinds[base]
           : base == 0x12                      ? "accelerator"
                                               : "device";
}

// ---- what the host does with a device ----------------------------------------------------------

struct use {
    const char *root, *address;
    char *text; // /proc/net/route or /proc/mounts
    char *what;
    size_t what_bytes;
    bool found;
};

// Is the thing of /sys/class/KIND/NAME a part of the device?
static bool belongs(const struct use *u, const char *kind, const char *name)
{
    char path[PATH_MAX], target[PATH_MAX], inside[24];
    ssize_t n = hw_path(path, u->root, "/sys/class/%s/%s", kind, name)
                    ? readlink(path, target, sizeof target - 1)
                    : -1;
    if (n <= 0) {
        return false;
    }
    target[n] = 0;
    snprintf(inside, sizeof inside, "/%.16s/", u->address);
    return strstr(target, inside) != NULL;
}

// "eth0 00000000 0100A8C0 …": destination 0 is the default route.
static void look_at_interface(void *context, const char *name)
{
    struct use *u = context;
    size_t length = strlen(name);
    if (u->found || !u->text || !belongs(u, "net", name)) {
        return;
    }
    for (const char *line = u->text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0 && strncmp(line + length, "\t00000000\t", 10) == 0) {
            snprintf(u->what, u->what_bytes, "its network interface %s has the default route",
                     name);
            u->found = true;
            return;
        }
    }
}

static void note_holder(void *context, const char *name)
{
    struct use *u = context;
    if (!u->found) {
        snprintf(u->what, u->what_bytes, "its disk is a part of %s", name);
        u->found = true;
    }
}

static void look_at_disk(void *context, const char *name)
{
    struct use *u = context;
    char path[PATH_MAX], device[PATH_MAX];
    if (u->found || !belongs(u, "block", name)) {
        return;
    }
    int length = snprintf(device, sizeof device, "/dev/%s ", name);
    for (const char *line = u->text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (length > 0 && strncmp(line, device, (size_t)length) == 0) {
            const char *at = line + length;
            snprintf(u->what, u->what_bytes, "its disk %s is mounted at %.*s", name,
                     (int)strcspn(at, " \n"), at);
            u->found = true;
            return;
        }
    }
    if (hw_path(path, u->root, "/sys/class/block/%s/holders", name)) {
        hw_entries(path, note_holder, u);
    }
}

bool hardware_pci_host_uses(const char *root, const char *address, char *what, size_t what_bytes)
{
    char path[PATH_MAX];
    struct use u = {.root = root, .address = address, .what = what, .what_bytes = what_bytes};
    u.text = hw_path(path, root, "/proc/net/route") ? hw_read(path) : NULL;
    if (hw_path(path, root, "/sys/class/net")) {
        hw_entries(path, look_at_interface, &u);
    }
    free(u.text);
    u.text = hw_path(path, root, "/proc/mounts") ? hw_read(path) : NULL;
    if (hw_path(path, root, "/sys/class/block")) {
        hw_entries(path, look_at_disk, &u);
    }
    free(u.text);
    return u.found;
}

// ---- IOMMU -------------------------------------------------------------------------------------

static void count(void *context, const char *name)
{
    (void)name;
    ++*(unsigned *)context;
}

static bool has_option(const char *line, const char *option)
{
    size_t length = strlen(option);
    for (const char *at = strstr(line, option); at; at = strstr(at + 1, option)) {
        if ((at == line || at[-1] == ' ') &&
            (at[length] == 0 || at[length] == ' ' || at[length] == ',')) {
            return true;
        }
    }
    return false;
}

static void read_command_line(const char *root, struct hardware_iommu *out)
{
    char path[PATH_MAX], line[4096];
    if (!hw_path(path, root, "/proc/cmdline") || !hw_line(path, line, sizeof line)) {
        return;
    }
    out->intel_on = has_option(line, "intel_iommu=on");
    out->passthrough = has_option(line, "iommu=pt");
    out->off = has_option(line, "iommu=off") || has_option(line, "intel_iommu=off") ||
               has_option(line, "amd_iommu=off");
}

void hardware_iommu(const char *root, struct hardware_iommu *out)
{
    char path[PATH_MAX], release[128];
    *out = (struct hardware_iommu){0};
    if (hw_path(path, root, "/sys/class/iommu")) {
        hw_entries(path, count, &out->units);
    }
    if (hw_path(path, root, "/sys/kernel/iommu_groups")) {
        hw_entries(path, count, &out->groups);
    }
    read_command_line(root, out);
    out->vfio = (hw_path(path, root, "/sys/module/vfio_pci") && access(path, F_OK) == 0) ||
                (hw_path(path, root, "/sys/bus/pci/drivers/vfio-pci") && access(path, F_OK) == 0);
    if (!hw_path(path, root, "/proc/sys/kernel/osrelease") ||
        !hw_line(path, release, sizeof release)) {
        return;
    }
    static const char *const endings[] = {"", ".xz", ".zst", ".gz"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        out->vfio_file |=
            hw_path(path, root, "/lib/modules/%s/kernel/drivers/vfio/pci/vfio-pci.ko%s", release,
                    endings[i]) &&
            access(path, F_OK) == 0;
    }
}
