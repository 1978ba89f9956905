// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Facts about machines that this one is not: processors, KVM, huge pages, nodes, the IOMMU.
//
// Links: hypercall/host/hardware/files.c hypercall/host/hardware/cpu.c
// Links: hypercall/host/hardware/memory.c hypercall/host/hardware/pci.c
// Links: hypercall/host/hardware/programs.c hypercall/host/hardware/permission.c
// Links: hypercall/host/hardware/tree_host.c
#include "hypercall/host/hardware/hardware.h"
#include "hypercall/host/hardware/tree_host.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

static int set_up(void **state)
{
    (void)state;
    tree_make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tree_remove();
    return 0;
}

static void intel_with_ept(void **state)
{
    struct hardware_cpu c;
    (void)state;
    for (int i = 0; i < 2; i++) {
        tree_file("/proc/cpuinfo",
                  "processor\t: 0\nvendor_id\t: GenuineIntel\n"
                  "model name\t: Intel(R) Xeon(R) Gold 6430\n"
                  "flags\t\t: fpu pdpe1gb vmx smx avx2%s\n%s\n"
                  "processor\t: 1\nvendor_id\t: GenuineIntel\n",
                  i ? " tpr_shadow vnmi ept vpid" : "",
                  i ? "" : "vmx flags\t: vnmi invvpid ept_x_only ept ept_1gb\n");
        hardware_cpu(tree, &c);
        assert_true(c.vmx && !c.svm && c.ept && !c.npt && c.page_1g && !c.hypervisor);
    }
    assert_int_equal(c.processors, 2);
    assert_string_equal(c.vendor, "GenuineIntel");
    assert_string_equal(c.model, "Intel(R) Xeon(R) Gold 6430");
    assert_int_equal(c.second_level_on, -1);
    assert_int_equal(hardware_kvm(tree, &c), HARDWARE_KVM_NO_MODULE);

    tree_file("/sys/module/kvm_intel/parameters/ept", "Y\n");
    tree_file("/sys/module/kvm_intel/parameters/nested", "N\n");
    tree_file("/dev/kvm", "%s", "");
    hardware_cpu(tree, &c);
    assert_int_equal(c.second_level_on, 1);
    assert_int_equal(c.nested, 0);
    assert_int_equal(hardware_kvm(tree, &c), HARDWARE_KVM_READY);
}

static void words_are_whole(void **state)
{
    struct hardware_cpu c;
    (void)state;
    // Neither "ept_ad" nor "svm_lock" are the flags that they begin with.
    tree_file("/proc/cpuinfo", "processor : 0\nflags : fpu svm_lock xvmx vmxx ept_ad\n");
    hardware_cpu(tree, &c);
    assert_true(!c.vmx && !c.svm && !c.ept);
}

static void amd_with_npt(void **state)
{
    struct hardware_cpu c;
    (void)state;
    tree_file("/proc/cpuinfo", "processor : 0\nvendor_id : AuthenticAMD\nflags : svm npt lbrv\n");
    tree_file("/sys/module/kvm_amd/parameters/npt", "0\n");
    tree_file("/sys/module/kvm_amd/parameters/nested", "1\n");
    tree_folder("/dev/kvm"); // no user may open a folder for writing
    hardware_cpu(tree, &c);
    assert_true(c.svm && c.npt && !c.vmx);
    assert_int_equal(c.second_level_on, 0);
    assert_int_equal(c.nested, 1);
    assert_int_equal(hardware_kvm(tree, &c), HARDWARE_KVM_DENIED);
}

static void neither_and_the_trap(void **state)
{
    struct hardware_cpu c;
    (void)state;
    tree_file("/proc/cpuinfo", "processor : 0\nvendor_id : GenuineIntel\nflags : fpu hypervisor\n");
    hardware_cpu(tree, &c);
    assert_true(c.hypervisor && !c.vmx && !c.svm);
    assert_int_equal(hardware_kvm(tree, &c), HARDWARE_KVM_NO_CPU);
    tree_file("/dev/kvm", "%s", "");
    assert_int_equal(hardware_kvm(tree, &c), HARDWARE_KVM_TRAP);
}

static void nothing_is_known_of_an_empty_tree(void **state)
{
    struct hardware_cpu c;
    struct hardware_memory m;
    struct hardware_iommu i;
    struct hardware_pci p;
    char path[PATH_MAX], version[32];
    (void)state;
    hardware_cpu(tree, &c);
    assert_int_equal(c.processors, 0);
    hardware_memory(tree, &m);
    assert_true(m.total_bytes == 0 && m.node_count == 0 && !m.has_2m && !m.has_1g);
    assert_true(m.memlock_bytes == UINT64_MAX);
    hardware_iommu(tree, &i);
    assert_true(i.units == 0 && i.groups == 0 && !i.vfio && !i.vfio_file);
    assert_int_equal(hardware_pci(tree, &p), 0);
    assert_int_equal(p.count, 0);
    assert_false(hardware_program(tree, (const char *[]){"qemu-system-x86_64", NULL}, path));
    assert_false(hardware_package(tree, "haproxy", version, sizeof version));
}

static void memory_pages_and_nodes(void **state)
{
    struct hardware_memory m;
    char path[128];
    (void)state;
    tree_file("/proc/meminfo", "MemTotal:  1000 kB\nMemFree: 5 kB\nMemAvailable: 600 kB\n"
                               "SwapFree: 7 kB\n");
    tree_file("/proc/mounts", "proc /proc proc rw 0 0\n"
                              "hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0\n"
                              "huge1 /run/huge1 hugetlbfs rw,pagesize=1024M 0 0\n");
    tree_file("/proc/self/limits", "Limit   Soft Limit   Hard Limit   Units\n"
                                   "Max locked memory         8388608     unlimited    bytes\n");
    tree_file("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512\n");
    tree_file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "500\n");
    for (int i = 10; i >= 0; i -= 5) {
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", i);
        tree_file(path, "%d-%d\n", i, i + 4);
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", i);
        tree_file(path, "Node %d MemTotal:  400 kB\nNode %d MemFree:  %d kB\n", i, i, 100 + i);
        snprintf(path, sizeof path,
                 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/free_hugepages", i);
        tree_file(path, "%d\n", 20 * i);
    }
    tree_file("/sys/devices/system/node/online", "0-10\n");
    hardware_memory(tree, &m);
    assert_true(m.total_bytes == 1000 * 1024 && m.available_bytes == 600 * 1024);
    assert_true(m.has_2m && m.pages_2m == 512 && m.pages_2m_free == 500 && !m.has_1g);
    assert_string_equal(m.mount_2m, "/dev/hugepages");
    assert_string_equal(m.mount_1g, "/run/huge1");
    assert_true(m.memlock_bytes == 8388608);
    assert_int_equal(m.node_count, 3);
    assert_int_equal(m.nodes[1].id, 5);
    assert_int_equal(m.nodes[2].id, 10); // node10 comes before node5 by name
    assert_string_equal(m.nodes[2].cpus, "10-14");
    assert_true(m.nodes[2].pages_2m_free == 200 && m.nodes[2].free_bytes == 110 * 1024);
}

static void pci_devices_are_read(void **state)
{
    struct hardware_pci p;
    (void)state;
    tree_device("0000:65:00.0", 0x10de, 0x2330, 0x030200, "nvidia", 12, 1);
    tree_device("0000:00:01.0", 0x8086, 0x1901, 0x060400, "pcieport", 12, -1);
    tree_device("0000:3b:00.0", 0x8086, 0x1572, 0x020000, "", -1, 0);
    tree_file("/sys/bus/pci/devices/0000:65:00.0/boot_vga", "1\n");
    assert_int_equal(hardware_pci(tree, &p), 0);
    assert_int_equal(p.count, 3);
    assert_string_equal(p.devices[0].address, "0000:00:01.0");
    assert_true(hardware_pci_is_bridge(&p.devices[0]) && p.devices[0].node == -1);
    const struct hardware_pci_device *d = hardware_pci_find(&p, "0000:65:00.0");
    assert_non_null(d);
    assert_true(d->vendor == 0x10de && d->product == 0x2330 && d->class_code == 0x030200);
    assert_string_equal(d->driver, "nvidia");
    assert_true(d->group == 12 && d->node == 1 && d->boot_display);
    assert_true(d->bar_bytes[0] == 16 << 20 && d->bar_bytes[1] == 0 &&
                d->bar_bytes[2] == 128ull << 30);
    assert_string_equal(hardware_pci_kind(d), "display");
    d = hardware_pci_find(&p, "0000:3b:00.0");
    assert_true(d && !d->driver[0] && d->group == -1 && d->node == 0);
    assert_null(hardware_pci_find(&p, "0000:3b:00.1"));
    hardware_pci_free(&p);
}

static void the_iommu_is_read(void **state)
{
    struct hardware_iommu i;
    (void)state;
    tree_file("/proc/cmdline", "BOOT_IMAGE=/vmlinuz quiet intel_iommu=on,sm_on iommu=pt\n");
    tree_folder("/sys/class/iommu/dmar0");
    tree_folder("/sys/kernel/iommu_groups/0");
    tree_folder("/sys/kernel/iommu_groups/1");
    tree_file("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
    tree_file("/lib/modules/6.1.0-18-amd64/kernel/drivers/vfio/pci/vfio-pci.ko", "%s", "");
    hardware_iommu(tree, &i);
    assert_true(i.units == 1 && i.groups == 2 && i.intel_on && i.passthrough && !i.off);
    assert_true(!i.vfio && i.vfio_file);
    tree_folder("/sys/module/vfio_pci");
    tree_file("/proc/cmdline", "amd_iommu=off xintel_iommu=on\n");
    hardware_iommu(tree, &i);
    assert_true(i.vfio && i.off && !i.intel_on);
}

static void programs_and_packages(void **state)
{
    char path[PATH_MAX], version[32], wanted[PATH_MAX];
    (void)state;
    tree_file("/usr/sbin/haproxy", "%s", "");
    assert_false(hardware_program(tree, (const char *[]){"none", "haproxy", NULL}, path));
    snprintf(wanted, sizeof wanted, "%s/usr/sbin/haproxy", tree);
    chmod(wanted, 0755);
    assert_true(hardware_program(tree, (const char *[]){"none", "haproxy", NULL}, path));
    assert_string_equal(path, wanted);
    tree_file("/var/lib/dpkg/status", "Package: haproxy-doc\nStatus: install ok installed\n"
                                      "Version: 1\n\nPackage: haproxy\n"
                                      "Status: deinstall ok config-files\nVersion: 2\n\n"
                                      "Package: sbsigntool\nStatus: install ok installed\n"
                                      "Version: 0.9.4-3.1\n");
    assert_false(hardware_package(tree, "haproxy", version, sizeof version));
    assert_true(hardware_package(tree, "sbsigntool", version, sizeof version));
    assert_string_equal(version, "0.9.4-3.1");
    assert_string_equal(hardware_first(tree, (const char *[]){"/nothing", "/usr/sbin", NULL}),
                        "/usr/sbin");
}

static void what_the_host_uses(void **state)
{
    char what[200];
    (void)state;
    tree_link("/sys/class/net/eno1", "../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/net/eno1");
    tree_link("/sys/class/net/eno2", "../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.1/net/eno2");
    tree_file("/proc/net/route", "Iface\tDestination\tGateway\neno2\t0000A8C0\t00000000\n"
                                 "eno1\t00000000\t0100A8C0\n");
    tree_link("/sys/class/block/nvme0n1", "../../devices/pci0/0000:02:00.0/nvme/nvme0/nvme0n1");
    tree_link("/sys/class/block/nvme0n1p2",
              "../../devices/pci0/0000:02:00.0/nvme/nvme0/nvme0n1/nvme0n1p2");
    tree_link("/sys/class/block/nvme1n1", "../../devices/pci0/0000:03:00.0/nvme/nvme1/nvme1n1");
    tree_file("/proc/mounts", "/dev/nvme0n1p2 /srv ext4 rw 0 0\n");
    assert_true(hardware_pci_host_uses(tree, "0000:3b:00.0", what, sizeof what));
    assert_non_null(strstr(what, "eno1 has the default route"));
    assert_false(hardware_pci_host_uses(tree, "0000:3b:00.1", what, sizeof what));
    assert_true(hardware_pci_host_uses(tree, "0000:02:00.0", what, sizeof what));
    assert_non_null(strstr(what, "nvme0n1p2 is mounted at /srv"));
    assert_false(hardware_pci_host_uses(tree, "0000:03:00.0", what, sizeof what));
    tree_folder("/sys/devices/pci0/0000:03:00.0/nvme/nvme1/nvme1n1/holders/dm-0");
    assert_true(hardware_pci_host_uses(tree, "0000:03:00.0", what, sizeof what));
    assert_non_null(strstr(what, "a part of dm-0"));
}

static void set_mode(const char *path, mode_t mode)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s%s", tree, path);
    assert_int_equal(chmod(full, mode), 0);
}

static void the_first_folder_that_refuses_is_named(void **state)
{
    struct hardware_user other = {
        .name = "other", .uid = 64055, .groups = {64055, 12}, .group_count = 2};
    struct hardware_user root = {.name = "root"};
    char refuses[PATH_MAX], file[PATH_MAX], wanted[PATH_MAX];
    (void)state;
    chmod(tree, 0755);
    tree_file("/home/bob/models/a.gguf", "x");
    snprintf(file, sizeof file, "%s/home/bob/models/a.gguf", tree);
    assert_int_equal(hardware_may_read(&other, file, refuses), 0);
    set_mode("/home/bob/models/a.gguf", 0600);
    assert_int_equal(hardware_may_read(&other, file, refuses), -EACCES);
    assert_string_equal(refuses, file);
    set_mode("/home/bob", 0700);
    assert_int_equal(hardware_may_read(&other, file, refuses), -EACCES);
    snprintf(wanted, sizeof wanted, "%s/home/bob", tree);
    assert_string_equal(refuses, wanted);
    assert_int_equal(hardware_may_read(&root, file, refuses), 0);
    // A folder is only passed through: r alone does not do, x does.
    set_mode("/home/bob/models/a.gguf", 0604);
    set_mode("/home/bob", 0704);
    assert_int_equal(hardware_may_read(&other, file, refuses), -EACCES);
    set_mode("/home/bob", 0701);
    assert_int_equal(hardware_may_read(&other, file, refuses), 0);
    assert_int_equal(hardware_may_read(&other, "/nonexistent", refuses), -ENOENT);
    if (geteuid() == 0) {
        assert_int_equal(chown(wanted, 0, 12), 0);
        set_mode("/home/bob", 0710);
        assert_int_equal(hardware_may_read(&other, file, refuses), 0); // by its second group
        set_mode("/home/bob", 0701); // the group's bits decide, not the others'
        assert_int_equal(hardware_may_read(&other, file, refuses), -EACCES);
    }
}

static void access_lists_count(void **state)
{
    // user::rwx user:64055:--x group::--- mask::--x other::---
    static const uint16_t entries[][4] = {{1, 7, 0xffff, 0xffff},
                                          {2, 1, 64055, 0},
                                          {4, 0, 0xffff, 0xffff},
                                          {16, 1, 0xffff, 0xffff},
                                          {32, 0, 0xffff, 0xffff}};
    struct hardware_user other = {.uid = 64055, .groups = {64055}, .group_count = 1};
    struct hardware_user third = {.uid = 64056, .groups = {64056}, .group_count = 1};
    char refuses[PATH_MAX], file[PATH_MAX], folder[PATH_MAX];
    struct {
        uint32_t version;
        uint16_t entries[5][4];
    } acl = {.version = 2};
    (void)state;
    memcpy(acl.entries, entries, sizeof entries);
    chmod(tree, 0755);
    tree_file("/home/bob/a.gguf", "x");
    snprintf(file, sizeof file, "%s/home/bob/a.gguf", tree);
    snprintf(folder, sizeof folder, "%s/home/bob", tree);
    if (setxattr(folder, "system.posix_acl_access", &acl, sizeof acl, 0) != 0) {
        skip(); // a file system without ACLs
    }
    assert_int_equal(hardware_may_read(&other, file, refuses), 0);
    assert_int_equal(hardware_may_read(&third, file, refuses), -EACCES);
    acl.entries[3][1] = 0; // the mask takes it away
    assert_int_equal(setxattr(folder, "system.posix_acl_access", &acl, sizeof acl, 0), 0);
    assert_int_equal(hardware_may_read(&other, file, refuses), -EACCES);
}

static void users_by_name_and_number(void **state)
{
    struct hardware_user u;
    (void)state;
    assert_int_equal(hardware_user("root", &u), 0);
    assert_int_equal(u.uid, 0);
    assert_int_equal(hardware_user("+64999", &u), 0);
    assert_true(u.uid == 64999 && u.group_count == 1);
    assert_int_equal(hardware_user("no-such-user", &u), -ENOENT);
    assert_int_equal(hardware_user("+12x", &u), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(intel_with_ept),
        TEST(words_are_whole),
        TEST(amd_with_npt),
        TEST(neither_and_the_trap),
        TEST(nothing_is_known_of_an_empty_tree),
        TEST(memory_pages_and_nodes),
        TEST(pci_devices_are_read),
        TEST(the_iommu_is_read),
        TEST(programs_and_packages),
        TEST(what_the_host_uses),
        TEST(the_first_folder_that_refuses_is_named),
        TEST(access_lists_count),
        TEST(users_by_name_and_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
