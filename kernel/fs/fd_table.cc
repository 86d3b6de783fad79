#include "kernel/fs/fd_table.hh"

#include "kernel/lib/panic.hh"

namespace solaster::kernel::fs {

void fd_table::set_bit(u64 (&bits)[words], int fd, bool value) {
  u64 mask = u64{1} << (unsigned(fd) % word_bits);
  u64& word = bits[unsigned(fd) / word_bits];
  word = value ? word | mask : word & ~mask;
}

// The lowest from `from` on that is open, or is not; -1: none.
int fd_table::find(int from, bool open) const {
  if (from < 0 || from >= descriptors_max)
    return -1;
  u64 keep = ~u64{0} << (unsigned(from) % word_bits);
  for (unsigned w = unsigned(from) / word_bits; w < words; w++, keep = ~u64{0}) {
    u64 candidates = (open ? _open[w] : ~_open[w]) & keep;
    if (candidates)
      return int(w * word_bits) + __builtin_ctzll(candidates);
  }
  return -1;
}

result<ref<file>> fd_table::get(int fd) {
  if (!is_in_range(fd))
    return errc::badf;
  lock_guard guard(_lock);
  if (!_files[fd])
    return errc::badf;
  return _files[fd];
}

result<int> fd_table::add(ref<file> f, bool close_on_exec, int from) {
  lock_guard guard(_lock);
  int fd = find(from, false);
  if (fd < 0 || fd >= _limit.load(std::memory_order_relaxed))
    return errc::mfile;
  _files[fd] = std::move(f);
  set_bit(_open, fd, true);
  set_bit(_close_on_exec, fd, close_on_exec);
  KDCHECK(is_valid());
  return fd;
}

status fd_table::set(int fd, ref<file> f, bool close_on_exec) {
  if (!is_in_range(fd) || fd >= _limit.load(std::memory_order_relaxed))
    return errc::badf;
  lock_guard guard(_lock);
  std::swap(_files[fd], f);  // the old one goes with `f`, after the lock
  set_bit(_open, fd, true);
  set_bit(_close_on_exec, fd, close_on_exec);
  KDCHECK(is_valid());
  guard.unlock();
  return {};
}

status fd_table::close(int fd) {
  if (!is_in_range(fd))
    return errc::badf;
  ref<file> old;
  lock_guard guard(_lock);
  if (!_files[fd])
    return errc::badf;
  std::swap(_files[fd], old);
  set_bit(_open, fd, false);
  set_bit(_close_on_exec, fd, false);
  guard.unlock();
  return {};
}

void fd_table::close_range(unsigned first, unsigned last) {
  for (int fd = lowest_open(int(first)); fd >= 0 && unsigned(fd) <= last; fd = lowest_open(fd + 1))
    (void)close(fd);  // EBADF: another thread closed it first
}

result<bool> fd_table::close_on_exec(int fd) {
  lock_guard guard(_lock);
  if (!is_in_range(fd) || !_files[fd])
    return errc::badf;
  return bit(_close_on_exec, fd);
}

status fd_table::set_close_on_exec(int fd, bool value) {
  lock_guard guard(_lock);
  if (!is_in_range(fd) || !_files[fd])
    return errc::badf;
  set_bit(_close_on_exec, fd, value);
  return {};
}

int fd_table::lowest_open(int from) {
  lock_guard guard(_lock);
  return find(from, true);
}

bool fd_table::is_valid() const {
  for (int fd = 0; fd < descriptors_max; fd++)
    if (bit(_open, fd) != bool(_files[fd]) || (bit(_close_on_exec, fd) && !_files[fd]))
      return false;
  return true;
}

}  // namespace solaster::kernel::fs
