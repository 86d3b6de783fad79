#include "kernel/fs/node.hh"

#include <atomic>
#include <cstring>

#include "kernel/lib/panic.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/sched/clock.hh"

namespace solaster::kernel::fs {

namespace {

constexpr auto relaxed = std::memory_order_relaxed;
constexpr int64_t second_ns = 1'000'000'000;
constexpr int64_t relatime_ns = 24 * 3600 * second_ns;
constexpr uint32_t anonymous_device = 15;  // of pipes and events
std::atomic<uint64_t> last_ino{0};

abi::timespec to_timespec(int64_t ns) {
  int64_t seconds = ns / second_ns, rest = ns % second_ns;
  return rest < 0 ? abi::timespec{seconds - 1, rest + second_ns} : abi::timespec{seconds, rest};
}

// SAFETY: only of a transfer that io::kernel made from a pointer.
void* kernel_pointer(uint64_t address) {
  return reinterpret_cast<void*>(address);
}

}  // namespace

constinit const filesystem root_filesystem{"tmpfs", "/", abi::tmpfs_magic, 1, true, false, {}, {}};
constinit const filesystem dev_filesystem{"devtmpfs", "/dev", abi::tmpfs_magic, 2, true, false, {}, {}};
constinit const filesystem proc_filesystem{"proc", "/proc", abi::proc_magic, 3, false, true, errc::noent, errc::noent};
constinit const filesystem sys_filesystem{"sysfs", "/sys", abi::sysfs_magic, 4, false, true, errc::acces, errc::perm};

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

node::node(node_type type, uint32_t permissions, uint64_t ino)
    : _type(type), _permissions(permissions), _ino(ino ? ino : next_ino()) {
  int64_t now = realtime_ns();
  _accessed.store(now, relaxed);
  _modified.store(now, relaxed);
  _changed.store(now, relaxed);
}

void node::fill_stat(abi::stat& out) const {
  out = {};
  out.dev = _mount ? _mount->device : anonymous_device;
  out.ino = _ino;
  out.nlink = is_removed() ? 0 : is_directory() ? 2 : 1;
  out.mode = uint32_t(_type) << 12 | permissions();
  out.size = int64_t(size());
  out.blksize = 4096;
  out.blocks = (out.size + 511) / 512;
  out.atime = to_timespec(_accessed.load(relaxed));
  out.mtime = to_timespec(_modified.load(relaxed));
  out.ctime = to_timespec(_changed.load(relaxed));
}

status node::set_permissions(uint32_t permissions) {
  _permissions.store(permissions & 07777, relaxed);
  mark_changed();
  return {};
}

void node::mark_accessed() {
  int64_t now = realtime_ns(), before = _accessed.load(relaxed);
  if (before <= _modified.load(relaxed) || before <= _changed.load(relaxed) || now - before >= relatime_ns)
    _accessed.store(now, relaxed);
}
void node::mark_modified() {
  int64_t now = realtime_ns();
  _modified.store(now, relaxed);
  _changed.store(now, relaxed);
}
void node::mark_changed() {
  _changed.store(realtime_ns(), relaxed);
}
void node::set_times(const int64_t* accessed, const int64_t* modified) {
  if (accessed)
    _accessed.store(*accessed, relaxed);
  if (modified)
    _modified.store(*modified, relaxed);
  mark_changed();
}

status node::place(node& parent, std::string_view name) {
  KCHECK(!_parent && name.size() <= abi::name_max);
  _name.reset(new (std::nothrow) char[name.size()]);
  if (!_name)
    return errc::nomem;
  std::memcpy(_name.get(), name.data(), name.size());
  _name_length = uint8_t(name.size());
  _parent = ref<node>(&parent);
  if (!_mount)
    _mount = parent._mount;
  return {};
}

void node::be_root(const filesystem& of) {
  _mount = &of;
  if (!_parent && of.where == "/")
    _parent = ref<node>(this);
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
status node::next_child(uint64_t, directory_entry&) {
  return errc::notdir;
}
result<ref<node>> node::make_file(uint32_t) {
  return _mount && _mount->is_fixed ? _mount->no_create : errc::acces;
}
result<ref<node>> node::make_directory(uint32_t) {
  return _mount && _mount->is_fixed ? _mount->no_mkdir : errc::acces;
}
status node::read_target(text&) const {
  return errc::inval;
}

void file::set_status_flags(uint32_t flags) {
  constexpr uint32_t settable = abi::o_append | abi::o_nonblock;
  _flags = (_flags & ~settable) | (flags & settable);
}

void file::fill_stat(abi::stat& out) const {
  if (_node)
    return _node->fill_stat(out);
  out = {};
  out.dev = anonymous_device;
  out.ino = 1;
  out.nlink = 1;
  out.mode = 0600;
  out.blksize = 4096;
}

}  // namespace solaster::kernel::fs
