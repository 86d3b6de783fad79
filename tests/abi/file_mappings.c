// Mappings of files: what is written by one way is seen by every other, what the file has not is SIGBUS, and what a
// descriptor may not do its mappings may not either. And locked memory.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096ul

static sigjmp_buf back;
static volatile int fault_signal, fault_code;
static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)context;
  fault_signal = signal, fault_code = info->si_code;
  siglongjmp(back, 1);
}
static const char* access_of(volatile char* p, int write) {
  if (sigsetjmp(back, 1))
    return fault_signal == SIGBUS      ? fault_code == BUS_ADRERR ? "BUS_ADRERR" : "SIGBUS"
           : fault_code == SEGV_ACCERR ? "SEGV_ACCERR"
                                       : "SEGV_MAPERR";
  if (write)
    *p = 'w';
  else
    (void)*p;
  return "ok";
}
static const char* error(long r) {
  return r < 0 ? strerrorname_np(errno) : "ok";
}
static const char* map_error(void* p) {
  return p == MAP_FAILED ? strerrorname_np(errno) : "ok";
}

static int make(const char* name, size_t size) {
  int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
  char page[PAGE];
  for (size_t at = 0; at < size; at += PAGE) {
    memset(page, 'a' + (int)(at / PAGE), PAGE);
    write(fd, page, size - at < PAGE ? size - at : PAGE);
  }
  return fd;
}

static void shared(void) {
  int fd = make("file", 3 * PAGE + 100);
  char* r = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
  printf("read-only: %s %c%c%c, rest %d\n", map_error(r), r[0], r[PAGE], r[3 * PAGE], r[3 * PAGE + 100]);
  pwrite(fd, "later", 5, PAGE + 10);
  printf("a later write: %.5s\n", r + PAGE + 10);
  char* w = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
  printf("writable: %s\n", map_error(w));
  strcpy(w + 100, "mapped");
  char text[8] = {0};
  pread(fd, text, 6, PAGE + 100);
  printf("read back: %s, other mapping: %s\n", text, r + PAGE + 100);
  int other = open("file", O_RDONLY);
  pread(other, text, 6, PAGE + 100);
  printf("through another: %s\n", text);
  printf("write to read-only: %s\n", access_of(r, 1));
  munmap(w, 2 * PAGE);
  pread(fd, text, 6, PAGE + 100);
  printf("after the unmapping: %s\n", text);
  // A read whose memory is the file itself.
  w = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
  printf("into itself: %zd", pread(fd, w + PAGE, 7, PAGE + 100));
  printf(" %s\n", w + PAGE);
  printf("dropped: %s, kept: %s\n", error(madvise(w, 2 * PAGE, MADV_DONTNEED)), w + 100);
  printf("msync: %s\n", error(msync(w, 2 * PAGE, MS_SYNC)));
  close(fd), close(other);
  unlink("file");
  w[5] = 'X';
  printf("closed and removed: %c\n", r[PAGE + 5]);
  munmap(w, 2 * PAGE), munmap(r, 4 * PAGE);
}

static void rights(void) {
  int rw = make("file", PAGE), r = open("file", O_RDONLY), w = open("file", O_WRONLY), path = open("file", O_PATH);
  printf("shared, writable: %s\n", map_error(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, r, 0)));
  printf("write-only: %s %s\n", map_error(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, w, 0)),
         map_error(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, w, 0)));
  printf("path: %s\n", map_error(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, path, 0)));
  char* p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, r, 0);
  printf("made writable: %s %s\n", error(mprotect(p, PAGE, PROT_READ | PROT_WRITE)), access_of(p, 1));
  printf("other rights: %s %s\n", error(mprotect(p, PAGE, PROT_NONE)), error(mprotect(p, PAGE, PROT_READ)));
  char* q = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, rw, 0);
  printf("of a writable descriptor: %s %s %c\n", error(mprotect(q, PAGE, PROT_READ | PROT_WRITE)), access_of(q, 1), *p);
  char* own = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, r, 0);
  printf("private: %s %s, file: %c\n", error(mprotect(own, PAGE, PROT_READ | PROT_WRITE)), access_of(own + 1, 1), p[1]);
  int dir = open(".", O_RDONLY), null = open("/dev/null", O_RDWR);
  printf("directory: %s, device: %s\n", map_error(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, dir, 0)),
         map_error(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, null, 0)));
  printf("overflow: %s\n", map_error(mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, r, -(off_t)PAGE)));
  int zero = open("/dev/zero", O_RDWR);
  char* z = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, zero, 0);
  printf("zero, shared: %s %s\n", map_error(z), access_of(z, 1));
  z = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  strcpy(z, "stays");
  printf("shared memory dropped: %s %s\n", error(madvise(z, PAGE, MADV_DONTNEED)), z);
  close(rw), close(r), close(w), close(path), close(dir), close(null), close(zero);
  munmap(p, PAGE), munmap(q, PAGE), munmap(own, PAGE);
}

static void the_end(void) {
  int fd = make("file", PAGE + 10);
  char* p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  char* own = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  printf("inside: %s %s, behind: %s %s\n", access_of(p + PAGE, 0), access_of(own + PAGE, 0), access_of(p + 2 * PAGE, 0),
         access_of(own + 2 * PAGE, 1));
  char text[8];
  printf("a call behind it: %s\n", error(write(fd, p + 3 * PAGE, 4)));
  ftruncate(fd, 3 * PAGE);
  printf("longer: %s %d\n", access_of(p + 2 * PAGE, 1), own[2 * PAGE + 1]);
  pread(fd, text, 1, 2 * PAGE);
  printf("written: %c\n", text[0]);
  own[0] = 'O', own[2 * PAGE] = 'O';
  ftruncate(fd, 5);
  printf("shorter: %s %s %s %s\n", access_of(p, 0), access_of(p + PAGE, 0), access_of(p + 2 * PAGE, 1),
         access_of(own + 2 * PAGE, 0));
  printf("own: %c, zeros behind: %d\n", own[0], p[5] == 0 && p[PAGE - 1] == 0);
  ftruncate(fd, 2 * PAGE);
  printf("longer again: %d\n", p[PAGE] == 0 && p[6] == 0);
  close(open("file", O_WRONLY | O_TRUNC));
  printf("emptied: %s\n", access_of(p, 0));
  write(fd, "x", 1);
  printf("mlock behind the end: %s\n", error(mlock(p + 2 * PAGE, PAGE)));
  munmap(p, 4 * PAGE), munmap(own, 4 * PAGE), close(fd);
}

static void moved(void) {
  int fd = make("file", 8 * PAGE);
  char* p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  p[0] = 'P';
  char* q = mremap(p, 2 * PAGE, 6 * PAGE, MREMAP_MAYMOVE);
  printf("private, grown: %s %c%c%c%c\n", map_error(q), q[0], q[PAGE], q[2 * PAGE], q[5 * PAGE]);
  munmap(q + PAGE, PAGE);
  q = mremap(q + 2 * PAGE, PAGE, 4 * PAGE, MREMAP_MAYMOVE);
  printf("a part, grown: %c%c%c\n", q[0], q[PAGE], q[3 * PAGE]);
  char* s = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 3 * PAGE);
  char* t = mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  t = mremap(s, PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, t);
  printf("shared, grown: %c%c\n", t[0], t[3 * PAGE]);
  t[3 * PAGE] = 'T';
  char c;
  pread(fd, &c, 1, 6 * PAGE);
  printf("file: %c\n", c);
  close(fd);
  unlink("file");
}

static int is_locked_line(void) {
  FILE* f = fopen("/proc/self/status", "r");
  char line[128];
  int kb = -1;
  while (f && fgets(line, sizeof line, f))
    sscanf(line, "VmLck: %d", &kb);
  if (f)
    fclose(f);
  return kb;
}

static void locked(void) {
  char* p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  unsigned char there[4];
  printf("mlock: %s %d kB", error(mlock(p, 2 * PAGE)), is_locked_line());
  mincore(p, 4 * PAGE, there);
  printf(" %d%d%d%d\n", there[0] & 1, there[1] & 1, there[2] & 1, there[3] & 1);
  p[0] = 'k';
  printf("drop: %s %c\n", error(madvise(p, PAGE, MADV_DONTNEED)), p[0]);
  printf("munlock: %s %s %d kB, drop: %s %d\n", error(munlock(p, PAGE)), error(munlock(p + 100, PAGE)),
         is_locked_line(), error(madvise(p, PAGE, MADV_DONTNEED)), p[0]);
  printf("on fault: %s %d kB, flags: %s\n", error(mlock2(p, 4 * PAGE, MLOCK_ONFAULT)), is_locked_line(),
         error(mlock2(p, PAGE, 6)));
  munmap(p + PAGE, PAGE);
  printf("hole: %s %s\n", error(mlock(p, 4 * PAGE)), error(munlock(p, 4 * PAGE)));
  munmap(p, 4 * PAGE);
  printf("nothing: %s %s %s\n", error(mlock(p, PAGE)), error(munlock(p, PAGE)), error(munlock(p, 0)));
  printf("all: %s %s %s\n", error(mlockall(0)), error(mlockall(MCL_ONFAULT)), error(mlockall(8)));
  printf("those to come: %s", error(mlockall(MCL_FUTURE)));
  p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mincore(p, 4 * PAGE, there);
  printf(" %d%d%d%d\n", there[0] & 1, there[1] & 1, there[2] & 1, there[3] & 1);
  printf("none: %s %d kB\n", error(munlockall()), is_locked_line());
  char* q = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mincore(q, 4 * PAGE, there);
  printf("then: %d%d%d%d", there[0] & 1, there[1] & 1, there[2] & 1, there[3] & 1);
  printf(", all there is: %s", error(mlockall(MCL_CURRENT)));
  mincore(q, 4 * PAGE, there);
  printf(" %d%d%d%d %d, %s\n", there[0] & 1, there[1] & 1, there[2] & 1, there[3] & 1, is_locked_line() > 0,
         error(munlockall()));
}

int main(void) {
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
  mkdir("/tmp", 0777);
  char place[] = "/tmp/abi-mappings-XXXXXX";
  if (!mkdtemp(place) || chdir(place))
    printf("no place to work: %s\n", strerrorname_np(errno));
  shared();
  rights();
  the_end();
  moved();
  locked();
  chdir("/");
  printf("clean: %s\n", error(rmdir(place)));
  return 0;
}
