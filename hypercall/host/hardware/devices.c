// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Which devices a guest gets. What VFIO wants of an IOMMU group is the kernel's vfio_dev_viable:
// each endpoint in it has no driver or one that hands devices on; bridges do not count.
#include "hypercall/host/hardware/devices.h"

#include "hypercall/host/hardware/nvml.h"
#include "hypercall/host/hardware/private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct choice {
    const char *root;
    const struct hardware_pci *pci;
    const struct hardware_drivers *image;
    const struct hardware_taken *taken;
    struct hardware_chosen *out;
    char *error;
    size_t error_bytes;
};

__attribute__((format(printf, 3, 4))) static int fail(struct choice *c, int rc, const char *format,
                                                      ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c->error, c->error_bytes, format, args);
    va_end(args);
    return rc;
}

__attribute__((format(printf, 2, 3))) static void note(struct hardware_chosen *out,
                                                       const char *format, ...)
{
    size_t used = strlen(out->notes);
    va_list args;
    va_start(args, format);
    vsnprintf(out->notes + used, sizeof out->notes - used, format, args);
    va_end(args);
}

static bool is_chosen(const struct hardware_chosen *all, const char *address)
{
    for (size_t i = 0; all && i < all->count; i++) {
        if (strcmp(all->devices[i].address, address) == 0) {
            return true;
        }
    }
    return false;
}

static const char *guest_of(const struct hardware_taken *taken, const char *address)
{
    for (size_t i = 0; taken && i < taken->count; i++) {
        if (strcmp(taken->devices[i].address, address) == 0) {
            return taken->devices[i].guest;
        }
    }
    return NULL;
}

static bool is_handed_on(const struct hardware_pci_device *d)
{
    return !d->driver[0] || strncmp(d->driver, "vfio", 4) == 0 ||
           strcmp(d->driver, "pci-stub") == 0;
}

bool hardware_group_is_held(const struct hardware_pci *pci, const struct hardware_pci_device *d,
                            const struct hardware_chosen *with, char *who, size_t who_bytes)
{
    size_t used = 0;
    who[0] = 0;
    for (size_t i = 0; i < pci->count; i++) {
        const struct hardware_pci_device *o = &pci->devices[i];
        if (o->group != d->group || strcmp(o->address, d->address) == 0 || is_handed_on(o) ||
            hardware_pci_is_bridge(o) || is_chosen(with, o->address)) {
            continue;
        }
        int n = snprintf(who + used, who_bytes - used, "%s%s (%s, driver %s)", used ? ", " : "",
                         o->address, hardware_pci_kind(o), o->driver);
        used += n > 0 && (size_t)n < who_bytes - used ? (size_t)n : 0;
    }
    return used > 0;
}

// ---- one device --------------------------------------------------------------------------------

static int check_kind(struct choice *c, enum hardware_wish_kind kind,
                      const struct hardware_pci_device *d)
{
    uint32_t wanted = kind == HARDWARE_WISH_NIC   ? HARDWARE_CLASS_NETWORK
                      : kind == HARDWARE_WISH_GPU ? HARDWARE_CLASS_DISPLAY
                                                  : d->class_code >> 16;
    // Accelerators without a screen call themselves so, some of them.
    bool accelerates = kind == HARDWARE_WISH_GPU && d->class_code >> 16 == 0x12;
    if (d->class_code >> 16 != wanted && !accelerates) {
        return fail(c, -EINVAL, "%s is no %s but a %s [%04x:%04x]: pci:%s takes any device",
                    d->address, kind == HARDWARE_WISH_NIC ? "network device" : "GPU",
                    hardware_pci_kind(d), d->vendor, d->product, d->address);
    }
    if (hardware_pci_is_bridge(d)) {
        return fail(c, -EINVAL, "%s is a bridge: only the devices behind it can be given away",
                    d->address);
    }
    return 0;
}

static int check_owner(struct choice *c, const struct hardware_pci_device *d)
{
    char what[300];
    const char *guest = guest_of(c->taken, d->address);
    if (guest) {
        return fail(c, -EBUSY, "%s belongs to the guest '%s'", d->address, guest);
    }
    if (hardware_pci_host_uses(c->root, d->address, what, sizeof what)) {
        return fail(c, -EBUSY,
                    "%s is in use by this machine: %s. Whoever wants to give it away all the same "
                    "takes it from its driver first: virsh nodedev-detach",
                    d->address, what);
    }
    if (d->group < 0) {
        return fail(c, -ENXIO,
                    "%s is in no IOMMU group: the IOMMU is off, and without it the device could "
                    "write anywhere in this machine's memory (`tessera doctor` says how to turn it "
                    "on)",
                    d->address);
    }
    return 0;
}

static int check_group(struct choice *c, const struct hardware_pci_device *d)
{
    char who[600];
    for (size_t i = 0; i < c->pci->count; i++) {
        const struct hardware_pci_device *o = &c->pci->devices[i];
        const char *guest = o->group == d->group ? guest_of(c->taken, o->address) : NULL;
        if (guest) {
            return fail(c, -EBUSY,
                        "%s is in IOMMU group %d with %s, which belongs to the guest '%s': a group "
                        "goes to one guest as a whole",
                        d->address, d->group, o->address, guest);
        }
    }
    if (hardware_group_is_held(c->pci, d, c->out, who, sizeof who)) {
        return fail(c, -EBUSY,
                    "%s shares IOMMU group %d with %s: a group goes to one guest as a whole. Give "
                    "them to it, too (--device pci:ADDRESS), or take them from the host's drivers "
                    "(virsh nodedev-detach)",
                    d->address, d->group, who);
    }
    return 0;
}

static int add(struct choice *c, const struct hardware_pci_device *d)
{
    if (is_chosen(c->out, d->address)) {
        return 0;
    }
    if (c->out->count == HARDWARE_MOST_CHOSEN) {
        return fail(c, -EINVAL, "more than %d devices", HARDWARE_MOST_CHOSEN);
    }
    c->out->devices[c->out->count++] = *d;
    return 0;
}

// A card's other functions, which nobody could use without it.
static int add_functions(struct choice *c, const struct hardware_pci_device *d)
{
    size_t slot = strlen(d->address) - 1;
    int rc = 0;
    for (size_t i = 0; i < c->pci->count && !rc; i++) {
        const struct hardware_pci_device *o = &c->pci->devices[i];
        if (o != d && strncmp(o->address, d->address, slot) == 0 && o->group == d->group &&
            !hardware_pci_is_bridge(o)) {
            rc = add(c, o);
        }
    }
    return rc;
}

static int take(struct choice *c, enum hardware_wish_kind kind, const struct hardware_pci_device *d)
{
    int rc = check_kind(c, kind, d);
    rc = rc ? rc : check_owner(c, d);
    rc = rc ? rc : add(c, d);
    return rc || kind != HARDWARE_WISH_GPU ? rc : add_functions(c, d);
}

// ---- GPUs --------------------------------------------------------------------------------------

static double read_percent(const char *root, const char *address, const char *file)
{
    char path[PATH_MAX];
    uint64_t v = UINT64_MAX;
    if (hw_path(path, root, "/sys/bus/pci/devices/%s/%s", address, file)) {
        v = hw_number(path, UINT64_MAX);
    }
    return v <= 100 ? (double)v : HARDWARE_UNKNOWN;
}

static double read_free_memory(const char *root, const char *address)
{
    char path[PATH_MAX];
    uint64_t all = 0, used = UINT64_MAX;
    if (hw_path(path, root, "/sys/bus/pci/devices/%s/mem_info_vram_total", address)) {
        all = hw_number(path, 0);
    }
    if (hw_path(path, root, "/sys/bus/pci/devices/%s/mem_info_vram_used", address)) {
        used = hw_number(path, UINT64_MAX);
    }
    return all && used <= all ? 100.0 * (double)(all - used) / (double)all : HARDWARE_UNKNOWN;
}

struct sensor {
    const char *root, *address;
    double degrees;
};

static void read_sensor(void *context, const char *name)
{
    struct sensor *s = context;
    char path[PATH_MAX];
    if (!hw_path(path, s->root, "/sys/bus/pci/devices/%s/hwmon/%s/temp1_input", s->address, name)) {
        return;
    }
    uint64_t v = hw_number(path, UINT64_MAX);
    if (v < 1000000 && (double)v / 1000 > s->degrees) {
        s->degrees = (double)v / 1000;
    }
}

// NVML writes eight digits of the domain.
static bool read_nvml(const char *address, struct hardware_load *out)
{
    struct nvml_gpu gpus[32];
    int count = nvml_find(gpus, 32);
    for (int i = 0; i < count; i++) {
        size_t length = strlen(gpus[i].bus_id);
        if (length >= 12 && strcasecmp(gpus[i].bus_id + length - 12, address) == 0) {
            *out = gpus[i].load;
            return true;
        }
    }
    return false;
}

void hardware_gpu_load(const char *root, const struct hardware_pci_device *d,
                       struct hardware_load *out)
{
    char path[PATH_MAX];
    *out = (struct hardware_load){HARDWARE_UNKNOWN, HARDWARE_UNKNOWN, HARDWARE_UNKNOWN, 0};
    if (is_handed_on(d)) {
        out->free_memory = 100;
        out->utilisation = 0;
        return;
    }
    if (!root[0] && d->vendor == 0x10de && read_nvml(d->address, out)) {
        return;
    }
    struct sensor s = {root, d->address, HARDWARE_UNKNOWN};
    out->free_memory = read_free_memory(root, d->address);
    out->utilisation = read_percent(root, d->address, "gpu_busy_percent");
    if (hw_path(path, root, "/sys/bus/pci/devices/%s/hwmon", d->address)) {
        hw_entries(path, read_sensor, &s);
    }
    out->temperature = s.degrees;
}

// Could it be taken, alone? The choice is as it was afterwards.
static int try(struct choice *c, const struct hardware_pci_device *d)
{
    size_t count = c->out->count;
    int rc = hardware_driver_for(c->image, d)
                 ? take(c, HARDWARE_WISH_GPU, d)
                 : fail(c, -ENOTSUP, "%s: the image has no driver for it", d->address);
    rc = rc ? rc : check_group(c, d);
    c->out->count = count;
    return rc;
}

static int take_best_gpu(struct choice *c)
{
    const struct hardware_pci_device *best = NULL;
    double best_score = 0;
    char why[700] = "this machine has none";
    int rc = -ENODEV;
    for (size_t i = 0; i < c->pci->count; i++) {
        const struct hardware_pci_device *d = &c->pci->devices[i];
        struct hardware_load load;
        if (d->class_code >> 16 != HARDWARE_CLASS_DISPLAY || is_chosen(c->out, d->address)) {
            continue;
        }
        int refused = d->boot_display ? fail(c, -EBUSY, "%s is this machine's screen", d->address)
                                      : try(c, d);
        if (refused) {
            snprintf(why, sizeof why, "%.*s", (int)sizeof why - 1, c->error);
            rc = refused;
            continue;
        }
        hardware_gpu_load(c->root, d, &load);
        double score = hardware_score(&load);
        if (!best || score > best_score) { // devices are in the order of addresses
            best = d;
            best_score = score;
        }
    }
    if (!best) {
        char text[700];
        memcpy(text, why, sizeof text);
        return fail(c, rc, "gpu:auto: no GPU can be given to the guest: %s", text);
    }
    note(c->out, "gpu:auto: %s [%04x:%04x], score %.0f\n", best->address, best->vendor,
         best->product, best_score);
    return take(c, HARDWARE_WISH_GPU, best);
}

// ---- all of them -------------------------------------------------------------------------------

static int refuse_gpu(struct choice *c, const char *which)
{
    return fail(c, -ENOTSUP,
                "%s: the guest's image has no driver for it, so the guest could not use it. With "
                "--offload the host's tensord computes on it for all guests",
                which);
}

static int take_wish(struct choice *c, const struct hardware_wish *w)
{
    char which[24];
    snprintf(which, sizeof which, "gpu:%s", w->address[0] ? w->address : "auto");
    bool is_gpu = w->kind == HARDWARE_WISH_GPU;
    if (is_gpu && !hardware_drives_class(c->image, HARDWARE_CLASS_DISPLAY)) {
        return refuse_gpu(c, which); // whatever this machine has
    }
    if (!w->address[0]) {
        return take_best_gpu(c);
    }
    const struct hardware_pci_device *d = hardware_pci_find(c->pci, w->address);
    if (!d) {
        return fail(c, -ENODEV, "this machine has no PCI device %s (`tessera doctor` lists them)",
                    w->address);
    }
    if (is_gpu && !hardware_driver_for(c->image, d)) {
        return refuse_gpu(c, which);
    }
    return take(c, w->kind, d);
}

static int check_all(struct choice *c)
{
    int rc = 0;
    for (size_t i = 0; i < c->out->count && !rc; i++) {
        const struct hardware_pci_device *d = &c->out->devices[i];
        rc = check_owner(c, d);
        rc = rc ? rc : check_group(c, d);
        if (!rc && !hardware_driver_for(c->image, d)) {
            note(c->out, "%s [%04x:%04x] %s: the image has no driver; the guest lists it as such\n",
                 d->address, d->vendor, d->product, hardware_pci_kind(d));
        }
    }
    return rc;
}

int hardware_devices_choose(const char *root, const struct hardware_wishes *wishes,
                            const struct hardware_drivers *image,
                            const struct hardware_taken *taken, struct hardware_chosen *out,
                            char *error, size_t error_bytes)
{
    struct hardware_pci pci;
    struct choice c = {root, &pci, image, taken, out, error, error_bytes};
    memset(out, 0, sizeof *out);
    int rc = hardware_pci(root, &pci);
    if (rc) {
        return fail(&c, rc, "no memory");
    }
    for (size_t pass = 0; pass < 2 && !rc; pass++) { // gpu:auto takes of what the others leave
        for (size_t i = 0; i < wishes->count && !rc; i++) {
            if ((wishes->wishes[i].address[0] == 0) == (pass == 1)) {
                rc = take_wish(&c, &wishes->wishes[i]);
            }
        }
    }
    rc = rc ? rc : check_all(&c);
    hardware_pci_free(&pci);
    if (rc) {
        out->count = 0;
    }
    return rc;
}
