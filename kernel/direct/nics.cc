// NICs: found on first use, claimed whole, their interrupts bound to shards.

#include "kernel/arch/x86_64/interrupts.hh"
#include "kernel/direct/call.hh"
#include "kernel/direct/functions.hh"
#include "kernel/direct/shards.hh"
#include "kernel/drivers/pci.hh"
#include "kernel/drivers/virtio_mmio.hh"
#include "kernel/lib/print.hh"
#include "kernel/mm/kernel_map.hh"
#include "kernel/mm/user_access.hh"
#include "kernel/sync/wait_queue.hh"

// SAFETY (file): device registers, mapped uncached; a handler's argument carries the number of a shard.

namespace solaster::kernel::direct {
namespace {

constexpr u32 nics_max = 16;
constexpr u16 virtio_vendor = 0x1af4, modern_net = 0x1041, transitional_net = 0x1000;
constexpr u32 net_device_id = 1, modern_version = 2;
constexpr u64 mmio_config_offset = 0x100;
// Virtio 1.2, 4.1.4: capability fields and kinds; 4.1.4.3: device_status in the common structure.
constexpr u32 cap_kind = 3, cap_bar = 4, cap_offset = 8, cap_length = 12, cap_multiplier = 16;
enum : u8 { kind_common = 1, kind_notify = 2, kind_isr = 3, kind_device = 4 };
constexpr u32 common_status_offset = 20, common_length_min = 56;
constexpr u64 structure_length_max = 1 << 20;

struct nic {
  bool is_pci = false;
  bool claimed = false;
  bool is_described = false;  // its registers are mapped: done once, however often it is claimed
  pci::device pci;
  pci::msix_table msix;
  virtio_mmio_device mmio{};
  solaster_nic description{};
  u8 vectors[SOLASTER_NIC_VECTORS_MAX] = {};  // the CPU's vector bound to each; 0: none
  u32 shards[SOLASTER_NIC_VECTORS_MAX] = {};
  u64 mmio_shards = 0;  // bit per shard
};

mutex lock;
nic nics[nics_max];
u32 nic_total = 0;
bool searched = false;

void on_pci(const pci::device& d, void*) {
  if (d.vendor != virtio_vendor || (d.id != modern_net && d.id != transitional_net) || nic_total == nics_max)
    return;
  nic& n = nics[nic_total++];
  n.is_pci = true;
  n.pci = d;
}

void on_mmio(const virtio_mmio_device& d, void*) {
  if (d.device_id != net_device_id || nic_total == nics_max)
    return;
  if (d.version != modern_version) {
    log::warn("a legacy virtio-mmio NIC is left alone: start QEMU with -global virtio-mmio.force-legacy=false");
    return;
  }
  nic& n = nics[nic_total++];
  n.is_pci = false;
  n.mmio = d;
}

void search() {
  if (searched)
    return;
  searched = true;
  pci::for_each(on_pci, nullptr);
  for_each_virtio_mmio(on_mmio, nullptr);
}

// ---- PCI
int describe_pci(nic& n) {
  solaster_nic& o = n.description;
  o = {};
  o.transport = SOLASTER_NIC_VIRTIO_PCI;
  const pci::device& d = n.pci;
  for (u32 c = pci::find_capability(d, pci::capability_vendor); c;
       c = pci::find_capability(d, pci::capability_vendor, c)) {
    const u8 kind = d.read8(c + cap_kind);
    if (kind < kind_common || kind > kind_device)
      continue;
    const u64 offset = d.read32(c + cap_offset), length = d.read32(c + cap_length);
    result<u64> base = pci::bar_address(d, d.read8(c + cap_bar));
    if (!base || length == 0 || length > structure_length_max)
      continue;
    volatile void* at = mm::map_device(*base + offset, length);
    if (!at)
      return -12;
    if (kind == kind_common && !o.common && length >= common_length_min)
      o.common = at;
    if (kind == kind_isr && !o.isr)
      o.isr = at;
    if (kind == kind_device && !o.device_config)
      o.device_config = at, o.device_config_length = length;
    if (kind == kind_notify && !o.notify) {
      o.notify = at;
      o.notify_length = length;
      o.notify_off_multiplier = d.read32(c + cap_multiplier);
    }
  }
  if (!o.common || !o.notify || !o.device_config) {
    log::warn("NIC {:02x}:{:02x}.{}: no modern virtio registers", d.bus, d.slot, d.function);
    return enodev;
  }
  // SeaBIOS leaves bus mastering off: DMA works all the same, MSI does not.
  d.write16(pci::command,
            d.read16(pci::command) | pci::command_memory | pci::command_bus_master | pci::command_no_intx);
  result<pci::msix_table> t = pci::enable_msix(d);
  if (t) {
    n.msix = *t;
    o.vectors = t->count < SOLASTER_NIC_VECTORS_MAX ? t->count : SOLASTER_NIC_VECTORS_MAX;
  } else {
    log::warn("NIC {:02x}:{:02x}.{}: no MSI-X; it will not interrupt", d.bus, d.slot, d.function);
  }
  return 0;
}

void on_msix(void* argument) {
  (void)wake_shard(static_cast<u32>(reinterpret_cast<uptr>(argument)));
}

int bind_pci(nic& n, u32 vector, u32 shard) {
  if (vector >= n.description.vectors)
    return einval;
  if (n.vectors[vector]) {
    pci::mask_msix_entry(n.msix, vector);
    free_vector(n.vectors[vector]);
    n.vectors[vector] = 0;
  }
  result<u8> v = allocate_vector(on_msix, reinterpret_cast<void*>(static_cast<uptr>(shard)));
  if (!v)
    return enospc;
  n.vectors[vector] = *v;
  n.shards[vector] = shard;
  const msi_message m = msi_for(cpu_of_shard(shard), *v);
  pci::set_msix_entry(n.msix, vector, m.address, m.data);
  return 0;
}

// ---- MMIO
void on_mmio_interrupt(void* argument) {
  auto* n = static_cast<nic*>(argument);
  volatile u32* r = n->mmio.registers;
  const u32 status = r[virtio_mmio::interrupt_status];
  if (!status)
    return;
  r[virtio_mmio::interrupt_ack] = status;
  for (u64 left = __atomic_load_n(&n->mmio_shards, __ATOMIC_RELAXED); left; left &= left - 1) {
    (void)wake_shard(static_cast<u32>(__builtin_ctzll(left)));
  }
}

int bind_mmio(nic& n, u32 vector, u32 shard) {
  if (vector != 0)
    return einval;
  __atomic_fetch_or(&n.mmio_shards, u64{1} << shard, __ATOMIC_RELAXED);
  if (n.vectors[0])
    return 0;
  result<u8> v = allocate_vector(on_mmio_interrupt, &n);
  if (!v)
    return enospc;
  n.vectors[0] = *v;
  if (!route_gsi(n.mmio.gsi, *v, cpu_of_shard(shard), true, false)) {
    free_vector(*v);
    n.vectors[0] = 0;
    return enodev;
  }
  return 0;
}

int describe_mmio(nic& n) {
  solaster_nic& o = n.description;
  o = {};
  o.transport = SOLASTER_NIC_VIRTIO_MMIO;
  o.vectors = 1;
  o.common = n.mmio.registers;
  o.device_config = reinterpret_cast<volatile u8*>(n.mmio.registers) + mmio_config_offset;
  o.device_config_length = n.mmio.length - mmio_config_offset;
  return 0;
}

void reset_device(nic& n) {
  if (n.is_pci) {
    static_cast<volatile u8*>(n.description.common)[common_status_offset] = 0;
  } else {
    n.mmio.registers[virtio_mmio::status] = 0;
  }
}

}  // namespace

int nic_count() {
  return on_kernel_stack([]() -> int {
    mutex_guard g(lock);
    search();
    return static_cast<int>(nic_total);
  });
}

int nic_claim(u32 index, solaster_nic* out) {
  return on_kernel_stack([=]() -> int {
    solaster_nic copy;
    {
      mutex_guard g(lock);
      search();
      if (index >= nic_total)
        return enodev;
      nic& n = nics[index];
      if (n.claimed)
        return ebusy;
      if (!n.is_described) {
        const int r = n.is_pci ? describe_pci(n) : describe_mmio(n);
        if (r)
          return r;
        n.is_described = true;
      }
      n.claimed = true;
      copy = n.description;
    }
    return mm::copy_out(out, &copy, sizeof copy) ? 0 : efault;
  });
}

int nic_bind_vector(u32 index, u32 vector, u32 shard) {
  return on_kernel_stack([=]() -> int {
    mutex_guard g(lock);
    if (index >= nic_total || shard >= SOLASTER_SHARDS_MAX || !nics[index].claimed)
      return einval;
    nic& n = nics[index];
    return n.is_pci ? bind_pci(n, vector, shard) : bind_mmio(n, vector, shard);
  });
}

int nic_release(u32 index) {
  return on_kernel_stack([=]() -> int {
    mutex_guard g(lock);
    if (index >= nic_total || !nics[index].claimed)
      return einval;
    nic& n = nics[index];
    reset_device(n);
    if (!n.is_pci)
      mask_gsi(n.mmio.gsi);
    for (u32 i = 0; i < SOLASTER_NIC_VECTORS_MAX; i++) {
      if (!n.vectors[i])
        continue;
      if (n.is_pci)
        pci::mask_msix_entry(n.msix, i);
      free_vector(n.vectors[i]);
      n.vectors[i] = 0;
    }
    n.mmio_shards = 0;
    n.claimed = false;
    return 0;
  });
}

}  // namespace solaster::kernel::direct
