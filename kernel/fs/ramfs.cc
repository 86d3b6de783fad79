#include "kernel/fs/ramfs.hh"

#include <algorithm>
#include <cstring>

#include "kernel/mm/shortage.hh"

namespace solaster::kernel::fs {

namespace {

class ram_open_file : public file {
 public:
  ram_open_file(ref<node> of, uint32_t flags) : file(of, flags) {}
  bool seekable() const override { return true; }
  result<size_t> read(io& to, uint64_t offset) override { return of()->read_at(offset, to); }
  result<size_t> write(io& from, uint64_t offset) override {
    return static_cast<ram_file*>(of())->write_at(offset, from, flags() & abi::o_append);
  }
};

}  // namespace

// Directories. Callers hold the tree's mutex.

ram_directory::entry* ram_directory::find(std::string_view name) {
  for (auto& e : _entries)
    if (e.view() == name)
      return &e;
  return nullptr;
}

result<ref<file>> ram_directory::open(uint32_t flags) {
  if ((flags & abi::o_accmode) != abi::o_rdonly && !(flags & abi::o_path))
    return errc::isdir;
  auto f = make_ref<directory_file>(ref<node>(this), flags);
  if (!f)
    return errc::nomem;
  return ref<file>(f);
}

result<ref<node>> ram_directory::find_child(std::string_view name) {
  entry* e = find(name);
  if (!e)
    return errc::noent;
  return e->child;
}

status ram_directory::add_child(std::string_view name, ref<node> child) {
  if (name.size() > abi::name_max)
    return errc::nametoolong;
  if (find(name))
    return errc::exist;
  if (mm::is_memory_short())
    return errc::nospc;
  entry e;
  e.name.reset(new (std::nothrow) char[name.size() + 1]());
  if (!e.name)
    return errc::nomem;
  std::memcpy(e.name.get(), name.data(), name.size());
  e.length = name.size();
  e.child = child;
  if (!_entries.push_back(std::move(e)))
    return errc::nomem;
  child->set_parent(this);
  child->set_name(name);
  return {};
}

status ram_directory::remove_child(std::string_view name) {
  entry* e = find(name);
  if (!e)
    return errc::noent;
  e->child->set_parent(nullptr);
  _entries.erase(size_t(e - _entries.begin()));
  return {};
}

result<directory_entry> ram_directory::child_at(size_t index) {
  if (index >= _entries.size())
    return errc::noent;
  auto& e = _entries[index];
  return directory_entry{e.view(), e.child->ino(), e.child->type()};
}

result<ref<node>> ram_directory::make_file(uint32_t permissions) {
  auto f = make_ref<ram_file>(permissions);
  if (!f)
    return errc::nomem;
  return ref<node>(f);
}

result<ref<node>> ram_directory::make_directory(uint32_t permissions) {
  auto d = make_ref<ram_directory>(permissions);
  if (!d)
    return errc::nomem;
  return ref<node>(d);
}

// Files.

ram_file::~ram_file() {
  for (auto* c : _chunks)
    delete[] c;
}

result<ref<file>> ram_file::open(uint32_t flags) {
  if ((flags & abi::o_trunc) && (flags & abi::o_accmode) != abi::o_rdonly)
    TRY(truncate(0));
  auto f = make_ref<ram_open_file>(ref<node>(this), flags);
  if (!f)
    return errc::nomem;
  return ref<file>(f);
}

// Before the first change: the content moves into chunks of our own.
status ram_file::own_content() {
  if (_borrowed.empty())
    return {};
  auto content = std::exchange(_borrowed, {});
  for (uint64_t done = 0; done < content.size(); done += ramfs_chunk_bytes) {
    auto chunk = chunk_for(done);
    if (!chunk) {
      _borrowed = content;
      return chunk.error();
    }
    std::memcpy(*chunk, content.data() + done, std::min<uint64_t>(content.size() - done, ramfs_chunk_bytes));
  }
  return {};
}

result<uint8_t*> ram_file::chunk_for(uint64_t offset) {
  size_t index = offset / ramfs_chunk_bytes;
  if (mm::is_memory_short() && (index >= _chunks.size() || !_chunks[index]))
    return errc::nospc;
  while (_chunks.size() <= index)
    if (!_chunks.push_back(nullptr))
      return errc::nospc;
  if (!_chunks[index])
    _chunks[index] = new (std::nothrow) uint8_t[ramfs_chunk_bytes]();
  if (!_chunks[index])
    return errc::nospc;
  return _chunks[index];
}

result<size_t> ram_file::read_at(uint64_t offset, io& to) {
  mutex_guard guard(_mutex);
  size_t total = 0;
  while (to.left() && offset < _size) {
    size_t n = size_t(std::min<uint64_t>(to.left(), _size - offset));
    result<size_t> moved = size_t{0};
    if (!_borrowed.empty()) {
      moved = to.put(_borrowed.data() + offset, n);
    } else {
      uint64_t within = offset % ramfs_chunk_bytes;
      n = size_t(std::min<uint64_t>(n, ramfs_chunk_bytes - within));
      size_t index = offset / ramfs_chunk_bytes;
      uint8_t* chunk = index < _chunks.size() ? _chunks[index] : nullptr;
      moved = chunk ? to.put(chunk + within, n) : to.put_zeros(n);
    }
    if (!moved)
      return total ? result<size_t>(total) : moved;
    total += *moved;
    offset += *moved;
    if (*moved < n)
      break;
  }
  return total;
}

result<size_t> ram_file::write_at(uint64_t offset, io& from, bool append) {
  mutex_guard guard(_mutex);
  TRY(own_content());
  if (append)
    offset = _size;
  size_t total = 0;
  while (from.left()) {
    if (offset >= ramfs_max_file_bytes)
      return total ? result<size_t>(total) : result<size_t>(fail(errc::fbig));
    auto chunk = chunk_for(offset);
    if (!chunk)
      return total ? result<size_t>(total) : chunk.error();
    uint64_t within = offset % ramfs_chunk_bytes;
    size_t n = size_t(std::min<uint64_t>(from.left(), ramfs_chunk_bytes - within));
    auto moved = from.get(*chunk + within, n);
    if (!moved)
      return total ? result<size_t>(total) : moved;
    total += *moved;
    offset += *moved;
    _size = std::max(_size, offset);
    if (*moved < n)
      break;
  }
  return total;
}

status ram_file::truncate(uint64_t size) {
  mutex_guard guard(_mutex);
  if (size > ramfs_max_file_bytes)
    return errc::fbig;
  if (size == 0)
    _borrowed = {};
  TRY(own_content());
  size_t keep = (size + ramfs_chunk_bytes - 1) / ramfs_chunk_bytes;
  while (_chunks.size() > keep) {
    delete[] _chunks[_chunks.size() - 1];
    _chunks.erase(_chunks.size() - 1);
  }
  uint64_t within = size % ramfs_chunk_bytes;
  if (within && keep <= _chunks.size() && _chunks[keep - 1])
    std::memset(_chunks[keep - 1] + within, 0, ramfs_chunk_bytes - within);
  _size = size;
  return {};
}

ram_symlink::ram_symlink(std::string_view target) : node(node_type::symlink, 0777) {
  _target.reset(new (std::nothrow) char[target.size() + 1]());
  if (!_target)
    return;
  std::memcpy(_target.get(), target.data(), target.size());
  _length = target.size();
}

}  // namespace solaster::kernel::fs
