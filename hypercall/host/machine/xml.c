// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A plan as a domain's XML (https://libvirt.org/formatdomain.html). Text in, text out: what is
// refused, what a later `tessera` reads (facts.c), and the parts in their order.
#include "hypercall/host/machine/xml.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void xml_element(struct text *t, const char *indent, const char *name, const char *value)
{
    text_add(t, "%s<%s>", indent, name);
    text_add_escaped(t, value);
    text_add(t, "</%s>\n", name);
}

static void add_fact(struct text *t, const char *name, const char *value)
{
    if (value) {
        xml_element(t, "      ", name, value);
    }
}

static void add_number(struct text *t, const char *name, uint32_t value)
{
    char text[16];
    snprintf(text, sizeof text, "%u", value);
    add_fact(t, name, value ? text : NULL);
}

// All that a later `tessera` has to know: it keeps nothing itself.
static void add_metadata(struct text *t, const struct machine_plan *p)
{
    text_add(t, "  <metadata>\n    <tessera:guest xmlns:tessera='" MACHINE_NAMESPACE "'>\n");
    add_fact(t, "tessera:model", p->model);
    add_fact(t, "tessera:mapped", p->mapped);
    add_fact(t, "tessera:identity", p->identity);
    add_fact(t, "tessera:machine", p->kind == MACHINE_MICROVM ? "microvm" : "q35");
    add_fact(t, "tessera:network", p->network);
    add_fact(t, "tessera:listen", p->listen);
    add_number(t, "tessera:port", p->port);
    add_number(t, "tessera:guest-port", p->guest_port);
    add_fact(t, "tessera:key-file", p->key_file);
    add_fact(t, "tessera:console", p->console_log);
    if (p->offload) {
        add_fact(t, "tessera:offload", p->offload);
        add_fact(t, "tessera:tensord", p->offload_folder);
        add_number(t, "tessera:region", p->region_mb);
        if (p->offload_weight) {
            add_number(t, "tessera:weight", p->offload_weight);
        }
    }
    add_fact(t, "tessera:fleet", p->fleet);
    add_fact(t, "tessera:service", p->service);
    add_fact(t, "tessera:version", p->version);
    if (p->fleet) {
        char owner[16];
        snprintf(owner, sizeof owner, "%u", (unsigned)p->owner_id);
        add_fact(t, "tessera:owner", owner);
    }
    text_add(t, "    </tessera:guest>\n  </metadata>\n");
}

__attribute__((format(printf, 3, 4))) static int refuse(char *error, size_t error_bytes,
                                                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, error_bytes, format, args);
    va_end(args);
    return -EINVAL;
}

static int check_machine(const struct machine_plan *p, char *error, size_t error_bytes)
{
    uint32_t unused;
    bool q35 = p->kind == MACHINE_Q35;
    if (p->cpu && !machine_cpu_is_valid(p->cpu)) {
        return refuse(error, error_bytes,
                      "'%.80s' is no CPU: host, max or a model's name, then ,+FEATURE or ,-FEATURE",
                      p->cpu);
    }
    if (p->pin && machine_set_member(p->pin, 0, &unused) != 0) {
        return refuse(error, error_bytes, "'%.80s' is no set of CPUs like 0-3,8", p->pin);
    }
    for (uint32_t i = 0; i < p->device_count; i++) {
        if (!machine_address_is_valid(p->devices[i])) {
            return refuse(error, error_bytes, "a device has no PCI address like 0000:65:00.0");
        }
    }
    if (p->cell_count > p->vcpus || p->device_count > MACHINE_MOST_DEVICES ||
        p->cell_count > MACHINE_MOST_CELLS) {
        return refuse(error, error_bytes, "more NUMA nodes than CPUs, or too many devices");
    }
    if (!q35 && (p->device_count || p->iommu || p->boot != MACHINE_BOOT_PVH)) {
        return refuse(error, error_bytes,
                      "microvm has neither devices of the host nor an IOMMU nor UEFI: q35 has");
    }
    if (p->secure_boot && p->boot != MACHINE_BOOT_UEFI) {
        return refuse(error, error_bytes, "Secure Boot is UEFI's");
    }
    return 0;
}

static int check(const struct machine_plan *p, char *error, size_t error_bytes)
{
    bool uefi = p->boot == MACHINE_BOOT_UEFI;
    const struct {
        const char *what, *value;
    } texts[] = {
        {"the image's path", p->image ? p->image : p->disk},
        {"the model's path", p->model},
        {"the path of the file to map", p->weights == MACHINE_WEIGHTS_NONE ? "" : p->mapped},
        {"the path of the disk", p->disk ? p->disk : ""},
        {"the firmware's path", uefi ? p->firmware : ""},
        {"the path of the firmware's variables", uefi ? p->variables : ""},
        {"the path of new variables", uefi ? p->variables_template : ""},
        {"the console's log file", p->console_log},
        {"tensord's socket", p->offload ? p->offload_socket : ""},
        {"tensord's folder", p->offload ? p->offload_folder : ""},
        {"the network's name", p->network ? p->network : ""},
        {"the fleet's name", p->fleet ? p->fleet : ""},
        {"the service's name", p->service ? p->service : ""},
        {"the version's name", p->version ? p->version : ""},
        {"the path of the key's file", p->key_file ? p->key_file : ""},
        {"the settings", p->settings ? p->settings : ""}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!texts[i].value || !text_is_clean(texts[i].value)) {
            return refuse(error, error_bytes,
                          "%s has characters that libvirt's XML cannot hold; rename it",
                          texts[i].what);
        }
    }
    if (!machine_name_is_valid(p->name)) {
        return refuse(
            error, error_bytes,
            "'%.60s' is no name for a guest: letters, digits, '.', '_' and '-', at most 48, "
            "a letter or digit first",
            p->name);
    }
    if (p->key && (!p->key_file || !machine_key_is_valid(p->key))) {
        return refuse(error, error_bytes,
                      "a key is of printable ASCII without blanks and double quotes, at most %d "
                      "characters, and has a file",
                      MACHINE_KEY - 1);
    }
    if ((p->identity && !machine_word_is_valid(p->identity)) ||
        (p->offload && !machine_word_is_valid(p->offload))) {
        return refuse(error, error_bytes, "the model's identity or --offload is no single word");
    }
    return check_machine(p, error, error_bytes);
}

int machine_xml(const struct machine_plan *p, char **out, char *error, size_t error_bytes)
{
    int rc = check(p, error, error_bytes);
    if (rc) {
        return rc;
    }
    struct text t = {0};
    text_add(&t,
             "<domain type='%s' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
             "  <name>%s</name>\n",
             p->kvm ? "kvm" : "qemu", p->name);
    add_metadata(&t, p);
    xml_add_machine(&t, p);
    xml_add_devices(&t, p);
    if (p->runs_as_user) {
        text_add(&t,
                 "  <seclabel type='static' model='dac' relabel='no'>\n"
                 "    <label>+%u:+%u</label>\n  </seclabel>\n",
                 p->user_id, p->group_id);
    }
    xml_add_command_line(&t, p);
    text_add(&t, "</domain>\n");
    if (t.failed) {
        free(t.data);
        snprintf(error, error_bytes, "no memory");
        return -ENOMEM;
    }
    *out = t.data;
    return 0;
}
