// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Memory, the kind of machine, what it boots, its features.
#include "hypercall/host/machine/xml.h"

#include <stdlib.h>
#include <string.h>

static void add_memory(struct text *t, const struct machine_plan *p)
{
    text_add(t, "  <memory unit='MiB'>%u</memory>\n", p->memory_mb);
    if (!p->page_kb && !p->shared_memory) {
        return;
    }
    text_add(t, "  <memoryBacking>\n");
    if (p->page_kb) {
        text_add(t, "    <hugepages><page size='%u' unit='KiB'/></hugepages>\n", p->page_kb);
    }
    // A memfd of huge pages needs no mount of hugetlbfs that this user may write to.
    text_add(t, "    <source type='memfd'/>\n");
    if (p->shared_memory) {
        text_add(t, "    <access mode='shared'/>\n");
    }
    text_add(t, "  </memoryBacking>\n");
}

// Values have no blanks and quotes: machine_word_is_valid.
static void add_kernel(struct text *t, const struct machine_plan *p)
{
    struct text line = {0};
    xml_element(t, "    ", "kernel", p->image);
    if (p->sealed) {
        return;
    }
    text_add(&line, "name=%s", p->name);
    if (p->offload) {
        text_add(&line, " offload.mode=%s model.identity=%s", p->offload, p->identity);
    }
    if (p->settings) {
        text_add(&line, " %s", p->settings);
    }
    t->failed = t->failed || line.failed;
    if (!t->failed) {
        xml_element(t, "    ", "cmdline", line.data);
    }
    free(line.data);
}

static void add_firmware(struct text *t, const struct machine_plan *p)
{
    if (p->boot == MACHINE_BOOT_PVH && p->is_system) {
        return; // xml_qemu.c
    }
    if (p->boot == MACHINE_BOOT_PVH) {
        text_add(t, "    <loader readonly='yes' type='rom'>/usr/share/qemu/qboot.rom</loader>\n");
        return;
    }
    text_add(t, "    <loader readonly='yes'%s type='pflash'>",
             p->secure_boot ? " secure='yes'" : "");
    text_add_escaped(t, p->firmware);
    text_add(t, "</loader>\n    <nvram template='");
    text_add_escaped(t, p->variables_template);
    text_add(t, "'>");
    text_add_escaped(t, p->variables);
    text_add(t, "</nvram>\n");
}

void xml_add_machine(struct text *t, const struct machine_plan *p)
{
    add_memory(t, p);
    xml_add_cpus(t, p);
    text_add(t, "  <os>\n    <type arch='x86_64' machine='%s'>hvm</type>\n",
             p->kind == MACHINE_MICROVM ? "microvm" : "q35");
    add_firmware(t, p);
    if (p->image) {
        add_kernel(t, p);
    } else {
        text_add(t, "    <boot dev='hd'/>\n");
    }
    text_add(t, "  </os>\n  <features><acpi/>%s%s</features>\n",
             p->secure_boot ? "<smm state='on'/>" : "", p->iommu ? "<ioapic driver='qemu'/>" : "");
    xml_add_cpu(t, p);
    text_add(t, "  <on_poweroff>destroy</on_poweroff>\n  <on_reboot>restart</on_reboot>\n"
                "  <on_crash>destroy</on_crash>\n");
}
