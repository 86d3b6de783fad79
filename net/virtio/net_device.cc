#include "net/virtio/net_device.hh"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

namespace solaster::net::virtio {

namespace {

constexpr uint64_t features_wanted = feature::net_csum | feature::net_guest_csum | feature::net_mtu | feature::net_mac |
                                     feature::net_host_tso4 | feature::net_mrg_rxbuf | feature::net_status |
                                     feature::net_ctrl_vq | feature::net_mq | feature::net_rss |
                                     feature::ring_event_idx | feature::version_1;

constexpr uint32_t large_buffer_min = 4096;

}  // namespace

result<net_device*> net_device::make(transport& t, memory& m, const net_device_options& options) noexcept {
  void* raw = m.allocate(sizeof(net_device), alignof(net_device));
  if (!raw)
    return errc::nomem;
  auto* d = new (raw) net_device(t, m, options);
  result<> done = d->negotiate();
  if (done)
    done = d->read_info();
  if (!done) {
    errc e = done.error();
    t.write_status(status::failed);
    destroy(d);
    return e;
  }
  return d;
}

void net_device::destroy(net_device* d) noexcept {
  memory& m = d->_memory;
  d->~net_device();
  m.deallocate(d, sizeof(net_device), alignof(net_device));
}

net_device::~net_device() {
  reset();
  if (!_quiet)
    return;
  for (uint16_t i = 0; i < pairs_max; ++i)
    close_queue(i);
  if (_control_page)
    _memory.deallocate_dma(_control_page);
}

// 3.1.1: the steps up to features_ok.
result<> net_device::negotiate() noexcept {
  TRY(_transport.reset());
  _transport.write_status(status::acknowledge);
  _transport.write_status(status::acknowledge | status::driver);
  uint64_t offered = _transport.read_device_features() & ~_options.features_refused;
  if (!(offered & feature::version_1))
    return errc::opnotsupp;
  _features = offered & (features_wanted | (_options.receive_large ? feature::net_guest_tso4 : 0));
  // 5.1.3.1: what a feature needs.
  if (!has(feature::net_csum))
    _features &= ~feature::net_host_tso4;
  if (!has(feature::net_guest_csum) || !has(feature::net_mrg_rxbuf))
    _features &= ~feature::net_guest_tso4;
  if (!has(feature::net_ctrl_vq))
    _features &= ~(feature::net_mq | feature::net_rss);
  if (!has(feature::net_mq))
    _features &= ~feature::net_rss;
  _transport.write_driver_features(_features);
  _transport.write_status(status::acknowledge | status::driver | status::features_ok);
  if (!(_transport.read_status() & status::features_ok))
    return errc::opnotsupp;
  return {};
}

result<> net_device::read_info() noexcept {
  if (has(feature::net_mac)) {
    for (uint32_t i = 0; i < 6; ++i)
      _info.mac.bytes[i] = _transport.read_config8(net_config::mac + i);
  }
  if (!has(feature::net_mac) || _info.mac.multicast())
    return errc::nodev;  // we could not be reached
  if (has(feature::net_mtu)) {
    auto mtu = uint16_t(_transport.read_config(net_config::mtu, 2));
    if (mtu < 68)
      return errc::inval;  // RFC 791
    _info.mtu = std::min<uint16_t>(mtu, 1500);
  }
  if (has(feature::net_mq)) {
    auto pairs = uint16_t(_transport.read_config(net_config::max_virtqueue_pairs, 2));
    if (pairs == 0 || pairs > mq_pairs_max)
      return errc::inval;
    _pairs_device = pairs;
    _info.queue_pairs_max = std::min<uint16_t>(pairs, pairs_max);
    if (2 * uint32_t(pairs) >= transport::queues_max) {
      // The control queue would be out of reach: do without it, and without what needs it.
      _info.queue_pairs_max = 1;
      _features &= ~feature::net_rss;
    }
  }
  if (uint16_t v = _transport.vectors(); v > 0)
    _info.queue_pairs_max = std::min(_info.queue_pairs_max, v);
  if (has(feature::net_rss)) {
    bool enough =
        _transport.read_config(net_config::rss_max_key_size, 1) >= std::tuple_size_v<decltype(rss_config::key)> &&
        _transport.read_config(net_config::rss_max_indirection_table_length, 2) >=
            std::tuple_size_v<decltype(rss_config::table)> &&
        (_transport.read_config(net_config::supported_hash_types, 4) & hash_type_tcpv4);
    _info.rss = enough;
  }
  _info.tx_checksum = has(feature::net_csum);
  _info.tso4 = has(feature::net_host_tso4);
  _info.receives_large = has(feature::net_guest_tso4);
  _info.link_up = read_link_up();
  return {};
}

bool net_device::read_link_up() noexcept {
  return !has(feature::net_status) || (_transport.read_config(net_config::status, 2) & net_s_link_up);
}

result<> net_device::set_queue_pairs(uint16_t pairs) noexcept {
  if (_started)
    return errc::busy;
  if (pairs == 0 || pairs > _info.queue_pairs_max)
    return errc::inval;
  _pairs = pairs;
  return {};
}

result<queue*> net_device::open_queue(const queue_config& config, memory& m, packet_slab& slab) noexcept {
  if (config.index >= _pairs || _started)
    return errc::inval;
  if (_queues[config.index].queue)
    return errc::busy;
  uint16_t rx_max = _transport.read_queue_size_max(uint16_t(2 * config.index));
  uint16_t tx_max = _transport.read_queue_size_max(uint16_t(2 * config.index + 1));
  net_queue::setup s;
  s.pair = config.index;
  s.vector = _transport.vectors() ? config.index : no_vector;
  s.rx_size = std::bit_floor(std::min(rx_max, config.rx_depth));
  s.tx_size = std::bit_floor(std::min(tx_max, config.tx_depth));
  // The longest chain must fit.
  if (s.rx_size < 2 || s.tx_size < packet::fragments_max + 1)
    return errc::nodev;
  s.buffer_size = config.buffer_size;
  s.event_idx = has(feature::ring_event_idx);
  s.mergeable = has(feature::net_mrg_rxbuf);
  s.guest_checksum = has(feature::net_guest_csum);
  s.receives_large = has(feature::net_guest_tso4);
  // 5.1.6.3.1: without merging one buffer holds a whole packet.
  uint32_t least = s.receives_large ? large_buffer_min : uint32_t(sizeof(net_hdr)) + 18 + _info.mtu;
  if (s.buffer_size < least)
    return errc::inval;

  void* raw = m.allocate(sizeof(net_queue), alignof(net_queue));
  if (!raw)
    return errc::nomem;
  auto* q = new (raw) net_queue(_transport, m, slab, s);
  _queues[config.index] = {q, &m};
  if (result<> done = q->init(); !done)
    return done.error();  // the memory is kept until the device is reset
  return q;
}

// While the device may still touch its memory a queue is lost rather than freed.
void net_device::close_queue(uint16_t index) noexcept {
  opened& o = _queues[index];
  if (!o.queue || _started || !_quiet)
    return;
  o.queue->~net_queue();
  o.from->deallocate(o.queue, sizeof(net_queue), alignof(net_queue));
  o = {};
}

result<> net_device::open_control() noexcept {
  auto index = uint16_t(has(feature::net_mq) ? 2 * _pairs_device : 2);
  uint16_t size = std::bit_floor(std::min(_transport.read_queue_size_max(index), control_size_max));
  if (size < 4)
    return errc::nodev;
  _control_page = _memory.allocate_dma(4096, 64);
  if (!_control_page)
    return errc::nomem;
  TRY(_control.init(_memory, size, has(feature::ring_event_idx)));
  return _transport.enable_queue(index, size, _control.addresses(), no_vector);
}

result<> net_device::start() noexcept {
  if (_started)
    return errc::already;
  if (_ended)
    return errc::nodev;
  result<> done = begin();
  if (!done)
    reset();
  return done;
}

result<> net_device::begin() noexcept {
  bool control = _info.queue_pairs_max > 1 || has(feature::net_rss);
  if (control)
    TRY(open_control());
  _started = true;
  _transport.write_status(status::acknowledge | status::driver | status::features_ok | status::driver_ok);
  for (opened& o : _queues) {
    if (o.queue)
      o.queue->kick_receive();
  }
  if (has(feature::net_mq) && control) {
    TRY(command(ctrl_class_mq, ctrl_mq_vq_pairs_set, &_pairs, sizeof(_pairs)));
  }
  return {};
}

result<> net_device::set_rss(const rss_config& config) noexcept {
  if (!_info.rss || !_started)
    return errc::opnotsupp;
  constexpr uint32_t entries = std::tuple_size_v<decltype(config.table)>;
  std::byte data[sizeof(rss_head) + 2 * entries + 3 + sizeof(config.key)];
  std::byte* p = data;
  auto put = [&p](const void* from, size_t n) {
    memcpy(p, from, n);
    p += n;
  };
  uint32_t types = hash_type_tcpv4 | hash_type_udpv4;
  rss_head head{types & _transport.read_config(net_config::supported_hash_types, 4), entries - 1, 0};
  put(&head, sizeof(head));
  for (uint16_t queue : config.table) {
    // The table names receive queues by pair (5.1.6.5.7.1: receiveq1 is 0).
    if (queue >= _pairs)
      return errc::inval;
    put(&queue, 2);
  }
  put(&_pairs, 2);  // max_tx_vq
  auto key_length = uint8_t(sizeof(config.key));
  put(&key_length, 1);
  put(config.key.data(), key_length);
  return command(ctrl_class_mq, ctrl_mq_rss_config, data, uint32_t(p - data));
}

result<> net_device::command(uint8_t class_, uint8_t number, const void* data, uint32_t length) noexcept {
  std::byte* page = _control_page.base;
  uint32_t answer_at = uint32_t(_control_page.length) - 64;
  CHECK(sizeof(ctrl_hdr) + length <= answer_at);
  if (_control.broken() || _control.outstanding() > 0)
    return errc::io;  // one that was not answered in time may still be: the page is its
  ctrl_hdr head{class_, number};
  memcpy(page, &head, sizeof(head));
  memcpy(page + sizeof(head), data, length);
  page[answer_at] = std::byte(0xff);
  segment s[] = {{_control_page.bus, uint32_t(sizeof(head)) + length}, {_control_page.bus + answer_at, 1}};
  _control.add(s, 1, 1, page);
  _control.publish();
  auto index = uint16_t(has(feature::net_mq) ? 2 * _pairs_device : 2);
  if (_control.needs_kick())
    _transport.notify(index);
  split_ring::used_chain u;
  for (uint32_t polls = 0; polls < _options.control_polls_max && !_control.broken(); ++polls) {
    if (_control.take_used(u)) {
      // SAFETY: the device wrote this byte; volatile reads it once, after the used index.
      uint8_t answer = *reinterpret_cast<volatile uint8_t*>(page + answer_at);
      return answer == ctrl_ok && u.length >= 1 ? result<>{} : errc::io;
    }
    __builtin_ia32_pause();
  }
  ++_control_errors;
  return errc::timedout;
}

void net_device::reset() noexcept {
  // A device that does not confirm its reset may still write to its buffers: they are not reused, but lost.
  _started = false;
  _ended = true;
  _quiet = bool(_transport.reset());
  if (!_quiet) {
    _control.abandon();
    return;
  }
  while (_control.take_back()) {
  }
}

}  // namespace solaster::net::virtio
