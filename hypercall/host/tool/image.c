// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera image build|inspect|sign|verify`: bootable files on hypercall/host/image.
#include "hypercall/host/tool/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_PATH = 4096, MOST_SETTINGS = 64, MESSAGE = 900 };

// The generic kernels are where `make` puts them beside this program: ../images.
static int find_kernel(enum image_kind kind, char *path, size_t bytes)
{
    char program[MOST_PATH - 32];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0) {
        return tool_fail("/proc/self/exe: %s", strerror(errno));
    }
    program[n] = 0;
    *strrchr(program, '/') = 0;
    snprintf(path, bytes, "%s/../images/%s", program, kind == IMAGE_PVH ? "llm.elf" : "llm.efi");
    if (access(path, R_OK) != 0) {
        return tool_fail("no image at %s (%s); build it with `make`, or name it with --kernel",
                         path, strerror(errno));
    }
    return TOOL_OK;
}

// --set may come often: taken out before the other options are read.
static int take_settings(int *argc, char **argv, const char **settings, size_t *count)
{
    int kept = 1;
    *count = 0;
    for (int i = 1; i < *argc; i++) {
        const char *value = NULL;
        if (strncmp(argv[i], "--set=", 6) == 0) {
            value = argv[i] + 6;
        } else if (strcmp(argv[i], "--set") == 0) {
            if (i + 1 == *argc) {
                return tool_misuse("--set needs a value");
            }
            value = argv[++i];
        } else {
            argv[kept++] = argv[i];
            continue;
        }
        if (*count == MOST_SETTINGS) {
            return tool_misuse("more than %d settings; write a manifest", MOST_SETTINGS);
        }
        settings[(*count)++] = value;
    }
    *argc = kept;
    return TOOL_OK;
}

static int build(int argc, char **argv)
{
    struct image_plan plan = {.kind = IMAGE_PVH};
    const char *settings[MOST_SETTINGS], *format = "pvh", *words[1];
    char kernel[MOST_PATH], error[MESSAGE];
    bool json = false;
    size_t word_count;
    struct tool_option options[] = {
        {"--model", OPTION_TEXT, &plan.model, false},
        {"--manifest", OPTION_TEXT, &plan.manifest, false},
        {"--format", OPTION_TEXT, &format, false},
        {"--kernel", OPTION_TEXT, &plan.kernel, false},
        {"--model-outside", OPTION_FLAG, &plan.model_outside, false},
        {"--key", OPTION_TEXT, &plan.key, false},
        {"--cert", OPTION_TEXT, &plan.cert, false},
        {"-o", OPTION_TEXT, &plan.out, false},
        {"--output", OPTION_TEXT, &plan.out, false},
        {"--json", OPTION_FLAG, &json, false},
    };
    int status = take_settings(&argc, argv, settings, &plan.setting_count);
    if (!status) {
        status = tool_options(argc, argv, options, sizeof options / sizeof *options, words, 0,
                              &word_count);
    }
    if (status) {
        return status;
    }
    plan.settings = settings;
    if (!plan.model || !plan.out) {
        return tool_misuse("expected --model FILE and -o OUT");
    }
    if (!image_kind_parse(format, &plan.kind)) {
        return tool_misuse("--format: '%s' is none of pvh, uefi, raw, qcow2", format);
    }
    if (!plan.key != !plan.cert) {
        return tool_misuse("--key and --cert go together");
    }
    if (plan.key && plan.kind == IMAGE_PVH) {
        return tool_misuse(
            "--key: no firmware checks a PVH image; use --format uefi, raw or qcow2");
    }
    if (!plan.kernel) {
        status = find_kernel(plan.kind, kernel, sizeof kernel);
        plan.kernel = kernel;
    }
    if (status) {
        return status;
    }
    if (image_build(&plan, error, sizeof error)) {
        return tool_fail("%s", error);
    }
    return image_show(plan.out, json ? IMAGE_SHOW_JSON : IMAGE_SHOW_BRIEF);
}

static int inspect(int argc, char **argv)
{
    bool json = false, sbom = false, manifest = false;
    const char *words[1];
    size_t count;
    struct tool_option options[] = {
        {"--json", OPTION_FLAG, &json, false},
        {"--sbom", OPTION_FLAG, &sbom, false},
        {"--manifest", OPTION_FLAG, &manifest, false},
    };
    int status = tool_options(argc, argv, options, 3, words, 1, &count);
    if (status) {
        return status;
    }
    if (count != 1 || json + sbom + manifest > 1) {
        return tool_misuse("expected one image and at most one of --json, --sbom, --manifest");
    }
    return image_show(words[0], json       ? IMAGE_SHOW_JSON
                                : sbom     ? IMAGE_SHOW_SBOM
                                : manifest ? IMAGE_SHOW_MANIFEST
                                           : IMAGE_SHOW_ALL);
}

static int sign(int argc, char **argv)
{
    const char *key = NULL, *cert = NULL, *words[2];
    char error[MESSAGE];
    size_t count;
    struct tool_option options[] = {
        {"--key", OPTION_TEXT, &key, false},
        {"--cert", OPTION_TEXT, &cert, false},
    };
    int status = tool_options(argc, argv, options, 2, words, 2, &count);
    if (status) {
        return status;
    }
    if (count != 2 || !key || !cert) {
        return tool_misuse("expected --key FILE --cert FILE IN OUT");
    }
    if (image_sign(words[0], words[1], key, cert, error, sizeof error)) {
        return tool_fail("%s", error);
    }
    return image_show(words[1], IMAGE_SHOW_BRIEF);
}

static bool report(const char *what, int rc, const char *good, const char *error)
{
    if (rc) {
        printf("WRONG  %-9s %s\n", what, error);
    } else {
        printf("good   %-9s %s\n", what, good);
    }
    return rc == 0;
}

static int verify(int argc, char **argv)
{
    const char *cert = NULL, *model = NULL, *manifest = NULL, *words[1];
    char error[MESSAGE];
    size_t count;
    struct image_facts f;
    struct tool_option options[] = {
        {"--cert", OPTION_TEXT, &cert, false},
        {"--model", OPTION_TEXT, &model, false},
        {"--manifest", OPTION_TEXT, &manifest, false},
    };
    int status = tool_options(argc, argv, options, 3, words, 1, &count);
    if (status) {
        return status;
    }
    if (count != 1) {
        return tool_misuse("expected one image");
    }
    if (image_recognise(words[0], &f, error, sizeof error)) {
        return tool_fail("%s", error);
    }
    int rc = image_check_manifest(words[0], manifest, error, sizeof error);
    bool good = report("manifest", rc, "is the one the image is sealed with", error);
    rc = image_check_model_file(words[0], model, error, sizeof error);
    if (rc == -ENOENT && !model) {
        printf("-      model     is not inside; give it with --model to check it\n");
    } else {
        good &= report("model", rc, "is the one the image is sealed with", error);
    }
    if (cert) {
        rc = image_check_signature(words[0], cert, error, sizeof error);
        good &= report("signature", rc, "is good and by that certificate", error);
    } else {
        printf("-      signature %s\n", f.is_signed ? "is there; --cert FILE checks it"
                                                    : "there is none: only the hashes hold");
    }
    image_facts_free(&f);
    return good ? TOOL_OK : tool_fail("%s: not everything is as it should be", words[0]);
}

static int run(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } parts[] = {{"build", build}, {"inspect", inspect}, {"sign", sign}, {"verify", verify}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts && argc > 1; i++) {
        if (strcmp(parts[i].name, argv[1]) == 0) {
            return parts[i].run(argc - 1, argv + 1);
        }
    }
    return tool_misuse(argc > 1 ? "no command '%s'; expected build, inspect, sign or verify"
                                : "expected build, inspect, sign or verify",
                       argc > 1 ? argv[1] : "");
}

const struct tool_command tool_image = {
    "image", "make, look at, sign and check bootable image files",
    "Usage: tessera image build --model FILE -o OUT [OPTIONS]\n"
    "       tessera image inspect IMAGE [--json | --sbom | --manifest]\n"
    "       tessera image sign --key FILE --cert FILE IN OUT\n"
    "       tessera image verify IMAGE [--cert FILE] [--model FILE] [--manifest FILE]\n\n"
    "`build` makes one bootable file of the kernel, a manifest and a model. The guest takes this\n"
    "manifest and this model (by their SHA-256) or ends; its command line changes nothing. Equal\n"
    "inputs give equal bytes.\n"
    "  --model FILE         GGUF\n"
    "  --format FORMAT      pvh (default): for QEMU's -kernel and libvirt's <kernel>\n"
    "                       uefi: a UEFI application; raw, qcow2: a disk with an EFI partition\n"
    "  --manifest FILE      device tree, compiled or source (dtc)\n"
    "  --set KEY=VALUE      a setting, over the manifest's; may come often (http.port=8080)\n"
    "  --model-outside      only the model's hash goes in; give the guest the file when it runs\n"
    "  --kernel FILE        the generic image (../images/llm.elf or llm.efi beside this program)\n"
    "  --key F --cert F     sign for UEFI Secure Boot, by sbsign (PEM; not for pvh)\n"
    "  -o, --output FILE    what is made\n"
    "  --json               tell of it as JSON\n\n"
    "`sign` signs the UEFI application in an application or disk; OUT may be IN. `verify` checks\n"
    "the manifest and the model, those inside or the given ones, and with --cert the signature.\n",
    run};
