// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Devices out of a domain's XML. libvirt writes it anew, an element a line, the devices' own at an
// indentation of four: enough structure to list them by.
#include "hypercall/host/view/devices.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

// What every domain has and nobody asks for.
static bool is_dull(const char *name, size_t bytes)
{
    static const char *const dull[] = {"emulator", "controller", "console", "input", "audio"};
    for (size_t i = 0; i < sizeof dull / sizeof *dull; i++) {
        if (strlen(dull[i]) == bytes && strncmp(name, dull[i], bytes) == 0) {
            return true;
        }
    }
    return false;
}

// Appends " VALUE" of an attribute that stands between text and end.
static void add_attribute(char *line, size_t room, const char *text, const char *end,
                          const char *name)
{
    char wanted[32];
    size_t n = (size_t)snprintf(wanted, sizeof wanted, " %s='", name), used = strlen(line);
    for (const char *at = strchr(text, ' '); at && at < end; at = strchr(at + 1, ' ')) {
        if (strncmp(at, wanted, n) == 0) {
            size_t bytes = strcspn(at + n, "'");
            if (at + n + bytes <= end && bytes + used + 2 < room) {
                snprintf(line + used, room - used, " %.*s", (int)bytes, at + n);
            }
            return;
        }
    }
}

static void clean(char *line)
{
    for (char *c = line; *c; c++) {
        *c = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
    }
}

// One element below <devices>: its own attributes, and those of its children that name it.
static const char *tell_element(const char *at, void (*found)(void *, const char *), void *context)
{
    char line[256] = "", close[64];
    size_t bytes = strcspn(at + 1, " />\n"), head = strcspn(at, ">");
    const char *end = at + head;
    if (bytes >= 40 || !*end) {
        return NULL;
    }
    snprintf(close, sizeof close, "</%.*s>", (int)bytes, at + 1);
    const char *whole = end[-1] == '/' ? end : strstr(end, close);
    if (!whole) {
        return NULL;
    }
    if (!is_dull(at + 1, bytes)) {
        snprintf(line, sizeof line, "%.*s", (int)bytes, at + 1);
        static const char *const own[] = {"type", "model", "name", "mode", "device"};
        for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
            add_attribute(line, sizeof line, at, end, own[i]);
        }
        for (const char *child = strstr(end, "\n      <"); child && child < whole;
             child = strstr(child + 1, "\n      <")) {
            const char *last = child + strcspn(child + 1, ">");
            bool says = strncmp(child + 8, "source ", 7) == 0 ||
                        strncmp(child + 8, "model ", 6) == 0 ||
                        strncmp(child + 8, "server ", 7) == 0;
            static const char *const their[] = {"network", "bridge", "file", "path", "type"};
            for (size_t i = 0; says && last < whole && i < sizeof their / sizeof *their; i++) {
                add_attribute(line, sizeof line, child + 1, last, their[i]);
            }
        }
        clean(line);
        found(context, line);
    }
    return whole;
}

// QEMU's own arguments: the value after '-device', up to its second comma.
static void tell_arguments(const char *xml, void (*found)(void *, const char *), void *context)
{
    static const char device[] = "<qemu:arg value='-device'/>", value[] = "<qemu:arg value='";
    for (const char *at = strstr(xml, device); at; at = strstr(at + 1, device)) {
        const char *text = strstr(at + sizeof device - 1, value);
        if (!text) {
            return;
        }
        char line[256];
        text += sizeof value - 1;
        snprintf(line, sizeof line, "%.*s", (int)strcspn(text, "'"), text);
        clean(line);
        found(context, line);
    }
}

void view_devices(const char *xml, void (*found)(void *context, const char *line), void *context)
{
    const char *at = strstr(xml, "\n  <devices>"), *end = at ? strstr(at, "\n  </devices>") : NULL;
    while (at && end) {
        at = strstr(at + 1, "\n    <");
        if (!at || at >= end) {
            break;
        }
        at = at[6] == '/' ? at + 5 : tell_element(at + 5, found, context);
    }
    tell_arguments(xml, found, context);
}

const char *view_weights_way(const char *xml)
{
    return strstr(xml, "virtio-pmem-pci")
               ? "mapped: a read-only mapping of the host's file (virtio-pmem), one copy for all "
                 "guests"
           : strstr(xml, "ivshmem-plain")
               ? "mapped: a read-only mapping of the host's file (ivshmem), one copy for all guests"
           : strstr(xml, "<disk ") ? "read from a disk by the guest, which keeps a copy of its own"
           : strstr(xml, "<initrd>") ? "copied into the guest at its start"
                                     : "inside the image";
}
