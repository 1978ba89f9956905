// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Devices of the host for a guest, by VFIO.
#include "hypercall/host/guest/private.h"
#include "hypercall/host/machine/hostdev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
    struct hardware_chosen *chosen = calloc(1, sizeof *chosen);
    if (!chosen) {
        return guest_refuse(error, error_bytes, -ENOMEM, "no memory");
    }
    int rc = machine_choose_devices("", wishes, g->plan.image, h->libvirt,
                                    !h->libvirt || h->is_system, chosen, error, error_bytes);
    for (size_t i = 0; i < chosen->count && !rc; i++) {
        rc = add(g, chosen->devices[i].address, error, error_bytes);
    }
    char *rest = chosen->notes, *line;
    while (!rc && (line = strsep(&rest, "\n"))) {
        if (*line) {
            guest_say(h, "%s", line);
        }
    }
    free(chosen);
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
