// How a virtio device is reached: registers, and on top of them the steps that every transport offers.
//
// `register_block` is the only place where hardware is touched; a test puts a model of a device behind it.
// `pci_transport` and `mmio_transport` turn register layouts into the same few steps. Register accesses are slow (an
// exit each on real virtual machines): nothing but notify() is for the hot path.
//
// Spec: Virtio 1.2, 4.1 and 4.2. Context: the device's owner; notify(): the queue's shard.
#pragma once

#include <array>

#include "net/base/memory.hh"
#include "net/base/result.hh"
#include "net/virtio/spec.hh"

namespace solaster::net::virtio {

class register_block {
 public:
  virtual ~register_block() = default;
  virtual uint8_t read8(uint32_t offset) noexcept = 0;
  virtual uint16_t read16(uint32_t offset) noexcept = 0;
  virtual uint32_t read32(uint32_t offset) noexcept = 0;
  virtual void write8(uint32_t offset, uint8_t value) noexcept = 0;
  virtual void write16(uint32_t offset, uint16_t value) noexcept = 0;
  virtual void write32(uint32_t offset, uint32_t value) noexcept = 0;
};

// Registers that are mapped into memory, uncached.
class mapped_block final : public register_block {
 public:
  // SAFETY: device registers; the caller says where they are mapped.
  explicit mapped_block(volatile void* base = nullptr) noexcept : _base(static_cast<volatile std::byte*>(base)) {}
  uint8_t read8(uint32_t offset) noexcept override { return *at<uint8_t>(offset); }
  uint16_t read16(uint32_t offset) noexcept override { return *at<uint16_t>(offset); }
  uint32_t read32(uint32_t offset) noexcept override { return *at<uint32_t>(offset); }
  void write8(uint32_t offset, uint8_t value) noexcept override { *at<uint8_t>(offset) = value; }
  void write16(uint32_t offset, uint16_t value) noexcept override { *at<uint16_t>(offset) = value; }
  void write32(uint32_t offset, uint32_t value) noexcept override { *at<uint32_t>(offset) = value; }

 private:
  // SAFETY: the host mapped the structure at `_base`; offsets come from spec.hh and are naturally aligned.
  template <class T>
  volatile T* at(uint32_t offset) const noexcept {
    return reinterpret_cast<volatile T*>(_base + offset);
  }
  volatile std::byte* _base;
};

struct queue_addresses {
  dma_addr desc, driver, device;
};

class transport {
 public:
  static constexpr uint16_t queues_max = 257;  // 128 pairs and the control queue
  static constexpr uint32_t reset_polls_max = 1'000'000;

  virtual ~transport() = default;
  virtual uint8_t read_status() noexcept = 0;
  virtual void write_status(uint8_t value) noexcept = 0;
  virtual uint64_t read_device_features() noexcept = 0;
  virtual void write_driver_features(uint64_t mask) noexcept = 0;
  // 0: there is no such queue.
  virtual uint16_t read_queue_size_max(uint16_t queue) noexcept = 0;
  // `vector`: no_vector, or which of vectors() the queue raises. nodev, io (the device refused the vector).
  virtual result<> enable_queue(uint16_t queue, uint16_t size, const queue_addresses& where,
                                uint16_t vector) noexcept = 0;
  virtual void notify(uint16_t queue) noexcept = 0;
  // Interrupt vectors that queues can be given; 0: all queues share one interrupt.
  virtual uint16_t vectors() const noexcept = 0;
  virtual uint32_t read_config_generation() noexcept = 0;
  virtual uint8_t read_config8(uint32_t offset) noexcept = 0;

  // Writes 0 to the status and waits until the device says so too; afterwards it touches no memory. timedout.
  result<> reset() noexcept;
  // A little-endian field of the device's configuration, byte by byte: right for every width and alignment.
  uint32_t read_config(uint32_t offset, unsigned bytes) noexcept;
};

class pci_transport final : public transport {
 public:
  struct regions {
    register_block* common = nullptr;
    register_block* device_config = nullptr;
    register_block* notify = nullptr;
    uint64_t device_config_length = 0;
    uint64_t notify_length = 0;
    uint32_t notify_off_multiplier = 0;
    uint16_t vectors = 0;
  };
  explicit pci_transport(const regions& r) noexcept : _r(r) {}
  uint8_t read_status() noexcept override;
  void write_status(uint8_t value) noexcept override;
  uint64_t read_device_features() noexcept override;
  void write_driver_features(uint64_t mask) noexcept override;
  uint16_t read_queue_size_max(uint16_t queue) noexcept override;
  result<> enable_queue(uint16_t queue, uint16_t size, const queue_addresses& where, uint16_t vector) noexcept override;
  void notify(uint16_t queue) noexcept override { _r.notify->write16(_notify_offset[queue], queue); }
  uint16_t vectors() const noexcept override { return _r.vectors; }
  uint32_t read_config_generation() noexcept override;
  uint8_t read_config8(uint32_t offset) noexcept override;

 private:
  regions _r;
  std::array<uint32_t, queues_max> _notify_offset{};
};

class mmio_transport final : public transport {
 public:
  explicit mmio_transport(register_block& registers) noexcept : _r(registers) {}
  // nodev: not a modern virtio network device.
  result<> check_identity() noexcept;
  uint8_t read_status() noexcept override;
  void write_status(uint8_t value) noexcept override;
  uint64_t read_device_features() noexcept override;
  void write_driver_features(uint64_t mask) noexcept override;
  uint16_t read_queue_size_max(uint16_t queue) noexcept override;
  result<> enable_queue(uint16_t queue, uint16_t size, const queue_addresses& where, uint16_t vector) noexcept override;
  void notify(uint16_t queue) noexcept override { _r.write32(mmio_reg::queue_notify, queue); }
  uint16_t vectors() const noexcept override { return 0; }
  uint32_t read_config_generation() noexcept override;
  uint8_t read_config8(uint32_t offset) noexcept override;

 private:
  register_block& _r;
};

}  // namespace solaster::net::virtio
