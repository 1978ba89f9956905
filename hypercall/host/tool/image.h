// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Printing what an image contains.
#ifndef TESSERA_TOOL_IMAGE_H
#define TESSERA_TOOL_IMAGE_H

#include "hypercall/host/image/image.h"
#include "hypercall/host/tool/tool.h"

enum image_show {
    IMAGE_SHOW_BRIEF,
    IMAGE_SHOW_ALL,
    IMAGE_SHOW_JSON,
    IMAGE_SHOW_SBOM,
    IMAGE_SHOW_MANIFEST
};
// A status of the tool.
int image_show(const char *path, enum image_show how);

#endif
