/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * Checkpoints: the options, where the run stands, then parameters and moments as they lie in
 * memory. They are for the machine that wrote them; a GGUF file is for everyone else.
 */
#include "tensor/train/trainer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct header {
    char magic[8];
    struct train_shape shape;
    uint32_t shards, shard_tokens, step;
    uint64_t parameters;
    struct train_place place;
};

static struct header header_of(const struct train_run *run)
{
    struct header header;

    memset(&header, 0, sizeof header); /* the gaps between fields, too */
    memcpy(header.magic, "TESSCKP1", 8);
    header.shape = run->options.shape;
    header.shards = run->options.shards;
    header.shard_tokens = run->options.shard_tokens;
    header.step = run->step;
    header.parameters = run->net.parameters;
    header.place = run->place;
    return header;
}

int train_run_save(const struct train_run *run, const char *path)
{
    const struct header header = header_of(run);
    const size_t n = run->net.parameters;
    char *part = malloc(strlen(path) + 6);
    FILE *file;
    int rc = 0;

    if (!part)
        return -ENOMEM;
    sprintf(part, "%s.part", path);
    file = fopen(part, "wb");
    if (!file) {
        rc = -errno;
        goto out;
    }
    fwrite(&header, sizeof header, 1, file);
    fwrite(run->parameters, sizeof(float), n, file);
    fwrite(run->m, sizeof(float), n, file);
    fwrite(run->v, sizeof(float), n, file);
    if (ferror(file) | fclose(file))
        rc = -EIO;
    else if (rename(part, path))
        rc = -errno;
    if (rc)
        remove(part);
out:
    free(part);
    return rc;
}

int train_run_load(struct train_run *run, const char *path)
{
    const size_t n = run->net.parameters;
    struct header mine = header_of(run), header;
    FILE *file = fopen(path, "rb");
    int rc = -EINVAL;

    if (!file)
        return -errno;
    if (fread(&header, sizeof header, 1, file) != 1)
        goto out;
    mine.step = header.step;
    mine.place.epoch = header.place.epoch;
    mine.place.next = header.place.next;
    if (memcmp(&mine, &header, sizeof header) ||
        fread(run->parameters, sizeof(float), n, file) != n ||
        fread(run->m, sizeof(float), n, file) != n || fread(run->v, sizeof(float), n, file) != n)
        goto out;
    run->step = header.step;
    run->place = header.place;
    rc = 0;
out:
    fclose(file);
    return rc;
}
