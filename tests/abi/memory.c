// mmap, munmap, mprotect, mremap, madvise, brk: results and error numbers.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096ul

static sigjmp_buf back;
static volatile uintptr_t fault_address;
static volatile int fault_code;

static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  fault_address = (uintptr_t)info->si_addr;
  fault_code = info->si_code;
  siglongjmp(back, 1);
}

static const char* error(long r) {
  return r == -1 ? strerrorname_np(errno) : "ok";
}
static const char* map_error(void* p) {
  return p == MAP_FAILED ? strerrorname_np(errno) : "ok";
}
static const char* access_of(volatile char* p, int write) {
  if (sigsetjmp(back, 1))
    return fault_code == SEGV_MAPERR ? "SEGV_MAPERR" : fault_code == SEGV_ACCERR ? "SEGV_ACCERR" : "fault";
  if (write)
    *p = 1;
  else
    (void)*p;
  return "ok";
}

static void* anonymous(size_t length, int prot) {
  return mmap(NULL, length, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void mapping(void) {
  char* p = anonymous(3 * PAGE, PROT_READ | PROT_WRITE);
  printf("map: %s, zeroed: %d\n", map_error(p), p[0] == 0 && p[3 * PAGE - 1] == 0);
  memset(p, 'x', 3 * PAGE);
  printf("unmap the middle: %s\n", error(munmap(p + PAGE, PAGE)));
  printf("first %c, middle %s, last %c\n", p[0], access_of(p + PAGE, 0), p[2 * PAGE]);
  printf("fault address right: %d\n", fault_address == (uintptr_t)p + PAGE);
  char* q = mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  printf("fill the hole: %s %d, fresh: %d\n", map_error(q), q == p + PAGE, q[0] == 0);
  q = mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  printf("no replace: %s\n", map_error(q));
  q = mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  printf("replace: %d, fresh: %d, read-only: %s\n", q == p, q[0] == 0, access_of(p, 1));
  printf("unmap all: %s, again: %s\n", error(munmap(p, 3 * PAGE)), error(munmap(p, 3 * PAGE)));
  printf("length 0: %s\n", map_error(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  printf("no type: %s\n", map_error(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0)));
  printf("bad fd: %s\n", map_error(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 99, 0)));
  printf("odd offset: %ld\n",
         syscall(SYS_mmap, 0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 1) == -1 ? (long)errno : 0);
  printf("odd fixed: %s\n",
         map_error(mmap((void*)0x123456, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)));
  printf("too long: %s\n", map_error(mmap(NULL, (size_t)1 << 62, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  printf("munmap odd: %s, length 0: %s\n", error(munmap((void*)1, PAGE)), error(munmap((void*)PAGE, 0)));
  printf("null is not mapped: %s\n", access_of((char*)(uintptr_t)8, 0));
}

static void protection(void) {
  char* p = anonymous(4 * PAGE, PROT_READ | PROT_WRITE);
  memset(p, 'a', 4 * PAGE);
  printf("protect: %s\n", error(mprotect(p + PAGE, 2 * PAGE, PROT_READ)));
  printf("before %s, in %s, after %s\n", access_of(p, 1), access_of(p + PAGE, 1), access_of(p + 3 * PAGE, 1));
  printf("content kept: %c\n", p[PAGE]);
  printf("none: %s, read: %s\n", error(mprotect(p, PAGE, PROT_NONE)), access_of(p, 0));
  printf("back: %s, content %c\n", error(mprotect(p, PAGE, PROT_READ | PROT_WRITE)), p[1]);
  printf("odd: %s, hole: ", error(mprotect(p + 1, PAGE, PROT_READ)));
  munmap(p + 2 * PAGE, PAGE);
  printf("%s\n", error(mprotect(p, 4 * PAGE, PROT_READ)));
  printf("length 0: %s\n", error(mprotect(p, 0, PROT_READ)));
  munmap(p, 4 * PAGE);

  unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};  // mov $42, %eax; ret
  unsigned char* f = anonymous(PAGE, PROT_READ | PROT_WRITE);
  memcpy(f, code, sizeof code);
  if (sigsetjmp(back, 1) == 0) {
    ((int (*)(void))f)();
    printf("data was executed\n");
  } else {
    printf("executing data: %s\n", fault_code == SEGV_ACCERR ? "SEGV_ACCERR" : "other");
  }
  mprotect(f, PAGE, PROT_READ | PROT_EXEC);
  printf("executing code: %d, writing it: %s\n", ((int (*)(void))f)(), access_of((char*)f, 1));
  munmap(f, PAGE);
}

static void remapping(void) {
  char* p = anonymous(2 * PAGE, PROT_READ | PROT_WRITE);
  strcpy(p, "kept");
  p[2 * PAGE - 1] = 'z';
  char* q = mremap(p, 2 * PAGE, PAGE, 0);
  printf("shrink: %d, tail %s\n", q == p, access_of(p + PAGE, 0));
  q = mremap(p, PAGE, 64 * PAGE, MREMAP_MAYMOVE);
  printf("grow: %s, content %s, new pages zero: %d\n", map_error(q), q, q[63 * PAGE] == 0);
  char* target = anonymous(64 * PAGE, PROT_NONE);
  char* r = mremap(q, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target);
  printf("move: %d, content %s, old gone: %s\n", r == target, r, access_of(q, 0));
  char* s = anonymous(PAGE, PROT_READ);
  char* wall = mmap(s + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  printf("no room: %s\n", map_error(mremap(s, PAGE, 2 * PAGE, 0)));
  printf("new length 0: %s, odd: %s, fixed without maymove: %s\n", map_error(mremap(s, PAGE, 0, MREMAP_MAYMOVE)),
         map_error(mremap(s + 1, PAGE, PAGE, MREMAP_MAYMOVE)), map_error(mremap(s, PAGE, PAGE, MREMAP_FIXED, target)));
  munmap(s, PAGE);
  munmap(wall, PAGE);
  printf("nothing there: %s\n", map_error(mremap(s, PAGE, 2 * PAGE, MREMAP_MAYMOVE)));
  munmap(r, 64 * PAGE);
}

static void advice(void) {
  char* p = anonymous(4 * PAGE, PROT_READ | PROT_WRITE);
  memset(p, 'q', 4 * PAGE);
  printf("dontneed: %s, dropped: %d, kept: %c\n", error(madvise(p + PAGE, PAGE, MADV_DONTNEED)), p[PAGE] == 0, p[0]);
  printf("odd: %s, unknown: %s, length 0: %s\n", error(madvise(p + 1, PAGE, MADV_DONTNEED)),
         error(madvise(p, PAGE, 4711)), error(madvise(p, 0, MADV_DONTNEED)));
  munmap(p + 2 * PAGE, PAGE);
  printf("hole: %s\n", error(madvise(p, 4 * PAGE, MADV_NORMAL)));
  munmap(p, 4 * PAGE);
  p = anonymous(4 * PAGE, PROT_READ | PROT_WRITE);
  p[PAGE] = 1;
  unsigned char there[4];
  printf("mincore: %s", error(mincore(p, 4 * PAGE, there)));
  printf(" %d%d%d%d\n", there[0] & 1, there[1] & 1, there[2] & 1, there[3] & 1);
  printf("mlock: %s %s", error(mlock(p, 4 * PAGE)), error(mincore(p, 4 * PAGE, there)));
  printf(" %d%d%d%d\n", there[0] & 1, there[1] & 1, there[2] & 1, there[3] & 1);
  munmap(p, 4 * PAGE);
  printf("mincore of nothing: %s\n", error(mincore(p, PAGE, there)));
  printf("msync of nothing: %s, bad flags: %s\n", error(msync(p, PAGE, MS_SYNC)),
         error(msync(p, PAGE, MS_SYNC | MS_ASYNC)));
}

static void the_break(void) {
  char* start = sbrk(0);
  printf("grow: %d\n", brk(start + 10 * PAGE) == 0);
  memset(start, 1, 10 * PAGE);
  printf("shrink: %d\n", brk(start + PAGE) == 0);
  printf("beyond: %s\n", access_of(start + 4 * PAGE, 0));
  printf("grow again, zeroed: %d %d\n", brk(start + 10 * PAGE) == 0, start[8 * PAGE] == 0);
  printf("below the start is refused: %d\n", syscall(SYS_brk, (char*)start - (1ul << 40)) == (long)(start + 10 * PAGE));
  brk(start);
}

static void sparse(void) {
  size_t length = (size_t)1 << 36;  // far more than there is
  char* p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  printf("64 GiB reserved: %s\n", map_error(p));
  if (p == MAP_FAILED)
    return;
  for (size_t at = 0; at < length; at += length / 16)
    p[at] = 5;
  int sum = 0;
  for (size_t at = 0; at < length; at += length / 16)
    sum += p[at];
  printf("sum %d, unmap: %s\n", sum, error(munmap(p, length)));
}

int main(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
  mapping();
  protection();
  remapping();
  advice();
  the_break();
  sparse();
  return 0;
}
