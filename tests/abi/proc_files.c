// What glibc and servers read of /proc and /sys.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

static void check(const char* what, int ok) {
  printf("%s: %s\n", what, ok ? "ok" : "WRONG");
}

static char text[1 << 16];
static const char* slurp(const char* path) {
  int fd = open(path, O_RDONLY);
  if (fd < 0)
    return strcpy(text, "");
  size_t n = 0;
  for (ssize_t r; n < sizeof text - 1 && (r = read(fd, text + n, sizeof text - 1 - n)) > 0;)
    n += (size_t)r;
  close(fd);
  text[n] = 0;
  return text;
}

static int in_maps(const void* p, const char* rights, const char* name) {
  FILE* f = fopen("/proc/self/maps", "r");
  char line[512];
  int found = 0;
  while (f && fgets(line, sizeof line, f)) {
    unsigned long start, end;
    char prot[8];
    if (sscanf(line, "%lx-%lx %7s", &start, &end, prot) != 3)
      printf("odd line: %s", line);
    if ((uintptr_t)p >= start && (uintptr_t)p < end)
      found = strncmp(prot, rights, 4) == 0 && (!name || strstr(line, name));
  }
  if (f)
    fclose(f);
  return found;
}

int main(void) {
  static int data = 1;
  int local = 0;
  check("maps: code", in_maps((void*)(uintptr_t)main, "r-xp", "proc"));
  check("maps: data", in_maps(&data, "rw-p", NULL));
  check("maps: stack", in_maps(&local, "rw-p", "[stack]"));
  void* heap = malloc(100);
  check("maps: heap", in_maps(heap, "rw-p", "[heap]"));
  check("maps: vdso", in_maps((void*)getauxval(AT_SYSINFO_EHDR), "r-xp", "[vdso]"));

  pthread_attr_t attr;
  void* stack = NULL;
  size_t size = 0;
  check("pthread_getattr_np",
        pthread_getattr_np(pthread_self(), &attr) == 0 && pthread_attr_getstack(&attr, &stack, &size) == 0);
  check("the stack holds a local", (char*)&local >= (char*)stack && (char*)&local < (char*)stack + size);

  cpu_set_t set;
  check("affinity", sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) >= 1);
  check("get_nprocs", get_nprocs() >= CPU_COUNT(&set) && sysconf(_SC_NPROCESSORS_ONLN) == get_nprocs());
  check("get_nprocs_conf", get_nprocs_conf() >= get_nprocs());
  check("pages", sysconf(_SC_PHYS_PAGES) > sysconf(_SC_AVPHYS_PAGES) && sysconf(_SC_AVPHYS_PAGES) > 0);
  check("cpu online", slurp("/sys/devices/system/cpu/online")[0] == '0');
  check("node online", slurp("/sys/devices/system/node/online")[0] == '0');
  check("node0 has CPUs", slurp("/sys/devices/system/node/node0/cpulist")[0] == '0');

  check("cmdline", strstr(slurp("/proc/self/cmdline"), "proc") != NULL);
  check("comm", strcmp(slurp("/proc/self/comm"), "proc_files\n") == 0);
  check("status", strstr(slurp("/proc/self/status"), "Name:\tproc_files\n") && strstr(text, "Threads:\t1\n") &&
                      strstr(text, "VmRSS:"));
  int pid = 0;
  char name[32] = "", state = 0;
  check("stat", sscanf(slurp("/proc/self/stat"), "%d (%31[^)]) %c", &pid, name, &state) == 3 && pid == getpid() &&
                    strcmp(name, "proc_files") == 0 && state == 'R');
  int fields = 0;
  for (char* p = strtok(text, " "); p; p = strtok(NULL, " "))
    fields++;
  check("stat has 52 fields", fields == 52);
  int fd = open("/proc/self/auxv", O_RDONLY);
  unsigned long pair[2], page = 0;
  while (read(fd, pair, sizeof pair) == sizeof pair)
    if (pair[0] == AT_PAGESZ)
      page = pair[1];
  close(fd);
  check("auxv", page == 4096);
  check("meminfo", strncmp(slurp("/proc/meminfo"), "MemTotal:", 9) == 0 && strstr(text, "MemAvailable:"));
  check("cpuinfo", strstr(slurp("/proc/cpuinfo"), "processor\t: 0") != NULL);
  check("stat of the machine", strncmp(slurp("/proc/stat"), "cpu  ", 5) == 0 && strstr(text, "btime "));
  check("uptime", atof(slurp("/proc/uptime")) > 0);
  check("ostype", strcmp(slurp("/proc/sys/kernel/ostype"), "Linux\n") == 0);
  check("uuid", strlen(slurp("/proc/sys/kernel/random/uuid")) == 37 && text[14] == '4');
  check("overcommit", slurp("/proc/sys/vm/overcommit_memory")[0] >= '0');
  struct utsname u;
  check("uname", uname(&u) == 0 && strcmp(u.sysname, "Linux") == 0 && strcmp(u.machine, "x86_64") == 0);

  fd = open("/proc/self/status", O_RDONLY);
  char link[64], target[128];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, target, sizeof target - 1);
  target[n > 0 ? n : 0] = 0;
  check("fd link", strstr(target, "/status") != NULL);
  int entries = 0;
  DIR* d = opendir("/proc/self/fd");
  while (d && readdir(d))
    entries++;
  closedir(d);
  check("fd directory", entries >= 5);
  entries = 0;
  d = opendir("/proc/self/task");
  while (d && readdir(d))
    entries++;
  closedir(d);
  check("one thread", entries == 3);
  check("missing", open("/proc/self/nothing", O_RDONLY) == -1 && errno == ENOENT);
  check("no writing", open("/proc/self/stat", O_WRONLY) == -1 || getuid() == 0);
  return 0;
}
