#include "kernel/fs/path.hh"

#include <cstring>

#include "kernel/fs/ramfs.hh"
#include "kernel/lib/panic.hh"

namespace solaster::kernel::fs {

namespace {

mutex the_tree_mutex;
constinit ref<node>* the_root = nullptr;

// Cuts the next component off the front of `path`; empty at the end.
std::string_view next_component(std::string_view& path) {
  while (!path.empty() && path.front() == '/')
    path.remove_prefix(1);
  size_t n = path.find('/');
  auto component = path.substr(0, n);
  path.remove_prefix(component.size());
  return component;
}

bool only_slashes(std::string_view path) {
  return path.find_first_not_of('/') == std::string_view::npos;
}

// One component below `at`, no link followed.
result<ref<node>> step(node* at, std::string_view name) {
  if (!at->is_directory())
    return errc::notdir;
  if (name == ".")
    return ref<node>(at);
  if (name == "..")
    return at->parent();
  if (name.size() > abi::name_max)
    return errc::nametoolong;
  return at->find_child(name);
}

// Follows `at` while it is a link; `from` is the directory that holds it.
result<ref<node>> walk(ref<node> at, std::string_view path, follow last, int& links);

result<ref<node>> follow_link(node* from, const ref<node>& link, int& links) {
  if (++links > links_max)
    return errc::loop;
  if (auto there = TRY(link->jump()))
    return there;
  text target;
  TRY(link->read_target(target));
  if (!target.complete())
    return errc::nomem;
  auto path = target.view();
  if (path.empty())
    return errc::noent;
  return walk(path.front() == '/' ? root() : ref<node>(from), path, follow::yes, links);
}

result<ref<node>> walk(ref<node> at, std::string_view path, follow last, int& links) {
  for (;;) {
    auto name = next_component(path);
    if (name.empty())
      return at;
    auto child = TRY(step(at.get(), name));
    bool is_last = only_slashes(path);
    if (child->is_symlink() && (!is_last || last == follow::yes || !path.empty()))
      child = TRY(follow_link(at.get(), child, links));
    if (!path.empty() && !child->is_directory())
      return errc::notdir;
    at = child;
  }
}

result<ref<node>> resolve_locked(node* start, std::string_view path, follow last) {
  if (path.empty())
    return errc::noent;
  int links = 0;
  return walk(path.front() == '/' ? root() : ref<node>(start), path, last, links);
}

// The directory that the last component is looked up in, and that component ("." and ".." and "/" have none: EEXIST).
struct parent_and_name {
  ref<node> parent;
  std::string_view name;   // points into the path
  bool must_be_directory;  // the path ended in '/'
};

result<parent_and_name> parent_locked(node* start, std::string_view path) {
  if (path.empty())
    return errc::noent;
  bool slash = path.back() == '/';
  while (path.size() > 1 && path.back() == '/')
    path.remove_suffix(1);
  size_t cut = path.rfind('/');
  auto name = cut == std::string_view::npos ? path : path.substr(cut + 1);
  auto directory = cut == std::string_view::npos ? std::string_view() : path.substr(0, cut + 1);
  if (name.empty() || name == "." || name == "..")
    return errc::exist;
  if (name.size() > abi::name_max)
    return errc::nametoolong;
  ref<node> parent(start);
  if (!directory.empty())
    parent = TRY(resolve_locked(start, directory, follow::yes));
  if (!parent->is_directory())
    return errc::notdir;
  return parent_and_name{parent, name, slash};
}

result<ref<node>> open_node(node* start, std::string_view path, uint32_t flags, uint32_t mode) {
  bool no_follow = (flags & abi::o_nofollow) || ((flags & abi::o_creat) && (flags & abi::o_excl));
  auto found = resolve_locked(start, path, no_follow ? follow::no : follow::yes);
  if (found) {
    if ((flags & abi::o_creat) && (flags & abi::o_excl))
      return errc::exist;
    if ((*found)->is_symlink() && !(flags & abi::o_path))
      return errc::loop;
    return found;
  }
  if (!(flags & abi::o_creat) || found.error() != errc::noent)
    return found;
  auto where = TRY(parent_locked(start, path));
  if (where.must_be_directory)
    return errc::isdir;
  auto made = TRY(where.parent->make_file(mode & 07777));
  auto added = where.parent->add_child(where.name, made);
  if (!added)
    return fail(added.error() == errc::exist ? errc::noent : added.error());  // a dangling link
  return made;
}

// O_PATH: names a node without opening it.
class path_file : public file {
 public:
  path_file(ref<node> of, uint32_t flags) : file(of, flags) {}
  result<size_t> read(io&, uint64_t) override { return errc::badf; }
  result<size_t> write(io&, uint64_t) override { return errc::badf; }
};

}  // namespace

mutex& tree_mutex() {
  return the_tree_mutex;
}

const ref<node>& root() {
  KCHECK(the_root != nullptr);
  return *the_root;
}

result<ref<node>> resolve(node* start, std::string_view path, follow last) {
  mutex_guard guard(the_tree_mutex);
  return resolve_locked(start, path, last);
}

result<ref<file>> open(node* start, std::string_view path, uint32_t flags, uint32_t mode) {
  ref<node> found;
  {
    mutex_guard guard(the_tree_mutex);
    found = TRY(open_node(start, path, flags, mode));
  }
  if ((flags & abi::o_directory) && !found->is_directory())
    return errc::notdir;
  if (found->is_directory() && (flags & abi::o_creat))
    return errc::isdir;
  if (flags & abi::o_path) {
    auto f = make_ref<path_file>(found, flags & (abi::o_path | abi::o_directory | abi::o_nofollow | abi::o_cloexec));
    if (!f)
      return errc::nomem;
    return ref<file>(f);
  }
  return found->open(flags);
}

result<ref<node>> make_directory(node* start, std::string_view path, uint32_t mode) {
  mutex_guard guard(the_tree_mutex);
  auto where = TRY(parent_locked(start, path));
  if (where.parent->find_child(where.name))
    return errc::exist;
  auto made = TRY(where.parent->make_directory(mode & 07777));
  TRY(where.parent->add_child(where.name, made));
  return made;
}

status unlink(node* start, std::string_view path) {
  mutex_guard guard(the_tree_mutex);
  auto where = parent_locked(start, path);
  if (!where)
    return fail(where.error() == errc::exist ? errc::isdir : where.error());
  auto child = TRY(where->parent->find_child(where->name));
  if (child->is_directory())
    return errc::isdir;
  if (where->must_be_directory)
    return errc::notdir;
  return where->parent->remove_child(where->name);
}

status remove_directory(node* start, std::string_view path) {
  mutex_guard guard(the_tree_mutex);
  auto where = parent_locked(start, path);
  if (!where)
    return fail(where.error() == errc::exist ? errc::busy : where.error());
  auto child = TRY(where->parent->find_child(where->name));
  if (!child->is_directory())
    return errc::notdir;
  if (child->mount() != where->parent->mount())
    return errc::busy;
  directory_entry first;
  if (!child->mount()->is_fixed && child->next_child(dots_cookie, first))
    return errc::notempty;
  return where->parent->remove_child(where->name);
}

result<size_t> path_of(const node& of, std::span<char> out) {
  size_t end = out.size();
  const node* top = root().get();
  if (&of == top) {
    if (out.empty())
      return errc::range;
    out[0] = '/';
    return 1;
  }
  for (const node* at = &of; at != top; at = at->parent().get()) {
    if (!at->parent())
      return errc::noent;
    auto name = at->name();
    if (end < name.size() + 1)
      return errc::range;
    end -= name.size();
    std::memcpy(&out[end], name.data(), name.size());
    out[--end] = '/';
  }
  std::memmove(&out[0], &out[end], out.size() - end);
  return out.size() - end;
}

status put_path(const node& of, text& out) {
  std::unique_ptr<char[]> path(new (std::nothrow) char[abi::path_max]);
  if (!path)
    return errc::nomem;
  auto length = path_of(of, {path.get(), abi::path_max});
  if (!length)
    return length.error() == errc::range ? errc::nametoolong : length.error();
  out << std::string_view(path.get(), *length);
  if (of.is_removed())
    out << " (deleted)";
  return {};
}

void make_root(std::span<const std::byte> initrd) {
  auto top = make_ref<ram_directory>(0755);
  the_root = new (std::nothrow) ref<node>(top);
  if (!top || !the_root)
    refuse("not enough memory for the root directory");
  top->be_root(root_filesystem);
  if (!populate_initrd(*top, initrd))
    refuse("the initrd is damaged or does not fit into memory");
  if (!top->find_child("tmp")) {
    ref<node> tmp = make_ref<ram_directory>(01777);
    if (!tmp || !top->add_child("tmp", tmp))
      refuse("not enough memory for the root directory");
  }
  populate_dev(*top);
  populate_proc(*top);
  populate_sys(*top);
}

}  // namespace solaster::kernel::fs
