#include "kernel/fs/generated.hh"

#include "kernel/lib/panic.hh"

namespace solaster::kernel::fs {

namespace {

class generated_file : public file {
 public:
  generated_file(ref<node> of, uint32_t flags, generator g, u64 argument)
      : file(std::move(of), flags), _generate(g), _argument(argument) {}
  bool seekable() const override { return true; }
  result<size_t> read(io& to, uint64_t offset) override {
    mutex_guard guard(_mutex);
    if (offset == 0 || !_made) {
      _text = text();
      _generate(_text, _argument);
      _made = _text.complete();
      if (!_made)
        return errc::nomem;
    }
    auto all = _text.view();
    if (offset >= all.size())
      return size_t{0};
    return to.put(all.data() + offset, all.size() - offset);
  }
  // Settings are shown, not changed.
  result<size_t> write(io&, uint64_t) override { return errc::acces; }

 private:
  generator _generate;
  u64 _argument;
  mutex _mutex;  // generators take the address space's mutex, so none that a fault needs
  text _text;
  bool _made = false;
};

class generated_node : public node {
 public:
  generated_node(generator g, u64 argument, uint32_t permissions, u64 ino)
      : node(node_type::regular, permissions, ino), _generate(g), _argument(argument) {}
  result<ref<file>> open(uint32_t flags) override {
    if ((flags & abi::o_accmode) != abi::o_rdonly && !(permissions() & 0200))
      return errc::acces;
    auto f = make_ref<generated_file>(ref<node>(this), flags, _generate, _argument);
    if (!f)
      return errc::nomem;
    return ref<file>(std::move(f));
  }
  status set_permissions(uint32_t) override { return errc::perm; }

 private:
  generator _generate;
  u64 _argument;
};

class generated_link : public node {
 public:
  generated_link(generator g, u64 argument, leader lead, u64 ino)
      : node(node_type::symlink, 0777, ino), _generate(g), _argument(argument), _lead(lead) {}
  result<ref<file>> open(uint32_t) override { return errc::loop; }
  status read_target(text& out) const override {
    _generate(out, _argument);
    return {};
  }
  result<ref<node>> jump() const override { return _lead ? _lead(_argument) : ref<node>(); }

 private:
  generator _generate;
  u64 _argument;
  leader _lead;
};

}  // namespace

ref<node> make_generated(generator g, u64 argument, uint32_t permissions, u64 ino) {
  return make_ref<generated_node>(g, argument, permissions, ino);
}

ref<node> make_generated_link(generator g, u64 argument, leader lead, u64 ino) {
  return make_ref<generated_link>(g, argument, lead, ino);
}

status virtual_directory::remove_child(std::string_view) {
  return errc::perm;
}

result<ref<node>> virtual_directory::placed(std::string_view name, ref<node> made) {
  if (!made)
    return errc::nomem;
  TRY(made->place(*this, name));
  return made;
}

// The high bit keeps these apart from next_ino()'s.
u64 virtual_directory::child_ino(u64 key) const {
  u64 x = (ino() * 0x9e3779b97f4a7c15) ^ (key + 1) * 0xbf58476d1ce4e5b9;
  return (x ^ x >> 29) | u64{1} << 63;
}

result<ref<node>> virtual_directory::find_line(std::span<const generated_entry> lines, std::string_view name,
                                               u64 argument) {
  for (usize i = 0; i < lines.size(); i++) {
    const auto& line = lines[i];
    if (line.name != name)
      continue;
    return placed(name, line.is_link ? make_generated_link(line.generate, argument, line.lead, child_ino(i))
                                     : make_generated(line.generate, argument, line.permissions, child_ino(i)));
  }
  return errc::noent;
}

status virtual_directory::next_line(std::span<const generated_entry> lines, u64 after, directory_entry& out) const {
  usize i = after - dots_cookie;
  if (i >= lines.size())
    return errc::noent;
  out.name = lines[i].name, out.ino = child_ino(i), out.cookie = after + 1;
  out.type = lines[i].is_link ? node_type::symlink : node_type::regular;
  return {};
}

void virtual_directory::put_number(u64 number, directory_entry& out) {
  char digits[sizeof out.number];
  usize n = 0;
  do
    digits[n++] = char('0' + number % 10);
  while ((number /= 10) != 0);
  for (usize i = 0; i < n; i++)
    out.number[i] = digits[n - 1 - i];
  out.name = {out.number, n};
}

int parse_number(std::string_view s) {
  int value = 0;
  if (s.empty() || s.size() > 8 || (s[0] == '0' && s.size() > 1))
    return -1;
  for (char c : s) {
    if (c < '0' || c > '9')
      return -1;
    value = value * 10 + (c - '0');
  }
  return value;
}

void must_add(ram_directory& parent, std::string_view name, ref<node> child) {
  if (!child || !parent.put(name, std::move(child)))
    refuse("cannot make {} of /proc or /sys: out of memory, or the initrd has a file of that name", name);
}

ref<ram_directory> must_make_directory(ram_directory& parent, std::string_view name) {
  if (auto existing = parent.find_child(name)) {
    if (!(*existing)->is_directory())
      refuse("the initrd has a file /{}, where a directory belongs", name);
    // At boot every directory is one of these.
    return ref<ram_directory>(static_cast<ram_directory*>(existing->get()));
  }
  auto made = make_ref<ram_directory>(0555);
  must_add(parent, name, ref<node>(made));
  return made;
}

}  // namespace solaster::kernel::fs
