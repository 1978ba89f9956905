/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * The command line of tessera-train: a table of options, each with the field it sets.
 */
#include "tensor/train/settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char train_usage[] =
    "usage: tessera-train --corpus FILE --out FILE.gguf [options]\n"
    "\n"
    "Trains a small model of the llama architecture and writes it as GGUF (Q8_0).\n"
    "\n"
    "  --corpus FILE      ChatML conversations, each ended by an empty line\n"
    "  --held-out FILE    lines of category, question and exact answer, tabs between;\n"
    "                     scored during training and at the end\n"
    "  --out FILE         the GGUF file to write when all steps are done\n"
    "  --scores FILE      also write the final scores as a Markdown table\n"
    "  --name TEXT        general.name of the GGUF file\n"
    "  --checkpoint FILE  written every 200 steps and on Ctrl-C\n"
    "  --resume           go on from the checkpoint if there is one\n"
    "  --steps N          how long to train (default 4000)\n"
    "  --seed N           the same seed gives the same model (default 1)\n"
    "  --threads N        default: all processors\n"
    "  --batch N          tokens in a step (default 8192)\n"
    "  --rate X           highest learning rate (default 0.002)\n"
    "  --decay X          weight decay (default 0.1)\n"
    "  --eval-every N     steps between held-out scores (default 500; 0: only at the end)\n"
    "  --wrong            at the end, print the questions answered wrongly\n"
    "\n"
    "The shape of the model, with defaults:\n"
    "  --vocab 768 --width 128 --layers 6 --heads 4 --kv-heads 2 --ff 384 --context 512\n"
    "  --untied           an output matrix of its own instead of the token table\n";

enum kind { TEXT, NUMBER, REAL, FLAG };

struct option {
    const char *name;
    enum kind kind;
    size_t field;
};

#define FIELD(name) offsetof(struct train_settings, name)
static const struct option table[] = {
    {"corpus", TEXT, FIELD(corpus)},
    {"held-out", TEXT, FIELD(held_out)},
    {"out", TEXT, FIELD(out)},
    {"scores", TEXT, FIELD(scores)},
    {"name", TEXT, FIELD(name)},
    {"checkpoint", TEXT, FIELD(checkpoint)},
    {"resume", FLAG, FIELD(resume)},
    {"steps", NUMBER, FIELD(options.steps)},
    {"seed", NUMBER, FIELD(options.seed)},
    {"threads", NUMBER, FIELD(threads)},
    {"batch", NUMBER, FIELD(batch)},
    {"rate", REAL, FIELD(options.rate)},
    {"decay", REAL, FIELD(options.decay)},
    {"eval-every", NUMBER, FIELD(eval_every)},
    {"wrong", FLAG, FIELD(wrong)},
    {"vocab", NUMBER, FIELD(options.shape.vocab)},
    {"width", NUMBER, FIELD(options.shape.width)},
    {"layers", NUMBER, FIELD(options.shape.layers)},
    {"heads", NUMBER, FIELD(options.shape.heads)},
    {"kv-heads", NUMBER, FIELD(options.shape.kv_heads)},
    {"ff", NUMBER, FIELD(options.shape.ff)},
    {"context", NUMBER, FIELD(options.shape.context)},
    {"untied", FLAG, FIELD(untied)},
    {"help", FLAG, FIELD(help)},
};

static int complain(const char *what, const char *argument)
{
    fprintf(stderr, "tessera-train: %s: %s (--help lists the options)\n", what, argument);
    return -EINVAL;
}

/* Numbers are at most nine digits, so that sums and products of two stay in range. */
static int set(struct train_settings *settings, const struct option *option, const char *value)
{
    void *field = (char *)settings + option->field;
    char *end = NULL;

    switch (option->kind) {
    case TEXT:
        *(const char **)field = value;
        return 0;
    case NUMBER:
        if (!isdigit((unsigned char)*value) || strlen(value) > 9)
            return complain("not a number from 0 to 999999999", value);
        *(uint32_t *)field = (uint32_t)strtoul(value, &end, 10);
        return *end ? complain("not a number", value) : 0;
    case REAL:
        *(float *)field = strtof(value, &end);
        if (end == value || *end || !(*(float *)field >= 0 && *(float *)field <= 1))
            return complain("not a number from 0 to 1", value);
        return 0;
    case FLAG:
        *(uint32_t *)field = 1;
        return 0;
    }
    return -EINVAL;
}

static void set_defaults(struct train_settings *settings)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);

    *settings = (struct train_settings){
        .options = {.shape = {.vocab = 768,
                              .width = 128,
                              .layers = 6,
                              .heads = 4,
                              .kv_heads = 2,
                              .ff = 384,
                              .context = 512,
                              .rope_base = 10000.0f,
                              .epsilon = 1e-5f},
                    .seed = 1,
                    .steps = 4000,
                    .rate = 0.002f,
                    .decay = 0.1f,
                    .clip = 1.0f},
        .name = "Tessera demonstration model",
        .batch = 8192,
        .eval_every = 500,
        .threads = processors > 0 ? (uint32_t)processors : 1,
    };
}

static const struct option *find(const char *argument)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!strncmp(argument, "--", 2) && !strcmp(argument + 2, table[i].name))
            return &table[i];
    }
    return NULL;
}

int train_settings_parse(int argc, char **argv, struct train_settings *settings)
{
    struct train_options *options = &settings->options;

    set_defaults(settings);
    for (int i = 1; i < argc; i++) {
        const struct option *option = find(argv[i]);
        const char *value = NULL;
        int rc;

        if (!option)
            return complain("unknown option", argv[i]);
        if (option->kind != FLAG && !(value = argv[++i]))
            return complain("a value is missing after", argv[i - 1]);
        rc = set(settings, option, value);
        if (rc)
            return rc;
    }
    if (settings->help)
        return 0;
    if (!settings->corpus || !settings->out)
        return complain("needed", "--corpus and --out");
    if (!options->steps || !settings->threads || !options->shape.context)
        return complain("must not be 0", "--steps, --threads, --context");
    options->shape.tied = !settings->untied;
    options->shard_tokens = options->shape.context;
    options->shards =
        settings->batch > options->shape.context ? settings->batch / options->shape.context : 1;
    options->warmup = options->steps / 20 + 1;
    return 0;
}
