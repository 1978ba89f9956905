// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A guest's console on the user's terminal (ECMA-48): what draws passes, so that the guest's shell
// can edit lines; what makes terminals answer, set titles or clipboards, or change their ways does
// not.
#ifndef TESSERA_TALK_FILTER_H
#define TESSERA_TALK_FILTER_H

#include <stddef.h>
#include <stdio.h>

struct filter {
    int state;
    char kept[48]; // a sequence or character that has begun
    size_t bytes;
};
// Zeroed at first. Prints what may pass; sequences and characters may be cut anywhere.
void filter_print(struct filter *f, FILE *out, const char *bytes, size_t count);

#endif
