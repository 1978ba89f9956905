// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Writes a synthetic model of any architecture and weight type: material for comparing engines.
//   make-model OUT.gguf ARCHITECTURE TYPE [NAME VALUE]...
#include "tensor/model/synthetic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int usage(void)
{
    fprintf(
        stderr,
        "usage: make-model OUT.gguf ARCHITECTURE TYPE [NAME VALUE]...\n"
        "names: embedding layers heads kv_heads head_dim feed_forward vocabulary context\n"
        "       experts experts_used expert_feed_forward expert_type window pooling tied biases\n"
        "       rope_scaling rope_factor rope_base rope_attention_factor rope_context\n"
        "       rope_freqs seed\narchitectures:");
    for (size_t i = 0; synthetic_architectures[i]; i++) {
        fprintf(stderr, " %s", synthetic_architectures[i]);
    }
    fputc('\n', stderr);
    return 2;
}

static uint32_t type_by_name(const char *name)
{
    for (uint32_t t = 0; t < TN_TYPE_LIMIT; t++) {
        if (tn_type_info(t)->name && strcasecmp(tn_type_info(t)->name, name) == 0) {
            return t;
        }
    }
    return TN_TYPE_LIMIT;
}

static int set_option(struct synthetic_options *o, const char *name, const char *value)
{
    const struct {
        const char *name;
        uint32_t *number;
        float *real;
        bool *flag;
    } options[] = {
        {"embedding", &o->embedding, NULL, NULL},
        {"layers", &o->layers, NULL, NULL},
        {"heads", &o->heads, NULL, NULL},
        {"kv_heads", &o->kv_heads, NULL, NULL},
        {"head_dim", &o->head_dim, NULL, NULL},
        {"feed_forward", &o->feed_forward, NULL, NULL},
        {"vocabulary", &o->vocabulary, NULL, NULL},
        {"context", &o->context, NULL, NULL},
        {"experts", &o->experts, NULL, NULL},
        {"experts_used", &o->experts_used, NULL, NULL},
        {"expert_feed_forward", &o->expert_feed_forward, NULL, NULL},
        {"window", &o->window, NULL, NULL},
        {"pooling", &o->pooling, NULL, NULL},
        {"rope_context", &o->rope_context, NULL, NULL},
        {"tied", NULL, NULL, &o->tied},
        {"biases", NULL, NULL, &o->biases},
        {"rope_freqs", NULL, NULL, &o->rope_freqs},
        {"rope_factor", NULL, &o->rope_factor, NULL},
        {"rope_base", NULL, &o->rope_base, NULL},
        {"rope_attention_factor", NULL, &o->rope_attention_factor, NULL},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (strcmp(options[i].name, name) != 0) {
            continue;
        }
        if (options[i].number) {
            *options[i].number = (uint32_t)strtoul(value, NULL, 10);
        } else if (options[i].real) {
            *options[i].real = strtof(value, NULL);
        } else {
            *options[i].flag = strcmp(value, "0") != 0;
        }
        return 0;
    }
    if (strcmp(name, "rope_scaling") == 0) {
        o->rope_scaling = value;
    } else if (strcmp(name, "seed") == 0) {
        o->seed = strtoull(value, NULL, 10);
    } else if (strcmp(name, "expert_type") == 0) {
        o->expert_type = type_by_name(value);
        return o->expert_type == TN_TYPE_LIMIT;
    } else {
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct synthetic_options o;
    if (argc < 4 || argc % 2 != 0 || type_by_name(argv[3]) == TN_TYPE_LIMIT ||
        !synthetic_default(argv[2], type_by_name(argv[3]), &o)) {
        return usage();
    }
    for (int i = 4; i < argc; i += 2) {
        if (set_option(&o, argv[i], argv[i + 1]) != 0) {
            fprintf(stderr, "make-model: %s %s: no such option or type\n", argv[i], argv[i + 1]);
            return usage();
        }
    }
    size_t bytes;
    void *file = synthetic_model(&o, &bytes);
    FILE *f = file ? fopen(argv[1], "wb") : NULL;
    if (!f || fwrite(file, 1, bytes, f) != bytes || fclose(f) != 0) {
        fprintf(stderr, "make-model: %s was not written\n", argv[1]);
        free(file);
        return 1;
    }
    free(file);
    printf("%s: %s %s, %zu bytes\n", argv[1], argv[2], argv[3], bytes);
    return 0;
}
