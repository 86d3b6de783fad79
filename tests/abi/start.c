// abi: args='one "" "two words" back\\slash' env="GREETING=hi there"
// What a program finds at its start: arguments, environment, the auxiliary vector, the stack.
#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <unistd.h>

extern char** environ;

static void check(const char* what, int ok) {
  printf("%s: %s\n", what, ok ? "ok" : "WRONG");
}

static int data = 7;

int main(int argc, char** argv) {
  printf("argc %d\n", argc);
  for (int i = 1; i < argc; i++)
    printf("argv[%d] = [%s]\n", i, argv[i]);
  check("argv ends with null", argv[argc] == NULL);
  check("argv[0] is a path of this program", strstr(argv[0], "start") != NULL);
  const char* greeting = getenv("GREETING");
  printf("GREETING=%s\n", greeting ? greeting : "(unset)");

  check("page size", getauxval(AT_PAGESZ) == 4096);
  check("clock ticks", getauxval(AT_CLKTCK) == 100);
  check("not set-uid", getauxval(AT_SECURE) == 0);
  check("uid", getauxval(AT_UID) == getuid() && getauxval(AT_EUID) == geteuid());
  check("phent", getauxval(AT_PHENT) == sizeof(Elf64_Phdr));
  const Elf64_Phdr* phdr = (const Elf64_Phdr*)getauxval(AT_PHDR);
  unsigned long phnum = getauxval(AT_PHNUM);
  int loads = 0, writable_code = 0, dynamic = 0;
  for (unsigned long i = 0; i < phnum; i++) {
    loads += phdr[i].p_type == PT_LOAD;
    dynamic += phdr[i].p_type == PT_DYNAMIC;
    writable_code += phdr[i].p_type == PT_LOAD && (phdr[i].p_flags & 3) == 3;
  }
  check("segments through AT_PHDR", loads >= 2 && dynamic == 1);
  check("no segment is writable and executable", writable_code == 0);
  check("AT_ENTRY is in the program", getauxval(AT_ENTRY) > (uintptr_t)phdr);
  const char* name = (const char*)getauxval(AT_EXECFN);
  check("AT_EXECFN", name && strstr(name, "start"));
  const char* platform = (const char*)getauxval(AT_PLATFORM);
  check("AT_PLATFORM", platform && strcmp(platform, "x86_64") == 0);
  const unsigned char* seed = (const unsigned char*)getauxval(AT_RANDOM);
  int bits = 0;
  for (int i = 0; i < 16; i++)
    bits |= seed[i];
  check("AT_RANDOM has bits", bits != 0);
  const Elf64_Ehdr* vdso = (const Elf64_Ehdr*)getauxval(AT_SYSINFO_EHDR);
  check("AT_SYSINFO_EHDR is an ELF image", vdso && memcmp(vdso->e_ident, ELFMAG, SELFMAG) == 0);

  int local;
  struct rlimit stack;
  check("stack limit", getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur >= 1 << 20);
  check("environment lies above the frames", (uintptr_t)environ > (uintptr_t)&local);
  check("main's frame is aligned enough", ((uintptr_t)__builtin_frame_address(0) & 15) == 0);
  check("relocated data", data == 7 && *(&data) == 7);
  char exe[256];
  ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
  exe[n > 0 ? n : 0] = 0;
  check("/proc/self/exe", exe[0] == '/' && strstr(exe, "start"));
  return 0;
}
