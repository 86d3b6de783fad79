// Virtio 1.2, 4.2: the MMIO transport, version 2; and what all transports share.
#include "net/virtio/transport.hh"

namespace solaster::net::virtio {

namespace reg = mmio_reg;

result<> transport::reset() noexcept {
  write_status(0);
  for (uint32_t polls = 0; polls < reset_polls_max; ++polls) {
    if (read_status() == 0)
      return {};
  }
  return errc::timedout;
}

uint32_t transport::read_config(uint32_t offset, unsigned bytes) noexcept {
  // 2.5.3: the generation is equal before and after when the fields belong together. A device that never settles does
  // not hold us up.
  uint32_t value = 0;
  for (int tries = 0; tries < 8; ++tries) {
    uint32_t before = read_config_generation();
    value = 0;
    for (unsigned i = 0; i < bytes; ++i)
      value |= uint32_t(read_config8(offset + i)) << (8 * i);
    if (read_config_generation() == before)
      break;
  }
  return value;
}

result<> mmio_transport::check_identity() noexcept {
  if (_r.read32(reg::magic) != mmio_magic || _r.read32(reg::version) != mmio_version)
    return errc::nodev;
  if (_r.read32(reg::device_id) != device_id_net)
    return errc::nodev;
  return {};
}

uint8_t mmio_transport::read_status() noexcept {
  return uint8_t(_r.read32(reg::status));
}
void mmio_transport::write_status(uint8_t value) noexcept {
  _r.write32(reg::status, value);
}

uint64_t mmio_transport::read_device_features() noexcept {
  _r.write32(reg::device_features_sel, 0);
  uint64_t low = _r.read32(reg::device_features);
  _r.write32(reg::device_features_sel, 1);
  return low | uint64_t(_r.read32(reg::device_features)) << 32;
}

void mmio_transport::write_driver_features(uint64_t mask) noexcept {
  _r.write32(reg::driver_features_sel, 0);
  _r.write32(reg::driver_features, uint32_t(mask));
  _r.write32(reg::driver_features_sel, 1);
  _r.write32(reg::driver_features, uint32_t(mask >> 32));
}

uint16_t mmio_transport::read_queue_size_max(uint16_t queue) noexcept {
  if (queue >= queues_max)
    return 0;
  _r.write32(reg::queue_sel, queue);
  uint32_t size = _r.read32(reg::queue_num_max);
  return size > ring_size_max ? ring_size_max : uint16_t(size);
}

result<> mmio_transport::enable_queue(uint16_t queue, uint16_t size, const queue_addresses& where, uint16_t) noexcept {
  auto write64 = [this](uint32_t offset, uint64_t value) {
    _r.write32(offset, uint32_t(value));
    _r.write32(offset + 4, uint32_t(value >> 32));
  };
  _r.write32(reg::queue_sel, queue);
  if (_r.read32(reg::queue_ready) != 0)
    return errc::io;  // 4.2.3.2: it has to be 0 after a reset
  _r.write32(reg::queue_num, size);
  write64(reg::queue_desc_low, where.desc.value);
  write64(reg::queue_driver_low, where.driver.value);
  write64(reg::queue_device_low, where.device.value);
  _r.write32(reg::queue_ready, 1);
  return {};
}

uint32_t mmio_transport::read_config_generation() noexcept {
  return _r.read32(reg::config_generation);
}
uint8_t mmio_transport::read_config8(uint32_t offset) noexcept {
  return _r.read8(reg::config + offset);
}

}  // namespace solaster::net::virtio
