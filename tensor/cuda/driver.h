// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The functions of the CUDA driver that are used, declared here because its headers are not free
// and need not be installed. Names, types and values: CUDA Driver API reference.
#ifndef TENSOR_CUDA_DRIVER_H
#define TENSOR_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

typedef int cuda_result; // 0: success
typedef int cuda_ordinal;
typedef uint64_t cuda_address; // of the device's memory
typedef struct CUctx_st *cuda_context;
typedef struct CUmod_st *cuda_module;
typedef struct CUfunc_st *cuda_function;
typedef struct CUstream_st *cuda_stream;

enum {
    CUDA_OUT_OF_MEMORY = 2,
    CUDA_NO_DEVICE = 100,
    CUDA_INVALID_DEVICE = 101,
    CUDA_ATTRIBUTE_CAPABILITY_MAJOR = 75,
    CUDA_ATTRIBUTE_CAPABILITY_MINOR = 76,
    CUDA_JIT_ERROR_LOG = 5,
    CUDA_JIT_ERROR_LOG_BYTES = 6,
    CUDA_STREAM_NON_BLOCKING = 1,
};

// Member, name in the library, parameters.
#define CUDA_FUNCTIONS(X)                                                                          \
    X(init, cuInit, (unsigned flags))                                                              \
    X(device_get, cuDeviceGet, (cuda_ordinal * device, int number))                                \
    X(device_by_bus, cuDeviceGetByPCIBusId, (cuda_ordinal * device, const char *bus_id))           \
    X(device_name, cuDeviceGetName, (char *name, int bytes, cuda_ordinal device))                  \
    X(device_memory, cuDeviceTotalMem_v2, (size_t * bytes, cuda_ordinal device))                   \
    X(device_attribute, cuDeviceGetAttribute, (int *value, int attribute, cuda_ordinal device))    \
    X(context_retain, cuDevicePrimaryCtxRetain, (cuda_context * context, cuda_ordinal device))     \
    X(context_release, cuDevicePrimaryCtxRelease_v2, (cuda_ordinal device))                        \
    X(context_use, cuCtxSetCurrent, (cuda_context context))                                        \
    X(module_load, cuModuleLoadDataEx,                                                             \
      (cuda_module * module, const void *image, unsigned count, int *options, void **values))      \
    X(module_unload, cuModuleUnload, (cuda_module module))                                         \
    X(module_function, cuModuleGetFunction,                                                        \
      (cuda_function * function, cuda_module module, const char *name))                            \
    X(memory_info, cuMemGetInfo_v2, (size_t * free, size_t * total))                               \
    X(alloc, cuMemAlloc_v2, (cuda_address * address, size_t bytes))                                \
    X(free, cuMemFree_v2, (cuda_address address))                                                  \
    X(host_alloc, cuMemHostAlloc, (void **address, size_t bytes, unsigned flags))                  \
    X(host_free, cuMemFreeHost, (void *address))                                                   \
    X(copy_in, cuMemcpyHtoD_v2, (cuda_address to, const void *from, size_t bytes))                 \
    X(copy_in_later, cuMemcpyHtoDAsync_v2,                                                         \
      (cuda_address to, const void *from, size_t bytes, cuda_stream stream))                       \
    X(copy_out_later, cuMemcpyDtoHAsync_v2,                                                        \
      (void *to, cuda_address from, size_t bytes, cuda_stream stream))                             \
    X(stream_create, cuStreamCreate, (cuda_stream * stream, unsigned flags))                       \
    X(stream_destroy, cuStreamDestroy_v2, (cuda_stream stream))                                    \
    X(stream_wait, cuStreamSynchronize, (cuda_stream stream))                                      \
    X(launch, cuLaunchKernel,                                                                      \
      (cuda_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z,                  \
       unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,                \
       cuda_stream stream, void **parameters, void **extra))                                       \
    X(error_name, cuGetErrorName, (cuda_result error, const char **name))                          \
    X(error_text, cuGetErrorString, (cuda_result error, const char **text))

struct cuda_driver {
    void *library;
#define MEMBER(NAME, SYMBOL, PARAMETERS) cuda_result(*NAME) PARAMETERS;
    CUDA_FUNCTIONS(MEMBER)
#undef MEMBER
};

// Loads it; `library` as in tensor/cuda.h. 0; -ENOENT with a message.
int cuda_driver_load(const char *library, struct cuda_driver *out, char *error, size_t error_bytes);
void cuda_driver_unload(struct cuda_driver *d);
// "CUDA_ERROR_…: words", as the driver puts it.
void cuda_describe(const struct cuda_driver *d, cuda_result error, char *out, size_t bytes);

#endif
