// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The guest's CPUs and where they and its memory lie on the host
// (https://libvirt.org/formatdomain.html: CPU tuning, CPU model, NUMA).
#include "hypercall/host/machine/xml.h"

#include <string.h>

// The CPUs that the machine can have, which may be more than it has.
static uint32_t cpu_slots(const struct machine_plan *p)
{
    // QEMU's emulator drops a guest's memory fences where there can be one CPU only, and with
    // them, now and then, a doorbell of a tensor call.
    return p->offload && !p->kvm && p->vcpus == 1 ? 2 : p->vcpus;
}

static uint32_t first_cpu_of_cell(const struct machine_plan *p, uint32_t cell)
{
    return (uint32_t)((uint64_t)cpu_slots(p) * cell / p->cell_count);
}

static void add_pin(struct text *t, uint32_t vcpu, const char *cpus)
{
    text_add(t, "    <vcpupin vcpu='%u' cpuset='", vcpu);
    text_add_escaped(t, cpus);
    text_add(t, "'/>\n");
}

static void add_pins(struct text *t, const struct machine_plan *p)
{
    uint32_t cpu = 0, count = 0;
    while (p->pin && machine_set_member(p->pin, count, &cpu) == 0) {
        count++;
    }
    for (uint32_t i = 0; count && i < p->vcpus; i++) {
        char text[16];
        machine_set_member(p->pin, i % count, &cpu);
        snprintf(text, sizeof text, "%u", cpu);
        add_pin(t, i, text);
    }
    if (count) {
        text_add(t, "    <emulatorpin cpuset='%s'/>\n", p->pin);
        return;
    }
    for (uint32_t c = 0; c < p->cell_count; c++) {
        uint32_t end = first_cpu_of_cell(p, c + 1);
        for (uint32_t i = first_cpu_of_cell(p, c); i < end && p->cells[c].cpus[0]; i++) {
            add_pin(t, i, p->cells[c].cpus);
        }
    }
}

static void add_memory_places(struct text *t, const struct machine_plan *p)
{
    text_add(t, "  <numatune>\n    <memory mode='strict' nodeset='");
    for (uint32_t c = 0; c < p->cell_count; c++) {
        text_add(t, "%s%u", c ? "," : "", p->cells[c].node);
    }
    text_add(t, "'/>\n");
    for (uint32_t c = 0; c < p->cell_count; c++) {
        text_add(t, "    <memnode cellid='%u' mode='strict' nodeset='%u'/>\n", c, p->cells[c].node);
    }
    text_add(t, "  </numatune>\n");
}

void xml_add_cpus(struct text *t, const struct machine_plan *p)
{
    uint32_t slots = cpu_slots(p);
    if (slots != p->vcpus) {
        text_add(t, "  <vcpu current='%u'>%u</vcpu>\n", p->vcpus, slots);
    } else {
        text_add(t, "  <vcpu>%u</vcpu>\n", slots);
    }
    if (p->shares || p->pin || (p->cell_count && p->cells[0].cpus[0])) {
        text_add(t, "  <cputune>\n");
        if (p->shares) {
            text_add(t, "    <shares>%u</shares>\n", p->shares);
        }
        add_pins(t, p);
        text_add(t, "  </cputune>\n");
    }
    if (p->cell_count) {
        add_memory_places(t, p);
    }
}

static void add_feature(struct text *t, const char *policy, const char *name, size_t length)
{
    text_add(t, "    <feature policy='%s' name='%.*s'/>\n", policy, (int)length, name);
}

static void add_cells(struct text *t, const struct machine_plan *p)
{
    uint32_t each = p->memory_mb / p->cell_count;
    text_add(t, "    <numa>\n");
    for (uint32_t c = 0; c < p->cell_count; c++) {
        uint32_t first = first_cpu_of_cell(p, c), last = first_cpu_of_cell(p, c + 1) - 1;
        uint32_t mb = c + 1 < p->cell_count ? each : p->memory_mb - each * c;
        text_add(t, "      <cell id='%u' cpus='%u", c, first);
        if (last != first) {
            text_add(t, "-%u", last);
        }
        text_add(t, "' memory='%u' unit='MiB'/>\n", mb);
    }
    text_add(t, "    </numa>\n");
}

// Names are plain: machine_cpu_is_valid.
void xml_add_cpu(struct text *t, const struct machine_plan *p)
{
    const char *cpu = p->cpu ? p->cpu : p->kvm ? "host" : "max";
    size_t length = strcspn(cpu, ",");
    bool host = length == 4 && strncmp(cpu, "host", 4) == 0;
    bool max = length == 3 && strncmp(cpu, "max", 3) == 0;
    const char *mode = host ? "host-passthrough" : max ? "maximum" : "custom";
    const char *rest = cpu + length;
    if ((host || max) && !*rest && !p->nested && !p->cell_count) {
        text_add(t, "  <cpu mode='%s'/>\n", mode);
        return;
    }
    text_add(t, "  <cpu mode='%s'%s>\n", mode, host || max ? "" : " match='exact'");
    if (!host && !max) {
        text_add(t, "    <model fallback='forbid'>%.*s</model>\n", (int)length, cpu);
    }
    for (; *rest; rest += length) {
        length = strcspn(rest + 2, ",");
        add_feature(t, rest[1] == '+' ? "require" : "disable", rest + 2, length);
        length += 2;
    }
    if (p->nested) {
        add_feature(t, "require", p->nested, strlen(p->nested));
        if (strcmp(p->nested, "svm") == 0) {
            add_feature(t, "require", "npt", 3); // on Intel's, EPT comes with vmx
        }
    }
    if (p->cell_count) {
        add_cells(t, p);
    }
    text_add(t, "  </cpu>\n");
}
