// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Finding the CUDA driver's library and its functions, at run time.
#include "tensor/cuda/driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

int cuda_driver_load(const char *library, struct cuda_driver *out, char *error, size_t error_bytes)
{
    const char *name = library ? library : "libcuda.so.1";
    const struct {
        size_t place;
        const char *symbol;
    } wanted[] = {
#define FUNCTION(NAME, SYMBOL, PARAMETERS) {offsetof(struct cuda_driver, NAME), #SYMBOL},
        CUDA_FUNCTIONS(FUNCTION)
#undef FUNCTION
    };
    *out = (struct cuda_driver){.library = dlopen(*name ? name : NULL, RTLD_NOW | RTLD_LOCAL)};
    if (!out->library) {
        snprintf(error, error_bytes, "no CUDA driver: %s", dlerror());
        return -ENOENT;
    }
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *function = dlsym(out->library, wanted[i].symbol);
        if (!function) {
            snprintf(error, error_bytes, "the CUDA driver %s has no %s: it is too old", name,
                     wanted[i].symbol);
            cuda_driver_unload(out);
            return -ENOENT;
        }
        memcpy((char *)out + wanted[i].place, &function, sizeof function);
    }
    return 0;
}

void cuda_driver_unload(struct cuda_driver *d)
{
    if (d->library) {
        dlclose(d->library);
    }
    *d = (struct cuda_driver){0};
}

void cuda_describe(const struct cuda_driver *d, cuda_result error, char *out, size_t bytes)
{
    const char *name = NULL, *text = NULL;
    if (d->error_name(error, &name) || !name) {
        name = "unknown error";
    }
    if (d->error_text(error, &text) || !text) {
        text = "the driver does not know it";
    }
    snprintf(out, bytes, "%s (%d): %s", name, error, text);
}
