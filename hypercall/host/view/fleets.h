// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A fleet's endpoint, out of the record that its carrier (the shut-off domain FLEET.fleet) holds.
#ifndef TESSERA_VIEW_FLEETS_H
#define TESSERA_VIEW_FLEETS_H

#include <libvirt/libvirt.h>
#include <stddef.h>

// The fleet's URL, and a key where the record lists one ("": none, or a file of keys). 0;
// -ENOENT: no such fleet; -EPROTO: its record is none.
int view_fleet_url(virConnectPtr c, const char *fleet, char *url, size_t url_bytes, char *key,
                   size_t key_bytes);
// The same of the record's text.
int view_fleet_record(const char *json, char *url, size_t url_bytes, char *key, size_t key_bytes);

#endif
