// abi: memory=64M cpus=1
// A page that is moved arrives, or mremap says that it cannot: also when there is no memory left for the page tables of
// the new place. On Linux memory is never that short here, and every move works.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define PAGE 4096ul
enum { PAGES = 400 };

// In a machine this small all of the memory is taken but what is kept for tables.
static void* first_taken;

static void take_memory(void) {
  struct sysinfo s;
  while (sysinfo(&s) == 0 && s.totalram < (512ul << 20) && s.freeram > (1200ul << 10)) {
    char* p = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
      return;
    first_taken = first_taken ? first_taken : p;
    for (size_t at = 0; at < 64 * PAGE; at += PAGE)
      p[at] = 1;
  }
}

int main(void) {
  static char* page[PAGES];
  for (int i = 0; i < PAGES; i++) {
    page[i] = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *(int*)page[i] = i + 1;
    mprotect(page[i] + PAGE, PAGE, PROT_NONE);
  }
  madvise(page[0] + PAGE, PAGE, MADV_DONTNEED);  // its code is there from now on
  take_memory();
  int kept = 0;
  for (int i = 0; i < PAGES; i++) {
    // Each to a place whose tables are not there yet: another GiB.
    void* to = (void*)(0x100000000000ul + ((uint64_t)i << 30));
    char* q = mremap(page[i], PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    if (q == MAP_FAILED)
      q = page[i];
    kept += *(int*)q == i + 1;
  }
  if (first_taken)
    madvise((char*)first_taken - 31 * 64 * PAGE, 32 * 64 * PAGE, MADV_DONTNEED);
  printf("kept %d of %d\n", kept, PAGES);
  return 0;
}
