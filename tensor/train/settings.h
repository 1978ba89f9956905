/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * What a person may choose on the command line of tessera-train.
 */
#ifndef TRAIN_SETTINGS_H
#define TRAIN_SETTINGS_H

#include "tensor/train/trainer.h"

struct train_settings {
    struct train_options options;
    const char *corpus, *held_out, *out, *scores, *name, *checkpoint;
    uint32_t batch, eval_every, threads;
    uint32_t resume, wrong, untied, help; /* 1 if asked for */
};

/*
 * Fills the settings from the command line, starting from the defaults. Returns 0, or -EINVAL after
 * saying on stderr what is wrong. With `help` set nothing else is checked.
 */
int train_settings_parse(int argc, char **argv, struct train_settings *settings);

/* The text of --help. */
extern const char train_usage[];

#endif
