#include "kernel/fs/fd_table.hh"

namespace solaster::kernel::fs {

fd_table::slot* fd_table::find(int fd) {
  if (fd < 0 || size_t(fd) >= _slots.size() || !_slots[size_t(fd)].open)
    return nullptr;
  return &_slots[size_t(fd)];
}

result<ref<file>> fd_table::get(int fd) {
  mutex_guard guard(_mutex);
  auto* s = find(fd);
  if (!s)
    return errc::badf;
  return s->open;
}

result<int> fd_table::add(ref<file> f, bool close_on_exec, int from) {
  mutex_guard guard(_mutex);
  size_t fd = size_t(from);
  while (fd < _slots.size() && _slots[fd].open)
    fd++;
  if (fd >= size_t(descriptors_max))
    return errc::mfile;
  if (fd >= _slots.size() && !_slots.resize(fd + 1))
    return errc::nomem;
  _slots[fd] = slot{f, close_on_exec};
  return int(fd);
}

status fd_table::set(int fd, ref<file> f, bool close_on_exec) {
  if (fd < 0 || fd >= descriptors_max)
    return errc::badf;
  slot old;  // dropped after the mutex
  {
    mutex_guard guard(_mutex);
    if (size_t(fd) >= _slots.size() && !_slots.resize(size_t(fd) + 1))
      return errc::nomem;
    old = std::move(_slots[size_t(fd)]);
    _slots[size_t(fd)] = slot{f, close_on_exec};
  }
  return {};
}

status fd_table::close(int fd) {
  slot old;
  {
    mutex_guard guard(_mutex);
    auto* s = find(fd);
    if (!s)
      return errc::badf;
    old = std::move(*s);
    *s = slot();
  }
  return {};
}

void fd_table::close_range(unsigned first, unsigned last) {
  for (int fd = int(first); fd < descriptors_max && unsigned(fd) <= last; fd++)
    (void)close(fd);
}

result<bool> fd_table::close_on_exec(int fd) {
  mutex_guard guard(_mutex);
  auto* s = find(fd);
  if (!s)
    return errc::badf;
  return s->close_on_exec;
}

status fd_table::set_close_on_exec(int fd, bool value) {
  mutex_guard guard(_mutex);
  auto* s = find(fd);
  if (!s)
    return errc::badf;
  s->close_on_exec = value;
  return {};
}

int fd_table::lowest_open(int from) {
  mutex_guard guard(_mutex);
  for (int fd = from; size_t(fd) < _slots.size(); fd++)
    if (find(fd))
      return fd;
  return -1;
}

}  // namespace solaster::kernel::fs
