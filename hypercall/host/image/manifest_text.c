// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A device tree as source text, for people; `dtc` reads it again (but for what is masked).
#include "hypercall/host/image/private.h"

#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DEPTH = 16 };

static bool is_text(const char *data, int length)
{
    if (length < 2 || data[length - 1] != 0 || data[0] == 0) {
        return false;
    }
    for (int i = 0; i < length - 1; i++) {
        unsigned char c = (unsigned char)data[i];
        if ((c < 0x20 && !(c == 0 && data[i + 1] != 0)) || c >= 0x7f) {
            return false;
        }
    }
    return true;
}

static void print_value(FILE *out, const char *data, int length)
{
    if (is_text(data, length)) {
        for (int at = 0; at < length; at += (int)strlen(data + at) + 1) {
            fputs(at ? ", \"" : " = \"", out);
            for (const char *c = data + at; *c; c++) {
                if (*c == '"' || *c == '\\') {
                    fputc('\\', out);
                }
                fputc(*c, out);
            }
            fputc('"', out);
        }
    } else if (length > 0 && length % 4 == 0 && length <= 64) {
        for (int i = 0; i < length; i += 4) {
            fdt32_t cell;
            memcpy(&cell, data + i, 4);
            fprintf(out, "%s%u", i ? " " : " = <", fdt32_to_cpu(cell));
        }
        fputc('>', out);
    } else if (length > 0) {
        fputs(" = [", out);
        for (int i = 0; i < length; i++) {
            fprintf(out, "%s%02x", i ? " " : "", (unsigned char)data[i]);
        }
        fputc(']', out);
    }
}

static void print_name(FILE *out, const char *name)
{
    for (; *name; name++) {
        fputc((unsigned char)*name > ' ' && (unsigned char)*name < 0x7f ? *name : '?', out);
    }
}

static void print_node(FILE *out, const void *dtb, int node, int depth)
{
    const char *name = fdt_get_name(dtb, node, NULL);
    bool is_http = depth == 1 && name && strcmp(name, "http") == 0;
    int at;
    fprintf(out, "%*s", 4 * depth, "");
    print_name(out, depth && name ? name : "/");
    fputs(" {\n", out);
    fdt_for_each_property_offset(at, dtb, node)
    {
        int length;
        const char *property;
        const char *data = fdt_getprop_by_offset(dtb, at, &property, &length);
        if (data == NULL) {
            continue;
        }
        fprintf(out, "%*s", 4 * depth + 4, "");
        print_name(out, property);
        if (is_http && strcmp(property, "key") == 0) {
            fputs(" = \"********\"", out);
        } else {
            print_value(out, data, length);
        }
        fputs(";\n", out);
    }
    fdt_for_each_subnode(at, dtb, node)
    {
        if (depth < MOST_DEPTH) {
            print_node(out, dtb, at, depth + 1);
        }
    }
    fprintf(out, "%*s};\n", 4 * depth, "");
}

char *image_manifest_text(const void *dtb, size_t bytes)
{
    char *text = NULL;
    size_t text_bytes;
    if (manifest_check(dtb, bytes) != 0) {
        return NULL;
    }
    FILE *out = open_memstream(&text, &text_bytes);
    if (out == NULL) {
        return NULL;
    }
    fputs("/dts-v1/;\n", out);
    print_node(out, dtb, 0, 0);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
