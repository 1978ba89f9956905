// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Signing with sbsign, converting with qemu-img: each makes `out` whole or not at all.
#ifndef TESSERA_IMAGE_SIGN_H
#define TESSERA_IMAGE_SIGN_H

#include <stddef.h>

int sign_application(const char *in, const char *out, const char *key, const char *cert,
                     char *error, size_t error_bytes);
int disk_to_qcow2(const char *raw, const char *out, char *error, size_t error_bytes);

#endif
