// One kind of kernel work, done a given number of times: kernel_ops NAME COUNT. tests/bench/kernel_ops.py runs it in
// the guest with two counts, and the difference is the operation. Add an operation: a function, and a line of
// `operations`.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096ul

static void must(int ok, const char* what) {
  if (!ok) {
    perror(what);
    exit(1);
  }
}

static void open_close(long n) {
  close(open("/tmp/file", O_WRONLY | O_CREAT, 0600));
  for (long i = 0; i < n; i++) {
    int fd = open("/tmp/file", O_RDONLY);
    must(fd >= 0, "open");
    close(fd);
  }
}

static int there[2], back[2];

static void* answer_bytes(void* unused) {
  char c;
  while (read(there[0], &c, 1) == 1)
    must(write(back[1], &c, 1) == 1, "write");
  return unused;
}

static void pipe_round_trip(long n) {
  must(pipe(there) == 0 && pipe(back) == 0, "pipe");
  pthread_t other;
  must(pthread_create(&other, NULL, answer_bytes, NULL) == 0, "pthread_create");
  char c = 'x';
  for (long i = 0; i < n; i++)
    must(write(there[1], &c, 1) == 1 && read(back[0], &c, 1) == 1, "pipe");
  close(there[1]);
  pthread_join(other, NULL);
}

// One more mapping and its end, while 13,000 others are there that do not join.
static void mmap_among_many(long n) {
  for (int i = 0; i < 13000; i++)
    must(mmap(NULL, PAGE, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED,
         "mmap");
  for (long i = 0; i < n; i++) {
    void* p = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(p != MAP_FAILED && munmap(p, 2 * PAGE) == 0, "mmap");
  }
}

// One more file and its end, while 6,000 others are in the directory.
static void creat_among_many(long n) {
  char name[32];
  must(mkdir("/tmp/many", 0700) == 0, "mkdir");
  for (int i = 0; i < 6000; i++) {
    snprintf(name, sizeof name, "/tmp/many/%d", i);
    close(creat(name, 0600));
  }
  for (long i = 0; i < n; i++) {
    int fd = creat("/tmp/many/new", 0600);
    must(fd >= 0 && close(fd) == 0 && unlink("/tmp/many/new") == 0, "creat");
  }
}

// Two threads hand a turn to each other by a condition variable: one operation is one turn, a switch of threads.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed[2] = {PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER};
static int turn;
static long turns;

static void play(int me) {
  pthread_mutex_lock(&lock);
  while (turns > 0) {
    while (turn != me)
      pthread_cond_wait(&changed[me], &lock);
    turns--;
    turn = 1 - me;
    pthread_cond_signal(&changed[1 - me]);
  }
  pthread_mutex_unlock(&lock);
}
static void* play_second(void* unused) {
  play(1);
  return unused;
}

static void condition_switch(long n) {
  turns = n;
  pthread_t other;
  must(pthread_create(&other, NULL, play_second, NULL) == 0, "pthread_create");
  play(0);
  pthread_join(other, NULL);
}

// One operation is one switch: each of the two yields in turn.
static void* yield_often(void* n) {
  for (long i = 0; i < *(long*)n; i++)
    sched_yield();
  return NULL;
}
static void yield_switch(long n) {
  long half = n / 2;
  pthread_t other;
  must(pthread_create(&other, NULL, yield_often, &half) == 0, "pthread_create");
  yield_often(&half);
  pthread_join(other, NULL);
}

static void poll_64(long n) {
  struct pollfd f[64];
  for (int i = 0; i < 64; i++) {
    int fd = eventfd(0, 0);
    must(fd >= 0, "eventfd");
    f[i] = (struct pollfd){fd, POLLIN, 0};
  }
  must(eventfd_write(f[63].fd, 1) == 0, "eventfd_write");
  for (long i = 0; i < n; i++)
    must(poll(f, 64, -1) == 1, "poll");
}

static void null_call(long n) {
  for (long i = 0; i < n; i++)
    syscall(SYS_getppid);
}

static void count_signal(int n) {
  (void)n;
}
static void signal_oneself(long n) {
  struct sigaction a = {.sa_handler = count_signal};
  sigaction(SIGUSR1, &a, NULL);
  for (long i = 0; i < n; i++)
    raise(SIGUSR1);
}

static const struct {
  const char* name;
  void (*run)(long);
} operations[] = {
    {"open_close", open_close},
    {"pipe_round_trip", pipe_round_trip},
    {"mmap_among_13000", mmap_among_many},
    {"creat_among_6000", creat_among_many},
    {"condition_switch", condition_switch},
    {"yield_switch", yield_switch},
    {"poll_64", poll_64},
    {"null_call", null_call},
    {"signal_oneself", signal_oneself},
};

int main(int argc, char** argv) {
  for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
    if (argc == 3 && strcmp(argv[1], operations[i].name) == 0) {
      operations[i].run(atol(argv[2]));
      return 0;
    }
    if (argc == 1)
      puts(operations[i].name);
  }
  return argc == 1 ? 0 : 2;
}
