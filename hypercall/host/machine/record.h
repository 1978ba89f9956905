// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What a saved state of a guest belongs to: its definition, image, weights, the host's CPU and
// QEMU. A state runs on only where all of it is as it was. Beside the state lies this record, a
// JSON object; and how long starts of the guest took, cold and from the state.
//
// Errors as in machine.h.
#ifndef TESSERA_MACHINE_RECORD_H
#define TESSERA_MACHINE_RECORD_H

#include "hypercall/host/machine/machine.h"

#include <libvirt/libvirt.h>

enum { RECORD_HASH = 65 }; // hexadecimal SHA-256 with its end

// A file as it was. The hash is taken only where the rest does not show that it is the same.
struct record_file {
    char path[1024];
    uint64_t device, inode, bytes;
    int64_t modified_ns, changed_ns;
    char sha256[RECORD_HASH]; // "": not taken
};

struct record {
    char uuid[40];
    char definition[RECORD_HASH]; // of the domain's XML without its metadata
    char identity[128];           // of the model
    struct record_file image, weights;
    char cpu[RECORD_HASH], cpu_name[64];
    uint64_t qemu; // its version, as libvirt counts
};

// As it is now. hint (may be NULL): an older record, whose hashes hold for files that are the same.
int record_take(virConnectPtr c, virDomainPtr d, const struct machine_facts *facts,
                const struct record *hint, struct record *out, char *error, size_t error_bytes);
// 0; -ESTALE: what differs is in `error`, as parts of a sentence: "the image /a/llm.elf, the host's
// CPU".
int record_compare(const struct record *saved, const struct record *now, char *error,
                   size_t error_bytes);

// -ENOENT: none; -EBADMSG: damaged.
int record_read(const char *path, struct record *out, char *error, size_t error_bytes);
int record_parse(const char *text, size_t bytes, struct record *out);
// Whole or not at all.
int record_write(const char *path, const struct record *r, char *error, size_t error_bytes);

// ---- parts, for tests --------------------------------------------------------------------------

// The XML without its first <metadata> element, as a hash.
int record_hash_definition(const char *xml, char out[RECORD_HASH]);
// Of libvirt's capabilities: the host CPU's vendor, model and features; what changes from boot to
// boot (microcode, measured frequencies) left out. -EINVAL: there is none in it.
int record_hash_cpu(const char *capabilities, char out[RECORD_HASH], char *name, size_t name_bytes);
int record_look_at_file(const char *path, const struct record_file *hint, bool hash,
                        struct record_file *out, char *error, size_t error_bytes);

// ---- where -------------------------------------------------------------------------------------

enum record_kind {
    RECORD_READY_STATE,     // libvirt's file
    RECORD_READY_STATE_NEW, // while it is written
    RECORD_READY,
    RECORD_SUSPENDED, // the state itself is libvirt's managed one
    RECORD_TIMES,
    RECORD_KINDS
};
// $XDG_STATE_HOME/tessera/states/NAME…; with `make` the folder is made.
int record_path(const char *name, enum record_kind kind, bool make, char *out, size_t out_bytes,
                char *error, size_t error_bytes);
// All of a guest's files; those that are not there are fine.
void record_forget(const char *name);

// ---- times -------------------------------------------------------------------------------------

enum record_start { RECORD_COLD, RECORD_FROM_READY, RECORD_STARTS };
enum { RECORD_TIMES_KEPT = 7 };
struct record_times {
    uint32_t count[RECORD_STARTS];
    double ms[RECORD_STARTS][RECORD_TIMES_KEPT]; // the latest, oldest first
};
// What is not there or damaged counts as nothing measured.
void record_times_read(const char *path, struct record_times *out);
void record_times_add(struct record_times *t, enum record_start start, double ms);
int record_times_write(const char *path, const struct record_times *t, char *error,
                       size_t error_bytes);
// Each kind is tried three times, the less tried first (the state when in doubt); after that the
// one with the smaller median.
enum record_start record_times_choose(const struct record_times *t);
// 0: nothing measured.
double record_times_median(const struct record_times *t, enum record_start start);

#endif
