// A model of a virtio network device behind the register abstraction: the other side of net/virtio's rings.
//
// Bus addresses are pointers. The model is honest until a test makes it lie.
#pragma once

#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "net/virtio/net_device.hh"

namespace solaster::net::virtio::test {

// Heap memory that counts itself, can run out, and can be partly out of devices' reach.
class test_memory final : public memory {
 public:
  void* allocate(size_t bytes, size_t align) noexcept override {
    if (fail_after == 0)
      return nullptr;
    if (fail_after > 0)
      --fail_after;
    ++live;
    return std::aligned_alloc(align, (bytes + align - 1) / align * align);
  }
  void deallocate(void* p, size_t, size_t) noexcept override {
    --live;
    std::free(p);
  }
  dma_region allocate_dma(size_t bytes, size_t align) noexcept override {
    auto* p = static_cast<std::byte*>(allocate(bytes, align));
    if (!p)
      return {};
    return {p, bytes, {reinterpret_cast<uint64_t>(p)}};
  }
  void deallocate_dma(dma_region r) noexcept override { deallocate(r.base, r.length, 1); }
  dma_addr translate(const void* p, size_t length) noexcept override {
    auto a = reinterpret_cast<uint64_t>(p);
    if (a >= unreachable_begin && a + length <= unreachable_end)
      return dma_unreachable;
    return {a};
  }
  long live = 0;
  long fail_after = -1;
  uint64_t unreachable_begin = 0, unreachable_end = 0;
};

struct mock_queue {
  uint16_t size_max = 256, size = 0, vector = no_vector;
  uint64_t desc = 0, driver = 0, device = 0;
  bool enabled = false;
  uint32_t notified = 0;
  uint16_t seen = 0;  // of avail
  uint16_t used = 0;

  ring_desc* d() const { return reinterpret_cast<ring_desc*>(desc); }
  ring_avail* a() const { return reinterpret_cast<ring_avail*>(driver); }
  ring_used* u() const { return reinterpret_cast<ring_used*>(device); }
  uint16_t used_event() const { return a()->ring[size]; }
  void set_avail_event(uint16_t v) { memcpy(&u()->ring[size], &v, 2); }
  size_t available() const { return uint16_t(a()->idx - seen); }
  uint16_t pop() { return a()->ring[seen++ % size]; }
  // Without telling the driver yet.
  void fill(uint32_t id, uint32_t len) { u()->ring[used++ % size] = {id, len}; }
  void flush() { u()->idx = used; }
  void push(uint32_t id, uint32_t len) {
    fill(id, len);
    flush();
  }
};

struct sent_packet {
  net_hdr header;
  std::string bytes;
  unsigned descriptors;
};

class mock_device {
 public:
  explicit mock_device(uint16_t pairs = 1) {
    config.resize(24);
    const uint8_t mac[] = {0x52, 0x54, 0, 1, 2, 3};
    memcpy(config.data(), mac, 6);
    set16(net_config::status, net_s_link_up);
    set16(net_config::max_virtqueue_pairs, pairs);
    set16(net_config::mtu, 1500);
    config[net_config::rss_max_key_size] = 40;
    set16(net_config::rss_max_indirection_table_length, 128);
    config[net_config::supported_hash_types] = 0x3f;
    queues.resize(2 * pairs + 1);
    control_index = uint16_t(2 * pairs);
    if (pairs > 1)
      offered |= feature::net_mq | feature::net_rss;
  }
  void set16(uint32_t at, uint16_t v) { memcpy(&config[at], &v, 2); }

  uint64_t offered = feature::net_csum | feature::net_guest_csum | feature::net_mac | feature::net_host_tso4 |
                     feature::net_guest_tso4 | feature::net_mrg_rxbuf | feature::net_status | feature::net_ctrl_vq |
                     feature::ring_event_idx | feature::version_1 | feature::net_mtu | feature_mask(28);
  uint64_t taken = 0;
  uint8_t status = 0;
  bool refuse_features = false;
  bool never_resets = false;
  bool mute_control = false;
  uint8_t control_answer = ctrl_ok;
  uint32_t generation = 0;
  uint16_t control_index = 2;
  std::vector<uint8_t> config;
  std::deque<mock_queue> queues;
  std::vector<std::string> commands;  // what came on the control queue

  void write_status(uint8_t v) {
    status = v;
    if (v == 0) {
      if (never_resets) {
        status = status::needs_reset;
        return;
      }
      for (mock_queue& q : queues)
        q = {};
    }
    if (refuse_features)
      status &= uint8_t(~status::features_ok);
  }
  void notify(uint16_t q) {
    ++queues.at(q).notified;
    if (q == control_index && !mute_control)
      run_control();
  }
  void run_control() {
    mock_queue& q = queues[control_index];
    while (q.available()) {
      uint16_t head = q.pop();
      ring_desc out = q.d()[head], in = q.d()[out.next];
      commands.emplace_back(reinterpret_cast<char*>(out.addr), out.len);
      *reinterpret_cast<uint8_t*>(in.addr) = control_answer;
      q.push(head, 1);
    }
    q.set_avail_event(q.seen);
  }
  // Delivers a frame to pair `pair` in as many buffers as it needs; false: no buffers.
  bool deliver(uint16_t pair, const std::string& frame, net_hdr h = {}) {
    mock_queue& q = queues[2 * pair];
    std::string all = std::string(sizeof(net_hdr), '\0') + frame;
    std::vector<std::pair<uint16_t, size_t>> parts;
    std::byte* header_at = nullptr;
    for (size_t at = 0; at < all.size();) {
      if (!q.available()) {
        q.seen = uint16_t(q.seen - parts.size());
        return false;
      }
      uint16_t id = q.pop();
      size_t n = std::min<size_t>(q.d()[id].len, all.size() - at);
      auto* to = reinterpret_cast<std::byte*>(q.d()[id].addr);
      if (!header_at)
        header_at = to;
      memcpy(to, &all[at], n);
      parts.emplace_back(id, n);
      at += n;
    }
    h.num_buffers = uint16_t(parts.size());
    memcpy(header_at, &h, sizeof(h));
    for (auto& [id, n] : parts)
      q.fill(id, uint32_t(n));
    q.flush();
    return true;
  }
  // Takes what was sent on pair `pair`, at most `max` packets.
  std::vector<sent_packet> collect(uint16_t pair, size_t max = 1000) {
    mock_queue& q = queues[2 * pair + 1];
    std::vector<sent_packet> out;
    while (q.available() && out.size() < max) {
      uint16_t head = q.pop();
      std::string all;
      unsigned n = 0;
      for (uint16_t i = head;; i = q.d()[i].next) {
        ring_desc d = q.d()[i];
        all.append(reinterpret_cast<char*>(d.addr), d.len);
        ++n;
        if (!(d.flags & desc_f_next))
          break;
      }
      sent_packet s;
      memcpy(&s.header, all.data(), sizeof(s.header));
      s.bytes = all.substr(sizeof(s.header));
      s.descriptors = n;
      out.push_back(std::move(s));
      q.push(head, 0);
    }
    return out;
  }
};

// The registers of both transports in front of the model.
class mock_registers final : public register_block {
 public:
  enum class view { pci_common, pci_config, pci_notify, mmio };
  mock_registers(mock_device& d, view v) : _d(d), _view(v) {}
  uint8_t read8(uint32_t o) noexcept override { return uint8_t(read(o)); }
  uint16_t read16(uint32_t o) noexcept override { return uint16_t(read(o)); }
  uint32_t read32(uint32_t o) noexcept override { return read(o); }
  void write8(uint32_t o, uint8_t v) noexcept override { write(o, v); }
  void write16(uint32_t o, uint16_t v) noexcept override { write(o, v); }
  void write32(uint32_t o, uint32_t v) noexcept override { write(o, v); }

  uint16_t notify_off_lie = 0;
  uint16_t vectors = 8;

 private:
  mock_queue* selected() { return _select < _d.queues.size() ? &_d.queues[_select] : nullptr; }
  uint32_t read(uint32_t o) {
    switch (_view) {
      case view::pci_common:
        return read_pci(o);
      case view::pci_config:
        return o < _d.config.size() ? _d.config[o] : 0;
      case view::pci_notify:
        return 0;
      case view::mmio:
        return read_mmio(o);
    }
    return 0;
  }
  void write(uint32_t o, uint32_t v) {
    switch (_view) {
      case view::pci_common:
        return write_pci(o, v);
      case view::pci_config:
        return;
      case view::pci_notify:
        return _d.notify(uint16_t(v));
      case view::mmio:
        return write_mmio(o, v);
    }
  }
  static void half(uint64_t& value, bool high, uint32_t v) {
    value = high ? (value & 0xffffffff) | uint64_t(v) << 32 : (value & ~uint64_t(0xffffffff)) | v;
  }
  uint32_t read_pci(uint32_t o) {
    using namespace pci_reg;
    mock_queue* q = selected();
    switch (o) {
      case device_feature:
        return uint32_t(_d.offered >> (32 * _feature_select));
      case num_queues:
        return uint32_t(_d.queues.size());
      case device_status:
        return _d.status;
      case config_generation:
        return _d.generation;
      case queue_size:
        return q ? q->size_max : 0;
      case queue_msix_vector:
        return q ? q->vector : no_vector;
      case queue_notify_off:
        return uint32_t(_select + notify_off_lie);
    }
    return 0;
  }
  void write_pci(uint32_t o, uint32_t v) {
    using namespace pci_reg;
    mock_queue* q = selected();
    switch (o) {
      case device_feature_select:
        _feature_select = v & 1;
        return;
      case driver_feature_select:
        _driver_select = v & 1;
        return;
      case driver_feature:
        half(_d.taken, _driver_select, v);
        return;
      case device_status:
        _d.write_status(uint8_t(v));
        return;
      case queue_select:
        _select = uint16_t(v);
        return;
    }
    if (!q)
      return;
    switch (o) {
      case queue_size:
        q->size = uint16_t(v);
        return;
      case queue_msix_vector:
        q->vector = v < vectors ? uint16_t(v) : no_vector;
        return;
      case queue_enable:
        q->enabled = v;
        return;
      case queue_desc:
        half(q->desc, false, v);
        return;
      case queue_desc + 4:
        half(q->desc, true, v);
        return;
      case queue_driver:
        half(q->driver, false, v);
        return;
      case queue_driver + 4:
        half(q->driver, true, v);
        return;
      case queue_device:
        half(q->device, false, v);
        return;
      case queue_device + 4:
        half(q->device, true, v);
        return;
    }
  }
  uint32_t read_mmio(uint32_t o) {
    mock_queue* q = selected();
    switch (o) {
      case mmio_reg::magic:
        return mmio_magic;
      case mmio_reg::version:
        return mmio_version;
      case mmio_reg::device_id:
        return device_id_net;
      case mmio_reg::device_features:
        return uint32_t(_d.offered >> (32 * _feature_select));
      case mmio_reg::queue_num_max:
        return q ? q->size_max : 0;
      case mmio_reg::queue_ready:
        return q ? q->enabled : 0;
      case mmio_reg::status:
        return _d.status;
      case mmio_reg::config_generation:
        return _d.generation;
    }
    if (o >= mmio_reg::config && o - mmio_reg::config < _d.config.size())
      return _d.config[o - mmio_reg::config];
    return 0;
  }
  void write_mmio(uint32_t o, uint32_t v) {
    mock_queue* q = selected();
    switch (o) {
      case mmio_reg::device_features_sel:
        _feature_select = v & 1;
        return;
      case mmio_reg::driver_features_sel:
        _driver_select = v & 1;
        return;
      case mmio_reg::driver_features:
        half(_d.taken, _driver_select, v);
        return;
      case mmio_reg::queue_sel:
        _select = uint16_t(v);
        return;
      case mmio_reg::queue_notify:
        _d.notify(uint16_t(v));
        return;
      case mmio_reg::status:
        _d.write_status(uint8_t(v));
        return;
    }
    if (!q)
      return;
    switch (o) {
      case mmio_reg::queue_num:
        q->size = uint16_t(v);
        return;
      case mmio_reg::queue_ready:
        q->enabled = v;
        return;
      case mmio_reg::queue_desc_low:
        half(q->desc, false, v);
        return;
      case mmio_reg::queue_desc_low + 4:
        half(q->desc, true, v);
        return;
      case mmio_reg::queue_driver_low:
        half(q->driver, false, v);
        return;
      case mmio_reg::queue_driver_low + 4:
        half(q->driver, true, v);
        return;
      case mmio_reg::queue_device_low:
        half(q->device, false, v);
        return;
      case mmio_reg::queue_device_low + 4:
        half(q->device, true, v);
        return;
    }
  }
  mock_device& _d;
  view _view;
  uint16_t _select = 0;
  unsigned _feature_select = 0, _driver_select = 0;
};

// A model with both kinds of registers, and the driver's memory.
struct bench {
  explicit bench(uint16_t pairs = 1) : device(pairs) {}
  test_memory mem;
  mock_device device;
  mock_registers pci_common{device, mock_registers::view::pci_common};
  mock_registers pci_config{device, mock_registers::view::pci_config};
  mock_registers pci_notify{device, mock_registers::view::pci_notify};
  mock_registers mmio{device, mock_registers::view::mmio};
  mmio_transport over_mmio{mmio};
  pci_transport over_pci{{&pci_common, &pci_config, &pci_notify, 24, 4096, 4, 8}};
  packet_slab slab{mem};
};

}  // namespace solaster::net::virtio::test
