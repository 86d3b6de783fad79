#include "kernel/fs/generated.hh"

#include "kernel/fs/ramfs.hh"
#include "kernel/lib/panic.hh"

namespace solaster::kernel::fs {

namespace {

class generated_file : public file {
 public:
  using file::file;
  bool seekable() const override { return true; }
  result<size_t> read(io& to, uint64_t offset) override {
    auto all = content.view();
    if (offset >= all.size())
      return size_t{0};
    return to.put(all.data() + offset, all.size() - offset);
  }
  // Settings are shown, not changed.
  result<size_t> write(io&, uint64_t) override { return errc::acces; }
  uint64_t size() const override { return content.view().size(); }
  text content;
};

class generated_node : public node {
 public:
  generated_node(generator g, u64 argument, uint32_t permissions)
      : node(node_type::regular, permissions), _generate(g), _argument(argument) {}
  result<ref<file>> open(uint32_t flags) override {
    if ((flags & abi::o_accmode) != abi::o_rdonly && !(permissions() & 0200))
      return errc::acces;
    auto f = make_ref<generated_file>(ref<node>(this), flags);
    if (!f)
      return errc::nomem;
    _generate(f->content, _argument);
    if (!f->content.complete())
      return errc::nomem;
    return ref<file>(f);
  }

 private:
  generator _generate;
  u64 _argument;
};

// The target's text is kept in the node until the next look; lookups run under the tree's mutex.
class generated_link : public node {
 public:
  generated_link(generator g, u64 argument) : node(node_type::symlink, 0777), _generate(g), _argument(argument) {}
  result<ref<file>> open(uint32_t) override { return errc::loop; }
  result<std::string_view> target() const override {
    auto& self = const_cast<generated_link&>(*this);
    self._text = text();
    _generate(self._text, _argument);
    if (!_text.complete())
      return errc::nomem;
    return _text.view();
  }

 private:
  generator _generate;
  u64 _argument;
  text _text;
};

}  // namespace

ref<node> make_generated(generator g, u64 argument, uint32_t permissions) {
  return make_ref<generated_node>(g, argument, permissions);
}

ref<node> make_generated_link(generator g, u64 argument) {
  return make_ref<generated_link>(g, argument);
}

void must_add(node& parent, std::string_view name, ref<node> child) {
  if (!child || !parent.add_child(name, child))
    refuse("cannot make {} of /proc or /sys: out of memory, or the initrd has a file of that name", name);
}

ref<node> must_make_directory(node& parent, std::string_view name) {
  if (auto existing = parent.find_child(name))
    return *existing;
  ref<node> made = make_ref<ram_directory>(0555);
  must_add(parent, name, made);
  return made;
}

}  // namespace solaster::kernel::fs
