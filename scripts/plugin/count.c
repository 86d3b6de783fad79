// A QEMU TCG plugin that counts executed guest instructions, and on request how often each block of them ran.
//
//   -plugin libcount.so,shm=FILE[,profile=on]
//
// FILE is mapped shared, so that the figures can be read (and the difference of two readings taken) while the guest
// runs; its layout is struct shared below, read by scripts/solaster/plugin.py. Debian's QEMU 7.2 supports plugins but
// ships no qemu-plugin.h: the few functions needed are declared here, from the API's documentation (plugin API version
// 1).
//
// Exact with one virtual CPU: the adds are plain, so two CPUs lose some of each other's. A block counts as executed
// whole when it is entered, so a fault in its middle counts the rest too; that is rare enough not to show.
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
typedef struct qemu_info_t qemu_info_t;
enum { PLUGIN_INLINE_ADD_U64 = 0 };

typedef void (*tb_trans_cb)(qemu_plugin_id_t, struct qemu_plugin_tb*);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_trans_cb);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb*, int op, void* counter, uint64_t imm);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb*);

enum { BLOCKS_MAX = 1 << 18, SLOTS = BLOCKS_MAX * 2 };

struct block {
  uint64_t vaddr;         // of the first instruction
  uint64_t instructions;  // in the block
  uint64_t executed;      // times it was entered
};

struct shared {
  uint64_t magic;
  uint64_t instructions;
  uint64_t block_count;
  struct block blocks[BLOCKS_MAX];
};

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static struct shared* shared;
static bool profile;
static uint32_t slots[SLOTS];  // hash of (vaddr, instructions) -> index + 1 into blocks

// Translations are made under QEMU's lock, so this needs none. A block translated again is found again.
static struct block* find_block(uint64_t vaddr, uint64_t n) {
  uint64_t h = (vaddr * 0x9e3779b97f4a7c15u + n) >> 40;
  for (;; h++) {
    uint32_t* slot = &slots[h % SLOTS];
    if (*slot) {
      struct block* b = &shared->blocks[*slot - 1];
      if (b->vaddr == vaddr && b->instructions == n)
        return b;
      continue;
    }
    if (shared->block_count == BLOCKS_MAX)
      return NULL;
    struct block* b = &shared->blocks[shared->block_count++];
    b->vaddr = vaddr;
    b->instructions = n;
    *slot = (uint32_t)shared->block_count;
    return b;
  }
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
  (void)id;
  uint64_t n = qemu_plugin_tb_n_insns(tb);
  qemu_plugin_register_vcpu_tb_exec_inline(tb, PLUGIN_INLINE_ADD_U64, &shared->instructions, n);
  if (profile) {
    struct block* b = find_block(qemu_plugin_tb_vaddr(tb), n);
    if (b)
      qemu_plugin_register_vcpu_tb_exec_inline(tb, PLUGIN_INLINE_ADD_U64, &b->executed, 1);
  }
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc,
                                                               char** argv) {
  (void)info;
  const char* path = NULL;
  for (int i = 0; i < argc; i++) {
    if (strncmp(argv[i], "shm=", 4) == 0)
      path = argv[i] + 4;
    profile |= strcmp(argv[i], "profile=on") == 0;
  }
  int fd = path ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
  if (fd < 0 || ftruncate(fd, sizeof(struct shared)) != 0) {
    fprintf(stderr, "count plugin: cannot open %s\n", path ? path : "its file (shm=FILE)");
    return -1;
  }
  shared = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (shared == MAP_FAILED)
    return -1;
  shared->magic = 0x536f6c61;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
  return 0;
}
