// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Reading `--device`, and what other guests' XML says they have.
#include "hypercall/host/hardware/devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// DOMAIN:BUS:SLOT.FUNCTION or BUS:SLOT.FUNCTION in hexadecimal, written as the kernel does.
static bool read_address(const char *text, size_t length, char out[16])
{
    static const unsigned long most[4] = {0xffff, 0xff, 0x1f, 7};
    unsigned long v[4] = {0};
    char copy[16], *at = copy;
    if (length >= sizeof copy) {
        return false;
    }
    memcpy(copy, text, length);
    copy[length] = 0;
    const char *colon = strchr(copy, ':');
    for (int i = colon && strchr(colon + 1, ':') ? 0 : 1; i < 4; i++) {
        char wanted = i < 2 ? ':' : i == 2 ? '.' : 0;
        size_t digits = strspn(at, "0123456789abcdefABCDEF");
        if (digits == 0 || digits > 4 || at[digits] != wanted) {
            return false;
        }
        v[i] = strtoul(at, NULL, 16);
        if (v[i] > most[i]) {
            return false;
        }
        at += digits + 1;
    }
    snprintf(out, 16, "%04lx:%02lx:%02lx.%lx", v[0] & 0xffff, v[1] & 0xff, v[2] & 0x1f, v[3] & 7);
    return true;
}

static int add_wish(struct hardware_wishes *all, const char *text, size_t length, char *error,
                    size_t error_bytes)
{
    static const struct {
        const char *prefix;
        enum hardware_wish_kind kind;
    } kinds[] = {
        {"pci:", HARDWARE_WISH_PCI}, {"nic:", HARDWARE_WISH_NIC}, {"gpu:", HARDWARE_WISH_GPU}};
    struct hardware_wish w = {0};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (length <= 4 || strncmp(text, kinds[i].prefix, 4) != 0) {
            continue;
        }
        w.kind = kinds[i].kind;
        bool any = w.kind == HARDWARE_WISH_GPU && length == 8 && strncmp(text + 4, "auto", 4) == 0;
        if (!any && !read_address(text + 4, length - 4, w.address)) {
            break;
        }
        if (all->count == HARDWARE_MOST_WISHES) {
            snprintf(error, error_bytes, "more than %d devices", HARDWARE_MOST_WISHES);
            return -EINVAL;
        }
        all->wishes[all->count++] = w;
        return 0;
    }
    snprintf(
        error, error_bytes,
        "'%.*s' is none of gpu:auto, gpu:ADDRESS, nic:ADDRESS and pci:ADDRESS, with an address "
        "like 0000:65:00.0 (`tessera doctor` lists the devices)",
        (int)(length < 60 ? length : 60), text);
    return -EINVAL;
}

int hardware_wishes_add(struct hardware_wishes *all, const char *text, char *error,
                        size_t error_bytes)
{
    for (;;) {
        size_t length = strcspn(text, ",");
        int rc = add_wish(all, text, length, error, error_bytes);
        if (rc || text[length] == 0) {
            return rc;
        }
        text += length + 1;
    }
}

// The number of an attribute, like bus='0x65', before `end`. False: it is not there.
static bool attribute(const char *at, const char *end, const char *name, unsigned most,
                      unsigned *out)
{
    size_t length = strlen(name);
    for (; at + length + 2 < end; at++) {
        if (at[0] == ' ' && strncmp(at + 1, name, length) == 0 && at[1 + length] == '=') {
            const char *digits = at + length + 3;
            char *stop;
            unsigned long v = strtoul(digits, &stop, 0);
            *out = (unsigned)v;
            return stop > digits && stop < end && v <= most;
        }
    }
    return false;
}

int hardware_taken_add(struct hardware_taken *taken, const char *guest, const char *xml)
{
    while ((xml = strstr(xml, "<hostdev ")) != NULL) {
        const char *end = strstr(xml, "</hostdev>");
        const char *source = strstr(xml, "<source>"), *address;
        xml += strlen("<hostdev ");
        if (!end || !source || source > end) {
            continue;
        }
        address = strstr(source, "<address ");
        const char *stop = address ? strchr(address, '>') : NULL;
        unsigned domain = 0, bus, slot, function;
        if (!stop || stop > end || !attribute(address, stop, "bus", 0xff, &bus) ||
            !attribute(address, stop, "slot", 0x1f, &slot) ||
            !attribute(address, stop, "function", 7, &function)) {
            continue; // a USB device, for one
        }
        attribute(address, stop, "domain", 0xffff, &domain);
        if (taken->count == HARDWARE_MOST_TAKEN) {
            return -ENOSPC;
        }
        size_t i = taken->count++;
        snprintf(taken->devices[i].address, sizeof taken->devices[i].address, "%04x:%02x:%02x.%x",
                 domain & 0xffff, bus & 0xff, slot & 0x1f, function & 7);
        snprintf(taken->devices[i].guest, sizeof taken->devices[i].guest, "%s", guest);
    }
    return 0;
}
