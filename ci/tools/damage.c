// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Damages a sound GGUF file, for tests of what reads it: every number of the header in turn becomes
// one that a hostile file could have, the file ends early, weights become noise.
//     damage BASE.gguf                how many cases there are
//     damage BASE.gguf CASE OUT.gguf  writes one and prints its name
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FIELDS = 100000, WAYS = 7, NOISES = 60 };

struct field {
    size_t at;
    unsigned bytes; // of the number: 1, 2, 4, 8
    char name[80];
};

static uint8_t *file;
static size_t size, data_at;
static struct field *fields;
static size_t field_count;

static uint64_t number(size_t at, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, file + at, bytes);
    return v;
}

static uint64_t take(size_t *at, unsigned bytes, const char *what, const char *whose)
{
    if (*at + bytes > size || field_count == MOST_FIELDS) {
        fprintf(stderr, "damage: the base is not sound\n");
        exit(1);
    }
    struct field *f = &fields[field_count++];
    *f = (struct field){.at = *at, .bytes = bytes};
    snprintf(f->name, sizeof f->name, "%s of %.50s", what, whose);
    *at += bytes;
    return number(f->at, bytes);
}

static void take_name(size_t *at, const char *kind, char *out, size_t bytes)
{
    uint64_t n = take(at, 8, "name length", kind);
    snprintf(out, bytes, "%.*s", (int)(n < 60 ? n : 60), file + *at);
    *at += n;
}

static unsigned value_bytes(uint64_t type)
{
    static const unsigned sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof sizes / sizeof *sizes ? sizes[type] : 0;
}

static void take_key(size_t *at)
{
    char name[64];
    take_name(at, "a key", name, sizeof name);
    uint64_t type = take(at, 4, "type", name);
    if (value_bytes(type)) {
        take(at, value_bytes(type), "value", name);
        return;
    }
    if (type == 8) {
        *at += take(at, 8, "length", name);
        return;
    }
    uint64_t each = take(at, 4, "element type", name), count = take(at, 8, "count", name);
    if (each != 8) {
        *at += count * value_bytes(each);
        return;
    }
    for (uint64_t i = 0; i < count; i++) { // of a vocabulary a few lengths will do
        uint64_t n = number(*at, 8);
        if (i == 0 || i == count / 2 || i == count - 1)
            n = take(at, 8, "string length", name);
        else
            *at += 8;
        *at += n;
    }
}

static void take_tensor(size_t *at)
{
    char name[64];
    take_name(at, "a tensor", name, sizeof name);
    uint64_t dims = take(at, 4, "dimensions", name);
    for (uint64_t d = 0; d < dims; d++)
        take(at, 8, "a dimension", name);
    take(at, 4, "type", name);
    take(at, 8, "offset", name);
}

static void survey(void)
{
    size_t at = 0;
    take(&at, 4, "magic", "the file");
    take(&at, 4, "version", "the file");
    uint64_t tensors = take(&at, 8, "tensor count", "the file");
    uint64_t keys = take(&at, 8, "key count", "the file");
    for (uint64_t i = 0; i < keys; i++)
        take_key(&at);
    for (uint64_t i = 0; i < tensors; i++)
        take_tensor(&at);
    data_at = (at + 31) / 32 * 32;
}

static uint64_t hostile(uint64_t old, unsigned bytes, unsigned way)
{
    const uint64_t all = ~UINT64_C(0) >> (64 - 8 * bytes);
    const uint64_t values[WAYS] = {0,
                                   old + 1,
                                   old - 1,
                                   all,
                                   all >> 1,
                                   old ^ UINT64_C(1) << (8 * bytes - 2),
                                   bytes == 4 ? 0x7fc00000u : old << 7}; // a float's NaN
    return values[way] & all;
}

static void write_file(const char *path, const uint8_t *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f)) {
        fprintf(stderr, "damage: %s cannot be written\n", path);
        exit(1);
    }
}

static uint32_t noise(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

int main(int argc, char **argv)
{
    FILE *f = argc == 2 || argc == 4 ? fopen(argv[1], "rb") : NULL;
    if (!f) {
        fprintf(stderr, "usage: damage BASE.gguf [CASE OUT.gguf]\n");
        return 2;
    }
    fseek(f, 0, SEEK_END);
    size = (size_t)ftell(f);
    rewind(f);
    file = malloc(size);
    fields = malloc(MOST_FIELDS * sizeof *fields);
    if (!file || !fields || fread(file, 1, size, f) != size)
        return 1;
    fclose(f);
    survey();
    size_t cases = field_count * WAYS, ends = field_count + 4, all = cases + ends + NOISES + 1;
    if (argc == 2) {
        printf("%zu\n", all);
        return 0;
    }
    size_t n = strtoull(argv[2], NULL, 10), length = size;
    if (n < cases) {
        const struct field *t = &fields[n / WAYS];
        uint64_t old = number(t->at, t->bytes), new = hostile(old, t->bytes, (unsigned)(n % WAYS));
        memcpy(file + t->at, &new, t->bytes);
        printf("%s: %llu becomes %llu (byte %zu)\n", t->name, (unsigned long long)old,
               (unsigned long long)new, t->at);
    } else if (n < cases + ends) {
        size_t i = n - cases;
        const size_t last[] = {data_at, data_at + (size - data_at) / 2, size - 32, size - 1};
        length = i < field_count ? fields[i].at : last[i - field_count];
        printf("ends at byte %zu\n", length);
    } else if (n < all - 1) {
        uint32_t state = (uint32_t)n * 2654435761u;
        for (int i = 0; i < 4; i++)
            file[8 + noise(&state) % (data_at - 8)] = (uint8_t)noise(&state);
        printf("four bytes of noise, seed %zu\n", n);
    } else {
        memset(file + data_at, 0xff, size - data_at);
        printf("all weights 0xff\n");
    }
    write_file(argv[3], file, length);
    return 0;
}
