// /proc as a tree: what its links say and where they lead, what cannot be made or removed in it, and all of it read by
// threads at once while threads and descriptors come and go.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static const char* error(long r) {
  return r < 0 ? strerrorname_np(errno) : "ok";
}

static void check(const char* what, int ok) {
  printf("%s: %s\n", what, ok ? "ok" : "WRONG");
}

static char target[PATH_MAX];
static const char* link_text(const char* path) {
  ssize_t n = readlink(path, target, sizeof target - 1);
  target[n < 0 ? 0 : n] = 0;
  return target;
}
static const char* fd_link(int fd) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return link_text(path);
}
static const char* thread_path(const char* file) {
  static char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/%s", getpid(), file);
  return path;
}

static void links(const char* place) {
  char path[PATH_MAX], long_name[201];
  check("cwd is where we are", strcmp(link_text("/proc/self/cwd"), place) == 0);
  memset(long_name, 'n', 200), long_name[200] = 0;
  printf("long names: %s %s %s\n", error(mkdir(long_name, 0700)), error(chdir(long_name)), error(mkdir("x", 0700)));
  snprintf(path, sizeof path, "%s/%s", place, long_name);
  check("getcwd of a long name", strcmp(getcwd(target, sizeof target), path) == 0);
  check("cwd of a long name", strcmp(link_text("/proc/self/cwd"), path) == 0);
  int fd = open("x", O_RDONLY | O_DIRECTORY);
  snprintf(path, sizeof path, "%s/%s/x", place, long_name);
  check("descriptor of a long name", strcmp(fd_link(fd), path) == 0);
  printf("a file there through cwd: %s\n", error(open("/proc/self/cwd/file", O_RDWR | O_CREAT, 0600)));
  printf("remove: %s %s\n", error(rmdir("x")), error(unlink("file")));
  strcat(path, " (deleted)");
  check("removed directory's link", strcmp(fd_link(fd), path) == 0);
  struct stat st;
  printf("removed: links %d, parent still there: %s\n", fstat(fd, &st) == 0 ? (int)st.st_nlink : -1,
         error(fstatat(fd, "..", &st, 0)));
  printf("make in it: %s %s\n", error(openat(fd, "y", O_RDWR | O_CREAT, 0600)), error(mkdirat(fd, "y", 0700)));
  close(fd);
  fd = open("gone", O_RDWR | O_CREAT, 0600);
  write(fd, "kept", 4);
  unlink("gone");
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int again = open(path, O_RDONLY);
  char text[8] = {0};
  printf("removed file opened again: %s %zd %s\n", error(again), pread(again, text, 4, 0), text);
  check("it says so", strstr(fd_link(fd), "/gone (deleted)") != NULL);
  close(fd), close(again);
  chdir("..");
  printf("clean: %s\n", error(rmdir(long_name)));
  check("exe is a file",
        stat("/proc/self/exe", &st) == 0 && S_ISREG(st.st_mode) && strstr(link_text("/proc/self/exe"), "proc_tree"));
  printf("the program for writing: %s\n", error(open("/proc/self/exe", O_RDWR)));
  printf("root: %s, no follow: %s, as directory: %s\n", link_text("/proc/self/root"),
         error(open("/proc/self/exe", O_RDONLY | O_NOFOLLOW)), error(open("/proc/self/exe/", O_RDONLY)));
}

static void thread_files(void) {
  int fd = open(thread_path("stat"), O_RDONLY);
  printf("open: %s\n", error(fd));
  char expected[96], text[32] = {0};
  snprintf(expected, sizeof expected, "/proc/%d/task/%d/stat", getpid(), getpid());
  check("its descriptor", strcmp(fd_link(fd), expected) == 0);
  printf("read: %d\n", read(fd, text, 8) == 8 && atoi(text) == getpid());
  close(fd);
  struct stat a, b;
  stat(thread_path("stat"), &a), stat(thread_path("stat"), &b);
  check("the same file twice", a.st_ino == b.st_ino && a.st_dev == b.st_dev);
  printf("leading zero: %s, no thread: %s\n", error(open("/proc/self/task/01", O_RDONLY)),
         error(open("/proc/self/task/999999", O_RDONLY)));
  fd = open("/proc/self/statm", O_RDONLY);
  char first[64] = {0}, second[64] = {0};
  read(fd, first, 63);
  static char more[8 << 20];
  for (size_t at = 0; at < sizeof more; at += 4096)
    ((volatile char*)more)[at] = 1;
  pread(fd, second, 63, 0);
  check("read again from the start it is new", strcmp(first, second) != 0);
  close(fd);
}

static void fixed(void) {
  printf("create: %s %s %s %s\n", error(open("/proc/self/new", O_CREAT | O_RDWR, 0600)),
         error(open("/proc/new", O_CREAT | O_RDWR, 0600)), error(open("/proc/sys/new", O_CREAT | O_RDWR, 0600)),
         error(open(thread_path("new"), O_CREAT | O_RDWR, 0600)));
  printf("create: %s %s %s\n", error(open("/proc/self/fd/new", O_CREAT | O_RDWR, 0600)),
         error(open("/proc/self/fd/999", O_CREAT | O_RDWR, 0600)),
         error(open("/sys/devices/system/new", O_CREAT | O_RDWR, 0600)));
  printf("mkdir: %s %s %s %s\n", error(mkdir("/proc/self/new", 0700)), error(mkdir(thread_path("new"), 0700)),
         error(mkdir("/proc/self/task", 0700)), error(mkdir("/sys/devices/system/new", 0700)));
  printf("unlink: %s %s %s %s\n", error(unlink("/proc/self/stat")), error(unlink(thread_path("stat"))),
         error(unlink("/proc/self/fd/0")), error(unlink("/proc/nothing")));
  printf("rmdir: %s %s %s %s\n", error(rmdir("/proc/self/task")), error(rmdir("/proc/self/fd")), error(rmdir("/proc")),
         error(rmdir("/sys/devices/system/cpu")));
  printf("chmod: %s %s\n", error(chmod("/proc/self/stat", 0600)), error(chmod(thread_path("stat"), 0600)));
  struct statfs s;
  printf("proc: %s %lx, %ld blocks\n", error(statfs("/proc/self/stat", &s)), (long)s.f_type, (long)s.f_blocks);
  printf("sys: %s %lx, %ld blocks\n", error(statfs("/sys", &s)), (long)s.f_type, (long)s.f_blocks);
  check("a place for files has blocks",
        statfs("/tmp", &s) == 0 && s.f_blocks > 0 && s.f_bfree > 0 && s.f_bavail <= s.f_blocks);
  struct stat here, proc;
  check("another device", stat("/tmp", &here) == 0 && stat("/proc", &proc) == 0 && here.st_dev != proc.st_dev);
}

enum { READERS = 4, ROUNDS = 60 };
static atomic_int wrong;

static void read_all(const char* path) {
  char text[512];
  int fd = open(path, O_RDONLY);
  if (fd < 0)
    return;  // it went
  while (read(fd, text, sizeof text) > 0) {
  }
  close(fd);
}

static void list(const char* path, const char* file) {
  char name[PATH_MAX];
  DIR* d = opendir(path);
  for (struct dirent* e; d && (e = readdir(d));) {
    snprintf(name, sizeof name, "%s/%s%s", path, e->d_name, file);
    if (*file)
      read_all(name);
    else
      readlink(name, name, sizeof name);
  }
  if (d)
    closedir(d);
}

static char our_path[PATH_MAX], our_place[PATH_MAX];

static void* reader(void* unused) {
  char text[PATH_MAX];
  for (int i = 0; i < ROUNDS; i++) {
    ssize_t n = readlink("/proc/self/exe", text, sizeof text);
    wrong += n != (ssize_t)strlen(our_path) || memcmp(text, our_path, (size_t)n) != 0;
    n = readlink("/proc/self/cwd", text, sizeof text);
    wrong += n != (ssize_t)strlen(our_place) || memcmp(text, our_place, (size_t)n) != 0;
    int fd = open("/proc/thread-self/stat", O_RDONLY), other = dup(fd);
    wrong += fd < 0 || read(fd, text, 10) != 10;
    close(fd), close(other);
    if (i % 16 == 0)
      read_all("/proc/self/maps"), read_all("/proc/self/status"), read_all("/proc/meminfo");
    list("/proc/self/fd", "");
    if (i % 4 == 0)
      list("/proc/self/task", "/stat");
  }
  return unused;
}

static void* nothing(void* unused) {
  return unused;
}

static void at_once(void) {
  strcpy(our_path, link_text("/proc/self/exe"));
  strcpy(our_place, link_text("/proc/self/cwd"));
  pthread_t readers[READERS];
  for (int i = 0; i < READERS; i++)
    pthread_create(&readers[i], NULL, reader, NULL);
  for (int i = 0; i < ROUNDS; i++) {
    pthread_t t;
    pthread_create(&t, NULL, nothing, NULL);
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    unlink("file");
    pthread_join(t, NULL);
    close(fd);
  }
  for (int i = 0; i < READERS; i++)
    pthread_join(readers[i], NULL);
  printf("at once: %d wrong\n", wrong);
}

int main(void) {
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
  mkdir("/tmp", 0777);
  char place[] = "/tmp/abi-proc-XXXXXX";
  if (!mkdtemp(place) || chdir(place))
    printf("no place to work: %s\n", strerrorname_np(errno));
  links(place);
  thread_files();
  fixed();
  at_once();
  chdir("/");
  printf("clean: %s\n", error(rmdir(place)));
  return 0;
}
