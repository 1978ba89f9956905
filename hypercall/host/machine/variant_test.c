// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The XML of machines that are not the usual one: where CPUs and memory lie, what the guest may
// have, what it boots; and that nothing of it can be more than its own text.
//
// Links: hypercall/host/machine/xml.c hypercall/host/machine/xml_machine.c
// Links: hypercall/host/machine/xml_cpu.c hypercall/host/machine/xml_devices.c
// Links: hypercall/host/machine/xml_qemu.c hypercall/host/machine/values.c
// Links: hypercall/host/machine/text.c hypercall/host/machine/size.c
// Links: hypercall/host/machine/facts.c
#include "hypercall/host/machine/machine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char error[300];

static struct machine_plan plan(void)
{
    return (struct machine_plan){.name = "g",
                                 .image = "/i/llm.elf",
                                 .model = "/m/g.gguf",
                                 .mapped = "/c/g.gguf",
                                 .mapped_bytes = 4u << 20,
                                 .identity = "sha256:00",
                                 .vcpus = 4,
                                 .memory_mb = 128,
                                 .port = 8080,
                                 .console_log = "/s/g.log"};
}

// Every part must be there, in this order; the last is NULL.
static void has(const struct machine_plan *p, ...)
{
    char *xml;
    if (machine_xml(p, &xml, error, sizeof error) != 0) {
        fail_msg("%s", error);
    }
    va_list args;
    va_start(args, p);
    const char *at = xml, *part;
    while ((part = va_arg(args, const char *))) {
        at = strstr(at, part);
        if (!at) {
            fail_msg("no '%s' (in order) in:\n%s", part, xml);
        }
        at += strlen(part);
    }
    va_end(args);
    free(xml);
}

static void hasnt(const struct machine_plan *p, const char *part)
{
    char *xml;
    assert_int_equal(machine_xml(p, &xml, error, sizeof error), 0);
    if (strstr(xml, part)) {
        fail_msg("'%s' in:\n%s", part, xml);
    }
    free(xml);
}

static void refused(const struct machine_plan *p, const char *part)
{
    char *xml = NULL;
    assert_int_equal(machine_xml(p, &xml, error, sizeof error), -EINVAL);
    if (!strstr(error, part)) {
        fail_msg("'%s' is not in '%s'", part, error);
    }
}

static void memory_is_backed_as_asked(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    hasnt(&p, "memoryBacking");
    p.shared_memory = true;
    has(&p, "<memoryBacking>", "<source type='memfd'/>", "<access mode='shared'/>", NULL);
    hasnt(&p, "hugepages");
    p.shared_memory = false;
    p.page_kb = 1 << 20;
    has(&p, "<page size='1048576' unit='KiB'/>", "<source type='memfd'/>", NULL);
    hasnt(&p, "<access");
}

static void cpus_are_pinned_one_after_the_other(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    p.pin = "2,5-6";
    has(&p, "<vcpupin vcpu='0' cpuset='2'/>", "<vcpupin vcpu='1' cpuset='5'/>",
        "<vcpupin vcpu='2' cpuset='6'/>", "<vcpupin vcpu='3' cpuset='2'/>",
        "<emulatorpin cpuset='2,5-6'/>", NULL);
    p.pin = "0-3'/><evil x='";
    refused(&p, "no set of CPUs");
}

static void cells_share_memory_and_cpus_without_a_rest(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    p.memory_mb = 130;
    p.vcpus = 5;
    p.cell_count = 3;
    p.cells[0] = (struct machine_cell){.node = 0, .cpus = "0-7"};
    p.cells[1] = (struct machine_cell){.node = 2, .cpus = "16-23"};
    p.cells[2] = (struct machine_cell){.node = 4, .cpus = "32-39"};
    has(&p, "<vcpupin vcpu='0' cpuset='0-7'/>", "<vcpupin vcpu='1' cpuset='16-23'/>",
        "<vcpupin vcpu='2' cpuset='16-23'/>", "<vcpupin vcpu='4' cpuset='32-39'/>",
        "<memory mode='strict' nodeset='0,2,4'/>",
        "<memnode cellid='1' mode='strict' nodeset='2'/>",
        "<cell id='0' cpus='0' memory='43' unit='MiB'/>",
        "<cell id='1' cpus='1-2' memory='43' unit='MiB'/>",
        "<cell id='2' cpus='3-4' memory='44' unit='MiB'/>", NULL);
    p.vcpus = 2;
    refused(&p, "more NUMA nodes than CPUs");
}

static void the_cpu_is_what_was_named(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    has(&p, "<cpu mode='maximum'/>", NULL);
    p.kvm = true;
    has(&p, "<cpu mode='host-passthrough'/>", NULL);
    p.cpu = "host,-avx512f";
    p.nested = "vmx";
    has(&p, "<cpu mode='host-passthrough'>", "<feature policy='disable' name='avx512f'/>",
        "<feature policy='require' name='vmx'/>", NULL);
    p.cpu = "EPYC-Milan,+pcid";
    p.nested = "svm";
    has(&p, "<cpu mode='custom' match='exact'>", "<model fallback='forbid'>EPYC-Milan</model>",
        "<feature policy='require' name='pcid'/>", "<feature policy='require' name='svm'/>",
        "<feature policy='require' name='npt'/>", NULL);
    p.cpu = "max'/><evil/>";
    refused(&p, "is no CPU");
}

static void a_guest_has_devices_of_the_host_at_slots_of_its_own(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    p.device_count = 2;
    strcpy(p.devices[0], "0001:65:1f.7");
    strcpy(p.devices[1], "0000:0a:00.0");
    p.iommu = true;
    has(&p, "<ioapic driver='qemu'/>", "managed='yes'",
        "<address domain='0x0001' bus='0x65' slot='0x1f' function='0x7'/>", "slot='0x02'",
        "<address domain='0x0000' bus='0x0a' slot='0x00' function='0x0'/>", "slot='0x03'",
        "<iommu model='intel'>", "intremap='on'", NULL);
    strcpy(p.devices[1], "a:b'/>");
    refused(&p, "no PCI address");
    strcpy(p.devices[1], "0000:0a:00.0");
    p.kind = MACHINE_MICROVM;
    refused(&p, "microvm has neither");
}

static void microvm_has_its_own_buses(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    p.kind = MACHINE_MICROVM;
    has(&p, "machine='microvm'", "<address type='virtio-mmio'/>", "virtio-mmio.force-legacy=false",
        "'pcie=on'", "ivshmem-plain", "virtio-net-device", NULL);
    hasnt(&p, "slots=1");
    hasnt(&p, "virtio-pmem");
    hasnt(&p, "type='pci'");
    p.offload = "host";
    p.offload_socket = "/run/a,b.sock";
    p.offload_folder = "/run";
    p.offload_vectors = 2;
    has(&p, "'socket,id=calls,path=/run/a,,b.sock'", "ivshmem-doorbell,chardev=calls,vectors=2",
        NULL);
    hasnt(&p, "<shmem");
    p.offload = NULL;
    p.weights = MACHINE_WEIGHTS_DISK;
    has(&p, "<source file='/c/g.gguf'/>", "<readonly/>", "virtio-net-device", NULL);
    hasnt(&p, "pcie=on"); // nothing on it
    hasnt(&p, "memory-backend-file");
    p.boot = MACHINE_BOOT_UEFI;
    p.firmware = p.variables = p.variables_template = "/f";
    refused(&p, "microvm has neither");
}

static void uefi_has_variables_of_its_own(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    p.boot = MACHINE_BOOT_UEFI;
    p.firmware = "/f/code<";
    p.variables = "/s/g'.vars";
    p.variables_template = "/f/vars&";
    has(&p, "<loader readonly='yes' type='pflash'>/f/code&lt;</loader>",
        "<nvram template='/f/vars&amp;'>/s/g&apos;.vars</nvram>", "<kernel>/i/llm.elf</kernel>",
        NULL);
    hasnt(&p, "smm");
    hasnt(&p, "qboot");
    p.secure_boot = true;
    has(&p, "<loader readonly='yes' secure='yes' type='pflash'>", "<smm state='on'/>", NULL);
    p.variables = "/s/\n";
    refused(&p, "firmware's variables");
    p.boot = MACHINE_BOOT_PVH;
    refused(&p, "Secure Boot is UEFI's");
}

static void an_image_boots_by_itself(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    p.boot = MACHINE_BOOT_UEFI;
    p.firmware = p.variables = p.variables_template = "/f";
    p.weights = MACHINE_WEIGHTS_NONE;
    p.image = p.mapped = p.identity = NULL;
    p.disk = "/d/a'b.qcow2";
    p.disk_is_qcow2 = true;
    has(&p, "<boot dev='hd'/>", "<driver name='qemu' type='qcow2'/>",
        "<source file='/d/a&apos;b.qcow2'/>", "<readonly/>", NULL);
    hasnt(&p, "<kernel>");
    hasnt(&p, "cmdline>");
    hasnt(&p, "memory-backend-file");
    hasnt(&p, "tessera:mapped");
    p.disk = "/d/\001";
    refused(&p, "path");
}

static void what_the_machine_is_is_read_back(void **unused)
{
    (void)unused;
    struct machine_plan p = plan();
    struct machine_facts f;
    char *xml;
    p.kind = MACHINE_MICROVM;
    assert_int_equal(machine_xml(&p, &xml, error, sizeof error), 0);
    assert_int_equal(machine_facts_parse(strstr(xml, "<tessera:guest"), &f), 0);
    assert_string_equal(f.machine, "microvm");
    free(xml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_backed_as_asked),
        cmocka_unit_test(cpus_are_pinned_one_after_the_other),
        cmocka_unit_test(cells_share_memory_and_cpus_without_a_rest),
        cmocka_unit_test(the_cpu_is_what_was_named),
        cmocka_unit_test(a_guest_has_devices_of_the_host_at_slots_of_its_own),
        cmocka_unit_test(microvm_has_its_own_buses),
        cmocka_unit_test(uefi_has_variables_of_its_own),
        cmocka_unit_test(an_image_boots_by_itself),
        cmocka_unit_test(what_the_machine_is_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
