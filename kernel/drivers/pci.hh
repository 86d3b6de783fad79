// PCI configuration space by ECAM, capabilities, base addresses, MSI-X.
//
// Spec: PCI Express Base 5.0 section 7 (headers, capabilities, MSI-X 7.7.2). The firmware has assigned the base
// addresses. Errors: nodev (no ECAM, nothing there), io (a structure that lies). Everything read from a device is
// bounds-checked. Context: thread or boot.
//
// SAFETY (file): offsets are masked to the 4 KiB of a function's configuration space, which `config` maps whole.
#pragma once

#include "kernel/lib/errno.hh"
#include "kernel/lib/types.hh"

namespace solaster::kernel::pci {

struct device {
  u8 bus = 0, slot = 0, function = 0;
  volatile u8* config = nullptr;  // 4 KiB
  u16 vendor = 0, id = 0;

  u8 read8(u32 offset) const { return config[offset & 0xfff]; }
  u16 read16(u32 offset) const { return *reinterpret_cast<volatile u16*>(config + (offset & 0xffe)); }
  u32 read32(u32 offset) const { return *reinterpret_cast<volatile u32*>(config + (offset & 0xffc)); }
  void write16(u32 offset, u16 v) const { *reinterpret_cast<volatile u16*>(config + (offset & 0xffe)) = v; }
  void write32(u32 offset, u32 v) const { *reinterpret_cast<volatile u32*>(config + (offset & 0xffc)) = v; }
};

inline constexpr u32 capability_vendor = 0x09, capability_msix = 0x11;
inline constexpr u32 command = 4;
inline constexpr u16 command_memory = 2, command_bus_master = 4, command_no_intx = 1u << 10;

// Calls visit for every function found, in bus order, bridges followed. Reads vendor and header only.
void for_each(void (*visit)(const device&, void*), void* context);

// The next capability of this kind after `from` (0: the first); 0: none.
u32 find_capability(const device& d, u32 kind, u32 from = 0);
// Physical base of a memory BAR.
result<u64> bar_address(const device& d, u8 bar);

struct msix_table {
  volatile u32* entries = nullptr;  // 4 words each
  u32 count = 0;
  u32 capability = 0;
};
// Maps the table, masks every entry, enables MSI-X.
result<msix_table> enable_msix(const device& d);
void set_msix_entry(const msix_table& t, u32 index, u64 address, u32 data);
void mask_msix_entry(const msix_table& t, u32 index);

}  // namespace solaster::kernel::pci
