// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// One guest as a libvirt domain: what is wanted, its XML, and what can be read back from a running
// one.
//
// Error handling: functions return 0 or a negative errno and then write a message for people into
// `error`. Nothing here keeps state of its own: it is all in the domain's XML (DESIGN: decision 9).
#ifndef TESSERA_MACHINE_H
#define TESSERA_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

// What domains of ours carry, as elements of this namespace under <metadata>.
#define MACHINE_NAMESPACE "urn:tessera:guest:1"

// ---- what is wanted ----------------------------------------------------------------------------

enum machine_kind { MACHINE_Q35, MACHINE_MICROVM };
enum machine_boot { MACHINE_BOOT_PVH, MACHINE_BOOT_UEFI };
enum machine_weights { MACHINE_WEIGHTS_MAPPED, MACHINE_WEIGHTS_DISK, MACHINE_WEIGHTS_NONE };
enum { MACHINE_MOST_CELLS = 8, MACHINE_MOST_DEVICES = 16, MACHINE_MOST_CPUS = 1024 };

// A part of the guest's CPUs and memory that lies on one NUMA node of the host.
struct machine_cell {
    uint32_t node;
    char cpus[128]; // of that node, "0-3,8-11"; "": not known
};

// Texts are borrowed; NULL, 0 and false: not wanted, or the usual.
struct machine_plan {
    const char *name;
    const char *image;         // the kernel, an absolute path; NULL: on the disk
    const char *model;         // as the user sees it, an absolute path
    const char *mapped;        // the file that is mapped (whole pages of 2 MB), or that is the disk
    uint64_t mapped_bytes;     //
    const char *identity;      // "sha256:…"; NULL: the image knows
    uint32_t vcpus, memory_mb; //
    bool kvm;                  // otherwise emulated
    const char *console_log;   // an absolute path
    const char *key;           // of the HTTP API; not in the XML
    const char *key_file;      // from which QEMU gives it to the guest, an absolute path (key.h)
    const char *settings;      // more words of the kernel's command line, "name=value name=value"
    bool sealed;               // the image has its settings in it and wants no command line
    uint32_t guest_port;       // where the guest serves; 0: 80
    // the machine
    enum machine_kind kind;
    enum machine_weights weights;
    const char *cpu;     // "MODEL[,+FEATURE][,-FEATURE]", MODEL also host or max; NULL: by `kvm`
    const char *nested;  // "vmx" or "svm": the guest may have guests
    uint32_t page_kb;    // of the host's memory under the guest's: 2048, 1048576; 0: the usual
    bool shared_memory;  // other processes may map the guest's memory: a memfd
    const char *pin;     // CPUs of the host, "0-3,8": the guest's, one after the other
    uint32_t cell_count; // 0: the host places memory as it likes
    struct machine_cell cells[MACHINE_MOST_CELLS];
    uint32_t device_count; // PCI functions of the host, "0000:65:00.0"
    char devices[MACHINE_MOST_DEVICES][16];
    bool iommu; // for the guest
    // how it boots
    enum machine_boot boot;
    const char *disk; // an image with a boot loader, an absolute path
    bool disk_is_qcow2, secure_boot;
    const char *firmware, *variables, *variables_template; // of UEFI: code, the guest's own, new
    // the network
    const char *network; // a libvirt network's name, or "bridge=BR"; NULL: QEMU's user network
    const char *listen;  // where the user network's port is, an IPv4 address; NULL: 127.0.0.1
    uint32_t port;       // there
    // tensor calls
    const char *offload;        // "auto" or "host"
    const char *offload_socket; // of this guest's tensor calls
    const char *offload_folder; // tensord's
    uint32_t offload_vectors;   //
    uint32_t region_mb;         // shared with the host
    uint32_t offload_weight;    // beside other guests, 1 to 10000; 0: the usual
    // whose it is, in a fleet
    const char *fleet, *service, *version;
    uint32_t shares;            // of the host's CPUs beside other guests (<cputune>), 2 to 262144
    bool is_system;             // the libvirt is a system's, not a user's own
    bool runs_as_user;          // under a system's libvirt: QEMU as user_id and group_id
    uint32_t user_id, group_id; //
    uint32_t owner_id;          // of the user who makes it, told in the metadata
    bool keeps_owners;          // libvirt labels files, and leaves those of the disks alone
};

// The domain's XML; the caller frees it. Every text is escaped. -EINVAL: a text that XML or QEMU's
// command line cannot carry (control characters, bytes that are no UTF-8), with its name.
int machine_xml(const struct machine_plan *plan, char **out, char *error, size_t error_bytes);

// Letters, digits, '.', '_', '-'; at most 48; begins with a letter or digit.
bool machine_name_is_valid(const char *name);
// A name made of a file's: "phi-3.gguf" -> "phi-3".
void machine_name_of(const char *path, char out[49]);
// What the kernel's command line can carry as a value: printable ASCII without blanks and quotes.
bool machine_word_is_valid(const char *text);
// A key of the HTTP API: such a word, as long as guests take it.
enum { MACHINE_KEY = 128 }; // with its end
bool machine_key_is_valid(const char *text);

// ---- values that are asked for -----------------------------------------------------------------

// A set of CPUs or nodes like "0-3,8", in rising order and without repetition: the `index`-th, or
// -ENOENT past the last. -EINVAL: no such set, or numbers from MACHINE_MOST_CPUS on.
int machine_set_member(const char *set, uint32_t index, uint32_t *out);
// "MODEL[,+FEATURE][,-FEATURE]".
bool machine_cpu_is_valid(const char *text);
// "0000:65:00.0"
bool machine_address_is_valid(const char *text);

// ---- sizes -------------------------------------------------------------------------------------

// The KV cache and working memory grow with the model; the weights themselves take none of it.
uint32_t machine_memory_mb(uint64_t mapped_bytes);
// The region that is shared with the host holds the KV cache: room for several contexts (as guests
// use them, 8192 tokens at most) of kv_bytes a token, a power of two of MB, at least 64. Memory is
// taken as it is used.
uint32_t machine_region_mb(uint64_t kv_bytes, uint32_t context);
// "1G", "512M", "1536" (MB) to MB: at least 16, at most 4 TB. -EINVAL.
int machine_parse_memory(const char *text, uint32_t *out_mb);

// ---- what a running domain says of itself ------------------------------------------------------

struct machine_facts {
    char model[1024], mapped[1024], identity[128], console_log[1024];
    char machine[16];
    char key_file[1024];
    char key[MACHINE_KEY]; // of domains made before keys had files; else key_take's
    char network[128], listen[64];
    char offload[16], offload_folder[256];
    char fleet[64], service[64], version[64], owner[16]; // owner: its user's id
    uint32_t port, guest_port, region_mb, offload_weight;
};
// From our metadata element as libvirt gives it. Elements that are missing are empty; -EINVAL: not
// readable.
int machine_facts_parse(const char *xml, struct machine_facts *out);
// The text of the first element of this name, whatever its prefix; "" if there is none. -EINVAL:
// not readable, or longer than room.
int machine_element(const char *xml, const char *name, char *out, size_t room);

#endif
