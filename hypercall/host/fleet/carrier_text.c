// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A record as XML: the carrier's domain, and the text of its element read back. libvirt writes XML
// anew, with numbers for characters beyond ASCII.
#include "hypercall/host/fleet/carrier.h"
#include "hypercall/host/machine/text.h"

#include <stdlib.h>
#include <string.h>

char *carrier_xml(const char *fleet, const char *record)
{
    struct text t = {0};
    text_add(&t, "<domain type='qemu'>\n  <name>%s.fleet</name>\n", fleet);
    text_add(&t,
             "  <title>Fleet %s of Tessera: its specification (never started)</title>\n"
             "  <description>`tessera status %s` shows the fleet, `tessera down %s` ends it. This "
             "domain carries what is wanted and does not run.</description>\n",
             fleet, fleet, fleet);
    text_add(&t, "  <metadata>\n    <fleet:record xmlns:fleet='" FLEET_RECORD_NAMESPACE "'>");
    text_add_escaped(&t, record);
    text_add(&t, "</fleet:record>\n  </metadata>\n"
                 "  <memory unit='MiB'>16</memory>\n  <vcpu>1</vcpu>\n"
                 "  <os>\n    <type arch='x86_64' machine='q35'>hvm</type>\n  </os>\n"
                 "  <devices>\n    <emulator>/usr/bin/qemu-system-x86_64</emulator>\n"
                 "    <controller type='usb' model='none'/>\n    <memballoon model='none'/>\n"
                 "  </devices>\n</domain>\n");
    if (t.failed) {
        free(t.data);
        return NULL;
    }
    return t.data;
}

static size_t put_character(char *out, unsigned long code)
{
    if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
        return 0;
    }
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (char)(first[n] | code);
    return n;
}

// *at is at '&' and comes to stand behind the ';'. An entity is longer than what it stands for.
static size_t decode(const char **at, char *out)
{
    static const struct {
        const char *name;
        char character;
    } named[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        size_t n = strlen(named[i].name);
        if (strncmp(*at, named[i].name, n) == 0) {
            *at += n;
            *out = named[i].character;
            return 1;
        }
    }
    if ((*at)[1] != '#') {
        return 0;
    }
    bool hex = (*at)[2] == 'x';
    const char *digits = *at + (hex ? 3 : 2);
    char *end;
    size_t count = strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789");
    if (count == 0 || count > 8 || digits[count] != ';') {
        return 0;
    }
    unsigned long code = strtoul(digits, &end, hex ? 16 : 10);
    *at = digits + count + 1;
    return put_character(out, code);
}

char *carrier_element_text(const char *xml)
{
    const char *at = strchr(xml, '<');
    while (at && *at && *at != '>') { // a '>' may stand in an attribute
        if (*at == '"' || *at == '\'') {
            at = strchr(at + 1, *at);
        }
        at = at ? at + 1 : NULL;
    }
    if (!at || !*at || at[-1] == '/') {
        return NULL;
    }
    at++;
    size_t bytes = strcspn(at, "<"), n = 0;
    const char *stop = at + bytes;
    // Each entity is at least as long as the UTF-8 it stands for.
    char *out = stop[0] && stop[1] == '/' && bytes <= 6u * FLEET_RECORD_MOST_BYTES
                    ? malloc(bytes + 8)
                    : NULL;
    while (out && at < stop) {
        size_t made = 1;
        if (*at == '&') {
            made = decode(&at, out + n);
        } else {
            out[n] = *at++;
        }
        n += made;
        if (!made || n > FLEET_RECORD_MOST_BYTES) {
            free(out);
            return NULL;
        }
    }
    if (out) {
        out[n] = 0;
    }
    return out;
}
