// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Opening a device: driver, context, kernels.
#include "tensor/cuda/device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const char *const cuda_kernel_names[CUDA_KERNEL_COUNT] = {
#define NAME_OF(NAME, PARAMETERS, POINTERS) #NAME,
    CUDA_ROW_KERNELS(NAME_OF)
#undef NAME_OF
#define NAMES_OF(NAME, TYPE) "product_" #NAME "_1", "product_" #NAME "_8",
        CUDA_WEIGHT_TYPES(NAMES_OF)
#undef NAMES_OF
};

int cuda_product_kernel(uint32_t type, uint32_t rows)
{
    switch (type) {
#define CASE(NAME, TYPE)                                                                           \
    case TYPE:                                                                                     \
        return rows > 1 ? CUDA_KERNEL_product_##NAME##_8 : CUDA_KERNEL_product_##NAME##_1;
        CUDA_WEIGHT_TYPES(CASE)
#undef CASE
    default:
        return -1;
    }
}

static int check_kernels(char *error, size_t error_bytes)
{
    if (!cuda_kernel_text[0]) {
        snprintf(error, error_bytes,
                 "this program has no CUDA kernels: clang was not there when it was built");
        return -ENOTSUP;
    }
    return 0;
}

int tn_cuda_available(const char *library, char *error, size_t error_bytes)
{
    struct cuda_driver driver;
    int rc = check_kernels(error, error_bytes);
    if (!rc && (rc = cuda_driver_load(library, &driver, error, error_bytes)) == 0) {
        cuda_driver_unload(&driver);
    }
    return rc;
}

cuda_result cuda_enter(struct tn_cuda_device *d)
{
    return d->driver.context_use(d->context);
}

static int failed(const struct cuda_driver *driver, const char *what, cuda_result e, char *error,
                  size_t error_bytes)
{
    char why[160];
    cuda_describe(driver, e, why, sizeof why);
    snprintf(error, error_bytes, "CUDA: %s: %s", what, why);
    return e == CUDA_OUT_OF_MEMORY                           ? -ENOMEM
           : e == CUDA_NO_DEVICE || e == CUDA_INVALID_DEVICE ? -ENOENT
                                                             : -EIO;
}

static int find_device(struct tn_cuda_device *d, uint32_t number, const char *bus_id, char *error,
                       size_t error_bytes)
{
    const struct cuda_driver *f = &d->driver;
    int major = 0, minor = 0;
    size_t bytes = 0;
    cuda_result e = f->init(0);
    if (e) {
        return failed(f, "the driver does not start", e, error, error_bytes);
    }
    e = bus_id && *bus_id ? f->device_by_bus(&d->ordinal, bus_id)
                          : f->device_get(&d->ordinal, (int)(number & 0xffff));
    if (e) {
        char what[64];
        snprintf(what, sizeof what, "device %u %s", number, bus_id ? bus_id : "");
        return failed(f, what, e, error, error_bytes);
    }
    e = f->device_name(d->info.name, sizeof d->info.name, d->ordinal);
    e = e ? e : f->device_memory(&bytes, d->ordinal);
    e = e ? e : f->device_attribute(&major, CUDA_ATTRIBUTE_CAPABILITY_MAJOR, d->ordinal);
    e = e ? e : f->device_attribute(&minor, CUDA_ATTRIBUTE_CAPABILITY_MINOR, d->ordinal);
    if (e) {
        return failed(f, "properties of the device", e, error, error_bytes);
    }
    d->info.memory_bytes = bytes;
    d->info.capability = (uint32_t)(100 * major + minor);
    if (d->info.capability < 700) {
        snprintf(error, error_bytes, "CUDA: %s has compute capability %d.%d, 7.0 is needed",
                 d->info.name, major, minor);
        return -ENOTSUP;
    }
    return 0;
}

static int load_kernels(struct tn_cuda_device *d, char *error, size_t error_bytes)
{
    enum { LOG_BYTES = 512 };
    char log[LOG_BYTES] = "";
    int options[] = {CUDA_JIT_ERROR_LOG, CUDA_JIT_ERROR_LOG_BYTES};
    void *values[] = {log, (void *)(uintptr_t)LOG_BYTES};
    const struct cuda_driver *f = &d->driver;
    cuda_result e = f->module_load(&d->module, cuda_kernel_text, 2, options, values);
    if (e) {
        char what[LOG_BYTES + 40];
        d->module = NULL;
        log[LOG_BYTES - 1] = 0;
        snprintf(what, sizeof what, "the kernels do not load (%s)", log);
        return failed(f, what, e, error, error_bytes);
    }
    for (int i = 0; i < CUDA_KERNEL_COUNT; i++) {
        e = f->module_function(&d->kernels[i], d->module, cuda_kernel_names[i]);
        if (e) {
            return failed(f, cuda_kernel_names[i], e, error, error_bytes);
        }
    }
    return 0;
}

int tn_cuda_device_open(const char *library, uint32_t number, const char *bus_id,
                        struct tn_cuda_device **out, char *error, size_t error_bytes)
{
    int rc = check_kernels(error, error_bytes);
    if (rc) {
        return rc;
    }
    struct tn_cuda_device *d = calloc(1, sizeof *d);
    if (!d) {
        snprintf(error, error_bytes, "CUDA: no memory");
        return -ENOMEM;
    }
    rc = cuda_driver_load(library, &d->driver, error, error_bytes);
    rc = rc ? rc : find_device(d, number, bus_id, error, error_bytes);
    if (!rc) {
        cuda_result e = d->driver.context_retain(&d->context, d->ordinal);
        d->context = e ? NULL : d->context;
        e = e ? e : cuda_enter(d);
        rc = e ? failed(&d->driver, "no context", e, error, error_bytes) : 0;
    }
    rc = rc ? rc : load_kernels(d, error, error_bytes);
    if (rc) {
        tn_cuda_device_close(d);
        return rc;
    }
    *out = d;
    return 0;
}

void tn_cuda_device_close(struct tn_cuda_device *d)
{
    if (!d) {
        return;
    }
    if (d->context) {
        cuda_enter(d);
        if (d->module) {
            d->driver.module_unload(d->module);
        }
        d->driver.context_release(d->ordinal);
    }
    cuda_driver_unload(&d->driver);
    free(d);
}

void tn_cuda_device_info(struct tn_cuda_device *d, struct tn_cuda_device_info *out)
{
    size_t available = 0, total;
    *out = d->info;
    if (cuda_enter(d) == 0 && d->driver.memory_info(&available, &total) == 0) {
        out->free_bytes = available;
    }
}

int cuda_take(struct tn_cuda_device *d, size_t bytes, cuda_address *out, const char *what,
              char *error, size_t error_bytes)
{
    cuda_result e = d->driver.alloc(out, bytes ? bytes : 1);
    if (e) {
        char words[96];
        *out = 0;
        snprintf(words, sizeof words, "%zu bytes for %s", bytes, what);
        return failed(&d->driver, words, e, error, error_bytes);
    }
    return 0;
}

void cuda_give_back(struct tn_cuda_device *d, cuda_address address)
{
    if (address) {
        d->driver.free(address);
    }
}
