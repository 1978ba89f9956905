// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Connections to libvirt, for which it has no time-out itself.
#ifndef TESSERA_TOOL_IN_TIME_H
#define TESSERA_TOOL_IN_TIME_H

#include <libvirt/libvirt.h>

// Runs in a thread of its own, which is left alone, with its memory, if it does not come back.
typedef int in_time_open_fn(const char *uri, virConnectPtr *out, char *error, size_t error_bytes);

// `uri` stays as it is to the program's end. 0, what `open` returns, or -ETIMEDOUT.
int connect_in_time(in_time_open_fn *open, const char *uri, virConnectPtr *out, char *error,
                    size_t error_bytes);

#endif
