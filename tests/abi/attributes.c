// What is known about a file besides its content: modes, times, locks; and large directories, long names, ranges of
// descriptors.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char* error(long r) {
  return r < 0 ? strerrorname_np(errno) : "ok";
}

static struct stat of(const char* path) {
  struct stat st = {0};
  if (stat(path, &st))
    printf("stat of %s: %s\n", path, strerrorname_np(errno));
  return st;
}
static int before(struct timespec a, struct timespec b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}
static int same(struct timespec a, struct timespec b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}
static void pass_time(void) {
  struct timespec t = {0, 20000000};
  nanosleep(&t, NULL);
}

static void modes(void) {
  int fd = open("file", O_RDWR | O_CREAT, 0640);
  printf("made: %o\n", of("file").st_mode);
  struct stat old = of("file");
  pass_time();
  printf("chmod: %s %o\n", error(chmod("file", 04751)), of("file").st_mode);
  printf("changed: %d, modified: %d\n", before(old.st_ctim, of("file").st_ctim),
         before(old.st_mtim, of("file").st_mtim));
  printf("fchmod: %s %o\n", error(fchmod(fd, 0604)), of("file").st_mode);
  printf("fchmodat: %s %o\n", error(fchmodat(AT_FDCWD, "file", 0611, 0)), of("file").st_mode);
  printf("execution: %s", error(access("file", X_OK)));
  chmod("file", 0600);
  printf(" %s\n", error(access("file", X_OK)));
  printf("of a directory: %s %s %o\n", error(mkdir("d", 0700)), error(chmod("d", 01755)), of("d").st_mode);
  printf("nothing: %s, bad descriptor: %s\n", error(chmod("none", 0600)), error(fchmod(99, 0600)));
  int named = open("file", O_PATH);
  printf("O_PATH: %s\n", error(fchmod(named, 0600)));
  close(named), close(fd);
  rmdir("d");
}

static void times(void) {
  struct timespec start;
  clock_gettime(CLOCK_REALTIME_COARSE, &start);
  int fd = open("timed", O_RDWR | O_CREAT, 0600);
  struct stat a = of("timed"), b;
  printf("new: %d %d %d\n", !before(a.st_atim, start), !before(a.st_mtim, start), !before(a.st_ctim, start));
  pass_time();
  write(fd, "12345", 5);
  b = of("timed");
  printf("written: %d %d\n", before(a.st_mtim, b.st_mtim), before(a.st_ctim, b.st_ctim));
  pass_time();
  ftruncate(fd, 2);
  a = of("timed");
  printf("truncated: %d\n", before(b.st_mtim, a.st_mtim));
  struct timespec set[2] = {{1000000000, 123456789}, {1100000000, 987654321}};
  printf("utimensat: %s", error(utimensat(AT_FDCWD, "timed", set, 0)));
  a = of("timed");
  printf(" %d %d, changed: %d\n", same(a.st_atim, set[0]), same(a.st_mtim, set[1]), before(b.st_ctim, a.st_ctim));
  struct timespec part[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
  printf("futimens: %s", error(futimens(fd, part)));
  a = of("timed");
  printf(" %d %d\n", same(a.st_atim, set[0]), !before(a.st_mtim, start));
  printf("now: %s %d\n", error(utimensat(AT_FDCWD, "timed", NULL, 0)), !before(of("timed").st_atim, start));
  struct timespec old[2] = {{-5, 0}, {-1, 999999999}};
  printf("before 1970: %s", error(futimens(fd, old)));
  a = of("timed");
  printf(" %ld %ld.%ld\n", (long)a.st_atim.tv_sec, (long)a.st_mtim.tv_sec, a.st_mtim.tv_nsec);
  set[1].tv_nsec = 1000000000;
  printf("bad: %s, flags: %s, nothing: %s, descriptor: %s\n", error(utimensat(AT_FDCWD, "timed", set, 0)),
         error(utimensat(AT_FDCWD, "timed", NULL, 0x8000)), error(utimensat(AT_FDCWD, "none", NULL, 0)),
         error(futimens(99, NULL)));
  int named = open("timed", O_PATH);
  printf("O_PATH: %s\n", error(futimens(named, NULL)));
  close(named), close(fd);
  struct stat dir = of(".");
  pass_time();
  close(open("another", O_WRONLY | O_CREAT, 0600));
  struct stat more = of(".");
  printf("a directory got a file: %d", before(dir.st_mtim, more.st_mtim));
  pass_time();
  unlink("another");
  dir = of(".");
  printf(" and lost it: %d\n", before(more.st_mtim, dir.st_mtim));
  struct statx x;
  printf("statx: %s %d\n", error(statx(AT_FDCWD, "timed", 0, STATX_BASIC_STATS, &x)), x.stx_mtime.tv_sec == -1);
  unlink("timed");
}

static const char* lock(int fd, int command, int type, int whence, off_t start, off_t length) {
  struct flock l = {.l_type = (short)type, .l_whence = (short)whence, .l_start = start, .l_len = length};
  return error(fcntl(fd, command, &l));
}

static void locks(void) {
  int rw = open("locked", O_RDWR | O_CREAT, 0600), r = open("locked", O_RDONLY), w = open("locked", O_WRONLY);
  int path = open("locked", O_PATH);
  write(rw, "0123456789", 10);
  printf("both: %s %s\n", lock(rw, F_SETLK, F_RDLCK, SEEK_SET, 0, 0), lock(rw, F_SETLKW, F_WRLCK, SEEK_SET, 2, 3));
  printf("wrong way: %s %s\n", lock(r, F_SETLK, F_WRLCK, SEEK_SET, 0, 0), lock(w, F_SETLK, F_RDLCK, SEEK_SET, 0, 0));
  printf("type: %s %s, whence: %s\n", lock(rw, F_SETLK, 77, SEEK_SET, 0, 0), lock(rw, F_GETLK, F_UNLCK, SEEK_SET, 0, 0),
         lock(rw, F_SETLK, F_RDLCK, 9, 0, 0));
  printf("before the start: %s %s %s\n", lock(rw, F_SETLK, F_RDLCK, SEEK_SET, -1, 0),
         lock(rw, F_SETLK, F_RDLCK, SEEK_SET, 5, -6), lock(rw, F_SETLK, F_RDLCK, SEEK_END, -11, 0));
  printf("back to it: %s %s\n", lock(rw, F_SETLK, F_RDLCK, SEEK_SET, 5, -5),
         lock(rw, F_SETLK, F_RDLCK, SEEK_END, -10, 0));
  printf("overflow: %s\n", lock(rw, F_SETLK, F_RDLCK, SEEK_SET, 0x7fffffffffffffff, 5));
  printf("pointer: %s, path: %s, unlock: %s\n", error(fcntl(rw, F_SETLK, (void*)8)),
         lock(path, F_SETLK, F_RDLCK, 0, 0, 0), lock(rw, F_SETLK, F_UNLCK, SEEK_SET, 0, 0));
  struct flock l = {.l_type = F_WRLCK, .l_start = 3, .l_len = 4, .l_pid = 7};
  printf("query: %s, type %d, range %ld %ld\n", error(fcntl(rw, F_GETLK, &l)), l.l_type, (long)l.l_start,
         (long)l.l_len);
  printf("O_PATH: %s %s %d\n", error(fcntl(path, F_SETFL, 0)), error(fcntl(path, F_GETFD)),
         (fcntl(path, F_GETFL) & O_PATH) != 0);
  printf("O_PATH: %s %s %s\n", error(ftruncate(path, 0)), error(fsync(path)), error(lseek(path, 0, SEEK_SET)));
  close(rw), close(r), close(w), close(path);
  unlink("locked");
}

static void directories(void) {
  enum { FILES = 700 };
  char name[256];
  mkdir("many", 0700);
  for (int i = 0; i < FILES; i++) {
    snprintf(name, sizeof name, "many/%d-%0*d", i, 1 + i % 200, 0);
    close(open(name, O_WRONLY | O_CREAT | O_EXCL, 0600));
  }
  int found = 0;
  for (int i = 0; i < FILES; i++) {
    snprintf(name, sizeof name, "many/%d-%0*d", i, 1 + i % 200, 0);
    found += access(name, F_OK) == 0;
    name[strlen(name) - 1] = 'x';
    found -= access(name, F_OK) == 0;
  }
  // Removed while they are listed: every file is seen once all the same.
  int seen = 0, again = 0;
  DIR* d = opendir("many");
  for (struct dirent* e; d && (e = readdir(d));)
    if (e->d_name[0] != '.')
      *(unlinkat(dirfd(d), e->d_name, 0) == 0 ? &seen : &again) += 1;
  rewinddir(d);
  int left = 0;
  while (readdir(d))
    left++;
  closedir(d);
  printf("found %d, seen %d, again %d, left %d, %s\n", found, seen, again, left, error(rmdir("many")));
}

static void ranges(void) {
  for (int fd = 50; fd < 60; fd++)
    dup2(0, fd);
  printf("mark: %s", error(syscall(SYS_close_range, 52, 53, 4)));
  printf(" %d %d %d\n", fcntl(51, F_GETFD), fcntl(52, F_GETFD), fcntl(54, F_GETFD));
  printf("close: %s", error(syscall(SYS_close_range, 55, 57, 0)));
  printf(" %s %s", error(fcntl(54, F_GETFD)), error(fcntl(55, F_GETFD)));
  printf(" %s %s\n", error(fcntl(57, F_GETFD)), error(fcntl(58, F_GETFD)));
  printf("empty: %s, backwards: %s, flags: %s\n", error(syscall(SYS_close_range, 55, 57, 0)),
         error(syscall(SYS_close_range, 57, 55, 0)), error(syscall(SYS_close_range, 50, 59, 8)));
  printf("far: %s %s\n", error(syscall(SYS_close_range, 0x90000000u, ~0u, 4)),
         error(syscall(SYS_close_range, 0x80000000u, ~0u, 0)));
  printf("nothing was marked or closed: %d %d\n", fcntl(0, F_GETFD), fcntl(50, F_GETFD));
  printf("unshare: %s", error(syscall(SYS_close_range, 50, ~0u, 2)));
  printf(" %s %s\n", error(fcntl(50, F_GETFD)), error(fcntl(1, F_GETFD)));
  int lowest = dup(0);
  printf("lowest again: %d\n", lowest < 50 && dup2(0, 1023) == 1023 && fcntl(0, F_DUPFD, 1022) == 1022);
  close(1022), close(1023), close(lowest);
}

int main(void) {
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
  mkdir("/tmp", 0777);
  char place[] = "/tmp/abi-attributes-XXXXXX";
  if (!mkdtemp(place) || chdir(place))
    printf("no place to work: %s\n", strerrorname_np(errno));
  umask(022);
  modes();
  times();
  locks();
  directories();
  ranges();
  unlink("file");
  chdir("/");
  printf("clean: %s\n", error(rmdir(place)));
  return 0;
}
