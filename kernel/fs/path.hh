// From paths to nodes.
//
// Spec: path_resolution(7), without mount points that programs make and without permissions (there is one user, root).
// Context: thread, may sleep; every function takes the tree's mutex itself, but path_of, which needs none. Limits:
// links_max symbolic links in one walk.
#pragma once

#include <string_view>

#include "kernel/fs/node.hh"
#include "kernel/sync/wait_queue.hh"

namespace solaster::kernel::fs {

inline constexpr int links_max = 40;

class ram_directory;

enum class follow : bool { no, yes };  // a symbolic link at the end of the path

mutex& tree_mutex();
const ref<node>& root();

result<ref<node>> resolve(node* start, std::string_view path, follow last);

result<ref<file>> open(node* start, std::string_view path, uint32_t flags, uint32_t mode);
result<ref<node>> make_directory(node* start, std::string_view path, uint32_t mode);
status unlink(node* start, std::string_view path);
status remove_directory(node* start, std::string_view path);
// The absolute path of a node (of where it was, if it is removed), into `out`. Its length; ERANGE when it does not fit,
// ENOENT when it was never in the tree.
result<size_t> path_of(const node& of, std::span<char> out);
// The same as text, with " (deleted)" as Linux shows it. ENAMETOOLONG beyond path_max.
status put_path(const node& of, text& out);

// A node that threads replace and read: the working directory.
class node_cell {
 public:
  ref<node> get() {
    lock_guard guard(_lock);
    return _node;
  }
  void set(ref<node> to) {
    lock_guard guard(_lock);
    std::swap(_node, to);
    guard.unlock();  // `to` may be the last holder of the old one
  }

 private:
  spinlock _lock{rank::object};
  ref<node> _node;
};

// Builds the tree: the initrd's files over an empty ramfs, /dev, /proc, /sys. Called once.
void make_root(std::span<const std::byte> initrd);
status populate_initrd(node& root, std::span<const std::byte> initrd);
void populate_dev(node& root);
void populate_proc(ram_directory& root);
void populate_sys(ram_directory& root);

}  // namespace solaster::kernel::fs
