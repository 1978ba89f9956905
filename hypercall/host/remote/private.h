// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the files of this folder share.
#ifndef TESSERA_REMOTE_PRIVATE_H
#define TESSERA_REMOTE_PRIVATE_H

#include "hypercall/host/remote/remote.h"

__attribute__((format(printf, 4, 5))) int remote_fail(char *error, size_t error_bytes, int rc,
                                                      const char *format, ...);

// ---- state.c: how far a volume is --------------------------------------------------------------

// As text in a volume of REMOTE_STATE bytes.
enum { REMOTE_STATE = 128 };
struct remote_state {
    uint64_t acknowledged; // bytes from the beginning that libvirt took and finished
    bool checked;          // all of it was read back and was right
    char modified[40];     // the volume's time of change then
};
void remote_state_print(const struct remote_state *s, char out[REMOTE_STATE]);
// -EINVAL: it is none: torn, or nothing yet.
int remote_state_parse(const char text[REMOTE_STATE], struct remote_state *out);

// ---- volume.c ----------------------------------------------------------------------------------

// NULL with libvirt's error: not there (VIR_ERR_NO_STORAGE_VOL), or worse.
virStorageVolPtr volume_find(struct remote *r, const char *name);
// Made where it is missing; *made tells. NULL: libvirt's error.
virStorageVolPtr volume_make(struct remote *r, const char *name, uint64_t bytes, bool *made);
// -EIO with libvirt's error. Exactly `count` bytes.
int volume_write(virConnectPtr c, virStorageVolPtr v, uint64_t at, const uint8_t *bytes,
                 uint64_t count);
// Hands the bytes to `take` as they come; its result ends it when not 0. -EIO.
int volume_read(virConnectPtr c, virStorageVolPtr v, uint64_t at, uint64_t count,
                int (*take)(void *context, const char *bytes, size_t count), void *context);
// The time of its last change, as text; "": not known.
void volume_modified(virStorageVolPtr v, char out[40]);

// devices.c: a node device's XML, the caller frees it; NULL: there is none.
typedef char *remote_describe(void *context, const char *address);
int remote_check_group(const struct hardware_wishes *all, const char *address, const char *xml,
                       remote_describe *describe_it, void *context, char *error,
                       size_t error_bytes);

#endif
