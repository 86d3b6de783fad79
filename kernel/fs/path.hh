// From paths to nodes.
//
// Spec: path_resolution(7), without mount points that programs make and without permissions (there is one user, root).
// Context: thread, may sleep; every function takes the tree's mutex itself. Limits: links_max symbolic links in one
// walk.
#pragma once

#include <string_view>

#include "kernel/fs/node.hh"
#include "kernel/sync/wait_queue.hh"

namespace solaster::kernel::fs {

inline constexpr int links_max = 40;

enum class follow : bool { no, yes };  // a symbolic link at the end of the path

mutex& tree_mutex();
const ref<node>& root();

result<ref<node>> resolve(node* start, std::string_view path, follow last);
// The directory that the last component is looked up in, and that component ("." and ".." and "/" have none: EEXIST).
struct parent_and_name {
  ref<node> parent;
  std::string_view name;   // points into the path
  bool must_be_directory;  // the path ended in '/'
};
result<parent_and_name> resolve_parent(node* start, std::string_view path);

result<ref<file>> open(node* start, std::string_view path, uint32_t flags, uint32_t mode);
result<ref<node>> make_directory(node* start, std::string_view path, uint32_t mode);
status unlink(node* start, std::string_view path);
status remove_directory(node* start, std::string_view path);
// The absolute path of a directory or file, into `out`. Its length; ERANGE when it does not fit, ENOENT when it is
// unlinked.
result<size_t> path_of(node* of, std::span<char> out);

// Builds the tree: the initrd's files over an empty ramfs, /dev, /proc, /sys. Called once.
void make_root(std::span<const std::byte> initrd);
status populate_initrd(node& root, std::span<const std::byte> initrd);
void populate_dev(node& root);
void populate_proc(node& root);
void populate_sys(node& root);

}  // namespace solaster::kernel::fs
