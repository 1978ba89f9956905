// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Facts about the machine that guests shall run on, read from /proc, /sys, /dev and /usr under a
// root folder ("" is this machine; tests and `tessera doctor --root` give another tree).
//
// Error handling: what cannot be read is "not known" (-1, "", 0 as each field's comment says) and
// never an error; functions that return int give 0 or a negative errno. Threads: any.
#ifndef TESSERA_HARDWARE_H
#define TESSERA_HARDWARE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// ---- processor and virtualisation --------------------------------------------------------------

struct hardware_cpu {
    char vendor[16], model[96];
    unsigned processors;
    bool vmx, svm;       // VT-x, AMD-V
    bool ept, npt;       // the processor's second level of page tables
    bool page_1g;        //
    bool hypervisor;     // this machine is a virtual machine itself
    int second_level_on; // ept/npt of the KVM module: 1, 0, -1: not loaded
    int nested;          // its parameter `nested`: 1, 0, -1: not loaded
};
void hardware_cpu(const char *root, struct hardware_cpu *out);

enum hardware_kvm {
    HARDWARE_KVM_READY,
    HARDWARE_KVM_NO_CPU,    // the processor shows neither VT-x nor AMD-V, no /dev/kvm
    HARDWARE_KVM_TRAP,      // /dev/kvm is there and the processor shows neither: interpreted guests
    HARDWARE_KVM_NO_MODULE, // the processor could, /dev/kvm is not there
    HARDWARE_KVM_DENIED,    // /dev/kvm is there and this user may not open it
};
enum hardware_kvm hardware_kvm(const char *root, const struct hardware_cpu *cpu);

// ---- memory ------------------------------------------------------------------------------------

enum { HARDWARE_MOST_NODES = 64 };
struct hardware_node {
    int id;
    char cpus[128]; // "0-3,8-11"
    uint64_t total_bytes, free_bytes;
    uint64_t pages_2m, pages_2m_free, pages_1g, pages_1g_free;
};
struct hardware_memory {
    uint64_t total_bytes, available_bytes, swap_free_bytes;
    uint64_t pages_2m, pages_2m_free, pages_1g, pages_1g_free; // of all nodes
    bool has_2m, has_1g;                                       // the kernel knows the size
    char mount_2m[PATH_MAX], mount_1g[PATH_MAX];               // of hugetlbfs, "": none
    uint64_t memlock_bytes;                                    // UINT64_MAX: no limit
    unsigned node_count;
    struct hardware_node nodes[HARDWARE_MOST_NODES]; // by id
};
void hardware_memory(const char *root, struct hardware_memory *out);

// ---- PCI ---------------------------------------------------------------------------------------

struct hardware_pci_device {
    char address[16]; // "0000:65:00.0"
    uint16_t vendor, product;
    uint32_t class_code; // 0x030200: base class, subclass, interface
    char driver[32];     // of the host, "": none
    int node, group;     // NUMA, IOMMU; -1: none
    bool boot_display;   // the firmware's screen
    uint64_t bar_bytes[6];
};
struct hardware_pci {
    struct hardware_pci_device *devices; // by address
    size_t count;
};
// -ENOMEM. Free with hardware_pci_free.
int hardware_pci(const char *root, struct hardware_pci *out);
void hardware_pci_free(struct hardware_pci *pci);
const struct hardware_pci_device *hardware_pci_find(const struct hardware_pci *pci,
                                                    const char *address);
bool hardware_pci_is_bridge(const struct hardware_pci_device *d);
// "display", "network", … of its class.
const char *hardware_pci_kind(const struct hardware_pci_device *d);
// What the host itself does with the device and would lose: its default route, a mounted file
// system. False: nothing of the kind.
bool hardware_pci_host_uses(const char *root, const char *address, char *what, size_t what_bytes);

struct hardware_iommu {
    unsigned units;   // in /sys/class/iommu
    unsigned groups;  //
    bool intel_on;    // the kernel's command line has intel_iommu=on
    bool passthrough; // iommu=pt
    bool off;         // iommu=off, intel_iommu=off or amd_iommu=off
    bool vfio;        // vfio-pci is loaded or built in
    bool vfio_file;   // it can be loaded: its file is there
};
void hardware_iommu(const char *root, struct hardware_iommu *out);

// ---- programs and files ------------------------------------------------------------------------

// The first of the names, ended by NULL, that is a program in /usr/local/bin, /usr/bin, /bin,
// /usr/local/sbin, /usr/sbin or /sbin. False: none.
bool hardware_program(const char *root, const char *const *names, char out[PATH_MAX]);
// The first of the paths, ended by NULL, that exists; without the root. NULL: none.
const char *hardware_first(const char *root, const char *const *paths);
// The version of a Debian package, from dpkg's status. False: not installed.
bool hardware_package(const char *root, const char *name, char *version, size_t version_bytes);

// ---- who may read a file -----------------------------------------------------------------------

struct hardware_user {
    char name[64];
    uid_t uid;
    gid_t groups[64]; // the primary group first
    unsigned group_count;
};
// By name or by number ("+64055"). -ENOENT: no such user.
int hardware_user(const char *name, struct hardware_user *out);
// May the user read the file? Walks its path from the top; permission bits and POSIX ACLs count,
// root may all. 0, or -EACCES with the first that refuses in `refuses`; other errors as of stat.
int hardware_may_read(const struct hardware_user *user, const char *path, char refuses[PATH_MAX]);

// A system's libvirt keeps guests' own files in folders below this one. Debian's mode lets pass who
// is in the group of QEMU's user; libvirt's own is 0751.
#define HARDWARE_LIBVIRT_FOLDER "/var/lib/libvirt/qemu"
#define HARDWARE_LIBVIRT_MEND                                                                      \
    "dpkg-statoverride --force-statoverride-add --update --add libvirt-qemu libvirt-qemu "         \
    "0751 " HARDWARE_LIBVIRT_FOLDER

#endif
