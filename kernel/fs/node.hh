// What the file system is made of: nodes (what a path names) and files (what an open made of one).
//
// Owns: a directory holds references to its children; a file holds one to its node.
// Errors: status with Linux's numbers. A method that a kind of node has no meaning for fails as Linux does.
// Context: thread, may sleep, may allocate. The tree is guarded by one mutex (path.cc); files guard themselves.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernel/abi/file.hh"
#include "kernel/lib/errno.hh"
#include "kernel/lib/ref.hh"

namespace solaster::kernel::fs {

// A transfer's memory, the program's or the kernel's own, consumed from the front as data moves.
class io {
 public:
  static io user(uint64_t address, size_t length) { return io(address, length, true); }
  // SAFETY: the address becomes this pointer again, and only there.
  static io kernel(void* p, size_t length) { return io(reinterpret_cast<uint64_t>(p), length, false); }
  size_t left() const { return _left; }
  uint64_t address() const { return _address; }
  // Copies min(n, left()) bytes into / out of the transfer's memory; returns how many. EFAULT: the program's pointer is
  // bad and nothing at all could be moved.
  result<size_t> put(const void* source, size_t n);
  result<size_t> get(void* destination, size_t n);
  result<size_t> put_zeros(size_t n);

 private:
  io(uint64_t address, size_t length, bool user) : _address(address), _left(length), _user(user) {}
  uint64_t _address;
  size_t _left;
  bool _user;
};

class file;

enum class node_type : uint8_t { fifo = 1, character = 2, directory = 4, regular = 8, symlink = 10 };

struct directory_entry {
  std::string_view name;  // valid while the tree is locked
  uint64_t ino;
  node_type type;
};

class node : public counted {
 public:
  node(node_type type, uint32_t permissions);

  node_type type() const { return _type; }
  uint64_t ino() const { return _ino; }
  uint32_t permissions() const { return _permissions; }
  bool is_directory() const { return _type == node_type::directory; }
  bool is_symlink() const { return _type == node_type::symlink; }

  virtual void fill_stat(abi::stat& out) const;
  virtual result<ref<file>> open(uint32_t flags) = 0;
  virtual bool writable() const { return true; }  // EROFS / EACCES otherwise

  // Directories.
  virtual result<ref<node>> find_child(std::string_view name);
  virtual status add_child(std::string_view name, ref<node> child);
  virtual status remove_child(std::string_view name);
  virtual result<directory_entry> child_at(size_t index);  // ENOENT past the end
  virtual result<ref<node>> make_file(uint32_t permissions);
  virtual result<ref<node>> make_directory(uint32_t permissions);
  node* parent() const { return _parent; }
  void set_parent(node* parent) { _parent = parent; }
  // The name under which a directory is known in its parent (for getcwd and /proc/self/fd).
  std::string_view name() const { return {_name, _name_length}; }
  void set_name(std::string_view name);

  // Symbolic links.
  virtual result<std::string_view> target() const { return errc::inval; }

  // Regular files.
  virtual uint64_t size() const { return 0; }
  virtual status truncate(uint64_t) { return errc::inval; }
  // Content that stays where it is for ever (the initrd's): what may be mapped without a copy. Empty otherwise.
  virtual std::span<const uint8_t> stable_content() const { return {}; }
  // Reads for the kernel (file mappings). Short at the end.
  virtual result<size_t> read_at(uint64_t, io&) { return errc::inval; }

 private:
  node_type _type;
  uint8_t _name_length = 0;
  uint32_t _permissions;
  uint64_t _ino;
  node* _parent = nullptr;  // a directory's; the root's is itself. Borrowed: a parent outlives its children.
  char _name[64] = {};
};

// An open file description: what descriptors made by dup share.
class file : public counted {
 public:
  file(ref<node> of, uint32_t flags) : _node(of), _flags(flags) {}

  node* of() const { return _node.get(); }
  uint32_t flags() const { return _flags; }
  void set_status_flags(uint32_t flags);  // F_SETFL: O_APPEND, O_NONBLOCK
  bool readable() const { return !(_flags & abi::o_path) && (_flags & abi::o_accmode) != abi::o_wronly; }
  bool can_write() const { return !(_flags & abi::o_path) && (_flags & abi::o_accmode) != abi::o_rdonly; }
  bool nonblocking() const { return _flags & abi::o_nonblock; }

  virtual bool seekable() const { return false; }
  // `offset` is the position for seekable files; others ignore it. Returns the bytes moved, 0 at the end.
  virtual result<size_t> read(io&, uint64_t) { return errc::inval; }
  virtual result<size_t> write(io&, uint64_t) { return errc::inval; }
  virtual uint64_t size() const { return _node ? _node->size() : 0; }
  // Events of `poll` that hold now. A file whose answer changes later calls poll_changed().
  virtual uint32_t poll() { return abi::poll_in | abi::poll_out | abi::poll_rdnorm | abi::poll_wrnorm; }
  virtual result<int64_t> ioctl(uint32_t, uint64_t) { return errc::notty; }
  virtual void fill_stat(abi::stat& out) const;
  // What /proc/self/fd shows for files without a path ("pipe:[7]").
  virtual std::string_view kind() const { return "anon_inode"; }

  uint64_t position = 0;  // guarded by the descriptor table's position lock

 private:
  ref<node> _node;
  uint32_t _flags;
};

// Wakes every thread in poll(), which looks again.
void poll_changed();

uint64_t next_ino();
inline uint64_t make_dev(uint32_t major, uint32_t minor) {
  return uint64_t{major} << 8 | minor;
}

}  // namespace solaster::kernel::fs
