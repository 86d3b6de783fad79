// The direct interface by its contract. On Linux there is none: nothing is checked, and nothing but the last line
// printed. In the guest there must be one (the kernel's name says where this runs), and every check that fails is a
// line more.
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <xmmintrin.h>

#include <solaster/direct.h>

static const struct solaster_direct* d;

static const struct solaster_direct* find_table(void) {
  const char* base = (const char*)getauxval(AT_SYSINFO_EHDR);
  if (!base)
    return NULL;
  const Elf64_Ehdr* e = (const Elf64_Ehdr*)base;
  const Elf64_Phdr* p = (const Elf64_Phdr*)(base + e->e_phoff);
  const Elf64_Dyn* dynamic = NULL;
  uintptr_t bias = 0;
  for (int i = 0; i < e->e_phnum; i++) {
    if (p[i].p_type == PT_DYNAMIC)
      dynamic = (const Elf64_Dyn*)(base + p[i].p_offset);
    if (p[i].p_type == PT_LOAD)
      bias = (uintptr_t)base + p[i].p_offset - p[i].p_vaddr;
  }
  const Elf64_Sym* symbols = NULL;
  const char* strings = NULL;
  const uint32_t* hash = NULL;
  for (; dynamic && dynamic->d_tag; dynamic++) {
    const char* at = (const char*)(bias + dynamic->d_un.d_ptr);
    if (dynamic->d_tag == DT_SYMTAB)
      symbols = (const Elf64_Sym*)at;
    if (dynamic->d_tag == DT_STRTAB)
      strings = at;
    if (dynamic->d_tag == DT_HASH)
      hash = (const uint32_t*)at;
  }
  if (!symbols || !strings || !hash)
    return NULL;
  for (uint32_t i = 0; i < hash[1]; i++)
    if (!strcmp(strings + symbols[i].st_name, SOLASTER_DIRECT_SYMBOL))
      return *(const struct solaster_direct**)(bias + symbols[i].st_value);
  return NULL;
}

static int checks;
static void check(const char* what, int ok) {
  checks++;
  if (!ok)
    printf("%s: WRONG\n", what);
}
#define CHECK(what, expression) check(what, expression)

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t read_clock(void) {
  const struct solaster_clock* c = d->clock();
  for (;;) {
    uint32_t s = atomic_load_explicit((_Atomic uint32_t*)&c->sequence, memory_order_acquire);
    uint64_t ns =
        c->base_ns + (uint64_t)((unsigned __int128)(__builtin_ia32_rdtsc() - c->base_tsc) * c->mult >> c->shift);
    atomic_thread_fence(memory_order_acquire);
    if (!(s & 1) && s == c->sequence)
      return ns;
  }
}

static int cpus;
static _Atomic int second_bound = -1000, stop;
static void* second(void* p) {
  int r = d->shard_bind(0, 0);
  int taken = r == -EBUSY;
  r = d->shard_bind(1, cpus > 1 ? 1 : 0);
  second_bound = taken ? r : -2000;
  for (;;) {
    d->wait(SOLASTER_NEVER);
    if (stop)
      return p;
    d->wake(0);
  }
}

static void shards(void) {
  uint64_t begin = now();
  int timed_out = d->wait(begin + 5000000);
  uint64_t passed = now() - begin;
  CHECK("a deadline passes", timed_out == SOLASTER_WAIT_TIMED_OUT && passed >= 5000000);
  CHECK("the past", d->wait(1) == SOLASTER_WAIT_TIMED_OUT);
  d->wake(0);
  CHECK("the token sticks", d->wait(SOLASTER_NEVER) == SOLASTER_WAIT_WOKEN && d->wait(1) == SOLASTER_WAIT_TIMED_OUT);
  CHECK("nobody there", d->wake(7) == -ESRCH && d->wake(10000) == -ESRCH);
  pthread_t t;
  pthread_create(&t, NULL, second, NULL);
  while (second_bound == -1000)
    sched_yield();
  CHECK("a second shard", second_bound == 0);
  _mm_setcsr(0x3f80);
  unsigned woken = 0;
  for (int i = 0; i < 2000; i++) {
    d->wake(1);
    woken += d->wait(now() + 2000000000) == SOLASTER_WAIT_WOKEN;
  }
  CHECK("back and forth", woken == 2000);
  CHECK("rounding mode kept", _mm_getcsr() == 0x3f80);
  _mm_setcsr(0x1f80);
  stop = 1;
  d->wake(1);
  pthread_join(t, NULL);
  CHECK("a wake for a thread that has ended", d->wake(1) == 0);
}

// Calls on a stack whose pages are not there yet, with the stack pointer at every distance from a page's end.
static char* stacks;
static void* sleeper(void* p) {
  d->shard_bind(2, cpus > 1 ? 1 : 0);
  second_bound = 2;
  for (;;) {
    d->wait(SOLASTER_NEVER);
    if (stop)
      return p;
  }
}
static int call_on(char* top, int (*function)(uint32_t), uint32_t argument) {
  int result;
  __asm__ volatile("movq %%rsp, %%r12\n movq %[top], %%rsp\n callq *%[function]\n movq %%r12, %%rsp"
                   : "=a"(result), "+D"(argument)
                   : [top] "r"(top), [function] "r"(function)
                   : "r12", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
  return result;
}
static void fresh_stacks(void) {
  stop = 0;
  second_bound = -1000;
  pthread_t t;
  pthread_create(&t, NULL, sleeper, NULL);
  while (second_bound == -1000)
    sched_yield();
  stacks = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  int right = 1;
  for (int at = 0; at < 4096; at += 16) {
    madvise(stacks, 65536, MADV_DONTNEED);
    right = right && call_on(stacks + 32768 + at, d->wake, 2) == 0;
    if (at % 256 == 0)
      sched_yield();  // the sleeper goes to sleep again, so that the next wake has work to do
  }
  CHECK("wake on a stack that is not there yet", right);
  stop = 1;
  d->wake(2);
  pthread_join(t, NULL);
}

// A thread that is no shard may wake one, and may not wait.
static int foreign_result = -1000;
static void* foreign(void* p) {
  foreign_result =
      d->wait(SOLASTER_NEVER) == -EPERM && d->wake(0) == 0 && d->log("", 0) == 0 && d->memory_available() > 0;
  return p;
}
static void foreign_threads(void) {
  pthread_t t;
  (void)d->wait(1);
  pthread_create(&t, NULL, foreign, NULL);
  int woken = d->wait(now() + 5000000000);
  pthread_join(t, NULL);
  CHECK("a foreign thread", foreign_result == 1 && woken == SOLASTER_WAIT_WOKEN);
}

static void memory(void) {
  uint64_t before = d->memory_available();
  struct solaster_memory_piece pieces[SOLASTER_MEMORY_PIECES_MAX];
  uint32_t count = SOLASTER_MEMORY_PIECES_MAX;
  void* base = NULL;
  uint64_t wanted = (5u << 20) + 1, given = 0;
  int r = d->shard_memory(wanted, &base, pieces, &count);
  char* at = base;
  int right = r == 0;
  for (uint32_t i = 0; right && i < count; i++) {
    right = pieces[i].base == at && pieces[i].length > 0;
    at += pieces[i].length;
    given += pieces[i].length;
  }
  CHECK("memory in pieces", right && given >= wanted && !((uintptr_t)base & 0x1fffff));
  if (right)
    memset(base, 0x5a, given);
  CHECK("less is left", d->memory_available() + given <= before);
  count = SOLASTER_MEMORY_PIECES_MAX;
  CHECK("too much", d->shard_memory(1ull << 40, &base, pieces, &count) == -ENOMEM);
  CHECK("bad pointers",
        d->shard_memory(1 << 21, &base, pieces, NULL) == -EFAULT && d->entropy((void*)16, 8) == -EFAULT);
}

static void nics(void) {
  int n = d->nic_count();
  struct solaster_nic nic;
  int right = n >= 0;
  for (int i = 0; i < n; i++) {
    right = right && d->nic_claim((uint32_t)i, &nic) == 0 && d->nic_claim((uint32_t)i, &nic) == -EBUSY;
    right = right && nic.common && nic.device_config && (nic.transport == SOLASTER_NIC_VIRTIO_MMIO || nic.notify);
    if (right && nic.vectors)
      right = d->nic_bind_vector((uint32_t)i, 0, 0) == 0;
    right = right && d->nic_bind_vector((uint32_t)i, 1000, 0) == -EINVAL && d->nic_release((uint32_t)i) == 0;
  }
  CHECK("NICs", right && d->nic_claim(100, &nic) == -ENODEV && d->nic_release(100) < 0);
}

static void rest(void) {
  uint64_t a = read_clock(), b = now(), c = read_clock();
  CHECK("one clock", a <= b && b <= c && c - a < 1000000000);
  unsigned char bytes[1000] = {0};
  int zeros = 0;
  CHECK("entropy", d->entropy(bytes, sizeof bytes) == 0);
  for (unsigned i = 0; i < sizeof bytes; i++)
    zeros += !bytes[i];
  CHECK("entropy is not zero", zeros < 40);
  CHECK("log a bad pointer", d->log((const char*)8, 10) == -EFAULT);
  char line[SOLASTER_HOST_LINE_MAX + 1];
  memset(line, 'x', sizeof line);
  CHECK("tell the host", d->tell_host(line, SOLASTER_HOST_LINE_MAX) == 0);
  CHECK("tell the host too much", d->tell_host(line, sizeof line) == -EINVAL);
  CHECK("tell the host two lines", d->tell_host("one\ntwo", 7) == -EINVAL);
  CHECK("tell the host a bad pointer", d->tell_host((const char*)8, 10) == -EFAULT);
  struct solaster_cpu_stats s;
  CHECK("statistics",
        d->cpu_stats(0, &s) == 0 && s.context_switches > 0 && s.system_calls > 0 && d->cpu_stats(64, &s) == -EINVAL);
  CHECK("claim a signal", d->signals_claim(SOLASTER_SIGNAL_BIT(SIGUSR1), 0) == 0);
  kill(getpid(), SIGUSR1);
  CHECK("it wakes", d->wait(now() + 1000000000) == SOLASTER_WAIT_WOKEN);
  CHECK("and is taken once", d->signals_take() == SOLASTER_SIGNAL_BIT(SIGUSR1) && d->signals_take() == 0);
}

static void* nobody(void* p) {
  *(int*)p = d->preempt_at(now() + 1000000) == -EPERM && !d->preempt_flag();
  return NULL;
}

static void preemption(void) {
  volatile uint32_t* flag = d->preempt_flag();
  CHECK("a flag to look at", flag && *flag == 0);
  if (!flag)
    return;
  uint64_t begin = now(), asked = begin + 2000000;
  int r = d->preempt_at(asked);
  while (!*flag && now() - begin < 1000000000) {
  }
  uint64_t seen = now();
  CHECK("it goes up in time", r == 0 && *flag == 1 && seen - begin < 500000000);
  CHECK("and not before", seen >= asked);
  *flag = 0;
  r = d->preempt_at(now() + 5000000);
  int back = d->preempt_at(SOLASTER_NEVER);
  d->wait(now() + 10000000);
  CHECK("taken back", r == 0 && back == 0 && *flag == 0);
  r = d->preempt_at(now() + 100000000000) | d->preempt_at(now() + 1000000);
  d->wait(now() + 20000000);
  CHECK("the last call counts", r == 0 && *flag == 1);
  int other = 0;
  pthread_t t;
  pthread_create(&t, NULL, nobody, &other);
  pthread_join(t, NULL);
  CHECK("no shard", other);
}

int main(void) {
  d = find_table();
  struct utsname system;
  uname(&system);
  if (!d && strstr(system.release, "solaster")) {
    puts("the table is missing");
    return 1;
  }
  if (!d) {
    puts("done");
    return 0;
  }
  cpus = d->cpu_count();
  CHECK("table", d->version == SOLASTER_DIRECT_VERSION && d->size >= sizeof *d);
  CHECK("bind", d->shard_bind(0, 0) == 0);
  CHECK("bind elsewhere", d->shard_bind(64, 0) == -EINVAL && d->shard_bind(0, 64) == -EINVAL);
  shards();
  fresh_stacks();
  foreign_threads();
  memory();
  nics();
  rest();
  preemption();
  puts(checks >= 20 ? "done" : "hardly anything was checked");
  return 0;
}
