/* A log of what a process does to the files of a folder, for tests of power loss: LD_PRELOAD=lossy_disk.so.
 *
 * LOSSY_FOLDER is the folder, LOSSY_LOG the log, which is appended to. A record: kind, CLOCK_MONOTONIC in ns, number,
 * length of the path, length of the data, path, data. test_power_loss.py makes of it what a disk may hold at any
 * moment. Only what kvd and SQLite use is here; what is mapped is not (SQLite's -shm, which it makes anew).
 *
 *   C create    W write (number: offset)    T truncate (number: length)    U unlink    R rename (data: the new path)
 *   L link (data: the new path)             S a sync begins (number: its id)           E it has ended well
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 4096

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char *paths[FILES_MAX]; /* of the open files that are watched */
static uint64_t syncs;
static int log_fd = -1;

static int watched(const char *path)
{
    const char *folder = getenv("LOSSY_FOLDER");
    return folder && path && !strncmp(path, folder, strlen(folder));
}

static const char *path_of(int fd) { return fd >= 0 && fd < FILES_MAX ? paths[fd] : NULL; }

struct __attribute__((packed)) head {
    char kind;
    uint64_t time, number;
    uint32_t path_bytes, data_bytes;
};

/* Called with the mutex held, so that the order of the log is that of the operations. */
static void record(char kind, const char *path, uint64_t number, const void *data, size_t bytes)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct head head = {kind, now.tv_sec * 1000000000ull + now.tv_nsec, number, strlen(path), bytes};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)path, head.path_bytes}, {(void *)data, bytes}};
    if (log_fd < 0)
        log_fd = syscall(SYS_openat, AT_FDCWD, getenv("LOSSY_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (syscall(SYS_writev, log_fd, parts, 3) != (long)(sizeof head + head.path_bytes + bytes))
        abort();
}

static int opened(const char *path, int flags, mode_t mode)
{
    if (!watched(path))
        return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    pthread_mutex_lock(&mutex);
    int is_new = (flags & O_CREAT) && access(path, F_OK);
    int fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    int error = errno;
    if (fd >= FILES_MAX)
        abort();
    if (fd >= 0) {
        paths[fd] = strdup(path);
        if (is_new)
            record('C', path, 0, NULL, 0);
        else if (flags & O_TRUNC)
            record('T', path, 0, NULL, 0);
    }
    pthread_mutex_unlock(&mutex);
    errno = error;
    return fd;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                                        \
        va_end(more);                                                                                                  \
        return opened(path, flags, mode);                                                                              \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                   \
    int name(int folder, const char *path, int flags, ...)                                                             \
    {                                                                                                                  \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                                        \
        va_end(more);                                                                                                  \
        return watched(path) ? opened(path, flags, mode) : syscall(SYS_openat, folder, path, flags, mode);             \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd)
{
    pthread_mutex_lock(&mutex);
    if (path_of(fd)) {
        free(paths[fd]);
        paths[fd] = NULL;
    }
    int result = syscall(SYS_close, fd);
    pthread_mutex_unlock(&mutex);
    return result;
}

static ssize_t written(int fd, const void *data, size_t bytes, off_t place)
{
    pthread_mutex_lock(&mutex);
    off_t at = place >= 0 ? place : syscall(SYS_lseek, fd, 0, SEEK_CUR);
    ssize_t done = place >= 0 ? syscall(SYS_pwrite64, fd, data, bytes, place) : syscall(SYS_write, fd, data, bytes);
    int error = errno;
    if (done > 0)
        record('W', path_of(fd), at, data, done);
    pthread_mutex_unlock(&mutex);
    errno = error;
    return done;
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    return path_of(fd) ? written(fd, data, bytes, -1) : syscall(SYS_write, fd, data, bytes);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t place)
{
    return path_of(fd) ? written(fd, data, bytes, place) : syscall(SYS_pwrite64, fd, data, bytes, place);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t place) { return pwrite(fd, data, bytes, place); }

int ftruncate(int fd, off_t length)
{
    pthread_mutex_lock(&mutex);
    int result = syscall(SYS_ftruncate, fd, length);
    if (!result && path_of(fd))
        record('T', path_of(fd), length, NULL, 0);
    pthread_mutex_unlock(&mutex);
    return result;
}

int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

/* The file is not synced in truth: it is the log that counts. */
static int synced(int fd, long call)
{
    if (!path_of(fd))
        return syscall(call, fd);
    char path[PATH_MAX];
    strncpy(path, path_of(fd), sizeof path - 1);
    path[sizeof path - 1] = 0;
    pthread_mutex_lock(&mutex);
    uint64_t id = ++syncs;
    record('S', path, id, NULL, 0);
    pthread_mutex_unlock(&mutex);
    usleep(100);
    pthread_mutex_lock(&mutex);
    record('E', path, id, NULL, 0);
    pthread_mutex_unlock(&mutex);
    return 0;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int unlinked(const char *path)
{
    pthread_mutex_lock(&mutex);
    int result = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    int error = errno;
    if (!result && watched(path))
        record('U', path, 0, NULL, 0);
    pthread_mutex_unlock(&mutex);
    errno = error;
    return result;
}

int unlink(const char *path) { return unlinked(path); }

static int named(char kind, long call, const char *from, const char *to)
{
    pthread_mutex_lock(&mutex);
    int result = call == SYS_linkat ? syscall(call, AT_FDCWD, from, AT_FDCWD, to, 0)
                                    : syscall(call, AT_FDCWD, from, AT_FDCWD, to);
    int error = errno;
    if (!result && watched(from))
        record(kind, from, 0, to, strlen(to));
    pthread_mutex_unlock(&mutex);
    errno = error;
    return result;
}

int rename(const char *from, const char *to) { return named('R', SYS_renameat, from, to); }
int link(const char *from, const char *to) { return named('L', SYS_linkat, from, to); }
