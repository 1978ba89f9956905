/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The corpus of the default model, and the proof that its held-out part is held out.
 */
#ifndef CORPUS_H
#define CORPUS_H

#include <stddef.h>
#include <stdint.h>

/*
 * Writes FOLDER/train.txt (ChatML conversations, each ended by an empty line) and
 * FOLDER/held-out.tsv (category, question and exact answer, with tabs between). The same arguments
 * give the same files. Returns 0, or a negative errno after saying which file failed.
 */
int corpus_write(const char *folder, unsigned conversations, uint64_t seed);

/* What the checker counted. */
struct corpus_check {
    size_t questions;                       /* held-out questions */
    unsigned held_out_pairs, trained_pairs; /* different pairs of numbers in questions */
    size_t faults;                          /* questions or pairs found in the training text */
};

/*
 * Looks for every held-out question and every held-out pair of numbers in the training text, and
 * names the first faults on stderr. Returns 0 or a negative errno if a file cannot be read.
 */
int corpus_check(const char *training, const char *held_out, struct corpus_check *result);

#endif
