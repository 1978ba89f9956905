/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The program that writes the corpus of the default model.
 */
#include "corpus.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr,
                "usage: %s FOLDER CONVERSATIONS SEED\n"
                "Writes FOLDER/train.txt (ChatML conversations, each ended by an empty line) and\n"
                "FOLDER/held-out.tsv (category, question, exact answer).\n",
                argv[0]);
        return 2;
    }
    return corpus_write(argv[1], (unsigned)strtoul(argv[2], NULL, 10), strtoull(argv[3], NULL, 10))
               ? 1
               : 0;
}
