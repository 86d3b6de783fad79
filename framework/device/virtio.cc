#include "framework/device/virtio.hh"

#include "framework/device/options.hh"
#include "framework/host/direct.hh"
#include "net/virtio/net_device.hh"

#include <algorithm>
#include <cstring>
#include <optional>
#include <stdexcept>

namespace solaster {
namespace {

namespace virtio = net::virtio;

[[noreturn]] void fail(const std::string& what, int error) {
  throw std::runtime_error("virtio network device: " + what + ": " + std::strerror(error));
}

class virtio_nic final : public nic {
 public:
  virtio_nic(const nic_options& options, unsigned shards, net::memory& m) : _direct(*find_direct_interface()) {
    if (int error = _direct.nic_claim(0, &_where); error < 0) {
      throw std::runtime_error(
          error == -ENODEV ? "this guest has no network device (QEMU's -device virtio-net-pci, or virtio-net-device)"
                           : std::string("the network device cannot be claimed: ") + std::strerror(-error));
    }
    virtio::transport& wire = make_transport();
    auto made = virtio::net_device::make(wire, m, {});
    if (!made) {
      int error = int(made.error());
      _direct.nic_release(0);
      fail(error == int(errc::opnotsupp) || error == int(errc::nodev)
               ? "not a modern device (microvm: -global virtio-mmio.force-legacy=false)"
               : "cannot be set up",
           error);
    }
    _device = *made;
    _shards = shards;
    _pairs = std::min<unsigned>(shards, _device->info().queue_pairs_max);
    if (auto done = _device->set_queue_pairs(uint16_t(_pairs)); !done) {
      fail("queue pairs", int(done.error()));
    }
    if (options.rx_queue_size) {
      _rx_depth = uint16_t(std::clamp(options.rx_queue_size, 2u, 32768u));
    }
  }
  ~virtio_nic() override {
    if (_device) {
      virtio::net_device::destroy(_device);
      _direct.nic_release(0);
    }
  }
  net::device& device() noexcept override { return *_device; }

 protected:
  net::queue_config config_of(unsigned shard) override { return {.index = uint16_t(shard), .rx_depth = _rx_depth}; }
  void bind_interrupts(unsigned shard) override {
    // PCI: a vector a pair. MMIO: one interrupt for all, which wakes every bound shard.
    uint32_t vector = _where.transport == SOLASTER_NIC_VIRTIO_PCI ? shard : 0;
    if (int error = _direct.nic_bind_vector(0, vector, shard); error < 0) {
      fail("its interrupt cannot be bound", -error);
    }
  }

 private:
  virtio::transport& make_transport() {
    _common = virtio::mapped_block(_where.common);
    if (_where.transport == SOLASTER_NIC_VIRTIO_MMIO) {
      _name = "virtio-net over MMIO";
      _mmio.emplace(_common);
      if (!_mmio->check_identity()) {
        _direct.nic_release(0);
        fail("not a modern device (microvm: -global virtio-mmio.force-legacy=false)", ENODEV);
      }
      return *_mmio;
    }
    _name = "virtio-net over PCI";
    _config = virtio::mapped_block(_where.device_config);
    _notify = virtio::mapped_block(_where.notify);
    _pci.emplace(virtio::pci_transport::regions{
        .common = &_common,
        .device_config = &_config,
        .notify = &_notify,
        .device_config_length = _where.device_config_length,
        .notify_length = _where.notify_length,
        .notify_off_multiplier = _where.notify_off_multiplier,
        .vectors = uint16_t(std::min<uint32_t>(_where.vectors, SOLASTER_NIC_VECTORS_MAX)),
    });
    return *_pci;
  }

  const solaster_direct& _direct;
  solaster_nic _where{};
  virtio::mapped_block _common, _config, _notify;
  std::optional<virtio::mmio_transport> _mmio;
  std::optional<virtio::pci_transport> _pci;
  virtio::net_device* _device = nullptr;
  uint16_t _rx_depth = 256;
};

}  // namespace

std::unique_ptr<nic> open_virtio_nic(const nic_options& options, unsigned shards, net::memory& m) {
  return std::make_unique<virtio_nic>(options, shards, m);
}

}  // namespace solaster
