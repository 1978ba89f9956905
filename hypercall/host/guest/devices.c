// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Devices of the host for a guest, by VFIO.
#include "hypercall/host/hardware/devices.h"
#include "hypercall/host/guest/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int find_taken(struct guest_host *h, struct hardware_taken *taken, char *error,
                      size_t error_bytes)
{
    virDomainPtr *list = NULL;
    int n = virConnectListAllDomains(h->libvirt, &list, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    if (n < 0) {
        return machine_say_libvirt("listing domains", error, error_bytes);
    }
    int rc = 0;
    for (int i = 0; i < n; i++) {
        char *xml = virDomainGetXMLDesc(list[i], 0);
        if (xml && !rc) { // NULL: it ended
            rc = hardware_taken_add(taken, virDomainGetName(list[i]), xml);
        }
        free(xml);
        virDomainFree(list[i]);
    }
    free(list);
    return rc ? guest_refuse(error, error_bytes, rc, "--device: guests have too many devices") : 0;
}

static int add(struct guest *g, const char *address, char *error, size_t error_bytes)
{
    if (g->plan.device_count == MACHINE_MOST_DEVICES) {
        return guest_refuse(error, error_bytes, -EINVAL, "--device: at most %d PCI functions",
                            MACHINE_MOST_DEVICES);
    }
    snprintf(g->plan.devices[g->plan.device_count++], 16, "%s", address);
    return 0;
}

// For XML that is only shown; -EAGAIN: the host has to be asked.
static int take_as_asked(struct guest *g, const struct hardware_wishes *wishes, char *error,
                         size_t error_bytes)
{
    for (size_t i = 0; i < wishes->count; i++) {
        if (!wishes->wishes[i].address[0]) {
            return -EAGAIN;
        }
    }
    int rc = 0;
    for (size_t i = 0; i < wishes->count && !rc; i++) {
        rc = add(g, wishes->wishes[i].address, error, error_bytes);
    }
    return rc;
}

static int choose(struct guest_host *h, struct guest *g, const struct hardware_wishes *wishes,
                  char *error, size_t error_bytes)
{
    struct all {
        struct hardware_taken taken;
        struct hardware_drivers drivers;
        struct hardware_chosen chosen;
    } *all = calloc(1, sizeof *all);
    if (!all) {
        return guest_refuse(error, error_bytes, -ENOMEM, "no memory");
    }
    char why[300];
    int rc = h->libvirt ? find_taken(h, &all->taken, error, error_bytes) : 0;
    // An image that does not say drives none of them, as far as is known.
    if (!rc && (!g->plan.image ||
                hardware_image_drivers(g->plan.image, &all->drivers, why, sizeof why) != 0)) {
        all->drivers.count = 0;
    }
    rc = rc ? rc
            : hardware_devices_choose("", wishes, &all->drivers, &all->taken, &all->chosen, error,
                                      error_bytes);
    for (size_t i = 0; i < all->chosen.count && !rc; i++) {
        rc = add(g, all->chosen.devices[i].address, error, error_bytes);
    }
    if (!rc && all->chosen.notes[0]) {
        char *rest = all->chosen.notes, *line;
        while ((line = strsep(&rest, "\n"))) {
            if (*line) {
                guest_say(h, "%s", line);
            }
        }
    }
    free(all);
    return rc;
}

int guest_choose_devices(struct guest_host *h, const struct guest_request *q, struct guest *g,
                         char *error, size_t error_bytes)
{
    struct hardware_wishes wishes = {0};
    for (uint32_t i = 0; i < q->device_count; i++) {
        int rc = hardware_wishes_add(&wishes, q->devices[i], error, error_bytes);
        if (rc) {
            return rc;
        }
    }
    if (!wishes.count) {
        return 0;
    }
    int rc = h->libvirt ? -EAGAIN : take_as_asked(g, &wishes, error, error_bytes);
    return rc == -EAGAIN ? choose(h, g, &wishes, error, error_bytes) : rc;
}
