// /dev: the devices that are only software, and the console.
// Spec: null(4), random(4), full(4); numbers from Linux Documentation/admin-guide/devices.txt.

#include "kernel/fs/path.hh"
#include "kernel/fs/ramfs.hh"
#include "kernel/fs/tty.hh"
#include "kernel/lib/entropy.hh"
#include "kernel/lib/panic.hh"

namespace solaster::kernel::fs {

namespace {

enum class device : u32 { null = 3, zero = 5, full = 7, random = 8, urandom = 9 };

class device_file : public file {
 public:
  device_file(ref<node> of, uint32_t flags, device d) : file(of, flags), _device(d) {}
  bool seekable() const override { return true; }

  result<size_t> read(io& to, uint64_t) override {
    switch (_device) {
      case device::null:
        return size_t{0};
      case device::zero:
      case device::full:
        return to.put_zeros(to.left());
      default:
        break;
    }
    size_t total = 0;
    while (to.left()) {
      u8 piece[256];
      size_t n = to.left() < sizeof piece ? to.left() : sizeof piece;
      random_bytes(piece, n);
      auto moved = to.put(piece, n);
      if (!moved)
        return total ? result<size_t>(total) : moved;
      total += *moved;
    }
    return total;
  }

  result<size_t> write(io& from, uint64_t) override {
    if (_device == device::full)
      return errc::nospc;
    return from.left();
  }

 private:
  device _device;
};

class device_node : public node {
 public:
  explicit device_node(device d) : node(node_type::character, 0666), _device(d) {}
  void fill_stat(abi::stat& out) const override {
    node::fill_stat(out);
    out.rdev = make_dev(1, u32(_device));
  }
  result<ref<file>> open(uint32_t flags) override {
    auto f = make_ref<device_file>(ref<node>(this), flags, _device);
    if (!f)
      return errc::nomem;
    return ref<file>(f);
  }

 private:
  device _device;
};

void add(node& directory, std::string_view name, ref<node> child) {
  if (!child || !directory.add_child(name, std::move(child)))
    refuse("cannot make /dev/{}", name);
}

}  // namespace

void populate_dev(node& root) {
  auto existing = root.find_child("dev");
  ref<node> dev = existing ? *existing : ref<node>(make_ref<ram_directory>(0755));
  if (!existing)
    add(root, "dev", dev);
  dev->be_root(dev_filesystem);
  add(*dev, "null", make_ref<device_node>(device::null));
  add(*dev, "zero", make_ref<device_node>(device::zero));
  add(*dev, "full", make_ref<device_node>(device::full));
  add(*dev, "random", make_ref<device_node>(device::random));
  add(*dev, "urandom", make_ref<device_node>(device::urandom));
  add(*dev, "console", make_tty_node(make_dev(5, 1)));
  add(*dev, "tty", make_tty_node(make_dev(5, 0)));
  add(*dev, "fd", make_ref<ram_symlink>("/proc/self/fd"));
  add(*dev, "stdin", make_ref<ram_symlink>("/proc/self/fd/0"));
  add(*dev, "stdout", make_ref<ram_symlink>("/proc/self/fd/1"));
  add(*dev, "stderr", make_ref<ram_symlink>("/proc/self/fd/2"));
}

}  // namespace solaster::kernel::fs
