/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * A growing map from short byte strings to numbers. Not thread-safe.
 */
#ifndef TRAIN_STRING_MAP_H
#define TRAIN_STRING_MAP_H

#include <stddef.h>
#include <stdint.h>

struct train_string_entry {
    char *text; /* owned by the map */
    size_t length;
    int64_t value;
};

/* All zero is an empty map. Entries keep their index, in order of insertion. */
struct train_string_map {
    struct train_string_entry *entries;
    size_t count, entry_capacity;
    uint32_t *slots; /* entry index + 1, or 0 */
    size_t slot_count;
};

/* The entry with that text, or NULL. */
struct train_string_entry *train_string_map_find(const struct train_string_map *map,
                                                 const char *text, size_t length);

/* The entry with that text, made with value 0 if it is new; NULL when memory is short. The pointer
 * is good until the next call. */
struct train_string_entry *train_string_map_put(struct train_string_map *map, const char *text,
                                                size_t length);

void train_string_map_free(struct train_string_map *map);

#endif
