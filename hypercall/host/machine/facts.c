// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a domain's metadata element says. libvirt gives it as it stands in the domain's XML, written
// anew; anybody who may define domains may have written it.
#include "hypercall/host/machine/machine.h"
#include "hypercall/host/machine/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// The text of <NAME>text</NAME> or <PREFIX:NAME>text</PREFIX:NAME>; the prefix is anybody's choice.
static const char *find(const char *xml, const char *name, size_t *bytes)
{
    size_t length = strlen(name);
    for (const char *at = strchr(xml, '<'); at; at = strchr(at + 1, '<')) {
        const char *begin = at + 1, *end = begin + strcspn(begin, ":<> /");
        begin = *end == ':' ? end + 1 : begin;
        if (strncmp(begin, name, length) != 0 || begin[length] != '>') {
            continue;
        }
        const char *text = begin + length + 1;
        *bytes = strcspn(text, "<");
        return text[*bytes] && text[*bytes + 1] == '/' ? text : NULL;
    }
    return NULL;
}

static int unescape(const char *text, size_t bytes, char *out, size_t room)
{
    int rc = text_unescape(text, bytes, out, room);
    // Terminals are shown these texts: no control characters.
    for (const char *c = out; !rc && *c; c++) {
        rc = (unsigned char)*c < 0x20 || *c == 0x7f ? -EINVAL : 0;
    }
    return rc;
}

int machine_element(const char *xml, const char *name, char *out, size_t room)
{
    size_t bytes;
    out[0] = 0;
    const char *text = find(xml, name, &bytes);
    return text ? unescape(text, bytes, out, room) : 0;
}

// A whole number from 1 to most; an element that is missing leaves 0.
static int read_number(const char *xml, const char *name, uint32_t most, uint32_t *out)
{
    char text[16];
    int rc = machine_element(xml, name, text, sizeof text);
    if (rc || !text[0]) {
        return rc;
    }
    char *end;
    unsigned long value = text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;
    if (value < 1 || value > most || *end) {
        return -EINVAL;
    }
    *out = (uint32_t)value;
    return 0;
}

int machine_facts_parse(const char *xml, struct machine_facts *out)
{
    memset(out, 0, sizeof *out);
    const struct {
        const char *name;
        char *text;
        size_t room;
    } texts[] = {{"model", out->model, sizeof out->model},
                 {"mapped", out->mapped, sizeof out->mapped},
                 {"identity", out->identity, sizeof out->identity},
                 {"machine", out->machine, sizeof out->machine},
                 {"console", out->console_log, sizeof out->console_log},
                 {"key", out->key, sizeof out->key},
                 {"key-file", out->key_file, sizeof out->key_file},
                 {"network", out->network, sizeof out->network},
                 {"listen", out->listen, sizeof out->listen},
                 {"offload", out->offload, sizeof out->offload},
                 {"tensord", out->offload_folder, sizeof out->offload_folder},
                 {"fleet", out->fleet, sizeof out->fleet},
                 {"service", out->service, sizeof out->service},
                 {"version", out->version, sizeof out->version},
                 {"owner", out->owner, sizeof out->owner}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int rc = machine_element(xml, texts[i].name, texts[i].text, texts[i].room);
        if (rc) {
            return rc;
        }
    }
    int rc = read_number(xml, "port", 65535, &out->port);
    rc = rc ? rc : read_number(xml, "weight", 10000, &out->offload_weight);
    rc = rc ? rc : read_number(xml, "guest-port", 65535, &out->guest_port);
    return rc ? rc : read_number(xml, "region", 1 << 20, &out->region_mb);
}
