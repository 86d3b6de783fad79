#include "framework/device/tap.hh"

#include "framework/device/options.hh"
#include "framework/reactor/backend/backend.hh"
#include "net/packet/heap_buffer.hh"
#include "net/packet/pool.hh"
#include "net/virtio/spec.hh"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <stdexcept>

namespace solaster {
namespace {

using net::virtio::net_hdr;

class file {
 public:
  explicit file(int fd = -1) noexcept : _fd(fd) {}
  file(file&& o) noexcept : _fd(o.release()) {}
  ~file() {
    if (_fd >= 0) {
      ::close(_fd);
    }
  }
  int get() const noexcept { return _fd; }
  int release() noexcept { return std::exchange(_fd, -1); }

 private:
  int _fd;
};

class tap_queue final : public net::queue {
 public:
  tap_queue(int fd, const net::queue_config& config, net::memory& m, net::packet_slab& slab)
      : _fd(fd), _buffer_size(config.buffer_size), _slab(slab), _memory(m) {
    uint32_t buffers = uint32_t(config.rx_depth) * 8;
    _pool.reset(
        net::buffer_pool::make(m, {.buffer_size = _buffer_size, .buffers_max = buffers, .low_water = buffers / 4}));
    if (!_pool) {
      throw std::bad_alloc();
    }
  }
  // On its shard, whose reactor still lives: waits under way fail, and touch nothing any more.
  ~tap_queue() override { *_alive = false; }

  size_t receive(net::packet_list& into, size_t max) noexcept override;
  bool starving() const noexcept override { return _retry; }
  size_t transmit(net::packet_list& from) noexcept override;
  void reap() noexcept override {}
  void kick() noexcept override {}
  bool arm() noexcept override { return !_readable && !(_blocked && _writable); }
  void disarm() noexcept override {}
  const net::queue_stats& stats() const noexcept override { return _stats; }

 private:
  enum class outcome { done, would_block, dropped };
  net::packet_ptr read_packet() noexcept;
  outcome write_packet(net::packet& p) noexcept;
  void note_when(future<> ready, bool tap_queue::* flag) noexcept;

  pollable_fd _fd;
  uint32_t _buffer_size;
  net::packet_slab& _slab;
  net::memory& _memory;
  net::pool_ptr _pool;
  bool _readable = true;  // as far as is known: read() has not said otherwise
  bool _writable = true;
  bool _blocked = false;  // a transmit came back short
  bool _retry = false;    // reading failed, or the wait for it: nothing will say when it is worth another try
  std::shared_ptr<bool> _alive = std::make_shared<bool>(true);
  net::queue_stats _stats;
};

size_t tap_queue::receive(net::packet_list& into, size_t max) noexcept {
  size_t n = 0;
  if (std::exchange(_retry, false)) [[unlikely]] {
    _readable = true;
  }
  while (n < max && _readable) {
    net::packet_ptr p = read_packet();
    if (!p) {
      continue;
    }
    ++n;
    ++_stats.rx_packets;
    _stats.rx_bytes += p->size();
    into.push_back(std::move(p));
  }
  return n;
}

// Null: nothing there (then a wait is under way), or it was dropped.
net::packet_ptr tap_queue::read_packet() noexcept {
  net::fragment f = _pool->allocate(0, _buffer_size);
  net::packet_ptr p = _slab.make();
  net_hdr h{};
  iovec io[2] = {{&h, sizeof(h)}, {}};
  int pieces = 1;
  if (f && p) {
    io[pieces++] = {f.data(), f.size()};
  }  // else it is read and lost: the device does not keep it for us
  ssize_t got = ::readv(_fd.get(), io, pieces);
  if (got < 0) {
    if (errno == EINTR) {
      return nullptr;
    }
    if (errno != EAGAIN) {
      // EBADFD: the interface was taken away. A wait would be over at once, again and again.
      ++_stats.device_errors;
      _readable = false;
      _retry = true;
      return nullptr;
    }
    note_when(_fd.readable(), &tap_queue::_readable);
    return nullptr;
  }
  if (pieces == 1 || got <= ssize_t(sizeof(h))) {
    ++_stats.rx_dropped;
    return nullptr;
  }
  f.truncate(uint32_t(got - ssize_t(sizeof(h))));
  if (_pool->low()) {
    // What is held (requests of clients that do not read their answers, say) must not be all that the device has:
    // from here on packets go up in memory of their own size. Without any they are lost, as on a full ring.
    _stats.copied_bytes += f.size();
    f = net::copy_to_heap(_memory, f.data(), f.size());
    if (!f) {
      ++_stats.rx_dropped;
      return nullptr;
    }
  }
  p->append(std::move(f));
  if (h.flags & net::virtio::hdr_f_needs_csum) {
    p->offload.checksum = net::checksum_state::partial;
    p->offload.checksum_start = h.csum_start;
    p->offload.checksum_offset = h.csum_offset;
  } else if (h.flags & net::virtio::hdr_f_data_valid) {
    p->offload.checksum = net::checksum_state::valid;
  }
  return p;
}

size_t tap_queue::transmit(net::packet_list& from) noexcept {
  size_t n = 0;
  while (net::packet* p = from.front()) {
    outcome o = _writable ? write_packet(*p) : outcome::would_block;
    if (o == outcome::would_block) {
      _blocked = true;
      return n;
    }
    if (o == outcome::done) {
      ++_stats.tx_packets;
      _stats.tx_bytes += p->size();
    } else {
      ++_stats.device_errors;
    }
    from.pop_front();
    ++n;
  }
  _blocked = false;
  return n;
}

tap_queue::outcome tap_queue::write_packet(net::packet& p) noexcept {
  const net::packet_offload& o = p.offload;
  net_hdr h{};
  if (o.checksum == net::checksum_state::partial) {
    h.flags = net::virtio::hdr_f_needs_csum;
    h.csum_start = o.checksum_start;
    h.csum_offset = o.checksum_offset;
  }
  if (o.gso == net::gso_type::tcpv4) {
    h.gso_type = net::virtio::hdr_gso_tcpv4;
    h.gso_size = o.gso_size;
    h.hdr_len = o.header_length;
  }
  iovec io[net::packet::fragments_max + 1];
  int n = 0;
  io[n++] = {&h, sizeof(h)};
  for (uint32_t i = 0; i < p.fragment_count(); ++i) {
    io[n++] = {p.frag(i).data(), p.frag(i).size()};
  }
  ssize_t wrote;
  do {
    wrote = ::writev(_fd.get(), io, n);
  } while (wrote < 0 && errno == EINTR);
  ++_stats.kicks;
  if (wrote >= 0) {
    return outcome::done;
  }
  if (errno == EAGAIN) {
    note_when(_fd.writeable(), &tap_queue::_writable);
    return outcome::would_block;
  }
  return outcome::dropped;
}

// The continuation runs from the reactor's loop, which is awake then.
void tap_queue::note_when(future<> ready, bool tap_queue::* flag) noexcept {
  this->*flag = false;
  (void)std::move(ready).then_wrapped([this, flag, alive = _alive](future<> f) {
    if (!f.failed()) {
      f.ignore_ready_future();
      if (*alive) {
        this->*flag = true;
      }
      return;
    }
    (void)f.get_exception();
    if (*alive) {  // else the descriptor was closed, and nobody reads any more
      _retry = true;
      _writable = true;
    }
  });
}

// ------------------------------------------------------------------ the device

class tap_device final : public net::device {
 public:
  tap_device(const std::string& name, std::vector<file> descriptors)
      : _descriptors(std::move(descriptors)), _queues(_descriptors.size()) {
    // An address of our own: locally administered, the same each time for a tap of the same name. The tap's own address
    // is Linux's end of the cable.
    uint32_t hash = 2166136261u;
    for (char c : name) {
      hash = (hash ^ uint8_t(c)) * 16777619u;
    }
    _info.mac.bytes = {0x02, 0x50, uint8_t(hash >> 24), uint8_t(hash >> 16), uint8_t(hash >> 8), uint8_t(hash)};
    _info.tx_checksum = _info.tso4 = true;
    _info.queue_pairs_max = uint16_t(_descriptors.size());
  }

  const net::device_info& info() const noexcept override { return _info; }
  result<> set_queue_pairs(uint16_t pairs) noexcept override {
    return pairs == _descriptors.size() ? result<>{} : errc::inval;
  }
  result<net::queue*> open_queue(const net::queue_config& config, net::memory& m,
                                 net::packet_slab& slab) noexcept override {
    if (config.index >= _descriptors.size() || _queues[config.index]) {
      return errc::inval;
    }
    try {
      _queues[config.index] = std::make_unique<tap_queue>(_descriptors[config.index].release(), config, m, slab);
    } catch (...) {
      return errc::nomem;
    }
    return _queues[config.index].get();
  }
  void close_queue(uint16_t index) noexcept override { _queues[index].reset(); }
  // The host steers by what it has seen us send (tun's automatic queue selection).
  result<> set_rss(const net::rss_config&) noexcept override { return errc::opnotsupp; }
  result<> start() noexcept override { return {}; }
  void reset() noexcept override {}

 private:
  net::device_info _info;
  std::vector<file> _descriptors;                   // until a queue takes them over
  std::vector<std::unique_ptr<tap_queue>> _queues;  // by pair
};

[[noreturn]] void fail(const std::string& tap, const std::string& what) {
  throw std::runtime_error("--tap " + tap + ": " + what);
}

// One queue. -1 with errno EINVAL: the tap exists and is of the other kind (one queue, several queues).
int attach(const std::string& name, short flags) {
  file fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (fd.get() < 0) {
    fail(name, std::string("/dev/net/tun cannot be opened: ") + std::strerror(errno));
  }
  ifreq request{};
  request.ifr_flags = short(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags);
  std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  if (::ioctl(fd.get(), TUNSETIFF, &request) < 0) {
    return -1;
  }
  int header = sizeof(net_hdr);
  if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &header) < 0) {
    fail(name, std::string("TUNSETVNETHDRSZ: ") + std::strerror(errno));
  }
  // What we take: partial checksums. Large packets are cut by Linux: a buffer holds one frame.
  if (::ioctl(fd.get(), TUNSETOFFLOAD, TUN_F_CSUM) < 0) {
    fail(name, std::string("TUNSETOFFLOAD: ") + std::strerror(errno));
  }
  return fd.release();
}

std::vector<file> attach_all(const std::string& name, unsigned wanted) {
  if (name.size() >= IFNAMSIZ || name.empty()) {
    fail(name, "not a name for a network interface");
  }
  if (if_nametoindex(name.c_str()) == 0) {  // else the kernel would make one, with nobody at its other end
    fail(name, "there is no such tap; make one: ip tuntap add dev " + name + " mode tap" +
                   (wanted > 1 ? " multi_queue" : "") + " user $USER && ip addr add 10.9.0.1/24 dev " + name +
                   " && ip link set " + name + " up");
  }
  std::vector<file> out;
  short kind = wanted > 1 ? IFF_MULTI_QUEUE : 0;
  int fd = attach(name, kind);
  if (fd < 0 && errno == EINVAL) {
    kind ^= IFF_MULTI_QUEUE;
    fd = attach(name, kind);
  }
  if (fd < 0) {
    switch (errno) {
      case EPERM:
        fail(name, "no right to open it: it belongs to another user (make it with `ip tuntap add dev " + name +
                       " mode tap user $USER`, or run as root)");
      case EBUSY:
        fail(name, "another process uses it");
      case EINVAL:
        fail(name, "a network interface, but not a tap");
      default:
        fail(name, std::strerror(errno));
    }
  }
  out.emplace_back(fd);
  while (kind && out.size() < wanted) {
    if ((fd = attach(name, kind)) < 0) {
      break;  // as many as there are
    }
    out.emplace_back(fd);
  }
  return out;
}

class tap_nic final : public nic {
 public:
  tap_nic(const std::string& tap, unsigned shards) : _device(tap, attach_all(tap, shards)) {
    _name = "tap " + tap;
    _shards = shards;
    _pairs = _device.info().queue_pairs_max;
  }
  net::device& device() noexcept override { return _device; }

 protected:
  net::queue_config config_of(unsigned shard) override { return {.index = uint16_t(shard)}; }

 private:
  tap_device _device;
};

}  // namespace

std::unique_ptr<nic> open_tap_nic(const nic_options& options, unsigned shards) {
  return std::make_unique<tap_nic>(options.tap, shards);
}

}  // namespace solaster
