// One request on one queue of one page, polled. Spec: Virtio 1.2: 5.4 (entropy device), 2.7 (split ring), 4.1.4, 4.2.2.
//
// SAFETY (file): registers lie in what map_device mapped, at the offsets of virtio 1.2, 4.1.4.3 and 4.2.2; the ring
// lies in a page of our own, at offsets asserted below.

#include "kernel/drivers/virtio_rng.hh"

#include <atomic>

#include "kernel/arch/x86_64/cpu.hh"
#include "kernel/drivers/pci.hh"
#include "kernel/drivers/virtio_mmio.hh"
#include "kernel/lib/memory.hh"
#include "kernel/mm/frames.hh"
#include "kernel/mm/kernel_map.hh"
#include "kernel/sched/clock.hh"

namespace solaster::kernel {
namespace {

constexpr u16 virtio_vendor = 0x1af4, modern_rng = 0x1044, transitional_rng = 0x1005;
constexpr u32 rng_device_id = 4, modern_version = 2;
constexpr u8 status_acknowledge = 1, status_driver = 2, status_driver_ok = 4, status_features_ok = 8;
constexpr u64 patience_ns = 100'000'000;
constexpr u16 queue_length = 4;
// Places in the page.
constexpr u32 at_available = 1024, at_used = 2048, at_buffer = 3072;
constexpr usize request_max = 512;

struct descriptor {
  u64 address;
  u32 length;
  u16 flags, next;
};
constexpr u16 descriptor_write = 2;

// The registers that one queue needs, in either layout.
struct transport {
  volatile u32* mmio = nullptr;
  volatile u8* common = nullptr;
  volatile u8* notify = nullptr;
  u32 notify_multiplier = 0;

  void pci32(u32 offset, u32 v) const { *reinterpret_cast<volatile u32*>(common + offset) = v; }
  void pci16(u32 offset, u16 v) const { *reinterpret_cast<volatile u16*>(common + offset) = v; }
  void set_status(u8 v) const {
    if (mmio) {
      mmio[virtio_mmio::status] = v;
    } else {
      common[0x14] = v;
    }
  }
  u8 read_status() const { return mmio ? static_cast<u8>(mmio[virtio_mmio::status]) : common[0x14]; }
  void accept_version_1() const {
    for (u32 half = 0; half < 2; half++) {
      if (mmio) {
        mmio[0x24 / 4] = half;
        mmio[0x20 / 4] = half;  // bit 32: VIRTIO_F_VERSION_1
      } else {
        pci32(0x08, half);
        pci32(0x0c, half);
      }
    }
  }
  bool set_queue(u64 page) const {
    const u64 areas[3] = {page, page + at_available, page + at_used};
    if (mmio) {
      mmio[0x30 / 4] = 0;
      if (mmio[0x34 / 4] < queue_length)
        return false;
      mmio[0x38 / 4] = queue_length;
      for (u32 i = 0; i < 3; i++) {
        mmio[(0x80 + i * 0x10) / 4] = static_cast<u32>(areas[i]);
        mmio[(0x84 + i * 0x10) / 4] = static_cast<u32>(areas[i] >> 32);
      }
      mmio[0x44 / 4] = 1;
      return true;
    }
    pci16(0x16, 0);
    if (*reinterpret_cast<volatile u16*>(common + 0x18) < queue_length)
      return false;
    pci16(0x18, queue_length);
    for (u32 i = 0; i < 3; i++) {
      pci32(0x20 + i * 8, static_cast<u32>(areas[i]));
      pci32(0x24 + i * 8, static_cast<u32>(areas[i] >> 32));
    }
    pci16(0x1c, 1);
    return true;
  }
  void kick() const {
    if (mmio) {
      mmio[0x50 / 4] = 0;
    } else {
      const u32 offset = *reinterpret_cast<volatile u16*>(common + 0x1e) * notify_multiplier;
      *reinterpret_cast<volatile u16*>(notify + offset) = 0;
    }
  }
};

bool request(const transport& t, void* out, usize n) {
  if (n > request_max)
    return false;
  const mm::phys_addr page = mm::allocate_zeroed_frame();
  if (!page)
    return false;
  auto* base = mm::phys_to_virt<u8>(page);
  t.set_status(0);
  t.set_status(status_acknowledge | status_driver);
  t.accept_version_1();
  t.set_status(status_acknowledge | status_driver | status_features_ok);
  if (!(t.read_status() & status_features_ok) || !t.set_queue(page))
    return false;
  t.set_status(status_acknowledge | status_driver | status_features_ok | status_driver_ok);

  *reinterpret_cast<descriptor*>(base) = {page + at_buffer, static_cast<u32>(n), descriptor_write, 0};
  auto* available_index = reinterpret_cast<volatile u16*>(base + at_available + 2);  // ring[0] is 0 already
  auto* used_index = reinterpret_cast<volatile u16*>(base + at_used + 2);
  auto* used_length = reinterpret_cast<volatile u32*>(base + at_used + 8);
  std::atomic_thread_fence(std::memory_order_release);
  *available_index = 1;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  t.kick();
  const u64 end = now_ns() + patience_ns;
  while (*used_index == 0 && now_ns() < end)
    cpu_relax();
  std::atomic_thread_fence(std::memory_order_acquire);
  const bool ok = *used_index == 1 && *used_length >= n;
  if (ok)
    memcpy(out, base + at_buffer, n);
  t.set_status(0);
  // A device that did not answer may still write: its page is lost on purpose.
  if (ok)
    mm::free_frames(page, 0);
  return ok;
}

void on_mmio(const virtio_mmio_device& d, void* context) {
  auto* found = static_cast<transport*>(context);
  if (d.device_id == rng_device_id && d.version == modern_version)
    found->mmio = d.registers;
}

void on_pci(const pci::device& d, void* context) {
  auto* found = static_cast<transport*>(context);
  if (d.vendor != virtio_vendor || (d.id != modern_rng && d.id != transitional_rng) || found->common)
    return;
  for (u32 c = pci::find_capability(d, pci::capability_vendor); c;
       c = pci::find_capability(d, pci::capability_vendor, c)) {
    const u8 kind = d.read8(c + 3);
    const u32 length = d.read32(c + 12);
    if ((kind != 1 && kind != 2) || length < 2 || length > (1u << 20))
      continue;
    result<u64> bar = pci::bar_address(d, d.read8(c + 4));
    if (!bar)
      continue;
    auto* at = static_cast<volatile u8*>(mm::map_device(*bar + d.read32(c + 8), length));
    if (kind == 1 && length >= 56)
      found->common = at;
    if (kind == 2)
      found->notify = at, found->notify_multiplier = d.read32(c + 16);
  }
  d.write16(pci::command,
            d.read16(pci::command) | pci::command_memory | pci::command_bus_master | pci::command_no_intx);
}

}  // namespace

bool virtio_rng_read(void* out, usize n) {
  transport t;
  pci::for_each(on_pci, &t);
  if (!(t.common && t.notify)) {
    t = {};
    for_each_virtio_mmio(on_mmio, &t);
    if (!t.mmio)
      return false;
  }
  return request(t, out, n);
}

}  // namespace solaster::kernel
