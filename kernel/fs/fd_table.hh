// Descriptors: small numbers for open files. One table; all threads of the program share it.
//
// Owns: a reference to each open file. Errors: EBADF, EMFILE.
// Context: thread; guarded by its own mutex. Limits: descriptors_max.
#pragma once

#include "kernel/fs/node.hh"
#include "kernel/lib/vec.hh"
#include "kernel/sync/wait_queue.hh"

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
  int lowest_open(int from);  // -1: none; for /proc/self/fd

 private:
  struct slot {
    ref<file> open;
    bool close_on_exec = false;
  };
  slot* find(int fd);
  mutex _mutex;
  vec<slot> _slots;
};

}  // namespace solaster::kernel::fs
