// Descriptors: small numbers for open files. One table; all threads of the program share it.
//
// Owns: a reference to each open file. Errors: EBADF, EMFILE.
// Context: thread; a spinlock, so looking a file up never sleeps (poll's condition does it). A file is closed after the
// lock is given back. Limits: descriptors_max.
#pragma once

#include "kernel/fs/node.hh"
#include "kernel/sync/spinlock.hh"

namespace solaster::kernel::fs {

inline constexpr int descriptors_max = 1024;

class fd_table {
 public:
  result<ref<file>> get(int fd);
  // The lowest free descriptor that is at least `from`.
  result<int> add(ref<file> f, bool close_on_exec, int from = 0);
  status set(int fd, ref<file> f, bool close_on_exec);  // dup2: what was open there is closed
  status close(int fd);
  void close_range(unsigned first, unsigned last);
  result<bool> close_on_exec(int fd);
  status set_close_on_exec(int fd, bool value);
  // RLIMIT_NOFILE: new descriptors are below it; what is open above stays so.
  void set_limit(int limit) { _limit.store(limit, std::memory_order_relaxed); }
  int lowest_open(int from);  // -1: none; for /proc/self/fd

 private:
  static constexpr unsigned word_bits = 64, words = descriptors_max / word_bits;
  static bool is_in_range(int fd) { return unsigned(fd) < unsigned(descriptors_max); }
  static bool bit(const u64 (&bits)[words], int fd) {
    return bits[unsigned(fd) / word_bits] >> (unsigned(fd) % word_bits) & 1;
  }
  static void set_bit(u64 (&bits)[words], int fd, bool value);
  int find(int from, bool open) const;
  // The bits say which descriptors are open, and a closed one is not marked close-on-exec. The lock is held.
  bool is_valid() const;

  spinlock _lock{rank::object};
  std::atomic<int> _limit{descriptors_max};
  ref<file> _files[descriptors_max];
  u64 _open[words] = {};
  u64 _close_on_exec[words] = {};
};

}  // namespace solaster::kernel::fs
