#include "kernel/fs/node.hh"

#include <atomic>
#include <cstring>

#include "kernel/mm/user_access.hh"

namespace solaster::kernel::fs {

namespace {

std::atomic<uint64_t> last_ino{0};

// SAFETY: only of a transfer that io::kernel made from a pointer.
void* kernel_pointer(uint64_t address) {
  return reinterpret_cast<void*>(address);
}

}  // namespace

uint64_t next_ino() {
  return last_ino.fetch_add(1, std::memory_order_relaxed) + 1;
}

result<size_t> io::put(const void* source, size_t n) {
  if (n > _left)
    n = _left;
  if (_user) {
    size_t moved = mm::copy_out_partial(mm::program_pointer<void>(_address), source, n);
    if (moved == 0 && n)
      return errc::fault;
    n = moved;
  } else {
    std::memcpy(kernel_pointer(_address), source, n);
  }
  _address += n;
  _left -= n;
  return n;
}

result<size_t> io::get(void* destination, size_t n) {
  if (n > _left)
    n = _left;
  if (_user) {
    size_t moved = mm::copy_in_partial(destination, mm::program_pointer<const void>(_address), n);
    if (moved == 0 && n)
      return errc::fault;
    n = moved;
  } else {
    std::memcpy(destination, kernel_pointer(_address), n);
  }
  _address += n;
  _left -= n;
  return n;
}

result<size_t> io::put_zeros(size_t n) {
  static const char zeros[512] = {};
  size_t total = 0;
  while (total < n && _left) {
    auto moved = put(zeros, n - total < sizeof zeros ? n - total : sizeof zeros);
    if (!moved)
      return total ? result<size_t>(total) : moved;
    total += *moved;
  }
  return total;
}

node::node(node_type type, uint32_t permissions) : _type(type), _permissions(permissions), _ino(next_ino()) {}

void node::fill_stat(abi::stat& out) const {
  out = {};
  out.dev = 1;
  out.ino = _ino;
  out.nlink = is_directory() ? 2 : 1;
  out.mode = uint32_t(_type) << 12 | _permissions;
  out.size = int64_t(size());
  out.blksize = 4096;
  out.blocks = (out.size + 511) / 512;
}

void node::set_name(std::string_view name) {
  _name_length = uint8_t(name.size() < sizeof _name ? name.size() : sizeof _name);
  std::memcpy(_name, name.data(), _name_length);
}

result<ref<node>> node::find_child(std::string_view) {
  return errc::notdir;
}
status node::add_child(std::string_view, ref<node>) {
  return is_directory() ? fail(errc::perm) : fail(errc::notdir);
}
status node::remove_child(std::string_view) {
  return is_directory() ? fail(errc::perm) : fail(errc::notdir);
}
result<directory_entry> node::child_at(size_t) {
  return errc::notdir;
}
result<ref<node>> node::make_file(uint32_t) {
  return errc::acces;
}
result<ref<node>> node::make_directory(uint32_t) {
  return errc::acces;
}

void file::set_status_flags(uint32_t flags) {
  constexpr uint32_t settable = abi::o_append | abi::o_nonblock;
  _flags = (_flags & ~settable) | (flags & settable);
}

void file::fill_stat(abi::stat& out) const {
  if (_node)
    return _node->fill_stat(out);
  out = {};
  out.dev = 2;
  out.ino = 1;
  out.nlink = 1;
  out.mode = 0600;
  out.blksize = 4096;
}

}  // namespace solaster::kernel::fs
