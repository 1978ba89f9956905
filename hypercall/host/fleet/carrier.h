// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A fleet's carrier: a defined domain FLEET.fleet that is never started and holds the record in its
// metadata; and the fleet's guests, by what their domains say of themselves.
//
// Error handling: 0 or a negative errno, with a message for people in `error`. Threads: one a
// connection.
#ifndef TESSERA_FLEET_CARRIER_H
#define TESSERA_FLEET_CARRIER_H

#include "hypercall/host/fleet/record.h"
#include "hypercall/host/machine/machine.h"

#include <libvirt/libvirt.h>

// Who changes a record holds this: one after the other, for each connection. Waits up to `seconds`
// (-ETIMEDOUT). Closing *lock gives it back, as does the holder's end.
int carrier_lock(const char *uri, unsigned seconds, int *lock, char *error, size_t error_bytes);
// $XDG_RUNTIME_DIR/tessera/KIND-HEX: HEX stands for the connection, so that each has its own.
int carrier_path(const char *kind, const char *uri, char *out, size_t out_bytes, char *error,
                 size_t error_bytes);

// Names of all fleets of this user, sorted; the caller frees each and the list.
int carrier_list(virConnectPtr c, char ***names, size_t *count, char *error, size_t error_bytes);
// -ENOENT: no such fleet. -EPERM: a domain of that name is none of ours. -EACCES: the fleet is
// another user's.
// Its keys come from a file (secrets.h). Where that is gone, others are made, once: the guests' as
// they have it, the clients' nobody's, until `up` sets them. -EIO, too: the file is there and
// cannot be read.
int carrier_read(virConnectPtr c, const char *fleet, struct fleet_record *out, char *error,
                 size_t error_bytes);
// One step: afterwards the fleet is there with this record, or it is not. -EEXIST: it is there.
int carrier_make(virConnectPtr c, const struct fleet_record *r, char *error, size_t error_bytes);
// One step; raises the generation. Only under the lock, with what was read under it.
int carrier_write(virConnectPtr c, struct fleet_record *r, char *error, size_t error_bytes);
int carrier_remove(virConnectPtr c, const char *fleet, char *error, size_t error_bytes);

struct carrier_guest {
    char name[64];
    struct machine_facts facts; // fleet, service, version, port, …
    bool active, paused, crashed;
    virDomainPtr domain; // freed by carrier_guests_free
};
// All guests that say they are some fleet's of this user, sorted by name. fleet: NULL, of all
// fleets.
int carrier_guests(virConnectPtr c, const char *fleet, struct carrier_guest **out, size_t *count,
                   char *error, size_t error_bytes);
void carrier_guests_free(struct carrier_guest *guests, size_t count);

// ---- for tests ---------------------------------------------------------------------------------

// The text in an XML element as libvirt gives it, entities decoded; the caller frees. NULL: not
// readable, or more than FLEET_RECORD_MOST_BYTES.
char *carrier_element_text(const char *xml);
// Of a record as text, the carrier's XML; the caller frees. NULL: no memory.
char *carrier_xml(const char *fleet, const char *record);

// ---- carrier_keys.c ----------------------------------------------------------------------------

// The file of the keys of the fleet whose carrier is `domain`.
int carrier_key_path(virConnectPtr c, const char *domain, char *out, size_t out_bytes, char *error,
                     size_t error_bytes);
// The whole record from a carrier's text; the caller frees. NULL: `error`. *path: where its keys
// are now. *unknown: they cannot be read (random words stand in their place), `error` says why;
// or the fleet is another user's.
char *carrier_show(virConnectPtr c, const char *domain, const char *record, char *path,
                   size_t path_bytes, bool *unknown, char *error, size_t error_bytes);
// The text for a carrier; the keys are in their file. As before.
char *carrier_hide(const char *domain, const char *record, const char *path, bool unknown,
                   char *error, size_t error_bytes);

#endif
