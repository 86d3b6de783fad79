// FUTEX_WAKE_OP changes its second word in one step: what other threads do to the word meanwhile is never undone.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint32_t first, shared;
static int stop;

static long wake_op(uint32_t* word, uint32_t encoded) {
  return syscall(SYS_futex, &first, FUTEX_WAKE_OP_PRIVATE, 1, (void*)1, word, encoded);
}

static void* increments(void* p) {
  uint64_t n = 0;
  while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
    for (int i = 0; i < 64; i++)
      __atomic_add_fetch(&shared, 1, __ATOMIC_SEQ_CST);
    n += 64;
  }
  *(uint64_t*)p = n;
  return NULL;
}

static const char* error(long r) {
  return r < 0 ? strerrorname_np(errno) : "ok";
}

int main(void) {
  pthread_t t[2];
  uint64_t done[2];
  for (int i = 0; i < 2; i++)
    pthread_create(&t[i], NULL, increments, &done[i]);
  uint32_t ours = 0;
  for (; ours < 60000; ours++)
    if (wake_op(&shared, FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0)) < 0)
      return 1;
  stop = 1;
  for (int i = 0; i < 2; i++)
    pthread_join(t[i], NULL);
  printf("increments lost: %u\n", (uint32_t)(done[0] + done[1]) + ours - shared);

  static const struct {
    const char* name;
    int op, argument, old;
  } cases[] = {{"set", FUTEX_OP_SET, 7, 100},         {"add", FUTEX_OP_ADD, 0xfff, 100},
               {"or", FUTEX_OP_OR, 3, 100},           {"andn", FUTEX_OP_ANDN, 4, 100},
               {"xor", FUTEX_OP_XOR, 5, 100},         {"shifted", 8 | FUTEX_OP_SET, 9, 0},
               {"shifted 33", 8 | FUTEX_OP_OR, 33, 1}};
  for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint32_t w = (uint32_t)cases[i].old;
    long r = wake_op(&w, FUTEX_OP((unsigned)cases[i].op, cases[i].argument, FUTEX_OP_CMP_EQ, cases[i].old));
    printf("%s: %ld, %u\n", cases[i].name, r, w);
  }
  printf("no such operation: %s\n", error(wake_op(&shared, 5u << 28)));
  char* fresh = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  printf("a page that is not there yet: %s", error(wake_op((uint32_t*)fresh, FUTEX_OP(FUTEX_OP_ADD, 5, 0, 0))));
  printf(", %u\n", *(uint32_t*)fresh);
  mprotect(fresh + 4096, 4096, PROT_READ);
  printf("a page that may not be written: %s\n", error(wake_op((uint32_t*)(fresh + 4096), FUTEX_OP(1, 5, 0, 0))));
  munmap(fresh, 8192);
  printf("no page: %s\n", error(wake_op((uint32_t*)fresh, FUTEX_OP(1, 5, 0, 0))));
  printf("odd: %s\n", error(wake_op((uint32_t*)((char*)&shared + 1), FUTEX_OP(1, 5, 0, 0))));
  // Requeueing to an address that is none.
  uint32_t zero = 0;
  printf("requeue to no page, shared: %s\n", error(syscall(SYS_futex, &zero, FUTEX_REQUEUE, 1, (void*)1, fresh, 0)));
  printf("requeue to no page, private: %s\n",
         error(syscall(SYS_futex, &zero, FUTEX_REQUEUE_PRIVATE, 1, (void*)1, fresh, 0)));
  printf("requeue to the upper half: %s\n",
         error(syscall(SYS_futex, &zero, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void*)1, (void*)0xffff800000001000, 0)));
  return 0;
}
