// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// PCI devices of the other machine, by libvirt's node devices
// (https://libvirt.org/formatnode.html): is it there, in an IOMMU group that a guest can have as a
// whole, and no other guest's?
#include "hypercall/host/machine/host.h"
#include "hypercall/host/remote/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// "0000:65:00.0" -> "pci_0000_65_00_0"
static char *describe(void *context, const char *address)
{
    virConnectPtr c = context;
    char name[32];
    snprintf(name, sizeof name, "pci_%.12s", address);
    for (char *at = name; *at; at++) {
        *at = *at == ':' || *at == '.' ? '_' : *at;
    }
    virNodeDevicePtr d = virNodeDeviceLookupByName(c, name);
    char *xml = d ? virNodeDeviceGetXMLDesc(d, 0) : NULL;
    if (d) {
        virNodeDeviceFree(d);
    }
    return xml;
}

static bool is_wanted(const struct hardware_wishes *all, const char *address)
{
    bool found = false;
    for (size_t i = 0; i < all->count; i++) {
        found |= strcmp(all->wishes[i].address, address) == 0;
    }
    return found;
}

// Bridges stay the host's.
static bool is_bridge(remote_describe *describe_it, void *context, const char *address)
{
    char *xml = describe_it(context, address);
    bool found = xml && strstr(xml, "<class>0x0604");
    free(xml);
    return found;
}

// <iommuGroup number='12'><address domain='0x0000' bus='0x65' slot='0x00' function='0x0'/>…
int remote_check_group(const struct hardware_wishes *all, const char *address, const char *xml,
                       remote_describe *describe_it, void *context, char *error, size_t error_bytes)
{
    const char *at = strstr(xml, "<iommuGroup "), *end = at ? strstr(at, "</iommuGroup>") : NULL;
    if (!end) {
        return remote_fail(error, error_bytes, -ENXIO,
                           "--device: %s of the other machine is in no IOMMU group (its IOMMU is "
                           "off: `tessera doctor` there says how to turn it on)",
                           address);
    }
    while ((at = strstr(at, "<address ")) && at < end) {
        unsigned domain, bus, slot, function;
        char other[24];
        if (sscanf(at, "<address domain='%x' bus='%x' slot='%x' function='%x'", &domain, &bus,
                   &slot, &function) == 4) {
            snprintf(other, sizeof other, "%04x:%02x:%02x.%x", domain & 0xffff, bus & 0xff,
                     slot & 0x1f, function & 7);
            if (!is_wanted(all, other) && !is_bridge(describe_it, context, other)) {
                return remote_fail(error, error_bytes, -EBUSY,
                                   "--device: %s shares its IOMMU group with %s on the other "
                                   "machine: a guest gets the group as a whole, name both",
                                   address, other);
            }
        }
        at++;
    }
    return 0;
}

static int check_taken(virConnectPtr c, const char *address, char *error, size_t error_bytes)
{
    struct hardware_taken *taken = calloc(1, sizeof *taken);
    virDomainPtr *domains = NULL;
    int rc = taken ? 0 : -ENOMEM;
    int count = virConnectListAllDomains(c, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    for (int i = 0; i < count; i++) {
        char *xml = rc ? NULL : virDomainGetXMLDesc(domains[i], 0);
        rc = xml ? hardware_taken_add(taken, virDomainGetName(domains[i]), xml) : rc;
        free(xml);
        virDomainFree(domains[i]);
    }
    free(domains);
    for (size_t i = 0; !rc && i < taken->count; i++) {
        if (strcmp(taken->devices[i].address, address) == 0) {
            rc = remote_fail(error, error_bytes, -EBUSY, "--device: the guest '%s' has %s",
                             taken->devices[i].guest, address);
        }
    }
    free(taken);
    return rc == -ENOMEM || rc == -ENOSPC
               ? remote_fail(error, error_bytes, rc, "--device: %s", strerror(-rc))
               : rc;
}

int remote_check_devices(virConnectPtr c, const struct hardware_wishes *all, char *error,
                         size_t error_bytes)
{
    for (size_t i = 0; i < all->count; i++) {
        const struct hardware_wish *w = &all->wishes[i];
        if (w->kind == HARDWARE_WISH_GPU) {
            return remote_fail(error, error_bytes, -ENOTSUP,
                               "--device gpu: on another machine: how much of a GPU is free and "
                               "what drives it is known there alone: run `tessera` there");
        }
        char *xml = describe(c, w->address);
        int rc = xml ? remote_check_group(all, w->address, xml, describe, c, error, error_bytes)
                     : remote_fail(error, error_bytes, -ENODEV,
                                   "--device: the other machine has no PCI device %s (`virsh "
                                   "nodedev-list --cap pci` lists them)",
                                   w->address);
        bool network = xml && strstr(xml, "<class>0x02");
        free(xml);
        if (!rc && w->kind == HARDWARE_WISH_NIC && !network) {
            rc = remote_fail(error, error_bytes, -EINVAL, "--device: %s is no network device",
                             w->address);
        }
        rc = rc ? rc : check_taken(c, w->address, error, error_bytes);
        if (rc) {
            return rc;
        }
    }
    return 0;
}
