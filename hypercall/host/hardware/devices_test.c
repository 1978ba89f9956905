// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `--device` against machines with groups shared and alone, images with drivers and without.
//
// Links: hypercall/host/hardware/files.c hypercall/host/hardware/pci.c
// Links: hypercall/host/hardware/devices.c hypercall/host/hardware/wishes.c
// Links: hypercall/host/hardware/image.c hypercall/host/hardware/nvml.c
// Links: hypercall/host/hardware/tree_host.c
#include "hypercall/host/hardware/devices.h"
#include "hypercall/host/hardware/tree_host.h"

#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char error[1200];
static struct hardware_taken taken;
static struct hardware_chosen chosen;
// As the llm image is; and one that could use any of NVIDIA's and AMD's GPUs.
static const struct hardware_drivers plain = {
    1,
    {{.vendor = 0x1af4, .first = 0x1000, .last = 0x107f, .class_code = 2, .name = "virtio-net"}}};
static const struct hardware_drivers with_gpu = {
    2,
    {{.vendor = 0x10de, .first = 0, .last = 0xffff, .class_code = 3, .name = "nv"},
     {.vendor = 0x1002, .first = 0, .last = 0xffff, .class_code = 3, .name = "amd"}}};

static int set_up(void **state)
{
    (void)state;
    tree_make();
    taken.count = 0;
    // A GPU with its sound function, alone in its group but for the port above it.
    tree_device("0000:64:00.0", 0x8086, 0x1901, 0x060400, "pcieport", 12, 0);
    tree_device("0000:65:00.0", 0x10de, 0x2330, 0x030200, "nvidia", 12, 0);
    tree_device("0000:65:00.1", 0x10de, 0x22ba, 0x040300, "snd_hda_intel", 12, 0);
    // Two network ports that share a group with a SATA controller; one that is alone.
    tree_device("0000:3b:00.0", 0x8086, 0x1572, 0x020000, "i40e", 7, 1);
    tree_device("0000:3b:00.1", 0x8086, 0x1572, 0x020000, "vfio-pci", 7, 1);
    tree_device("0000:00:17.0", 0x8086, 0xa182, 0x010601, "ahci", 7, 0);
    tree_device("0000:5e:00.0", 0x15b3, 0x101d, 0x020000, "mlx5_core", 9, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tree_remove();
    return 0;
}

static int choose(const char *text, const struct hardware_drivers *image)
{
    struct hardware_wishes w = {0};
    error[0] = 0;
    int rc = hardware_wishes_add(&w, text, error, sizeof error);
    return rc ? rc : hardware_devices_choose(tree, &w, image, &taken, &chosen, error, sizeof error);
}

static void says(const char *what)
{
    if (!strstr(error, what)) {
        fail_msg("'%s' is not in '%s'", what, error);
    }
}

static void wishes_are_read(void **state)
{
    struct hardware_wishes w = {0};
    static const char *const wrong[] = {"",
                                        "gpu",
                                        "gpu:",
                                        "gpu:autox",
                                        "nic:auto",
                                        "pci:65:00",
                                        "pci:65:20.0",
                                        "pci:65:00.8",
                                        "pci:165:00.0",
                                        "pci:0:0:0:0.0",
                                        "usb:1.2",
                                        "pci:65:00.0,",
                                        "pci:0x65:00.0",
                                        "pci:65:00.0 ",
                                        "pci:00000:65:00.0",
                                        "pci:-1:0.0",
                                        "PCI:65:00.0",
                                        "pci:65:00.00000",
                                        "pci:0000:65:00.0.0",
                                        "pci:65.00.0"};
    (void)state;
    assert_int_equal(hardware_wishes_add(&w, "pci:0000:65:00.0,nic:3B:0.1", error, 100), 0);
    assert_int_equal(hardware_wishes_add(&w, "gpu:auto", error, 100), 0);
    assert_int_equal(w.count, 3);
    assert_string_equal(w.wishes[0].address, "0000:65:00.0");
    assert_string_equal(w.wishes[1].address, "0000:3b:00.1");
    assert_int_equal(w.wishes[1].kind, HARDWARE_WISH_NIC);
    assert_string_equal(w.wishes[2].address, "");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct hardware_wishes none = {0};
        if (hardware_wishes_add(&none, wrong[i], error, sizeof error) != -EINVAL) {
            fail_msg("'%s' was taken", wrong[i]);
        }
    }
    for (int i = 3; i < HARDWARE_MOST_WISHES; i++) {
        assert_int_equal(hardware_wishes_add(&w, "gpu:auto", error, 100), 0);
    }
    assert_int_equal(hardware_wishes_add(&w, "gpu:auto", error, 100), -EINVAL);
}

static void a_gpu_needs_a_driver_in_the_image(void **state)
{
    (void)state;
    assert_int_equal(choose("gpu:65:00.0", &plain), -ENOTSUP);
    says("no driver");
    says("--offload");
    assert_int_equal(choose("gpu:auto", &plain), -ENOTSUP);
    says("--offload");
    // Even where there is no such GPU: what the user must do is the same.
    assert_int_equal(choose("gpu:66:00.0", &plain), -ENOTSUP);
    says("--offload");
    assert_int_equal(choose("gpu:66:00.0", &with_gpu), -ENODEV);
    // Asked for as any device it is given, with a note.
    assert_int_equal(choose("pci:65:00.0,pci:65:00.1", &plain), 0);
    assert_int_equal(chosen.count, 2);
    assert_non_null(
        strstr(chosen.notes, "0000:65:00.0 [10de:2330] display: the image has no driver"));
}

static void a_gpu_comes_with_its_card(void **state)
{
    (void)state;
    assert_int_equal(choose("gpu:65:00.0", &with_gpu), 0);
    assert_int_equal(chosen.count, 2);
    assert_string_equal(chosen.devices[0].address, "0000:65:00.0");
    assert_string_equal(chosen.devices[1].address, "0000:65:00.1");
    assert_int_equal(choose("gpu:5e:00.0", &with_gpu), -ENOTSUP);
    assert_int_equal(choose("nic:65:00.0", &with_gpu), -EINVAL);
    says("is no network device but a display");
    assert_int_equal(choose("pci:64:00.0", &with_gpu), -EINVAL);
    says("is a bridge");
}

static void a_group_goes_as_a_whole(void **state)
{
    (void)state;
    assert_int_equal(choose("nic:3b:00.0", &plain), -EBUSY);
    says("IOMMU group 7");
    says("0000:00:17.0 (mass storage, driver ahci)");
    assert_null(strstr(error, "3b:00.1")); // vfio-pci holds it already
    assert_int_equal(choose("nic:3b:00.1", &plain), -EBUSY);
    says("0000:3b:00.0 (network, driver i40e)");
    assert_int_equal(chosen.count, 0);
    assert_int_equal(choose("nic:3b:00.0,pci:00:17.0", &plain), 0);
    assert_int_equal(chosen.count, 2);
    assert_int_equal(choose("nic:5e:00.0", &plain), 0);
    assert_int_equal(chosen.count, 1);
    assert_int_equal(choose("nic:5e:00.0,pci:5e:00.0", &plain), 0);
    assert_int_equal(chosen.count, 1); // the same twice is once
}

static void without_iommu_nothing_is_given(void **state)
{
    (void)state;
    tree_device("0000:70:00.0", 0x15b3, 0x101d, 0x020000, "mlx5_core", -1, 0);
    assert_int_equal(choose("nic:70:00.0", &plain), -ENXIO);
    says("IOMMU is off");
}

static void what_the_host_needs_stays(void **state)
{
    (void)state;
    tree_link("/sys/class/net/eno1", "../../devices/pci0/0000:5e:00.0/net/eno1");
    tree_file("/proc/net/route", "Iface\tDestination\neno1\t00000000\t0100A8C0\n");
    assert_int_equal(choose("nic:5e:00.0", &plain), -EBUSY);
    says("default route");
}

static void other_guests_keep_theirs(void **state)
{
    static const char xml[] =
        "<domain><devices>"
        "<hostdev mode='subsystem' type='usb'><source><address bus='1' device='2'/></source>"
        "</hostdev>"
        "<hostdev mode='subsystem' type='pci' managed='yes'>\n  <driver name='vfio'/>\n  <source>\n"
        "<address domain='0x0000' bus='0x3b' slot='0x00' function='0x1'/>\n</source>\n"
        "<address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/></hostdev>"
        "<hostdev mode='subsystem' type='pci'><source/></hostdev><hostdev "
        "</devices></domain>";
    (void)state;
    assert_int_equal(hardware_taken_add(&taken, "phi", xml), 0);
    assert_int_equal(taken.count, 1);
    assert_string_equal(taken.devices[0].address, "0000:3b:00.1");
    assert_int_equal(choose("nic:3b:00.1", &plain), -EBUSY);
    says("belongs to the guest 'phi'");
    assert_int_equal(choose("nic:3b:00.0,pci:00:17.0", &plain), -EBUSY); // the same group
    says("with 0000:3b:00.1, which belongs to the guest 'phi'");
}

static void amd_gpu(const char *address, int group, unsigned used, unsigned busy, unsigned degrees)
{
    char path[128];
    tree_device(address, 0x1002, 0x740f, 0x038000, "amdgpu", group, 0);
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/mem_info_vram_total", address);
    tree_file(path, "1000\n");
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/mem_info_vram_used", address);
    tree_file(path, "%u\n", used);
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/gpu_busy_percent", address);
    tree_file(path, "%u\n", busy);
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/hwmon/hwmon3/temp1_input", address);
    tree_file(path, "%u\n", degrees * 1000);
}

static void auto_takes_the_best_score(void **state)
{
    struct hardware_pci p;
    struct hardware_load l;
    (void)state;
    amd_gpu("0000:81:00.0", 20, 500, 50, 60); // 4*50 + 2*50 + 40 = 340
    amd_gpu("0000:82:00.0", 21, 100, 50, 60); // 4*90 + 2*50 + 40 = 500
    amd_gpu("0000:83:00.0", 22, 100, 50, 60); // the same
    assert_int_equal(hardware_pci(tree, &p), 0);
    hardware_gpu_load(tree, hardware_pci_find(&p, "0000:81:00.0"), &l);
    assert_true(hardware_score(&l) == 340);
    hardware_gpu_load(tree, hardware_pci_find(&p, "0000:82:00.0"), &l);
    assert_true(hardware_score(&l) == 500);
    hardware_pci_free(&p);
    // Of NVIDIA's in the tree nothing is known: it is not preferred for that.
    assert_int_equal(choose("gpu:auto", &with_gpu), 0);
    assert_int_equal(chosen.count, 1);
    assert_string_equal(chosen.devices[0].address, "0000:82:00.0");
    assert_non_null(strstr(chosen.notes, "0000:82:00.0 [1002:740f], score 500"));
    // Two of them: the next one of equals.
    assert_int_equal(choose("gpu:auto,gpu:auto", &with_gpu), 0);
    assert_int_equal(chosen.count, 2);
    assert_string_equal(chosen.devices[1].address, "0000:83:00.0");
    // The named ones are taken first.
    assert_int_equal(choose("gpu:auto,gpu:82:00.0", &with_gpu), 0);
    assert_string_equal(chosen.devices[1].address, "0000:83:00.0");
    // One that no driver of the host holds is idle: 4*100 + 2*100.
    tree_device("0000:90:00.0", 0x1002, 0x740f, 0x038000, "vfio-pci", 30, 0);
    assert_int_equal(choose("gpu:auto", &with_gpu), 0);
    assert_string_equal(chosen.devices[0].address, "0000:90:00.0");
}

static void auto_leaves_what_cannot_be_taken(void **state)
{
    (void)state;
    amd_gpu("0000:81:00.0", 7, 0, 0, 20); // with the network and the disks
    tree_device("0000:90:00.0", 0x1002, 0x740f, 0x030000, "", 30, 0);
    tree_file("/sys/bus/pci/devices/0000:90:00.0/boot_vga", "1\n");
    assert_int_equal(choose("gpu:auto", &with_gpu), 0);
    assert_string_equal(chosen.devices[0].address, "0000:65:00.0");
    taken.count = 1;
    strcpy(taken.devices[0].address, "0000:65:00.0");
    strcpy(taken.devices[0].guest, "phi");
    assert_int_equal(choose("gpu:auto", &with_gpu), -EBUSY);
    says("no GPU can be given to the guest");
    assert_int_equal(chosen.count, 0);
}

// ---- images ------------------------------------------------------------------------------------

static size_t make_image(uint8_t out[4096], const uint8_t entry[32], size_t entries)
{
    Elf64_Ehdr head = {.e_phoff = 64, .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1};
    Elf64_Nhdr xen = {4, 8, 18}, ours = {8, (Elf64_Word)(entries * 32), 1};
    size_t at = 64 + sizeof(Elf64_Phdr);
    memset(out, 0, 4096);
    memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_ident[EI_CLASS] = ELFCLASS64;
    memcpy(out + at, &xen, sizeof xen);
    memcpy(out + at + 12, "Xen", 4);
    at += 24;
    memcpy(out + at, &ours, sizeof ours);
    memcpy(out + at + 12, "Tessera", 8);
    at += 20;
    for (size_t i = 0; i < entries; i++, at += 32) {
        memcpy(out + at, entry, 32);
    }
    Elf64_Phdr note = {.p_type = PT_NOTE, .p_offset = 64 + sizeof note};
    note.p_filesz = at - note.p_offset;
    memcpy(out + 64, &note, sizeof note);
    memcpy(out, &head, sizeof head);
    return at;
}

static void an_images_note_is_read(void **state)
{
    static const uint8_t entry[32] = {0xf4, 0x1a, 0x41, 0x10, 0x42, 0x10, 2, 0, 'n', 'e', 't', 27};
    uint8_t image[4096], efi[8192] = "MZ";
    struct hardware_drivers d;
    struct hardware_pci_device net = {.vendor = 0x1af4, .product = 0x1042};
    (void)state;
    size_t bytes = make_image(image, entry, 2);
    assert_int_equal(hardware_image_drivers_of(image, bytes, &d), 0);
    assert_int_equal(d.count, 2);
    assert_string_equal(d.drivers[1].name, "net?"); // no control characters for terminals
    assert_ptr_equal(hardware_driver_for(&d, &net), &d.drivers[0]);
    net.product = 0x1043;
    assert_null(hardware_driver_for(&d, &net));
    assert_true(hardware_drives_class(&d, 2) && !hardware_drives_class(&d, 3));
    for (size_t cut = 0; cut < bytes; cut++) { // never beyond the end
        assert_true(hardware_image_drivers_of(image, cut, &d) < 0);
        assert_int_equal(d.count, 0);
    }
    memcpy(efi + 0x1838, image, bytes); // a UEFI application carries it
    assert_int_equal(hardware_image_drivers_of(efi, sizeof efi, &d), 0);
    assert_int_equal(d.count, 2);
    uint8_t *content_bytes = image + 64 + sizeof(Elf64_Phdr) + 24 + 4;
    *content_bytes += 32; // an entry more than the segment has
    assert_int_equal(hardware_image_drivers_of(image, bytes, &d), -EINVAL);
    *content_bytes -= 33; // no whole entries
    assert_int_equal(hardware_image_drivers_of(image, bytes, &d), -EINVAL);
    *content_bytes += 1;
    assert_int_equal(hardware_image_drivers_of(image, bytes, &d), 0);
    image[64 + sizeof(Elf64_Phdr) + 24 + 12] = 't'; // another owner
    assert_int_equal(hardware_image_drivers_of(image, bytes, &d), -ENODATA);
    assert_int_equal(hardware_image_drivers("/bin/true", &d, error, sizeof error), -ENODATA);
    says("does not say which devices it drives");
    assert_int_equal(hardware_image_drivers("/etc/passwd", &d, error, sizeof error), -EINVAL);
    assert_int_equal(hardware_image_drivers("/nonexistent", &d, error, sizeof error), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wishes_are_read),
        TEST(a_gpu_needs_a_driver_in_the_image),
        TEST(a_gpu_comes_with_its_card),
        TEST(a_group_goes_as_a_whole),
        TEST(without_iommu_nothing_is_given),
        TEST(what_the_host_needs_stays),
        TEST(other_guests_keep_theirs),
        TEST(auto_takes_the_best_score),
        TEST(auto_leaves_what_cannot_be_taken),
        TEST(an_images_note_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
