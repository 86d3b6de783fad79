// abi: memory=64M timeout=90 cpus=2 machines=microvm
// Running out of everything, one after the other, ends in an error number and leaves a machine that goes on. In the
// guest only: on Linux it would be somebody else's memory.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

static int in_guest;
static void say(const char* what, int ok) {
  printf("%s: %s\n", what, !in_guest || ok ? "ok" : "WRONG");
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static void* wait_at_gate(void* p) {
  pthread_mutex_lock(&gate);
  pthread_mutex_unlock(&gate);
  return p;
}

static void threads(void) {
  enum { MOST = 6000 };
  static pthread_t t[MOST];
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, 16384);
  pthread_mutex_lock(&gate);
  int n = 0, r = 0;
  while (n < MOST && (r = pthread_create(&t[n], &attr, wait_at_gate, NULL)) == 0)
    n++;
  pthread_mutex_unlock(&gate);
  for (int i = 0; i < n; i++)
    pthread_join(t[i], NULL);
  say("threads end in EAGAIN or ENOMEM", n > 50 && (r == EAGAIN || r == ENOMEM));
  pthread_t again;
  r = pthread_create(&again, &attr, wait_at_gate, NULL);
  say("a thread after that", r == 0 && pthread_join(again, NULL) == 0);
}

static void areas(void) {
  enum { MOST = 300000 };
  size_t length = (size_t)MOST * 4096;
  char* p = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  int n = 0, r = 0;
  while (n < MOST && (r = mprotect(p + (size_t)n * 4096, 4096, PROT_READ)) == 0)
    n += 2;
  say("areas", p != MAP_FAILED && n > 1000 && (n >= MOST || (r == -1 && errno == ENOMEM)));
  for (int i = 0; i < 16; i += 2)
    mprotect(p + i * 4096, 4096, PROT_NONE);  // unmapping may need an area more at its ends
  r = munmap(p, length);
  say("unmapped", r == 0);
}

static void files(void) {
  mkdir("/tmp", 0777);
  int fd = open("/tmp/full", O_RDWR | O_CREAT | O_TRUNC, 0600);
  static char block[65536];
  memset(block, 7, sizeof block);
  ssize_t n;
  size_t total = 0;
  while (total < (256u << 20) && (n = write(fd, block, sizeof block)) > 0)
    total += (size_t)n;
  say("a file ends in ENOSPC", total > (1 << 20) && n == -1 && errno == ENOSPC);
  say("and is cut", ftruncate(fd, 0) == 0);
  close(fd);
  unlink("/tmp/full");
  int made = 0;
  char name[32];
  for (; made < 20000; made++) {
    snprintf(name, sizeof name, "/tmp/n%d", made);
    int f = open(name, O_WRONLY | O_CREAT, 0600);
    if (f < 0)
      break;
    close(f);
  }
  say("many files", made > 1000);
  for (int i = 0; i < made; i++) {
    snprintf(name, sizeof name, "/tmp/n%d", i);
    unlink(name);
  }
}

static void descriptors(void) {
  int n = 0, last = -1, fd;
  while ((fd = eventfd(0, 0)) >= 0)
    last = fd, n++;
  say("descriptors end in EMFILE", errno == EMFILE && n > 500);
  for (int i = last; n-- > 0; i--)
    close(i);
  int pipes = 0, ends[2];
  while (pipe(ends) == 0)
    last = ends[1], pipes++;
  say("pipes end in EMFILE or ENOMEM", (errno == EMFILE || errno == ENOMEM || errno == ENFILE) && pipes > 50);
  for (int i = 3; i <= last; i++)
    close(i);
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 4096);
  struct utsname u;
  uname(&u);
  in_guest = strstr(u.release, "solaster") != NULL;
  static const char* const lines[] = {
      "threads end in EAGAIN or ENOMEM", "a thread after that", "areas",      "unmapped",
      "a file ends in ENOSPC",           "and is cut",          "many files", "descriptors end in EMFILE",
      "pipes end in EMFILE or ENOMEM"};
  if (!in_guest) {
    for (unsigned i = 0; i < sizeof lines / sizeof lines[0]; i++)
      say(lines[i], 1);
    return 0;
  }
  threads();
  areas();
  files();
  descriptors();
  return 0;
}
