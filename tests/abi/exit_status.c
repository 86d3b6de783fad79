// abi: exit=42
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void* forever(void* p) {
  for (;;)
    pause();
  return p;
}
static void last(void) {
  printf("at exit\n");
}

// exit ends the other threads and flushes what was printed.
int main(void) {
  pthread_t t;
  atexit(last);
  for (int i = 0; i < 3; i++)
    pthread_create(&t, NULL, forever, NULL);
  printf("no newline at the end");
  exit(42 + 256);
}
