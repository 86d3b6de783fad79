// The smallest ordinary program; the boot test times it from QEMU's start to its line.
#include <stdio.h>

int main(void) {
  puts("a line");
  return 0;
}
