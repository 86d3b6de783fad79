// Files, directories, descriptors: contents, positions and error numbers.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

static const char* error(long r) {
  return r < 0 ? strerrorname_np(errno) : "ok";
}

static void contents(void) {
  int fd = open("file", O_RDWR | O_CREAT | O_EXCL, 0644);
  printf("create: %s, again: %s\n", error(fd), error(open("file", O_RDWR | O_CREAT | O_EXCL, 0644)));
  printf("write %zd, position %ld\n", write(fd, "0123456789", 10), (long)lseek(fd, 0, SEEK_CUR));
  char buffer[64] = {0};
  printf("pread %zd %.4s, position kept: %ld\n", pread(fd, buffer, 4, 3), buffer, (long)lseek(fd, 0, SEEK_CUR));
  printf("pwrite %zd\n", pwrite(fd, "XY", 2, 20));
  struct stat st;
  fstat(fd, &st);
  printf("size %ld, mode %o, links %d\n", (long)st.st_size, st.st_mode, (int)st.st_nlink);
  lseek(fd, 8, SEEK_SET);
  ssize_t n = read(fd, buffer, sizeof buffer);
  printf("read %zd: %c %d %c\n", n, buffer[1], buffer[2], buffer[13]);
  printf("at the end: %zd\n", read(fd, buffer, 1));
  struct iovec v[3] = {{"ab", 2}, {NULL, 0}, {"cde", 3}};
  printf("writev %zd\n", writev(fd, v, 3));
  lseek(fd, -5, SEEK_END);
  struct iovec r[2] = {{buffer, 2}, {buffer + 10, 10}};
  n = readv(fd, r, 2);
  printf("readv %zd %.2s %.3s\n", n, buffer, buffer + 10);
  printf("too many: %s, negative: %s\n", error(readv(fd, r, 2000)), error(readv(fd, r, -1)));
  printf("seek before the start: %s, bad whence: %s\n", error(lseek(fd, -1, SEEK_SET)), error(lseek(fd, 0, 77)));
  printf("truncate: %s, size %ld\n", error(ftruncate(fd, 5)), (long)lseek(fd, 0, SEEK_END));
  printf("longer again: %s, zeros: %d\n", error(ftruncate(fd, 9)),
         pread(fd, buffer, 9, 0) == 9 && buffer[5] == 0 && buffer[4] == '4');
  printf("negative pread: %s\n", error(pread(fd, buffer, 1, -1)));
  char* map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
  printf("mapped: %s\n", map == MAP_FAILED ? strerrorname_np(errno) : map[4] == '4' && map[9] == 0 ? "ok" : "wrong");
  close(fd);
  fd = open("file", O_WRONLY | O_APPEND);
  lseek(fd, 0, SEEK_SET);
  write(fd, "end", 3);
  printf("append: position %ld, read: %s\n", (long)lseek(fd, 0, SEEK_CUR), error(read(fd, buffer, 1)));
  printf("pwrite to append: %zd", pwrite(fd, "!", 1, 0));
  printf(", position %ld, size %ld\n", (long)lseek(fd, 0, SEEK_CUR), (long)lseek(fd, 0, SEEK_END));
  close(fd);
  fd = open("file", O_RDONLY);
  printf("write to read-only: %s\n", error(write(fd, "x", 1)));
  close(fd);
  fd = open("file", O_RDWR | O_TRUNC);
  printf("truncated: %ld\n", (long)lseek(fd, 0, SEEK_END));
  close(fd);
  printf("closed: %s %s\n", error(read(fd, buffer, 1)), error(close(fd)));
  printf("bad: %s\n", error(read(-1, buffer, 1)));
}

static void big(void) {
  int fd = open("big", O_RDWR | O_CREAT, 0600);
  static char block[100000];
  unsigned sum = 0;
  for (int i = 0; i < 20; i++) {
    memset(block, i + 1, sizeof block);
    if (write(fd, block, sizeof block) != sizeof block)
      printf("short write\n");
  }
  lseek(fd, 0, SEEK_SET);
  for (ssize_t n; (n = read(fd, block, 12345)) > 0;)
    for (ssize_t i = 0; i < n; i++)
      sum += (unsigned char)block[i];
  printf("2 MB: sum %u\n", sum);
  close(fd);
  unlink("big");
}

static void directories(void) {
  printf("mkdir: %s, again: %s\n", error(mkdir("d", 0755)), error(mkdir("d", 0755)));
  printf("file as directory: %s\n", error(open("file/x", O_RDONLY)));
  printf("missing: %s %s\n", error(open("d/missing", O_RDONLY)), error(open("nowhere/x", O_RDWR | O_CREAT, 0600)));
  printf("directory for writing: %s, as file: %s\n", error(open("d", O_RDWR)),
         error(open("file", O_RDONLY | O_DIRECTORY)));
  for (int i = 0; i < 3; i++) {
    char name[16];
    snprintf(name, sizeof name, "d/f%d", i);
    close(open(name, O_WRONLY | O_CREAT, 0600));
  }
  mkdir("d/sub", 0700);
  int seen = 0, kinds = 0;
  DIR* d = opendir("d");
  for (struct dirent* e; d && (e = readdir(d));) {
    seen++;
    kinds += e->d_type == DT_DIR ? 100 : e->d_type == DT_REG ? 1 : 10000;
  }
  closedir(d);
  printf("entries %d, kinds %d\n", seen, kinds);
  printf("rmdir full: %s, of a file: %s, unlink a directory: %s\n", error(rmdir("d")), error(rmdir("file")),
         error(unlink("d")));
  int at = open("d", O_RDONLY | O_DIRECTORY);
  struct stat st;
  printf("fstatat: %s %o\n", error(fstatat(at, "f1", &st, 0)), st.st_mode);
  printf("empty path: %s, with flag: %s %d\n", error(fstatat(at, "", &st, 0)),
         error(fstatat(at, "", &st, AT_EMPTY_PATH)), S_ISDIR(st.st_mode));
  printf("read a directory: %s\n", error(read(at, &st, 1)));
  printf("unlinkat: %s %s\n", error(unlinkat(at, "f0", 0)), error(unlinkat(at, "sub", AT_REMOVEDIR)));
  close(at);
  unlink("d/f1"), unlink("d/f2");
  printf("chdir: %s\n", error(chdir("d")));
  char cwd[256];
  printf("cwd ends in /d: %d, small buffer: %s\n", getcwd(cwd, sizeof cwd) && strcmp(cwd + strlen(cwd) - 2, "/d") == 0,
         getcwd(cwd, 2) ? "ok" : strerrorname_np(errno));
  printf("up: %s, rmdir: %s\n", error(chdir("..")), error(rmdir("d")));
  printf("access: %s %s %s\n", error(access("file", R_OK | W_OK)), error(access("file", X_OK)),
         error(access("gone", F_OK)));
  printf("long name: ");
  char name[300];
  memset(name, 'n', 299), name[299] = 0;
  printf("%s\n", error(open(name, O_RDONLY)));
  printf("empty: %s\n", error(open("", O_RDONLY)));
}

static void descriptors(void) {
  int fd = open("file", O_RDWR | O_CLOEXEC);
  write(fd, "abcdef", 6);
  int copy = dup(fd);
  lseek(copy, 2, SEEK_SET);
  printf("position shared: %ld\n", (long)lseek(fd, 0, SEEK_CUR));
  printf("cloexec %d %d\n", fcntl(fd, F_GETFD), fcntl(copy, F_GETFD));
  printf("flags %o\n", fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
  fcntl(fd, F_SETFL, O_APPEND);
  printf("append through the copy %o\n", fcntl(copy, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
  printf("dup2: %d, dupfd: %d\n", dup2(fd, 77) == 77, fcntl(fd, F_DUPFD, 100) == 100);
  printf("dup3 same: %s, dup2 same: %d, bad: %s\n", error(dup3(fd, fd, 0)), dup2(fd, fd) == fd, error(dup2(999, 5)));
  printf("bad command: %s\n", error(fcntl(fd, 9999)));
  struct winsize w;
  printf("not a terminal: %s\n", error(ioctl(fd, TIOCGWINSZ, &w)));
  close(copy), close(77), close(100), close(fd);
  printf("lowest: %d\n", open("file", O_RDONLY) == fd);
  close(fd);
}

static void devices(void) {
  char buffer[16];
  memset(buffer, 'x', sizeof buffer);
  int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR), full = open("/dev/full", O_RDWR);
  int random = open("/dev/urandom", O_RDONLY);
  printf("null: %zd %zd\n", read(null, buffer, 5), write(null, buffer, 5));
  printf("zero: %zd %d\n", read(zero, buffer, 5), buffer[4] == 0 && buffer[5] == 'x');
  printf("full: %s\n", error(write(full, buffer, 5)));
  printf("random: %zd\n", read(random, buffer, 16));
  struct stat st;
  fstat(null, &st);
  printf("null is %d:%d, char %d\n", major(st.st_rdev), minor(st.st_rdev), S_ISCHR(st.st_mode));
  char* p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
  printf("zero mapped: %d\n", p != MAP_FAILED && p[100] == 0 && (p[100] = 1));
  printf("missing device: %s\n", error(open("/dev/none", O_RDONLY)));
}

int main(void) {
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
  mkdir("/tmp", 0777);
  char place[] = "/tmp/abi-files-XXXXXX";
  if (!mkdtemp(place) || chdir(place))
    printf("no place to work: %s\n", strerrorname_np(errno));
  umask(022);
  contents();
  big();
  directories();
  descriptors();
  devices();
  unlink("file");
  chdir("/");
  printf("clean: %s\n", error(rmdir(place)));
  return 0;
}
