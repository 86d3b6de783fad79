// abi: memory=16M
#include <stdio.h>

int main(void) {
  printf("hello, world\n");
  return 0;
}
