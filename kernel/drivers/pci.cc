// SAFETY (file): registers are read and written through the uncached mapping that map_device made for their length;
// ECAM gives each function 4 KiB (PCI Express base specification, 7.2.2).
#include "kernel/drivers/pci.hh"

#include "kernel/firmware/acpi.hh"
#include "kernel/mm/kernel_map.hh"

namespace solaster::kernel::pci {
namespace {

constexpr u64 bus_bytes = 1 << 20, function_bytes = 4096;
constexpr unsigned bus_depth_max = 4;
constexpr u32 header_type = 0x0e, bars = 0x10, secondary_bus = 0x19, capabilities = 0x34, status = 6;
constexpr u16 status_has_capabilities = 1u << 4;
constexpr unsigned capabilities_max = 48;  // a list cannot be longer: 192 bytes of 4

volatile u8* mapped_buses[256];

volatile u8* map_bus(u8 bus) {
  const acpi_information& a = acpi();
  if (!a.ecam_base || bus < a.ecam_first_bus || bus > a.ecam_last_bus)
    return nullptr;
  if (!mapped_buses[bus]) {
    mapped_buses[bus] =
        static_cast<volatile u8*>(mm::map_device(a.ecam_base + (bus - a.ecam_first_bus) * bus_bytes, bus_bytes));
  }
  return mapped_buses[bus];
}

void scan(u8 bus, unsigned depth, void (*visit)(const device&, void*), void* context) {
  volatile u8* base = map_bus(bus);
  if (!base)
    return;
  for (u8 slot = 0; slot < 32; slot++) {
    for (u8 function = 0; function < 8; function++) {
      device d;
      d.bus = bus, d.slot = slot, d.function = function;
      d.config = base + (slot * 8u + function) * function_bytes;
      const u32 ids = d.read32(0);
      d.vendor = static_cast<u16>(ids), d.id = static_cast<u16>(ids >> 16);
      if (d.vendor == 0xffff) {
        if (function == 0)
          break;
        continue;
      }
      const u8 type = d.read8(header_type);
      visit(d, context);
      if ((type & 0x7f) == 1 && depth < bus_depth_max && d.read8(secondary_bus) > bus) {
        scan(d.read8(secondary_bus), depth + 1, visit, context);
      }
      if (function == 0 && !(type & 0x80))
        break;
    }
  }
}

}  // namespace

void for_each(void (*visit)(const device&, void*), void* context) {
  scan(acpi().ecam_first_bus, 0, visit, context);
}

u32 find_capability(const device& d, u32 kind, u32 from) {
  if (!(d.read16(status) & status_has_capabilities))
    return 0;
  u32 at = from ? d.read8(from + 1) : d.read8(capabilities);
  for (unsigned i = 0; i < capabilities_max && (at &= 0xfc) >= 0x40; i++) {
    if (d.read8(at) == kind)
      return at;
    at = d.read8(at + 1);
  }
  return 0;
}

result<u64> bar_address(const device& d, u8 bar) {
  if (bar > 5)
    return errc::io;
  const u32 low = d.read32(bars + bar * 4u);
  if (low & 1)
    return errc::io;  // I/O space
  u64 address = low & ~u32{15};
  if ((low >> 1 & 3) == 2) {
    if (bar > 4)
      return errc::io;
    address |= static_cast<u64>(d.read32(bars + bar * 4u + 4)) << 32;
  }
  if (!address)
    return errc::nodev;
  return address;
}

result<msix_table> enable_msix(const device& d) {
  const u32 c = find_capability(d, capability_msix);
  if (!c)
    return errc::nodev;
  const u16 control = d.read16(c + 2);
  const u32 where = d.read32(c + 4);
  msix_table t;
  t.capability = c;
  t.count = (control & 0x7ff) + 1u;
  const u64 base = TRY(bar_address(d, where & 7));
  t.entries = static_cast<volatile u32*>(mm::map_device(base + (where & ~u32{7}), t.count * 16u));
  if (!t.entries)
    return errc::nomem;
  d.write16(c + 2, static_cast<u16>(control | 0xc000));  // enabled, function masked
  for (u32 i = 0; i < t.count; i++)
    mask_msix_entry(t, i);
  d.write16(c + 2, static_cast<u16>((control | 0x8000) & ~0x4000));
  return t;
}

void set_msix_entry(const msix_table& t, u32 i, u64 address, u32 data) {
  if (i >= t.count)
    return;
  volatile u32* e = t.entries + i * 4;
  e[3] = 1;
  e[0] = static_cast<u32>(address);
  e[1] = static_cast<u32>(address >> 32);
  e[2] = data;
  e[3] = 0;
}

void mask_msix_entry(const msix_table& t, u32 i) {
  if (i < t.count)
    t.entries[i * 4 + 3] = 1;
}

}  // namespace solaster::kernel::pci
