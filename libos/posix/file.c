// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Files: the console on 0, 1, 2; read-only files that came with the boot, by name with or without
// a leading slash; /dev/null and /dev/urandom.
#include "libos/posix/internal.h"

#include "libos/manifest.h"
#include "libos/spin.h"
#include "platform/serial.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

const struct boot_file *boot_file_find(const char *name) __attribute__((weak));

#define FILES 64

enum kind { CLOSED, CONSOLE, FILE_BYTES, NOTHING, RANDOM };
struct open_file {
    enum kind kind;
    const struct boot_file *file;
    uint64_t offset;
};
static uint32_t
    files_lock; // protects `files`; a descriptor used from two threads is the user's affair
static struct open_file files[FILES] = {{CONSOLE, 0, 0}, {CONSOLE, 0, 0}, {CONSOLE, 0, 0}};

static struct open_file *file_at(int fd)
{
    return fd >= 0 && fd < FILES && files[fd].kind != CLOSED ? &files[fd] : NULL;
}

static enum kind find(const char *path, const struct boot_file **file)
{
    *file = NULL;
    if (strcmp(path, "/dev/null") == 0) {
        return NOTHING;
    }
    if (strcmp(path, "/dev/urandom") == 0 || strcmp(path, "/dev/random") == 0) {
        return RANDOM;
    }
    while (*path == '/') {
        path++;
    }
    if (boot_file_find) {
        *file = boot_file_find(path);
    }
    return *file ? FILE_BYTES : CLOSED;
}

long call_open(const char *path, int flags)
{
    const struct boot_file *file;
    enum kind kind = find(path, &file);
    if (kind == CLOSED) {
        return flags & O_CREAT ? -EROFS : -ENOENT;
    }
    if (kind == FILE_BYTES && ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC)) {
        return -EROFS;
    }
    if (flags & O_DIRECTORY) {
        return -ENOTDIR;
    }
    long fd = -EMFILE;
    spin_lock(&files_lock);
    for (int i = 3; i < FILES; i++) {
        if (files[i].kind == CLOSED) {
            files[i] = (struct open_file){kind, file, 0};
            fd = i;
            break;
        }
    }
    spin_unlock(&files_lock);
    return fd;
}

long call_close(int fd)
{
    struct open_file *f = file_at(fd);
    if (!f) {
        return -EBADF;
    }
    spin_lock(&files_lock);
    f->kind = CLOSED;
    spin_unlock(&files_lock);
    return 0;
}

int posix_file_bytes(int fd, const void **data, size_t *bytes)
{
    struct open_file *f = file_at(fd);
    if (!f) {
        return -EBADF;
    }
    if (f->kind != FILE_BYTES) {
        return -ENODEV;
    }
    *data = f->file->data;
    *bytes = f->file->bytes;
    return 0;
}

long call_pread(int fd, void *to, size_t bytes, uint64_t offset)
{
    struct open_file *f = file_at(fd);
    if (!f) {
        return -EBADF;
    }
    switch (f->kind) {
    case FILE_BYTES:
        if (offset >= f->file->bytes) {
            return 0;
        }
        bytes = bytes < f->file->bytes - offset ? bytes : f->file->bytes - offset;
        memcpy(to, (const uint8_t *)f->file->data + offset, bytes);
        return (long)bytes;
    case RANDOM:
        return call_getrandom(to, bytes);
    default: // the console's input belongs to the shell: end of file here
        return 0;
    }
}

long call_read(int fd, void *to, size_t bytes)
{
    struct open_file *f = file_at(fd);
    long n = call_pread(fd, to, bytes, f ? f->offset : 0);
    if (n > 0) {
        f->offset += (uint64_t)n;
    }
    return n;
}

long call_write(int fd, const void *from, size_t bytes)
{
    struct open_file *f = file_at(fd);
    if (!f || f->kind == FILE_BYTES) {
        return -EBADF;
    }
    if (f->kind == CONSOLE) {
        pf_serial_write(from, bytes);
    }
    return (long)bytes;
}

static long each(int fd, const struct iovec *v, int count, long (*one)(int fd, void *at, size_t n))
{
    long total = 0;
    for (int i = 0; i < count; i++) {
        long n = v[i].iov_len ? one(fd, v[i].iov_base, v[i].iov_len) : 0;
        if (n < 0) {
            return total ? total : n;
        }
        total += n;
        if ((size_t)n < v[i].iov_len) {
            break;
        }
    }
    return total;
}
static long write_one(int fd, void *at, size_t n)
{
    return call_write(fd, at, n);
}
long call_writev(int fd, const struct iovec *v, int count)
{
    return file_at(fd) ? each(fd, v, count, write_one) : -EBADF;
}
long call_readv(int fd, const struct iovec *v, int count)
{
    return file_at(fd) ? each(fd, v, count, call_read) : -EBADF;
}

long call_lseek(int fd, int64_t offset, int whence)
{
    struct open_file *f = file_at(fd);
    if (!f) {
        return -EBADF;
    }
    if (f->kind != FILE_BYTES) {
        return -ESPIPE;
    }
    int64_t base = whence == SEEK_CUR   ? (int64_t)f->offset
                   : whence == SEEK_END ? (int64_t)f->file->bytes
                                        : 0;
    int64_t to;
    if (whence < SEEK_SET || whence > SEEK_END || __builtin_add_overflow(base, offset, &to) ||
        to < 0) {
        return -EINVAL;
    }
    f->offset = (uint64_t)to;
    return to;
}

static void fill(enum kind kind, const struct boot_file *file, struct stat *out)
{
    memset(out, 0, sizeof *out);
    out->st_nlink = 1;
    out->st_blksize = 4096;
    out->st_mode = kind == FILE_BYTES ? S_IFREG | 0444 : S_IFCHR | 0666;
    if (file) {
        out->st_size = (off_t)file->bytes;
        out->st_blocks = (blkcnt_t)((file->bytes + 511) / 512);
        out->st_ino = (ino_t)(uint64_t)file->data;
    }
}

long call_fstat(int fd, struct stat *out)
{
    struct open_file *f = file_at(fd);
    if (!f) {
        return -EBADF;
    }
    fill(f->kind, f->kind == FILE_BYTES ? f->file : NULL, out);
    return 0;
}

long call_stat(const char *path, struct stat *out)
{
    const struct boot_file *file;
    enum kind kind = find(path, &file);
    if (kind == CLOSED) {
        return -ENOENT;
    }
    fill(kind, file, out);
    return 0;
}

long call_access(const char *path, int mode)
{
    const struct boot_file *file;
    enum kind kind = find(path, &file);
    if (kind == CLOSED) {
        return -ENOENT;
    }
    return kind == FILE_BYTES && mode & (W_OK | X_OK) ? -EACCES : 0;
}

long call_ioctl(int fd, unsigned long request, void *arg)
{
    struct open_file *f = file_at(fd);
    if (!f) {
        return -EBADF;
    }
    if (f->kind == CONSOLE && request == TIOCGWINSZ) { // libc asks so whether this is a terminal
        *(struct winsize *)arg = (struct winsize){.ws_row = 24, .ws_col = 80};
        return 0;
    }
    return -ENOTTY;
}

long call_fcntl(int fd, int command, long arg)
{
    (void)arg;
    struct open_file *f = file_at(fd);
    if (!f) {
        return -EBADF;
    }
    switch (command) {
    case F_GETFD:
    case F_SETFD:
        return 0;
    case F_GETFL:
        return f->kind == FILE_BYTES ? O_RDONLY : O_RDWR;
    default:
        return -EINVAL;
    }
}
