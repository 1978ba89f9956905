/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * A growing map from short byte strings to numbers: open addressing over a list of entries.
 */
#include "tensor/train/string_map.h"

#include <stdlib.h>
#include <string.h>

static size_t hash(const char *text, size_t length)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */

    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return (size_t)(h ^ (h >> 29));
}

/* The slot that holds the text, or the empty one where it would go. */
static uint32_t *slot_of(const struct train_string_map *map, const char *text, size_t length)
{
    size_t i = hash(text, length) & (map->slot_count - 1);

    for (;; i = (i + 1) & (map->slot_count - 1)) {
        const struct train_string_entry *entry;

        if (!map->slots[i])
            return &map->slots[i];
        entry = &map->entries[map->slots[i] - 1];
        if (entry->length == length && !memcmp(entry->text, text, length))
            return &map->slots[i];
    }
}

struct train_string_entry *train_string_map_find(const struct train_string_map *map,
                                                 const char *text, size_t length)
{
    uint32_t *slot = map->slot_count ? slot_of(map, text, length) : NULL;

    return slot && *slot ? &map->entries[*slot - 1] : NULL;
}

static int grow(struct train_string_map *map)
{
    const size_t capacity = map->entry_capacity ? map->entry_capacity * 2 : 256;
    struct train_string_entry *entries = realloc(map->entries, capacity * sizeof *entries);
    uint32_t *slots = calloc(capacity * 2, sizeof *slots);

    if (entries)
        map->entries = entries;
    if (!entries || !slots) {
        free(slots);
        return -1;
    }
    free(map->slots);
    map->slots = slots;
    map->slot_count = capacity * 2;
    map->entry_capacity = capacity;
    for (size_t i = 0; i < map->count; i++)
        *slot_of(map, entries[i].text, entries[i].length) = (uint32_t)(i + 1);
    return 0;
}

struct train_string_entry *train_string_map_put(struct train_string_map *map, const char *text,
                                                size_t length)
{
    struct train_string_entry *entry = train_string_map_find(map, text, length);
    char *copy;

    if (entry)
        return entry;
    if (map->count == map->entry_capacity && grow(map))
        return NULL;
    copy = malloc(length + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = 0;
    entry = &map->entries[map->count];
    *entry = (struct train_string_entry){copy, length, 0};
    *slot_of(map, text, length) = (uint32_t)++map->count;
    return entry;
}

void train_string_map_free(struct train_string_map *map)
{
    for (size_t i = 0; i < map->count; i++)
        free(map->entries[i].text);
    free(map->entries);
    free(map->slots);
    memset(map, 0, sizeof *map);
}
