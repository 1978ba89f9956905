// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// For tests: a folder that stands for another machine's root.
#include "hypercall/host/hardware/tree_host.h"

#include <assert.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char tree[64];

void tree_make(void)
{
    strcpy(tree, "/tmp/tessera-tree.XXXXXX");
    assert(mkdtemp(tree) != NULL);
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *f)
{
    (void)s;
    (void)type;
    (void)f;
    return remove(path);
}

void tree_remove(void)
{
    nftw(tree, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void above(const char *path, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s%s", tree, path);
    for (char *slash = strchr(out + strlen(tree) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(out, 0755);
        *slash = '/';
    }
}

void tree_file(const char *path, const char *format, ...)
{
    char full[PATH_MAX];
    va_list args;
    above(path, full);
    FILE *f = fopen(full, "w");
    assert(f != NULL);
    va_start(args, format);
    vfprintf(f, format, args);
    va_end(args);
    fclose(f);
}

void tree_folder(const char *path)
{
    char full[PATH_MAX];
    above(path, full);
    mkdir(full, 0755);
}

void tree_link(const char *path, const char *target)
{
    char full[PATH_MAX];
    above(path, full);
    int rc = symlink(target, full);
    assert(rc == 0);
    (void)rc;
}

void tree_device(const char *address, unsigned vendor, unsigned product, unsigned class_code,
                 const char *driver, int group, int node)
{
    char at[128], path[256], target[256];
    snprintf(at, sizeof at, "/sys/bus/pci/devices/%s", address);
    snprintf(path, sizeof path, "%s/vendor", at);
    tree_file(path, "0x%04x\n", vendor);
    snprintf(path, sizeof path, "%s/device", at);
    tree_file(path, "0x%04x\n", product);
    snprintf(path, sizeof path, "%s/class", at);
    tree_file(path, "0x%06x\n", class_code);
    snprintf(path, sizeof path, "%s/numa_node", at);
    tree_file(path, "%d\n", node);
    snprintf(path, sizeof path, "%s/resource", at);
    tree_file(path, "0x00000000c0000000 0x00000000c0ffffff 0x0000000000040200\n"
                    "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
                    "0x0000002000000000 0x0000003fffffffff 0x000000000014220c\n");
    if (driver[0]) {
        snprintf(path, sizeof path, "%s/driver", at);
        snprintf(target, sizeof target, "../../../../bus/pci/drivers/%s", driver);
        tree_link(path, target);
    }
    if (group >= 0) {
        snprintf(path, sizeof path, "%s/iommu_group", at);
        snprintf(target, sizeof target, "../../../../kernel/iommu_groups/%d", group);
        tree_link(path, target);
        snprintf(path, sizeof path, "/sys/kernel/iommu_groups/%d/devices/%s", group, address);
        tree_link(path, at);
    }
}
