// Files in memory: the root file system. The initrd's files stay where the boot loader put them until they are written
// to; what programs create lives in frames of the file's own, which shared mappings map.
//
// Limits: one file at most ramfs_max_file_bytes; ENOSPC when memory is short.
// Context: thread; the tree's mutex (path.hh) guards directories, a file's own mutexes its content.
#pragma once

#include <boost/intrusive/set.hpp>
#include <span>

#include "kernel/fs/node.hh"
#include "kernel/lib/vec.hh"
#include "kernel/lib/walk_pace.hh"
#include "kernel/mm/page_source.hh"
#include "kernel/sync/wait_queue.hh"

namespace solaster::kernel::fs {

inline constexpr uint64_t ramfs_max_file_bytes = 1ull << 30;

// Children are found by name in a tree ordered by a hash of it, and listed in the order of their cookies, which is that
// of their arrival.
class ram_directory : public node {
 public:
  explicit ram_directory(uint32_t permissions) : node(node_type::directory, permissions) {}
  ~ram_directory() override;
  result<ref<file>> open(uint32_t flags) override;
  status set_permissions(uint32_t permissions) override;
  result<ref<node>> find_child(std::string_view name) override;
  status add_child(std::string_view name, ref<node> child) override;
  status remove_child(std::string_view name) override;
  status next_child(uint64_t after, directory_entry& out) override;
  result<ref<node>> make_file(uint32_t permissions) override;
  result<ref<node>> make_directory(uint32_t permissions) override;

  // Both trees hold the same entries, each child is here and nowhere else. The tree's mutex is held.
  bool is_valid() const;

 protected:
  // As add_child, for what the kernel itself puts into a fixed file system.
  status put(std::string_view name, ref<node> child);
  friend void must_add(ram_directory& parent, std::string_view name, ref<node> child);

 private:
  struct by_name;
  struct by_cookie;
  using name_hook = boost::intrusive::set_base_hook<boost::intrusive::tag<by_name>>;
  using cookie_hook = boost::intrusive::set_base_hook<boost::intrusive::tag<by_cookie>>;
  struct key {
    uint64_t hash;
    std::string_view name;
    bool operator<(const key& o) const { return hash != o.hash ? hash < o.hash : name < o.name; }
  };
  struct entry : name_hook, cookie_hook {
    uint64_t hash;
    uint64_t cookie;
    ref<fs::node> child;  // it has the name
  };
  struct key_of_entry {
    using type = key;
    key operator()(const entry& e) const { return {e.hash, e.child->name()}; }
  };
  struct cookie_of_entry {
    using type = uint64_t;
    uint64_t operator()(const entry& e) const { return e.cookie; }
  };
  using name_set = boost::intrusive::set<entry, boost::intrusive::base_hook<name_hook>,
                                         boost::intrusive::key_of_value<key_of_entry>>;
  using cookie_set = boost::intrusive::set<entry, boost::intrusive::base_hook<cookie_hook>,
                                           boost::intrusive::key_of_value<cookie_of_entry>>;
  void check();

  name_set _names;
  cookie_set _listing;
  uint64_t _last_cookie = dots_cookie;
  [[no_unique_address]] walk_pace _pace;
};

class ram_file final : public node, public mm::page_source {
 public:
  explicit ram_file(uint32_t permissions) : node(node_type::regular, permissions) {}
  // Content that stays in place, borrowed for ever (the initrd is never given back while the program runs).
  ram_file(uint32_t permissions, std::span<const uint8_t> content)
      : node(node_type::regular, permissions), _borrowed(content), _size(content.size()) {}
  ~ram_file() override;
  result<ref<file>> open(uint32_t flags) override;
  void fill_stat(abi::stat& out) const override;
  uint64_t size() const override { return _size.load(std::memory_order_relaxed); }
  status truncate(uint64_t size) override;
  std::span<const uint8_t> stable_content() const override;
  mm::page_source* pages() override { return this; }
  void keep_as_program() override { _is_program.store(true); }
  result<size_t> read_at(uint64_t offset, io& to);
  // With `append` at the file's end, whatever `offset` says.
  result<size_t> write_at(uint64_t offset, io& from, bool append);

  // page_source
  void add_ref() const override { node::add_ref(); }
  void drop_ref() const override { node::drop_ref(); }
  result<mm::phys_addr> shared_page(uint64_t index) override;
  status copy_page(uint64_t index, std::byte* to) override;
  void put_name(text& out) const override;

 private:
  std::span<const uint8_t> bytes_at(uint64_t offset);
  result<std::byte*> own_page(uint64_t index);
  void free_pages_from(uint64_t first);
  // Pages are counted, and none lies behind the end. Both mutexes are held.
  bool is_valid() const;

  // Serialises reads, writes and truncation. Held while the program's memory is copied, whose faults may ask for this
  // file's pages: so those take the second mutex only.
  mutex _mutex;
  // Guards the fields below; nobody sleeps on anything else, or touches program memory, under it. A page goes, and the
  // size or _borrowed changes, with both held: a page found under either stays while that one is held.
  mutable mutex _pages_mutex;
  std::span<const uint8_t> _borrowed;  // the content of pages that are not the file's own
  vec<mm::phys_addr> _pages;           // the file's own; 0: borrowed, or zeros
  uint64_t _page_count = 0;            // of those that are not 0
  std::atomic<uint64_t> _size = 0;
  std::atomic<bool> _is_program{false};
};

class ram_symlink : public node {
 public:
  explicit ram_symlink(std::string_view target);
  result<ref<file>> open(uint32_t) override { return errc::loop; }
  status read_target(text& out) const override {
    out << std::string_view(_target.get(), _length);
    return {};
  }
  uint64_t size() const override { return _length; }

 private:
  std::unique_ptr<char[]> _target;
  size_t _length = 0;
};

// An open directory; getdents64 walks it by cookies.
class directory_file : public file {
 public:
  directory_file(ref<node> of, uint32_t flags) : file(of, flags) {}
  bool seekable() const override { return true; }
  result<size_t> read(io&, uint64_t) override { return errc::isdir; }
};
result<ref<file>> open_directory(node& of, uint32_t flags);

}  // namespace solaster::kernel::fs
