// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the parts of a domain's XML share. Each adds its elements; not for others.
#ifndef TESSERA_MACHINE_XML_H
#define TESSERA_MACHINE_XML_H

#include "hypercall/host/machine/machine.h"
#include "hypercall/host/machine/text.h"

// Devices stand on the root bus at addresses of their own: nobody behind qboot sets up bridges.
// Devices of the host begin at SLOT_FIRST_DEVICE; q35's own are at 0 and 0x1f.
#define SLOT_FIRST_DEVICE 0x02u
#define SLOT_BOOT         "0x19"
#define SLOT_PANIC        "0x1a"
#define SLOT_CALLS        "0x1b"
#define SLOT_RANDOM       "0x1c"
#define SLOT_WEIGHTS      "0x1d"
#define SLOT_NETWORK      "0x1e"

void xml_element(struct text *t, const char *indent, const char *name, const char *value);
// <memory> to <on_crash>: xml_machine.c.
void xml_add_machine(struct text *t, const struct machine_plan *p);
// xml_cpu.c: <vcpu> to <numatune>, and <cpu>
void xml_add_cpus(struct text *t, const struct machine_plan *p);
void xml_add_cpu(struct text *t, const struct machine_plan *p);
// <devices>: xml_devices.c.
void xml_add_devices(struct text *t, const struct machine_plan *p);
// <qemu:commandline>: xml_qemu.c.
void xml_add_command_line(struct text *t, const struct machine_plan *p);

#endif
