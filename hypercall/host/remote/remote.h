// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Files of this machine on another one, through libvirt's storage volumes alone: models and images
// for guests there, and the logs of their consoles back.
//
// A pool `tessera` (a folder) holds them. A volume is named by its content's SHA-256; beside each
// stands a small volume with what has arrived. A transfer that broke off goes on where it was. A
// volume is used once all of it was read back and had the right hash, and again only while it was
// not written since.
//
// Error handling: functions return 0 or a negative errno and then write a message for people into
// `error`. Threads: one.
#ifndef TESSERA_REMOTE_REMOTE_H
#define TESSERA_REMOTE_REMOTE_H

#include "hypercall/host/hardware/devices.h"
#include "hypercall/host/machine/machine.h"
#include "hypercall/host/store/weights.h"

#include <libvirt/libvirt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct remote {
    virStoragePoolPtr pool;
    char folder[PATH_MAX - 256]; // of the pool, there
};
// Finds the pool, or makes it: /var/lib/tessera/images for a system's libvirt, ~/.local/share/
// tessera/images for a user's.
int remote_open(virConnectPtr c, bool is_system, struct remote *out, char *error,
                size_t error_bytes);
void remote_close(struct remote *r);

// ---- files there -------------------------------------------------------------------------------

struct remote_file {
    const uint8_t *data; // mapped; remote_file_unmap
    uint64_t bytes;      // that count: of a model without what zeros may fill up
    uint64_t capacity;   // of the volume
    uint64_t mapped_bytes;
    uint8_t sha256[32];
    char volume[128];
};
// A model: its volume is whole pages of 2 MB, or a power of two (microvm's). identity: as of
// weights_identity_text; a packed file's says nothing of its own bytes, so that it is read once
// more.
int remote_file_map_model(const char *path, const char *identity, bool power,
                          const struct weights_progress *progress, struct remote_file *out,
                          char *error, size_t error_bytes);
// Any other file, as it is. ending: ".elf".
int remote_file_map(const char *path, const char *ending, struct remote_file *out, char *error,
                    size_t error_bytes);
void remote_file_unmap(struct remote_file *f);

struct remote_sent {
    char path[PATH_MAX];    // there
    uint64_t sent, found;   // bytes: now, and that were there already
    double send_s, check_s; // seconds
    bool was_there;         // whole and checked before: nothing was sent
    bool again;             // it had arrived damaged, and was sent once more
};
// stop (may be NULL): not zero ends it with -EINTR; a later call goes on from there. -EIO: libvirt
// says no. -EBADMSG: it arrives damaged twice in a row.
int remote_send(struct remote *r, const struct remote_file *f,
                const struct weights_progress *progress, const volatile int *stop,
                struct remote_sent *out, char *error, size_t error_bytes);

// ---- consoles' logs ----------------------------------------------------------------------------

// Where the log of a guest's console is to be written, there.
void remote_log_path(const struct remote *r, const char *guest, char *out, size_t out_bytes);
// What stands from byte `from` on, at most 1 MB; the caller frees *out. -ENOENT: there is no log. A
// log that became shorter gives all of it, and *from is 0 then.
int remote_log_read(struct remote *r, const char *guest, uint64_t *from, char **out, size_t *bytes,
                    char *error, size_t error_bytes);
// No log is fine.
int remote_log_remove(struct remote *r, const char *guest, char *error, size_t error_bytes);

// ---- keys --------------------------------------------------------------------------------------

// Where the key of a guest's API is, there; for QEMU's user and root alone.
void remote_key_path(const struct remote *r, const char *guest, char *out, size_t out_bytes);
int remote_key_write(struct remote *r, const char *guest, const char *text, char *error,
                     size_t error_bytes);
// -ENOENT: there is none; -EFBIG: longer than room - 1.
int remote_key_read(struct remote *r, const char *guest, char *out, size_t room);
// None is fine.
void remote_key_remove(struct remote *r, const char *guest);

// ---- what the other machine is -----------------------------------------------------------------

struct remote_machine {
    char host[256]; // "": this one
    char ssh[700];  // what `ssh` needs to get there, "-p 2222 user@host"; "": not by ssh
};
void remote_machine_of(const char *uri, struct remote_machine *out);
// CPUs, memory, and whether hardware virtualisation works there.
int remote_sizes(virConnectPtr c, uint32_t *cpus, uint64_t *memory_mb, bool *kvm, char *error,
                 size_t error_bytes);

// Are they there? -ENODEV, -ENOMEM; messages name the option.
int remote_check_pin(virConnectPtr c, const char *pin, char *error, size_t error_bytes);
int remote_cells(virConnectPtr c, const char *nodes, struct machine_cell *cells, uint32_t *count,
                 char *error, size_t error_bytes);
int remote_check_pages(virConnectPtr c, uint32_t page_kb, uint64_t memory_mb, char *error,
                       size_t error_bytes);
// "vmx" or "svm"; NULL: guests there get neither.
const char *remote_nested(virConnectPtr c, bool kvm);
// Devices by address. -ENODEV, -ENXIO: no IOMMU; -EBUSY: another guest's, or not all of a group;
// -ENOTSUP: gpu.
int remote_check_devices(virConnectPtr c, const struct hardware_wishes *all, char *error,
                         size_t error_bytes);

#endif
