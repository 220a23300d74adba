/* Kills a process, or fails one of its system calls, at a named point: loaded into vbench by LD_PRELOAD (tests/crash.py).

   A point is a call that changes a file below $FAULTS_HOME, or starts a program. Its name is "ROLE CALL PATH NUMBER":
   the role of the process, by its command line; the path below the folder, with numbers and hashes as #; and how often
   this process has been at a point of these words. A call with FAULTS_POINT's name is done, as FAULTS_WAY says:

       before    the process dies by SIGKILL, and the call never happens
       after     the call happens, then the process dies
       torn      half of what it writes is written, then the process dies
       NUMBER    the call returns this errno; ENOSPC stays: each later call that needs room fails, in every process

   FAULTS_FIRED names a file that is created then, so that one process is hit, and only once. With FAULTS_LOG each point
   is appended to that file. Nothing happens to processes whose command line has no role. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, BEFORE, AFTER, TORN, FAIL };
enum { NAMES = 4096, LONG = 1024 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char home[PATH_MAX], point[LONG], way[32], fired[PATH_MAX], logged[PATH_MAX], role[32];
static char *names[NAMES];
static int counts[NAMES], known;

#define REAL(name) \
  static __typeof__(name) *real; \
  if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, #name)

static void take(char *to, size_t size, const char *name) {
  const char *value = getenv(name);
  snprintf(to, size, "%s", value ? value : "");
}

/* Reads the environment anew; a forked process calls it once it has its own. */
void faults_reload(void) {
  char words[4096] = {0};
  int file = syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
  ssize_t got = file < 0 ? 0 : syscall(SYS_read, file, words, sizeof words - 1);
  if (file >= 0) syscall(SYS_close, file);
  for (ssize_t at = 0; at < got; at++) if (!words[at]) words[at] = ' ';
  const char *who = getenv("FAULTS_DRIVER") && atoi(getenv("FAULTS_DRIVER")) == getpid() ? "driver"
                    : strstr(words, "submitit.core._submit") ? "job"
                    : strstr(words, "submitit.local._local") ? "starter"
                    : "";
  snprintf(role, sizeof role, "%s", who);
  take(home, sizeof home, "FAULTS_HOME");
  take(point, sizeof point, "FAULTS_POINT");
  take(way, sizeof way, "FAULTS_WAY");
  take(fired, sizeof fired, "FAULTS_FIRED");
  take(logged, sizeof logged, "FAULTS_LOG");
  known = 0;
  if (!home[0]) role[0] = 0;
}

__attribute__((constructor)) static void start(void) { faults_reload(); }

/* The text with runs of three or more digits, of eight or more hexadecimal digits, and random names replaced by #. */
static void generalise(const char *from, char *to, size_t size) {
  size_t used = 0;
  while (*from && used + 2 < size) {
    size_t hex = strspn(from, "0123456789abcdef"), digits = strspn(from, "0123456789");
    size_t letters = strspn(from, "abcdefghijklmnopqrstuvwxyz0123456789_");
    int random = letters == 8 && (from[8] == '/' || !from[8]) && used && to[used - 1] == '.';
    if (random || hex >= 8 || digits >= 3) {
      to[used++] = '#';
      from += random ? letters : hex >= 8 ? hex : digits;
    } else {
      size_t plain = hex ? hex : 1;
      while (plain-- && used + 2 < size) to[used++] = *from++;
    }
  }
  to[used] = 0;
}

static int append(const char *path, const char *line) {
  int file = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return -1;
  long written = syscall(SYS_write, file, line, strlen(line));
  syscall(SYS_close, file);
  return written < 0 ? -1 : 0;
}

static int count(const char *words) {
  for (int each = 0; each < known; each++)
    if (!strcmp(names[each], words)) return ++counts[each];
  if (known == NAMES) return INT_MAX;
  names[known] = strdup(words);
  counts[known] = 1;
  return counts[known++];
}

static int happened(void) { return fired[0] && syscall(SYS_faccessat, AT_FDCWD, fired, F_OK) == 0; }

/* What is to be done at this call: NOTHING, BEFORE, …; with FAIL errno is set. `needs_room`: a full disk fails it. */
static int at(const char *call, const char *path, int needs_room) {
  if (!role[0]) return NOTHING;
  char full[PATH_MAX] = {0}, words[LONG], name[LONG + 16], line[LONG + 32];
  size_t length = strlen(home);
  if (strcmp(call, "exec")) {
    if (path[0] == '/') snprintf(full, sizeof full, "%s", path);
    else if (syscall(SYS_getcwd, full, sizeof full) > 0) {
      size_t used = strlen(full);
      snprintf(full + used, sizeof full - used, "/%s", path);
    }
    if (strncmp(full, home, length) || full[length] != '/') return NOTHING;
    path = full + length + 1;
  }
  char general[PATH_MAX];
  generalise(path, general, sizeof general);
  snprintf(words, sizeof words, "%.20s %.20s %.900s", role, call, general);
  int result = NOTHING;
  pthread_mutex_lock(&lock);
  snprintf(name, sizeof name, "%s %d", words, count(words));
  if (logged[0]) {
    snprintf(line, sizeof line, "%s\n", name);
    append(logged, line);
  }
  if (point[0]) {
    int number = atoi(way);
    if (!strcmp(name, point) && !happened()) {
      int file = syscall(SYS_openat, AT_FDCWD, fired, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
      if (file >= 0) {
        syscall(SYS_close, file);
        errno = number;
        result = number ? FAIL : !strcmp(way, "before") ? BEFORE : !strcmp(way, "after") ? AFTER : TORN;
      }
    } else if (number == ENOSPC && needs_room && happened()) {
      errno = ENOSPC;
      result = FAIL;
    }
  }
  pthread_mutex_unlock(&lock);
  return result;
}

static void die(void) {
  syscall(SYS_kill, getpid(), SIGKILL);
  for (;;) pause();
}

static int at_fd(const char *call, int fd, int needs_room) {
  if (!role[0]) return NOTHING;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
  if (length <= 0 || path[0] != '/') return NOTHING;
  path[length] = 0;
  char *removed = strstr(path, " (deleted)");
  if (removed) *removed = 0;
  return at(call, path, needs_room);
}

/* The body of an intercepted call: what to do, then the call itself. */
#define STORY(act, call) \
  int what = (act); \
  if (what == FAIL) return -1; \
  if (what == BEFORE || what == TORN) die(); \
  __typeof__(call) result = (call); \
  if (what == AFTER) die(); \
  return result

#define WRITING(act, half, call) \
  int what = (act); \
  if (what == FAIL) return -1; \
  if (what == TORN) (void)!(half); \
  if (what == BEFORE || what == TORN) die(); \
  __typeof__(call) result = (call); \
  if (what == AFTER) die(); \
  return result

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name); \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    if (!(flags & (O_CREAT | O_WRONLY | O_RDWR))) return real(path, flags, mode); \
    STORY(at("open", path, flags & O_CREAT), real(path, flags, mode)); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
  int name(int folder, const char *path, int flags, ...) { \
    REAL(name); \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    if (folder != AT_FDCWD || !(flags & (O_CREAT | O_WRONLY | O_RDWR))) return real(folder, path, flags, mode); \
    STORY(at("open", path, flags & O_CREAT), real(folder, path, flags, mode)); \
  }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *data, size_t size) {
  REAL(write);
  WRITING(at_fd("write", fd, 1), real(fd, data, size / 2), real(fd, data, size));
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t from) {
  REAL(pwrite);
  WRITING(at_fd("write", fd, 1), real(fd, data, size / 2, from), real(fd, data, size, from));
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t from) {
  REAL(pwrite64);
  WRITING(at_fd("write", fd, 1), real(fd, data, size / 2, from), real(fd, data, size, from));
}
ssize_t sendfile64(int to, int fd, off64_t *from, size_t size) {
  REAL(sendfile64);
  WRITING(at_fd("write", to, 1), real(to, fd, from, 50), real(to, fd, from, size));
}
ssize_t sendfile(int to, int fd, off_t *from, size_t size) {
  REAL(sendfile);
  WRITING(at_fd("write", to, 1), real(to, fd, from, 50), real(to, fd, from, size));
}
int ftruncate(int fd, off_t size) { REAL(ftruncate); STORY(at_fd("truncate", fd, 0), real(fd, size)); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); STORY(at_fd("truncate", fd, 0), real(fd, size)); }
int fsync(int fd) { REAL(fsync); STORY(at_fd("sync", fd, 1), real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); STORY(at_fd("sync", fd, 1), real(fd)); }
int flock(int fd, int how) {
  REAL(flock);
  if (how & LOCK_UN) return real(fd, how);
  STORY(at_fd("lock", fd, 0), real(fd, how));
}
int rename(const char *from, const char *to) { REAL(rename); STORY(at("rename", to, 0), real(from, to)); }
int link(const char *from, const char *to) { REAL(link); STORY(at("link", to, 1), real(from, to)); }
int linkat(int base, const char *from, int folder, const char *to, int flags) {
  REAL(linkat);
  if (folder != AT_FDCWD) return real(base, from, folder, to, flags);
  STORY(at("link", to, 1), real(base, from, folder, to, flags));
}
int unlink(const char *path) { REAL(unlink); STORY(at("unlink", path, 0), real(path)); }
int rmdir(const char *path) { REAL(rmdir); STORY(at("rmdir", path, 0), real(path)); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); STORY(at("mkdir", path, 1), real(path, mode)); }
int chmod(const char *path, mode_t mode) { REAL(chmod); STORY(at("chmod", path, 0), real(path, mode)); }
int fchmod(int fd, mode_t mode) { REAL(fchmod); STORY(at_fd("chmod", fd, 0), real(fd, mode)); }

/* A program is started by a child of the process, which may share its memory: the parent is what dies. */
int execve(const char *path, char *const words[], char *const env[]) {
  REAL(execve);
  if (!role[0] || syscall(SYS_faccessat, AT_FDCWD, path, X_OK)) return real(path, words, env);
  char text[LONG];
  const char *program = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
  const char *first = words[0] && words[1] ? words[1] : "", *second = words[0] && words[1] && words[2] ? words[2] : "";
  if (first[0] == '-' && first[1] == 'u' && second[0]) first = second, second = words[3] ? words[3] : "";
  const char *script = strrchr(first, '/') ? strrchr(first, '/') + 1 : first;
  snprintf(text, sizeof text, "%.50s %.200s %.200s", program, script, second);
  int what = at("exec", text, 0);
  if (what == FAIL) return -1;
  if (what != NOTHING) syscall(SYS_kill, getppid(), SIGKILL);
  if (what == BEFORE || what == TORN) syscall(SYS_exit_group, 1);
  return real(path, words, env);
}
