// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A sealed image (`tessera image build`): it brings a record of the SHA-256 of its manifest and of
// its model, and the machine runs with these or not at all. Wherever a manifest or a model comes
// from, it is held against the record before it takes effect; the command line changes nothing.
#ifndef LIBOS_IMAGE_H
#define LIBOS_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image_record {
    uint8_t manifest_sha256[32];
    uint8_t model_sha256[32]; // of the first model_bytes
    uint64_t model_bytes;
};
// The record, a device tree with compatible "tessera,image-1" (hypercall/abi/image.h has its
// properties). 0; -EINVAL and in `error` what is wrong.
int image_record_parse(const void *dtb, size_t bytes, struct image_record *out, char *error,
                       size_t error_bytes);

// The machine's record after manifest_init; NULL: this image is not sealed.
const struct image_record *image_record(void);
// Whether the record's model is in `data`; *content is then how much of it. What follows is not
// covered by the record and must not be used. Reads all of it. 0; -EKEYREJECTED and in `error`
// what was found and what was wanted.
int image_check_model(const struct image_record *r, const void *data, size_t bytes, size_t *content,
                      char *error, size_t error_bytes);
// For the machine's own record: how much of `data` is the sealed model. Ends the machine with a
// report where it is another; `source` says where it is from, for the report. Blocks its strand for
// a second a GB or so (four where the CPU has no SHA instructions).
size_t image_require_model(const void *data, size_t bytes, const char *source);

#endif
