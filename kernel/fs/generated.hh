// Files whose text is made when they are read, and directories whose children are made when they are looked for: /proc
// and /sys.
//
// Nothing keeps what was made but those who look at it, and a child keeps its parents: so what a directory describes (a
// thread, a descriptor) may go at any time.
// Errors: text that does not fit into memory fails the read with ENOMEM.
// Context: a generator runs in thread context; of a link, also with the tree's mutex held.
#pragma once

#include <span>

#include "kernel/fs/ramfs.hh"
#include "kernel/lib/text.hh"
#include "kernel/lib/types.hh"

namespace solaster::kernel::fs {

// `argument` is what the file is about: a thread's id, a descriptor, a CPU's number.
using generator = void (*)(text& out, u64 argument);
using leader = result<ref<node>> (*)(u64 argument);

// As on Linux a read from the start makes the text anew; later reads go on in it.
ref<node> make_generated(generator g, u64 argument = 0, uint32_t permissions = 0444, u64 ino = 0);
// A symbolic link. With `lead` it stands for an object and leads to it, whatever its text says.
ref<node> make_generated_link(generator g, u64 argument = 0, leader lead = nullptr, u64 ino = 0);

// A line of a directory of generated files.
struct generated_entry {
  std::string_view name;
  generator generate;
  uint32_t permissions = 0444;
  bool is_link = false;
  leader lead = nullptr;  // of a link
};

class virtual_directory : public node {
 public:
  virtual_directory(uint32_t permissions, u64 ino) : node(node_type::directory, permissions, ino) {}
  result<ref<file>> open(uint32_t flags) override { return open_directory(*this, flags); }
  status set_permissions(uint32_t) override { return errc::perm; }
  status remove_child(std::string_view name) override;

 protected:
  // Puts what find_child made into its place.
  result<ref<node>> placed(std::string_view name, ref<node> made);
  // The same number each time for the same child.
  u64 child_ino(u64 key) const;
  // A child of the lines, and the listing of them: `after` is a cookie from dots_cookie on.
  result<ref<node>> find_line(std::span<const generated_entry> lines, std::string_view name, u64 argument);
  status next_line(std::span<const generated_entry> lines, u64 after, directory_entry& out) const;
  static void put_number(u64 number, directory_entry& out);
};
// A decimal number without leading zeros. -1: it is not one.
int parse_number(std::string_view s);

// Building blocks for populate_*: each refuses to go on when memory is out.
ref<ram_directory> must_make_directory(ram_directory& parent, std::string_view name);
void must_add(ram_directory& parent, std::string_view name, ref<node> child);

}  // namespace solaster::kernel::fs
