// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The emulated device. Functions and errors are the driver's (CUDA Driver API reference).
#include "tensor/cuda/fake_driver_host.h"

#include "tensor/cuda/device.h"
#include "tensor/cuda/kernels.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes)   ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

enum {
    INVALID_VALUE = 1,
    INVALID_PTX = 218,
    INVALID_CONTEXT = 201,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    INVALID_HANDLE = 400,
    BETWEEN = 256, // bytes after each allocation that nothing may touch
    MOST_ALLOCATIONS = 4096,
    MOST_PARAMETERS = 128, // bytes
};
#define ARENA_BYTES ((size_t)1 << 30)

// ---- kernels -----------------------------------------------------------------------------------

struct kernel {
    const char *name;
    void (*run)(struct kernel_place place, const void *parameters);
    size_t parameter_bytes;
    unsigned pointers;
};

#define RUN(NAME, PARAMETERS, POINTERS)                                                            \
    static void run_##NAME(struct kernel_place place, const void *parameters)                      \
    {                                                                                              \
        NAME(place, *(const struct PARAMETERS *)parameters);                                       \
    }
#define RUN_PRODUCTS(NAME, TYPE) CUDA_PRODUCT_KERNEL(NAME, RUN)
CUDA_ROW_KERNELS(RUN)
CUDA_WEIGHT_TYPES(RUN_PRODUCTS)

#define ENTRY(NAME, PARAMETERS, POINTERS) {#NAME, run_##NAME, sizeof(struct PARAMETERS), POINTERS},
#define PRODUCT_ENTRIES(NAME, TYPE)       CUDA_PRODUCT_KERNEL(NAME, ENTRY)
static const struct kernel kernels[] = {CUDA_ROW_KERNELS(ENTRY) CUDA_WEIGHT_TYPES(PRODUCT_ENTRIES)};

// ---- state -------------------------------------------------------------------------------------

enum command_kind { COPY_IN, COPY_OUT, LAUNCH };
struct command {
    enum command_kind kind;
    void *host;
    cuda_address device;
    size_t bytes;
    bool staged; // `host` is a copy, freed afterwards
    const struct kernel *kernel;
    uint32_t grid_x, grid_y;
    _Alignas(16) uint8_t parameters[MOST_PARAMETERS];
};

struct CUstream_st {
    struct command *commands;
    size_t count, space;
};
struct CUctx_st {
    int uses;
};
struct CUmod_st {
    const char *text;
};

static struct {
    pthread_mutex_t lock;
    uint8_t *arena;
    size_t used; // below: taken once
    struct {
        cuda_address at;
        size_t bytes;
    } live[MOST_ALLOCATIONS];
    unsigned live_count, host_count, stream_count, module_count;
    size_t live_bytes, limit;
    struct CUctx_st context;
    struct CUstream_st default_stream;
    bool started, backwards;
    cuda_result broken; // after a failed launch everything fails
    int64_t fail_after;
    uint64_t launches;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .limit = (size_t)512 << 20, .fail_after = -1};
static _Thread_local cuda_context current;

void fake_cuda_backwards(bool on)
{
    fake.backwards = on;
}

void fake_cuda_limit(size_t bytes)
{
    fake.limit = bytes;
}

void fake_cuda_fail_after(int64_t launches)
{
    fake.fail_after = launches;
    fake.broken = 0;
}

unsigned fake_cuda_open_things(void)
{
    return fake.live_count + fake.host_count + fake.stream_count + fake.module_count +
           (unsigned)fake.context.uses;
}

uint64_t fake_cuda_launches(void)
{
    return fake.launches;
}

// Whether calls may go on: 0 or the error.
static cuda_result ready(void)
{
    return !fake.started ? INVALID_VALUE : current != &fake.context ? INVALID_CONTEXT : fake.broken;
}

// The device's memory can be reached only between these.
static void open_arena(bool on)
{
    if (mprotect(fake.arena, ARENA_BYTES, on ? PROT_READ | PROT_WRITE : PROT_NONE)) {
        abort();
    }
}

// With the lock.
static bool holds(cuda_address at, size_t bytes)
{
    for (unsigned i = 0; i < fake.live_count; i++) {
        cuda_address begin = fake.live[i].at;
        if (at >= begin && at - begin <= fake.live[i].bytes &&
            bytes <= fake.live[i].bytes - (at - begin)) {
            return true;
        }
    }
    return false;
}

// ---- devices, contexts, modules ----------------------------------------------------------------

cuda_result cuInit(unsigned flags)
{
    const char *after = getenv("FAKE_CUDA_FAIL_AFTER");
    if (!fake.started && after) {
        fake.fail_after = atol(after);
    }
    fake.started = true;
    return flags ? INVALID_VALUE : 0;
}

cuda_result cuDeviceGet(cuda_ordinal *device, int number)
{
    *device = number;
    return !fake.started ? INVALID_VALUE : number == 0 ? 0 : CUDA_INVALID_DEVICE;
}

cuda_result cuDeviceGetByPCIBusId(cuda_ordinal *device, const char *bus_id)
{
    *device = 0;
    return strcmp(bus_id, "00000000:01:00.0") == 0 ? 0 : CUDA_INVALID_DEVICE;
}

cuda_result cuDeviceGetName(char *name, int bytes, cuda_ordinal device)
{
    snprintf(name, (size_t)bytes, "emulated device %d", device);
    return 0;
}

cuda_result cuDeviceTotalMem_v2(size_t *bytes, cuda_ordinal device)
{
    (void)device;
    *bytes = fake.limit;
    return 0;
}

cuda_result cuDeviceGetAttribute(int *value, int attribute, cuda_ordinal device)
{
    (void)device;
    *value = attribute == CUDA_ATTRIBUTE_CAPABILITY_MAJOR ? 8 : 0;
    return 0;
}

cuda_result cuDevicePrimaryCtxRetain(cuda_context *context, cuda_ordinal device)
{
    if (!fake.arena) {
        void *arena =
            mmap(NULL, ARENA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (arena == MAP_FAILED) {
            return CUDA_OUT_OF_MEMORY;
        }
        fake.arena = arena;
    }
    fake.context.uses++;
    *context = &fake.context;
    return device == 0 ? 0 : CUDA_INVALID_DEVICE;
}

cuda_result cuDevicePrimaryCtxRelease_v2(cuda_ordinal device)
{
    struct CUstream_st *s = &fake.default_stream;
    (void)device;
    if (--fake.context.uses == 0) {
        for (size_t i = 0; i < s->count; i++) {
            free(s->commands[i].host);
        }
        free(s->commands);
        *s = (struct CUstream_st){0};
    }
    return 0;
}

cuda_result cuCtxSetCurrent(cuda_context context)
{
    current = context;
    return context && context->uses == 0 ? INVALID_CONTEXT : 0;
}

cuda_result cuModuleLoadDataEx(cuda_module *module, const void *image, unsigned count, int *options,
                               void **values)
{
    if (ready()) {
        return ready();
    }
    for (unsigned i = 0; i < count; i++) {
        if (options[i] == CUDA_JIT_ERROR_LOG) {
            snprintf(values[i], 32, "not PTX");
        }
    }
    if (!strstr(image, ".version") || !strstr(image, ".target")) {
        return INVALID_PTX;
    }
    *module = malloc(sizeof **module);
    if (!*module) {
        return CUDA_OUT_OF_MEMORY;
    }
    (*module)->text = image;
    fake.module_count++;
    return 0;
}

cuda_result cuModuleUnload(cuda_module module)
{
    free(module);
    fake.module_count--;
    return 0;
}

// The kernel must be in the PTX, with parameters of the same size.
cuda_result cuModuleGetFunction(cuda_function *function, cuda_module module, const char *name)
{
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        const struct kernel *k = &kernels[i];
        char entry[96], parameter[128];
        snprintf(entry, sizeof entry, ".entry %s(", name);
        snprintf(parameter, sizeof parameter, "%s_param_0[%zu]", name, k->parameter_bytes);
        const char *at = strstr(module->text, entry);
        const char *end = at ? strchr(at, ')') : NULL, *size = at ? strstr(at, parameter) : NULL;
        if (strcmp(k->name, name) == 0 && size && size < end) {
            *function = (cuda_function)(uintptr_t)k;
            return ready();
        }
    }
    return NOT_FOUND;
}

// ---- memory ------------------------------------------------------------------------------------

cuda_result cuMemGetInfo_v2(size_t *available, size_t *total)
{
    *total = fake.limit;
    *available = fake.limit - fake.live_bytes;
    return ready();
}

cuda_result cuMemAlloc_v2(cuda_address *address, size_t bytes)
{
    pthread_mutex_lock(&fake.lock);
    cuda_result e = bytes == 0 ? INVALID_VALUE : ready();
    size_t whole = (bytes + 2 * BETWEEN - 1) / BETWEEN * BETWEEN;
    if (!e && (fake.live_count == MOST_ALLOCATIONS || bytes > fake.limit - fake.live_bytes ||
               whole > ARENA_BYTES - fake.used)) {
        e = CUDA_OUT_OF_MEMORY;
    }
    if (!e) {
        uint8_t *at = fake.arena + fake.used;
        ASAN_POISON_MEMORY_REGION(at, whole);
        ASAN_UNPOISON_MEMORY_REGION(at, bytes);
        *address = (cuda_address)(uintptr_t)at;
        open_arena(true);
        memset(at, 0xfe, bytes); // no numbers
        open_arena(false);
        fake.live[fake.live_count].at = *address;
        fake.live[fake.live_count++].bytes = bytes;
        fake.live_bytes += bytes;
        fake.used += whole;
    }
    pthread_mutex_unlock(&fake.lock);
    return e;
}

cuda_result cuMemFree_v2(cuda_address address)
{
    cuda_result e = INVALID_VALUE;
    pthread_mutex_lock(&fake.lock);
    for (unsigned i = 0; i < fake.live_count; i++) {
        if (fake.live[i].at == address) {
            ASAN_POISON_MEMORY_REGION((void *)(uintptr_t)address, fake.live[i].bytes);
            fake.live_bytes -= fake.live[i].bytes;
            fake.live[i] = fake.live[--fake.live_count];
            fake.used = fake.live_count ? fake.used : 0;
            e = ready();
            break;
        }
    }
    pthread_mutex_unlock(&fake.lock);
    return e;
}

cuda_result cuMemHostAlloc(void **address, size_t bytes, unsigned flags)
{
    if (ready() || flags || !bytes) {
        return ready() ? ready() : INVALID_VALUE;
    }
    *address = aligned_alloc(64, (bytes + 63) / 64 * 64);
    fake.host_count += *address != NULL;
    return *address ? 0 : CUDA_OUT_OF_MEMORY;
}

cuda_result cuMemFreeHost(void *address)
{
    free(address);
    fake.host_count--;
    return 0;
}

// ---- streams -----------------------------------------------------------------------------------

cuda_result cuStreamCreate(cuda_stream *stream, unsigned flags)
{
    (void)flags;
    if (ready()) {
        return ready();
    }
    *stream = calloc(1, sizeof **stream);
    fake.stream_count += *stream != NULL;
    return *stream ? 0 : CUDA_OUT_OF_MEMORY;
}

cuda_result cuStreamDestroy_v2(cuda_stream stream)
{
    free(stream->commands);
    free(stream);
    fake.stream_count--;
    return 0;
}

static cuda_result queue(cuda_stream s, const struct command *c)
{
    if (ready()) {
        return ready();
    }
    if (!s) {
        return INVALID_HANDLE;
    }
    if (s->count == s->space) {
        size_t space = s->space ? 2 * s->space : 256;
        struct command *more = realloc(s->commands, space * sizeof *more);
        if (!more) {
            return CUDA_OUT_OF_MEMORY;
        }
        s->commands = more;
        s->space = space;
    }
    s->commands[s->count++] = *c;
    return 0;
}

// Out of ordinary memory: copied at once to somewhere else, and from there when it is waited for.
cuda_result cuMemcpyHtoD_v2(cuda_address to, const void *from, size_t bytes)
{
    pthread_mutex_lock(&fake.lock);
    struct command c = {.kind = COPY_IN, .device = to, .bytes = bytes, .staged = true};
    cuda_result e = holds(to, bytes) ? ready() : INVALID_VALUE;
    c.host = e ? NULL : malloc(bytes ? bytes : 1);
    if (c.host) {
        memcpy(c.host, from, bytes);
        e = queue(&fake.default_stream, &c);
    }
    pthread_mutex_unlock(&fake.lock);
    return e;
}

static bool is_held(cuda_address at, size_t bytes)
{
    pthread_mutex_lock(&fake.lock);
    bool held = holds(at, bytes);
    pthread_mutex_unlock(&fake.lock);
    return held;
}

cuda_result cuMemcpyHtoDAsync_v2(cuda_address to, const void *from, size_t bytes,
                                 cuda_stream stream)
{
    const struct command c = {
        .kind = COPY_IN, .host = (void *)(uintptr_t)from, .device = to, .bytes = bytes};
    return is_held(to, bytes) ? queue(stream, &c) : INVALID_VALUE;
}

cuda_result cuMemcpyDtoHAsync_v2(void *to, cuda_address from, size_t bytes, cuda_stream stream)
{
    const struct command c = {.kind = COPY_OUT, .host = to, .device = from, .bytes = bytes};
    return is_held(from, bytes) ? queue(stream, &c) : INVALID_VALUE;
}

cuda_result cuLaunchKernel(cuda_function function, unsigned grid_x, unsigned grid_y,
                           unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                           unsigned shared_bytes, cuda_stream stream, void **parameters,
                           void **extra)
{
    const struct kernel *k = (const struct kernel *)(uintptr_t)function;
    struct command c = {.kind = LAUNCH, .kernel = k, .grid_x = grid_x, .grid_y = grid_y};
    if (!grid_x || !grid_y || grid_y > 65535 || grid_z != 1 || block_x != BLOCK_THREADS ||
        block_y != 1 || block_z != 1 || shared_bytes || extra) {
        return INVALID_VALUE;
    }
    memcpy(c.parameters, parameters[0], k->parameter_bytes);
    return queue(stream, &c);
}

// All addresses that a kernel is given are the device's, or none.
static bool addresses_are_right(const struct command *c)
{
    for (unsigned i = 0; i < c->kernel->pointers; i++) {
        cuda_address at;
        memcpy(&at, c->parameters + i * sizeof at, sizeof at);
        if (at && !holds(at, 1)) {
            fprintf(stderr, "fake CUDA: %s: pointer %u is no address of the device's\n",
                    c->kernel->name, i);
            return false;
        }
    }
    return true;
}

static cuda_result run_launch(const struct command *c)
{
    struct kernel_place place = {.backwards = fake.backwards};
    fake.launches++;
    if (fake.fail_after == 0 || !addresses_are_right(c)) {
        return ILLEGAL_ADDRESS;
    }
    fake.fail_after -= fake.fail_after > 0;
    for (place.y = 0; place.y < c->grid_y; place.y++) {
        for (place.x = 0; place.x < c->grid_x; place.x++) {
            c->kernel->run(place, c->parameters);
        }
    }
    return 0;
}

static cuda_result run_command(const struct command *c)
{
    if (c->kind == LAUNCH) {
        return run_launch(c);
    }
    if (c->kind == COPY_IN) {
        memcpy((void *)(uintptr_t)c->device, c->host, c->bytes);
    } else {
        memcpy(c->host, (const void *)(uintptr_t)c->device, c->bytes);
    }
    return 0;
}

cuda_result cuStreamSynchronize(cuda_stream stream)
{
    pthread_mutex_lock(&fake.lock);
    cuda_result e = ready();
    stream = stream ? stream : &fake.default_stream;
    open_arena(true);
    for (size_t i = 0; i < stream->count; i++) {
        const struct command *c = &stream->commands[i];
        e = e ? e : run_command(c);
        if (c->staged) {
            free(c->host);
        }
    }
    open_arena(false);
    stream->count = 0;
    fake.broken = e;
    pthread_mutex_unlock(&fake.lock);
    return e;
}

// ---- words -------------------------------------------------------------------------------------

cuda_result cuGetErrorName(cuda_result error, const char **name)
{
    switch (error) {
    case INVALID_VALUE:
        *name = "CUDA_ERROR_INVALID_VALUE";
        return 0;
    case CUDA_OUT_OF_MEMORY:
        *name = "CUDA_ERROR_OUT_OF_MEMORY";
        return 0;
    case CUDA_INVALID_DEVICE:
        *name = "CUDA_ERROR_INVALID_DEVICE";
        return 0;
    case ILLEGAL_ADDRESS:
        *name = "CUDA_ERROR_ILLEGAL_ADDRESS";
        return 0;
    default:
        *name = NULL;
        return INVALID_VALUE;
    }
}

cuda_result cuGetErrorString(cuda_result error, const char **text)
{
    *text = error ? "an error of the emulated device" : "no error";
    return 0;
}
