// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Devices for guests, beside what other guests have.
#include "hypercall/host/machine/hostdev.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int find_taken(virConnectPtr c, struct hardware_taken *out, char *error, size_t error_bytes)
{
    virDomainPtr *all = NULL;
    int count = virConnectListAllDomains(c, &all, VIR_CONNECT_LIST_DOMAINS_ACTIVE), rc = 0;
    if (count < 0) {
        snprintf(error, error_bytes, "libvirt does not list its domains: %s",
                 virGetLastErrorMessage());
        return -EIO;
    }
    for (int i = 0; i < count; i++) {
        char *xml = rc ? NULL : virDomainGetXMLDesc(all[i], 0); // gone meanwhile: it has none
        if (xml) {
            rc = hardware_taken_add(out, virDomainGetName(all[i]), xml);
        }
        free(xml);
        virDomainFree(all[i]);
    }
    free(all);
    if (rc) {
        snprintf(error, error_bytes, "guests have more than %d devices", HARDWARE_MOST_TAKEN);
    }
    return rc;
}

static int check_rights(const char *root, const struct hardware_chosen *chosen, char *error,
                        size_t error_bytes)
{
    for (size_t i = 0; i < chosen->count; i++) {
        const struct hardware_pci_device *d = &chosen->devices[i];
        char path[PATH_MAX];
        if (strncmp(d->driver, "vfio", 4) != 0) {
            snprintf(error, error_bytes,
                     "%s belongs to %s, and a user's own libvirt cannot take it from there: use "
                     "--connect qemu:///system",
                     d->address, d->driver[0] ? d->driver : "no driver");
            return -EPERM;
        }
        snprintf(path, sizeof path, "%s/dev/vfio/%d", root, d->group);
        if (access(path, R_OK | W_OK) != 0) {
            snprintf(error, error_bytes,
                     "%s: %s: %s. The device's group must be this user's (chown), or use --connect "
                     "qemu:///system",
                     d->address, path, strerror(errno));
            return -EPERM;
        }
    }
    return 0;
}

int machine_choose_devices(const char *root, const struct hardware_wishes *wishes,
                           const char *image, virConnectPtr c, bool is_system,
                           struct hardware_chosen *out, char *error, size_t error_bytes)
{
    struct hardware_drivers *drivers = calloc(1, sizeof *drivers);
    struct hardware_taken *taken = calloc(1, sizeof *taken);
    int rc = drivers && taken ? 0 : -ENOMEM;
    *out = (struct hardware_chosen){0};
    if (rc) {
        snprintf(error, error_bytes, "no memory");
    } else {
        // An image that does not say drives none of them, as far as is known.
        char why[300];
        if (!image || hardware_image_drivers(image, drivers, why, sizeof why) != 0) {
            drivers->count = 0;
        }
    }
    if (rc == 0 && c) {
        rc = find_taken(c, taken, error, error_bytes);
    }
    rc = rc ? rc : hardware_devices_choose(root, wishes, drivers, taken, out, error, error_bytes);
    if (rc == 0 && !is_system) {
        rc = check_rights(root, out, error, error_bytes);
        out->count = rc ? 0 : out->count;
    }
    free(drivers);
    free(taken);
    return rc;
}
