// What the file system is made of: nodes (what a path names) and files (what an open made of one).
//
// Owns: a directory holds references to its children, a node one to its parent; a file holds one to its node.
// Errors: status with Linux's numbers. A method that a kind of node has no meaning for fails as Linux does.
// Context: thread, may sleep, may allocate. The tree is guarded by one mutex (path.cc); files guard themselves.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "kernel/abi/file.hh"
#include "kernel/lib/errno.hh"
#include "kernel/lib/ref.hh"
#include "kernel/lib/text.hh"
#include "kernel/sync/wait_queue.hh"

namespace solaster::kernel::mm {
class page_source;
}

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

// What a mount is on Linux: the root, /dev, /proc and /sys differ in what may be changed in them and in what statfs
// says.
struct filesystem {
  std::string_view type;   // as /proc/mounts names it
  std::string_view where;  // the directory that is its root
  int64_t magic;           // statfs::type
  uint32_t device;         // stat::dev
  bool has_space;          // statfs shows the machine's memory
  bool is_fixed;           // nothing can be made or removed in it
  errc no_create;          // then: what making a file fails with
  errc no_mkdir;           // and a directory
};
extern const filesystem root_filesystem, dev_filesystem, proc_filesystem, sys_filesystem;

// One entry of a listing.
struct directory_entry {
  std::string_view name;  // valid while the tree is locked and this object lives
  uint64_t ino;
  node_type type;
  uint64_t cookie;  // where the listing goes on: entries that stay are seen once, whatever comes and goes meanwhile
  char number[24];  // room for names that are numbers
};
// Cookies of "." and ".."; children come after them.
inline constexpr uint64_t dots_cookie = 2;

class node : public counted {
 public:
  // `ino` 0: a new one.
  node(node_type type, uint32_t permissions, uint64_t ino = 0);

  node_type type() const { return _type; }
  uint64_t ino() const { return _ino; }
  uint32_t permissions() const { return _permissions.load(std::memory_order_relaxed); }
  bool is_directory() const { return _type == node_type::directory; }
  bool is_symlink() const { return _type == node_type::symlink; }

  virtual void fill_stat(abi::stat& out) const;
  virtual result<ref<file>> open(uint32_t flags) = 0;
  // chmod. EPERM where Linux keeps the mode fixed.
  virtual status set_permissions(uint32_t permissions);

  // Times, in nanoseconds since 1970. Any thread.
  void mark_accessed();  // as Linux's relatime: only when that says something new
  void mark_modified();  // content: modification and change
  void mark_changed();   // what stat shows
  void set_times(const int64_t* accessed, const int64_t* modified);  // null: kept

  // Where the node is. A directory that takes it in gives it its place; a node has one place at most in its life, which
  // never changes: so parent() and name() need no lock, and a removed node still knows where it was. The parent is
  // counted: it outlives the node whatever is removed. A cycle (the directory holds the node) ends with the removal.
  status place(node& parent, std::string_view name);
  void be_root(const filesystem& of);  // of the tree, or of a file system in it
  void mark_removed() { _removed.store(true); }
  bool is_removed() const { return _removed.load(); }
  const ref<node>& parent() const { return _parent; }
  std::string_view name() const { return {_name.get(), _name_length}; }
  const filesystem* mount() const { return _mount; }  // null: in no tree

  // Directories. All but open() are called with the tree's mutex held.
  virtual result<ref<node>> find_child(std::string_view name);
  virtual status add_child(std::string_view name, ref<node> child);
  virtual status remove_child(std::string_view name);
  virtual status next_child(uint64_t after, directory_entry& out);  // ENOENT at the end
  virtual result<ref<node>> make_file(uint32_t permissions);
  virtual result<ref<node>> make_directory(uint32_t permissions);

  // Symbolic links. A link of /proc that stands for an object leads to it directly (null: follow the text).
  virtual status read_target(text& out) const;
  virtual result<ref<node>> jump() const { return ref<node>(); }

  // Regular files.
  virtual uint64_t size() const { return 0; }
  virtual status truncate(uint64_t) { return errc::inval; }
  // The whole content, if it lies where it will stay for ever (the initrd's). Empty otherwise.
  virtual std::span<const uint8_t> stable_content() const { return {}; }
  // What mappings of the file take their pages from; null: it cannot be mapped.
  virtual mm::page_source* pages() { return nullptr; }
  // Nobody writes to it from now on (ETXTBSY): the program that runs.
  virtual void keep_as_program() {}

 private:
  node_type _type;
  uint8_t _name_length = 0;
  std::atomic<bool> _removed{false};
  std::atomic<uint32_t> _permissions;
  uint64_t _ino;
  std::atomic<int64_t> _accessed, _modified, _changed;
  const filesystem* _mount = nullptr;
  ref<node> _parent;  // the root's is itself
  std::unique_ptr<char[]> _name;
};

// An open file description: what descriptors made by dup share.
class file : public counted {
 public:
  file(ref<node> of, uint32_t flags) : _node(of), _flags(flags) {}

  node* of() const { return _node.get(); }
  uint32_t flags() const { return _flags; }
  void set_status_flags(uint32_t flags);  // F_SETFL: O_APPEND, O_NONBLOCK
  bool is_path() const { return _flags & abi::o_path; }
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

  mutex position_lock;    // held by a transfer at the file's own position
  uint64_t position = 0;  // guarded by it

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
