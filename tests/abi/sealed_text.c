// abi: memory=64M cpus=1,2
// Code cannot be written by any address. On Linux there is one address for it; in the guest all memory is also in the
// upper half, and what is found there to be a copy of this program's code, or the kernel's own, must be read-only too.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096ul

static sigjmp_buf back;
static void on_fault(int signal) {
  (void)signal;
  siglongjmp(back, 1);
}

static int can_write(volatile char* p) {
  if (sigsetjmp(back, 1))
    return 0;
  *p = *p;
  return 1;
}
static int same_page(const char* a, const char* b) {
  if (sigsetjmp(back, 1))
    return -1;
  return memcmp(a, b, PAGE) == 0;
}

// How many pages of the first 64 MiB at `base` are copies of `page` and can be written. -1: nothing can be read there.
static int writable_copies(uintptr_t base, const char* page) {
  int found = -1;
  for (uintptr_t at = base; at < base + (64ul << 20); at += PAGE) {
    int same = same_page((const char*)at, page);
    if (same < 0)
      continue;
    found = found < 0 ? 0 : found;
    found += same && can_write((char*)at);
  }
  return found;
}

static const char* verdict(int copies) {
  return copies > 0 ? "WRITABLE" : "closed";
}

static __attribute__((noinline, aligned(4096))) int code(int x) {
  return x * 1234567 + 89;
}

int main(void) {
  signal(SIGSEGV, on_fault), signal(SIGBUS, on_fault);
  const uintptr_t all_memory = 0xffff800000000000ul, kernel = 0xffffffff80100000ul;
  printf("code runs: %d\n", code(1) == 1234656);
  printf("code at its own address: %s\n", verdict(can_write((char*)(uintptr_t)code)));
  printf("code elsewhere: %s\n", verdict(writable_copies(all_memory, (char*)((uintptr_t)code & -PAGE))));
  int kernels = 0;
  for (int i = 0; i < 16; i++) {
    char page[PAGE];
    if (sigsetjmp(back, 1))
      continue;
    memcpy(page, (char*)kernel + i * PAGE, PAGE);
    kernels += can_write((char*)kernel + i * PAGE) + (writable_copies(all_memory, (char*)kernel + i * PAGE) > 0);
  }
  printf("the kernel's: %s\n", verdict(kernels));
  // Memory that was code is memory again, and memory that becomes code is closed.
  char* p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (unsigned i = 0; i < PAGE; i++)
    p[i] = (char)(i * 7 + 3);
  mprotect(p, PAGE, PROT_READ | PROT_EXEC);
  printf("made code: %s\n", verdict(writable_copies(all_memory, p)));
  mprotect(p, PAGE, PROT_READ | PROT_WRITE);
  p[0] = 1;
  printf("made data: %d\n", p[0] + p[1]);
  mprotect(p, PAGE, PROT_READ | PROT_EXEC);
  munmap(p, PAGE);
  int sum = 0;
  for (int round = 0; round < 40; round++) {
    char* q = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (unsigned i = 0; i < 64; i++)
      q[i * PAGE] = 1, sum += q[i * PAGE];
    mprotect(q, 64 * PAGE, PROT_READ | PROT_EXEC);
    munmap(q, 64 * PAGE);
  }
  printf("used again: %d\n", sum);
  return 0;
}
