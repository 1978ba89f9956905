/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The program that checks that the held-out part of a corpus is held out.
 */
#include "corpus.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct corpus_check result;
    int rc;

    if (argc != 3) {
        fprintf(stderr, "usage: %s TRAINING.txt HELD-OUT.tsv\n", argv[0]);
        return 2;
    }
    rc = corpus_check(argv[1], argv[2], &result);
    if (rc) {
        fprintf(stderr, "check: cannot read the corpus: %s\n", strerror(-rc));
        return 1;
    }
    printf("%zu held-out questions, %u held-out pairs of numbers, %u trained pairs\n",
           result.questions, result.held_out_pairs, result.trained_pairs);
    if (result.faults) {
        fprintf(stderr, "%zu faults: the held-out part is not held out\n", result.faults);
        return 1;
    }
    puts("nothing that is held out occurs in the training text");
    return 0;
}
