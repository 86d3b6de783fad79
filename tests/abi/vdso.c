// The vDSO's functions, found by hand as a program without glibc would.
#define _GNU_SOURCE
#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static uintptr_t base;
static const Elf64_Sym* symbols;
static const char* strings;
static const uint32_t* hash;
static const uint32_t* gnu_hash;

static void open_image(void) {
  base = getauxval(AT_SYSINFO_EHDR);
  const Elf64_Ehdr* h = (const void*)base;
  const Elf64_Phdr* p = (const void*)(base + h->e_phoff);
  uintptr_t bias = base;
  const Elf64_Dyn* d = NULL;
  for (int i = 0; i < h->e_phnum; i++) {
    if (p[i].p_type == PT_LOAD)
      bias = base - p[i].p_vaddr + p[i].p_offset;
    if (p[i].p_type == PT_DYNAMIC)
      d = (const void*)(base + p[i].p_offset);
  }
  base = bias;
  for (; d && d->d_tag != DT_NULL; d++) {
    if (d->d_tag == DT_SYMTAB)
      symbols = (const void*)(base + d->d_un.d_ptr);
    if (d->d_tag == DT_STRTAB)
      strings = (const void*)(base + d->d_un.d_ptr);
    if (d->d_tag == DT_HASH)
      hash = (const void*)(base + d->d_un.d_ptr);
    if (d->d_tag == DT_GNU_HASH)
      gnu_hash = (const void*)(base + d->d_un.d_ptr);
  }
}

static void* find(const char* name) {
  uint32_t count = hash ? hash[1] : 32;  // enough for Linux's, where there is only the GNU table
  for (uint32_t i = 1; i < count; i++)
    if (symbols[i].st_name && strcmp(strings + symbols[i].st_name, name) == 0)
      return (void*)(base + symbols[i].st_value);
  return NULL;
}

int main(void) {
  open_image();
  printf("tables: %d\n", symbols && strings && (hash || gnu_hash));
  int (*gettime)(clockid_t, struct timespec*) = (int (*)(clockid_t, struct timespec*))find("__vdso_clock_gettime");
  int (*timeofday)(struct timeval*, void*) = (int (*)(struct timeval*, void*))find("__vdso_gettimeofday");
  time_t (*get_time)(time_t*) = (time_t (*)(time_t*))find("__vdso_time");
  int (*cpu)(unsigned*, unsigned*, void*) = (int (*)(unsigned*, unsigned*, void*))find("__vdso_getcpu");
  printf("found: %d %d %d %d\n", !!gettime, !!timeofday, !!get_time, !!cpu);
  struct timespec a, b, c;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &a);
  int r = gettime(CLOCK_MONOTONIC, &b);
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &c);
  int64_t x = a.tv_sec * 1000000000ll + a.tv_nsec, y = b.tv_sec * 1000000000ll + b.tv_nsec,
          z = c.tv_sec * 1000000000ll + c.tv_nsec;
  printf("monotonic: %d, between: %d\n", r, x <= y && y <= z);
  struct timeval tv;
  time_t t;
  printf("time of day: %d, time: %d\n", timeofday(&tv, NULL), get_time(&t) == t && t - tv.tv_sec <= 1);
  unsigned n = 99, node = 99;
  printf("cpu: %d %d\n", cpu(&n, &node, NULL), n < 64 && node < 64);
  printf("CPU clock: %d, unknown clock: %d\n", gettime(CLOCK_THREAD_CPUTIME_ID, &b), gettime(77, &b) != 0);
  return 0;
}
