// Files in memory: the root file system. The initrd's files stay where the boot loader put them until they are written
// to; what programs create lives in chunks of kernel memory.
//
// Limits: chunks of a page, which fragmented memory still has; one file at most max_file_bytes.
// Context: thread; the tree's mutex (path.hh) guards directories, a file's own mutex its content.
#pragma once

#include <span>

#include "kernel/fs/node.hh"
#include "kernel/lib/vec.hh"
#include "kernel/sync/wait_queue.hh"

namespace solaster::kernel::fs {

inline constexpr uint64_t ramfs_chunk_bytes = 4096;
inline constexpr uint64_t ramfs_max_file_bytes = 1ull << 30;

class ram_directory : public node {
 public:
  explicit ram_directory(uint32_t permissions) : node(node_type::directory, permissions) {}
  result<ref<file>> open(uint32_t flags) override;
  result<ref<node>> find_child(std::string_view name) override;
  status add_child(std::string_view name, ref<node> child) override;
  status remove_child(std::string_view name) override;
  result<directory_entry> child_at(size_t index) override;
  result<ref<node>> make_file(uint32_t permissions) override;
  result<ref<node>> make_directory(uint32_t permissions) override;

 private:
  struct entry {
    std::unique_ptr<char[]> name;
    size_t length = 0;
    ref<node> child;
    std::string_view view() const { return {name.get(), length}; }
  };
  entry* find(std::string_view name);
  vec<entry> _entries;
};

class ram_file : public node {
 public:
  explicit ram_file(uint32_t permissions) : node(node_type::regular, permissions) {}
  // Content that stays in place, borrowed for ever (the initrd is never given back while the program runs).
  ram_file(uint32_t permissions, std::span<const uint8_t> content)
      : node(node_type::regular, permissions), _borrowed(content), _size(content.size()) {}
  ~ram_file() override;
  result<ref<file>> open(uint32_t flags) override;
  uint64_t size() const override { return _size; }
  status truncate(uint64_t size) override;
  std::span<const uint8_t> stable_content() const override { return _borrowed; }
  result<size_t> read_at(uint64_t offset, io& to) override;
  result<size_t> write_at(uint64_t offset, io& from, bool append);

 private:
  status own_content();
  result<uint8_t*> chunk_for(uint64_t offset);

  mutable mutex _mutex;
  std::span<const uint8_t> _borrowed;  // the whole content, while nobody wrote to it; then empty
  vec<uint8_t*> _chunks;               // null: a hole
  uint64_t _size = 0;
};

class ram_symlink : public node {
 public:
  explicit ram_symlink(std::string_view target);
  result<ref<file>> open(uint32_t) override { return errc::loop; }
  result<std::string_view> target() const override { return std::string_view{_target.get(), _length}; }
  uint64_t size() const override { return _length; }

 private:
  std::unique_ptr<char[]> _target;
  size_t _length = 0;
};

// An open directory; getdents64 walks it by index.
class directory_file : public file {
 public:
  directory_file(ref<node> of, uint32_t flags) : file(of, flags) {}
  bool seekable() const override { return true; }
  result<size_t> read(io&, uint64_t) override { return errc::isdir; }
};

}  // namespace solaster::kernel::fs
