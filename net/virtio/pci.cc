// Virtio 1.2, 4.1: the modern PCI transport.
#include "net/virtio/transport.hh"

namespace solaster::net::virtio {

using namespace pci_reg;

uint8_t pci_transport::read_status() noexcept {
  return _r.common->read8(device_status);
}
void pci_transport::write_status(uint8_t value) noexcept {
  _r.common->write8(device_status, value);
}

uint64_t pci_transport::read_device_features() noexcept {
  _r.common->write32(device_feature_select, 0);
  uint64_t low = _r.common->read32(device_feature);
  _r.common->write32(device_feature_select, 1);
  return low | uint64_t(_r.common->read32(device_feature)) << 32;
}

void pci_transport::write_driver_features(uint64_t mask) noexcept {
  _r.common->write32(driver_feature_select, 0);
  _r.common->write32(driver_feature, uint32_t(mask));
  _r.common->write32(driver_feature_select, 1);
  _r.common->write32(driver_feature, uint32_t(mask >> 32));
}

uint16_t pci_transport::read_queue_size_max(uint16_t queue) noexcept {
  if (queue >= queues_max || queue >= _r.common->read16(num_queues))
    return 0;
  _r.common->write16(queue_select, queue);
  return _r.common->read16(queue_size);
}

result<> pci_transport::enable_queue(uint16_t queue, uint16_t size, const queue_addresses& where,
                                     uint16_t vector) noexcept {
  if (queue >= queues_max)
    return errc::nodev;
  auto write64 = [this](uint32_t offset, uint64_t value) {
    _r.common->write32(offset, uint32_t(value));
    _r.common->write32(offset + 4, uint32_t(value >> 32));
  };
  // The device says where the doorbell is; believe it only as far as the structure reaches.
  _r.common->write16(queue_select, queue);
  uint64_t doorbell = uint64_t(_r.common->read16(queue_notify_off)) * _r.notify_off_multiplier;
  if (doorbell + 2 > _r.notify_length)
    return errc::io;
  _notify_offset[queue] = uint32_t(doorbell);

  _r.common->write16(queue_size, size);
  write64(queue_desc, where.desc.value);
  write64(queue_driver, where.driver.value);
  write64(queue_device, where.device.value);
  // Without resources for the vector the device answers no_vector (4.1.5.1.2.1).
  _r.common->write16(queue_msix_vector, vector);
  if (_r.common->read16(queue_msix_vector) != vector)
    return errc::io;
  _r.common->write16(queue_enable, 1);
  return {};
}

uint32_t pci_transport::read_config_generation() noexcept {
  return _r.common->read8(config_generation);
}

uint8_t pci_transport::read_config8(uint32_t offset) noexcept {
  return offset < _r.device_config_length ? _r.device_config->read8(offset) : 0;
}

}  // namespace solaster::net::virtio
