#include "kernel/fs/ramfs.hh"

#include <algorithm>
#include <cstring>

#include "kernel/fs/path.hh"
#include "kernel/lib/panic.hh"
#include "kernel/mm/shortage.hh"

namespace solaster::kernel::fs {

namespace {

class ram_open_file : public file {
 public:
  ram_open_file(ref<node> of, uint32_t flags) : file(std::move(of), flags) {}
  bool seekable() const override { return true; }
  result<size_t> read(io& to, uint64_t offset) override { return content().read_at(offset, to); }
  result<size_t> write(io& from, uint64_t offset) override {
    return content().write_at(offset, from, flags() & abi::o_append);
  }

 private:
  // Only ram_file::open makes these.
  ram_file& content() const { return static_cast<ram_file&>(*of()); }
};

std::byte* frame_bytes(mm::phys_addr p) {
  return mm::phys_to_virt<std::byte>(p);
}

size_t page_index(uint64_t offset) {
  return size_t(offset / page_size);
}

uint64_t pages_of(uint64_t bytes) {
  return (bytes + page_size - 1) / page_size;
}

// FNV-1a. A program that makes names collide only slows itself down, and only to a comparison of names.
uint64_t hash_of(std::string_view name) {
  uint64_t h = 0xcbf29ce484222325;
  for (char c : name)
    h = (h ^ uint8_t(c)) * 0x100000001b3;
  return h;
}

}  // namespace

// Directories. Callers hold the tree's mutex.

ram_directory::~ram_directory() {
  _names.clear();
  _listing.clear_and_dispose([](entry* e) { delete e; });
}

result<ref<file>> open_directory(node& of, uint32_t flags) {
  if ((flags & abi::o_accmode) != abi::o_rdonly && !(flags & abi::o_path))
    return errc::isdir;
  auto f = make_ref<directory_file>(ref<node>(&of), flags);
  if (!f)
    return errc::nomem;
  return ref<file>(std::move(f));
}

result<ref<file>> ram_directory::open(uint32_t flags) {
  return open_directory(*this, flags);
}

status ram_directory::set_permissions(uint32_t permissions) {
  if (mount()->is_fixed)
    return errc::perm;
  return node::set_permissions(permissions);
}

result<ref<node>> ram_directory::find_child(std::string_view name) {
  auto found = _names.find(key{hash_of(name), name});
  if (found == _names.end())
    return errc::noent;
  return found->child;
}

status ram_directory::put(std::string_view name, ref<node> child) {
  if (name.size() > abi::name_max)
    return errc::nametoolong;
  if (is_removed())
    return errc::noent;
  name_set::insert_commit_data place;
  key wanted{hash_of(name), name};
  if (!_names.insert_check(wanted, place).second)
    return errc::exist;
  std::unique_ptr<entry> made(new (std::nothrow) entry);
  if (!made)
    return errc::nomem;
  TRY(child->place(*this, name));
  made->hash = wanted.hash;
  made->cookie = ++_last_cookie;
  made->child = std::move(child);
  _names.insert_commit(*made, place);
  _listing.push_back(*made.release());
  mark_modified();
  check();
  return {};
}

status ram_directory::add_child(std::string_view name, ref<node> child) {
  if (mount()->is_fixed)
    return mount()->no_create;
  if (mm::is_memory_short())
    return errc::nospc;
  return put(name, std::move(child));
}

status ram_directory::remove_child(std::string_view name) {
  if (mount()->is_fixed)
    return errc::perm;
  auto found = _names.find(key{hash_of(name), name});
  if (found == _names.end())
    return errc::noent;
  std::unique_ptr<entry> gone(&*found);
  _names.erase(found);
  _listing.erase(_listing.iterator_to(*gone));
  gone->child->mark_removed();
  gone->child->mark_changed();
  mark_modified();
  check();
  return {};
}

status ram_directory::next_child(uint64_t after, directory_entry& out) {
  auto found = _listing.upper_bound(after);
  if (found == _listing.end())
    return errc::noent;
  const node& child = *found->child;
  out.name = child.name(), out.ino = child.ino(), out.type = child.type(), out.cookie = found->cookie;
  return {};
}

result<ref<node>> ram_directory::make_file(uint32_t permissions) {
  if (mount()->is_fixed)
    return mount()->no_create;
  auto f = make_ref<ram_file>(permissions);
  if (!f)
    return errc::nomem;
  return ref<node>(std::move(f));
}

result<ref<node>> ram_directory::make_directory(uint32_t permissions) {
  if (mount()->is_fixed)
    return mount()->no_mkdir;
  auto d = make_ref<ram_directory>(permissions);
  if (!d)
    return errc::nomem;
  return ref<node>(std::move(d));
}

bool ram_directory::is_valid() const {
  if (_names.size() != _listing.size() || (is_removed() && !_names.empty()))
    return false;
  uint64_t last = dots_cookie;
  for (const entry& e : _listing) {
    const node& child = *e.child;
    if (e.cookie <= last || e.hash != hash_of(child.name()) || child.parent().get() != this || child.is_removed())
      return false;
    last = e.cookie;
  }
  const entry* before = nullptr;
  for (const entry& e : _names) {
    if (before && !(key_of_entry()(*before) < key_of_entry()(e)))
      return false;
    before = &e;
  }
  return last <= _last_cookie;
}

void ram_directory::check() {
  if (_pace.is_due(_names.size()))
    KCHECK(is_valid());
}

// Files.

ram_file::~ram_file() {
  for (auto p : _pages)
    if (p)
      mm::free_frames(p, 0);
}

result<ref<file>> ram_file::open(uint32_t flags) {
  if ((flags & abi::o_accmode) != abi::o_rdonly && _is_program.load())
    return errc::txtbsy;
  if ((flags & abi::o_trunc) && (flags & abi::o_accmode) != abi::o_rdonly)
    TRY(truncate(0));
  auto f = make_ref<ram_open_file>(ref<node>(this), flags);
  if (!f)
    return errc::nomem;
  return ref<file>(std::move(f));
}

void ram_file::fill_stat(abi::stat& out) const {
  node::fill_stat(out);
  mutex_guard guard(_pages_mutex);
  // What is borrowed takes space, too; a hole takes none.
  uint64_t pages = std::max(_page_count, pages_of(_borrowed.size()));
  out.blocks = int64_t(pages * (page_size / 512));
}

std::span<const uint8_t> ram_file::stable_content() const {
  mutex_guard guard(_pages_mutex);
  if (_page_count || _borrowed.size() != size())
    return {};
  return _borrowed;
}

// Bytes of the content from `offset` on, as far as they lie together; empty: zeros, up to the end of the page at least.
std::span<const uint8_t> ram_file::bytes_at(uint64_t offset) {
  mutex_guard guard(_pages_mutex);
  size_t index = page_index(offset), within = offset % page_size;
  if (index < _pages.size() && _pages[index])
    return {mm::phys_to_virt<const uint8_t>(_pages[index]) + within, page_size - within};
  if (offset >= _borrowed.size())
    return {};
  auto rest = _borrowed.subspan(offset);
  return _page_count ? rest.first(std::min<size_t>(rest.size(), page_size - within)) : rest;
}

// The page as the file's own, to be changed or mapped. _pages_mutex is held.
result<std::byte*> ram_file::own_page(uint64_t index) {
  if (index < _pages.size() && _pages[index])
    return frame_bytes(_pages[index]);
  if (mm::is_memory_short() || (_pages.size() <= index && !_pages.resize(index + 1)))
    return errc::nospc;
  mm::phys_addr p = mm::allocate_frames(0);
  if (!p)
    return errc::nospc;
  auto* to = frame_bytes(p);
  size_t have = 0;
  if (uint64_t start = index * page_size; start < _borrowed.size()) {
    have = std::min<size_t>(_borrowed.size() - start, page_size);
    std::memcpy(to, _borrowed.data() + start, have);
  }
  std::memset(to + have, 0, page_size - have);
  _pages[index] = p;
  _page_count++;
  return to;
}

result<size_t> ram_file::read_at(uint64_t offset, io& to) {
  mutex_guard guard(_mutex);
  size_t total = 0;
  while (to.left() && offset < size()) {
    size_t n = size_t(std::min<uint64_t>(to.left(), size() - offset));
    auto bytes = bytes_at(offset);
    n = std::min<size_t>(n, bytes.empty() ? page_size - offset % page_size : bytes.size());
    auto moved = bytes.empty() ? to.put_zeros(n) : to.put(bytes.data(), n);
    if (!moved && total == 0)
      return moved;
    if (!moved)
      break;
    total += *moved;
    offset += *moved;
    if (*moved < n)
      break;
  }
  if (total)
    mark_accessed();
  return total;
}

result<size_t> ram_file::write_at(uint64_t offset, io& from, bool append) {
  mutex_guard guard(_mutex);
  if (append)
    offset = size();
  size_t total = 0;
  errc error{};
  while (from.left() && error == errc{}) {
    if (offset >= ramfs_max_file_bytes) {
      error = errc::fbig;
      break;
    }
    std::byte* page = nullptr;
    {
      mutex_guard pages(_pages_mutex);
      auto own = own_page(page_index(offset));
      if (!own) {
        error = own.error();
        break;
      }
      page = *own;
    }
    size_t within = offset % page_size, n = std::min<size_t>(from.left(), page_size - within);
    auto moved = from.get(page + within, n);
    if (!moved || *moved < n)
      error = errc::fault;
    total += moved ? *moved : 0;
    offset += moved ? *moved : 0;
    if (offset > size()) {
      mutex_guard pages(_pages_mutex);
      _size.store(offset);
    }
  }
  if (error != errc{}) {
    mutex_guard pages(_pages_mutex);
    free_pages_from(pages_of(size()));  // one that was made for bytes that never came
  }
  if (total == 0 && error != errc{})
    return error;
  if (total)
    mark_modified();
  return total;
}

// Both mutexes are held, and no mapping has these pages.
void ram_file::free_pages_from(uint64_t first) {
  for (size_t i = first; i < _pages.size(); i++) {
    if (!_pages[i])
      continue;
    mm::free_frames(_pages[i], 0);
    _page_count--;
  }
  if (_pages.size() > first)
    (void)_pages.resize(first);  // shorter: cannot fail
  KDCHECK(is_valid());
}

status ram_file::truncate(uint64_t size) {
  mutex_guard guard(_mutex);
  if (size > ramfs_max_file_bytes)
    return errc::fbig;
  const uint64_t keep = pages_of(size);
  const bool shorter = size < this->size();
  {
    mutex_guard pages(_pages_mutex);
    _size.store(size);
    _borrowed = _borrowed.first(std::min<uint64_t>(_borrowed.size(), size));
    if (size_t within = size % page_size; within && keep <= _pages.size() && _pages[keep - 1])
      std::memset(frame_bytes(_pages[keep - 1]) + within, 0, page_size - within);
  }
  mark_modified();
  if (!shorter)
    return {};
  // From here on a fault finds these pages behind the end; what mapped them before forgets them, and they are free.
  mm::forget_source_pages(*this, keep);
  mutex_guard pages(_pages_mutex);
  free_pages_from(keep);
  return {};
}

result<mm::phys_addr> ram_file::shared_page(uint64_t index) {
  mutex_guard guard(_pages_mutex);
  if (index * page_size >= size())
    return errc::overflow;
  if (!own_page(index))
    return errc::nomem;
  return _pages[index];
}

status ram_file::copy_page(uint64_t index, std::byte* to) {
  mutex_guard guard(_pages_mutex);
  if (index * page_size >= size())
    return errc::overflow;
  size_t have = 0;
  if (index < _pages.size() && _pages[index]) {
    std::memcpy(to, frame_bytes(_pages[index]), have = page_size);
  } else if (uint64_t start = index * page_size; start < _borrowed.size()) {
    have = std::min<size_t>(_borrowed.size() - start, page_size);
    std::memcpy(to, _borrowed.data() + start, have);
  }
  std::memset(to + have, 0, page_size - have);
  return {};
}

void ram_file::put_name(text& out) const {
  (void)put_path(*this, out);
}

bool ram_file::is_valid() const {
  uint64_t count = 0;
  for (size_t i = 0; i < _pages.size(); i++) {
    count += _pages[i] != 0;
    if (_pages[i] % page_size || (_pages[i] && i * page_size >= size()))
      return false;
  }
  return count == _page_count && _borrowed.size() <= size();
}

ram_symlink::ram_symlink(std::string_view target) : node(node_type::symlink, 0777) {
  _target.reset(new (std::nothrow) char[target.size() + 1]());
  if (!_target)
    return;
  std::memcpy(_target.get(), target.data(), target.size());
  _length = target.size();
}

}  // namespace solaster::kernel::fs
