// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Memory, huge pages and NUMA nodes. Sources: proc(5); the kernel's admin-guide/mm/hugetlbpage.
#include "hypercall/host/hardware/private.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The number after "KEY:" in kB, as bytes.
static uint64_t field(const char *text, const char *key)
{
    const char *at = text ? strstr(text, key) : NULL;
    return at ? strtoull(at + strlen(key), NULL, 10) * 1024 : 0;
}

static void pages_of(const char *folder, uint64_t *all, uint64_t *unused)
{
    char path[PATH_MAX];
    if (hw_path(path, folder, "/nr_hugepages")) {
        *all = hw_number(path, 0);
    }
    if (hw_path(path, folder, "/free_hugepages")) {
        *unused = hw_number(path, 0);
    }
}

static bool read_pages(const char *root, const char *at, uint64_t kb, uint64_t *all,
                       uint64_t *unused)
{
    char folder[PATH_MAX];
    if (!hw_path(folder, root, "%s/hugepages-%llukB", at, (unsigned long long)kb) ||
        access(folder, F_OK) != 0) {
        return false;
    }
    pages_of(folder, all, unused);
    return true;
}

struct nodes {
    const char *root;
    struct hardware_memory *out;
};

static void add_node(void *context, const char *name)
{
    struct nodes *c = context;
    char path[PATH_MAX], at[96], *end;
    if (strncmp(name, "node", 4) != 0 || name[4] < '0' || name[4] > '9' ||
        c->out->node_count == HARDWARE_MOST_NODES) {
        return;
    }
    long id = strtol(name + 4, &end, 10);
    if (*end || id > INT_MAX) {
        return;
    }
    struct hardware_node n = {.id = (int)id};
    snprintf(at, sizeof at, "/sys/devices/system/node/node%ld", id);
    if (hw_path(path, c->root, "%s/cpulist", at)) {
        hw_line(path, n.cpus, sizeof n.cpus);
    }
    char *text = hw_path(path, c->root, "%s/meminfo", at) ? hw_read(path) : NULL;
    n.total_bytes = field(text, "MemTotal:");
    n.free_bytes = field(text, "MemFree:");
    free(text);
    snprintf(at, sizeof at, "/sys/devices/system/node/node%ld/hugepages", id);
    read_pages(c->root, at, 2048, &n.pages_2m, &n.pages_2m_free);
    read_pages(c->root, at, 1048576, &n.pages_1g, &n.pages_1g_free);
    // Names come in the order of characters: node10 before node2.
    unsigned i = c->out->node_count++;
    for (; i > 0 && c->out->nodes[i - 1].id > n.id; i--) {
        c->out->nodes[i] = c->out->nodes[i - 1];
    }
    c->out->nodes[i] = n;
}

// "hugetlbfs /dev/hugepages hugetlbfs rw,pagesize=2M 0 0"
static void read_mounts(const char *root, struct hardware_memory *out)
{
    char path[PATH_MAX];
    char *text = hw_path(path, root, "/proc/mounts") ? hw_read(path) : NULL, *rest = text;
    while (rest) {
        char *line = strsep(&rest, "\n"), *words[4] = {NULL};
        for (int i = 0; i < 4 && line; i++) {
            words[i] = strsep(&line, " ");
        }
        if (!words[3] || strcmp(words[2], "hugetlbfs") != 0) {
            continue;
        }
        const char *size = strstr(words[3], "pagesize=");
        bool is_1g =
            size && (strncmp(size + 9, "1024M", 5) == 0 || strncmp(size + 9, "1G", 2) == 0);
        char *to = is_1g ? out->mount_1g : out->mount_2m;
        snprintf(to, PATH_MAX, "%s", words[1]);
    }
    free(text);
}

static uint64_t read_memlock(const char *root)
{
    char path[PATH_MAX];
    char *text = hw_path(path, root, "/proc/self/limits") ? hw_read(path) : NULL;
    const char *key = "Max locked memory", *at = text ? strstr(text, key) : NULL;
    uint64_t bytes = UINT64_MAX;
    if (at) {
        at += strlen(key);
        at += strspn(at, " ");
        bytes = *at >= '0' && *at <= '9' ? strtoull(at, NULL, 10) : UINT64_MAX;
    }
    free(text);
    return bytes;
}

void hardware_memory(const char *root, struct hardware_memory *out)
{
    char path[PATH_MAX];
    memset(out, 0, sizeof *out);
    char *text = hw_path(path, root, "/proc/meminfo") ? hw_read(path) : NULL;
    out->total_bytes = field(text, "MemTotal:");
    out->available_bytes = field(text, "MemAvailable:");
    out->swap_free_bytes = field(text, "SwapFree:");
    free(text);
    out->has_2m =
        read_pages(root, "/sys/kernel/mm/hugepages", 2048, &out->pages_2m, &out->pages_2m_free);
    out->has_1g =
        read_pages(root, "/sys/kernel/mm/hugepages", 1048576, &out->pages_1g, &out->pages_1g_free);
    read_mounts(root, out);
    out->memlock_bytes = read_memlock(root);
    if (hw_path(path, root, "/sys/devices/system/node")) {
        hw_entries(path, add_node, &(struct nodes){root, out});
    }
}
