// Pipes, eventfd and poll between threads.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char* error(long r) {
  return r < 0 ? strerrorname_np(errno) : "ok";
}
static int ends[2], event;

static void* writer(void* p) {
  static char block[5000];
  for (int i = 0; i < 100; i++) {
    memset(block, i, sizeof block);
    for (size_t done = 0; done < sizeof block;) {
      ssize_t n = write(ends[1], block + done, sizeof block - done);
      if (n <= 0)
        return p;
      done += (size_t)n;
    }
  }
  close(ends[1]);
  return p;
}

static void* late(void* p) {
  usleep(40000);
  uint64_t one = 1;
  write(event, &one, 8);
  return p;
}

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  pthread_t t;
  pipe(ends);
  pthread_create(&t, NULL, writer, NULL);
  unsigned long sum = 0, total = 0;
  unsigned char buffer[3333];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0; total += (unsigned long)n)
    for (ssize_t i = 0; i < n; i++)
      sum += buffer[i];
  pthread_join(t, NULL);
  printf("through the pipe: %lu bytes, sum %lu\n", total, sum);
  printf("after the end: %zd\n", read(ends[0], buffer, 1));
  close(ends[0]);

  pipe2(ends, O_NONBLOCK | O_CLOEXEC);
  printf("empty: %s, flags %o, cloexec %d\n", error(read(ends[0], buffer, 1)), fcntl(ends[0], F_GETFL),
         fcntl(ends[0], F_GETFD));
  long filled = 0;
  static char page[4096];
  for (ssize_t n; (n = write(ends[1], page, sizeof page)) > 0; filled += n) {
  }
  printf("full after %ld: %s\n", filled, error(-1));
  int waiting;
  ioctl(ends[0], FIONREAD, &waiting);
  printf("waiting %d\n", waiting);
  struct pollfd p[3] = {{ends[0], POLLIN, 0}, {ends[1], POLLOUT, 0}, {-1, POLLIN, 9}};
  printf("poll %d: %x %x %x\n", poll(p, 3, 0), p[0].revents, p[1].revents, p[2].revents);
  close(ends[1]);
  for (ssize_t n; (n = read(ends[0], page, sizeof page)) > 0;) {
  }
  p[1].fd = 99;
  printf("closed: poll %d: %x %x\n", poll(p, 2, 0), p[0].revents, p[1].revents);
  close(ends[0]);
  pipe(ends);
  close(ends[0]);
  printf("no reader: %s, seek: %s\n", error(write(ends[1], "x", 1)), error(lseek(ends[1], 0, SEEK_SET)));
  printf("read from the writing end: %s\n", error(read(ends[1], buffer, 1)));
  struct stat st;
  printf("is a pipe: %d\n", fstat(ends[1], &st) == 0 && S_ISFIFO(st.st_mode));
  close(ends[1]);

  event = eventfd(3, EFD_NONBLOCK);
  uint64_t v = 0;
  printf("event: %zd", read(event, &v, 8));
  printf(" %lu", v);
  printf(", empty: %s, short: %s\n", error(read(event, &v, 8)), error(read(event, &v, 4)));
  v = 5;
  write(event, &v, 8), write(event, &v, 8);
  read(event, &v, 8);
  printf("added: %lu\n", v);
  v = UINT64_MAX;
  printf("too much: %s", error(write(event, &v, 8)));
  v--;
  printf(" %s", error(write(event, &v, 8)));
  v = 1;
  printf(" %s\n", error(write(event, &v, 8)));
  close(event);
  event = eventfd(2, EFD_SEMAPHORE);
  read(event, &v, 8);
  printf("semaphore: %lu", v);
  read(event, &v, 8);
  printf(" %lu\n", v);
  pthread_create(&t, NULL, late, NULL);
  printf("blocking read: %zd %lu\n", read(event, &v, 8), v);
  pthread_join(t, NULL);
  pthread_create(&t, NULL, late, NULL);
  struct pollfd q = {event, POLLIN, 0};
  printf("poll waits: %d %x\n", poll(&q, 1, 5000), q.revents);
  pthread_join(t, NULL);
  read(event, &v, 8);
  printf("poll times out: %d %x\n", poll(&q, 1, 20), q.revents);
  printf("only a timeout: %d\n", poll(NULL, 0, 10));
  return 0;
}
