// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// From the boot files to a checked manifest.
#ifndef LIBOS_IMAGE_SEAL_H
#define LIBOS_IMAGE_SEAL_H

#include "libos/manifest.h"

// The manifest of a sealed image, checked; NULL: the image is not sealed. Ends the machine where
// something is not as the record says. Once, after boot_files_init.
const struct boot_file *image_seal(void);

#endif
