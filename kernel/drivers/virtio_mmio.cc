// SAFETY (file): the slots are mapped whole by map_device and only the registers of virtio 1.2, 4.2.2 are touched.
#include "kernel/drivers/virtio_mmio.hh"

#include "kernel/firmware/acpi.hh"
#include "kernel/firmware/boot_info.hh"
#include "kernel/mm/kernel_map.hh"

namespace solaster::kernel {
namespace {

constexpr u64 microvm_base = 0xfeb00000, slot_bytes = 512;
constexpr unsigned slots_with_second_io_apic = 24, slots_alone = 8;
constexpr u32 first_gsi_alone = 16;
constexpr u32 magic = 0x74726976;
constexpr unsigned devices_max = 32;

// Mapped once; later walks use the same addresses.
volatile u8* slots = nullptr;
struct {
  u64 base = 0;
  volatile u8* mapped = nullptr;
} listed[devices_max];

void visit_slot(volatile u8* at, u64 length, u32 gsi, void (*visit)(const virtio_mmio_device&, void*), void* context) {
  auto* r = reinterpret_cast<volatile u32*>(at);
  if (r[0] != magic)
    return;
  const u32 version = r[1], id = r[2];
  if (id == 0)
    return;
  visit({r, length, gsi, id, version}, context);
}

u64 parse_number(std::string_view s, usize& at) {
  u64 n = 0;
  const bool hex = s.substr(at, 2) == "0x";
  if (hex)
    at += 2;
  for (; at < s.size(); at++) {
    const char c = s[at];
    if (c >= '0' && c <= '9') {
      n = n * (hex ? 16 : 10) + static_cast<u64>(c - '0');
    } else if (hex && c >= 'a' && c <= 'f') {
      n = n * 16 + static_cast<u64>(c - 'a' + 10);
    } else {
      break;
    }
  }
  return n;
}

}  // namespace

void for_each_virtio_mmio(void (*visit)(const virtio_mmio_device&, void*), void* context) {
  for (unsigned i = 0; i < devices_max; i++) {
    std::string_view text = find_option("virtio_mmio.device", i);
    if (text.empty())
      break;
    usize at = 0;
    (void)parse_number(text, at);  // the size, 512
    while (at < text.size() && text[at] != '@')
      at++;
    const u64 base = parse_number(text, ++at);
    const u32 irq = static_cast<u32>(parse_number(text, ++at));
    if (!base)
      continue;
    if (!listed[i].mapped)
      listed[i] = {base, static_cast<volatile u8*>(mm::map_device(base, slot_bytes))};
    if (listed[i].mapped)
      visit_slot(listed[i].mapped, slot_bytes, irq, visit, context);
  }
  const acpi_information& a = acpi();
  if (!a.is_hardware_reduced)
    return;
  const bool second = a.io_apic_count > 1;
  const unsigned count = second ? slots_with_second_io_apic : slots_alone;
  const u32 first = second ? a.io_apics[1].gsi_base : first_gsi_alone;
  if (!slots)
    slots = static_cast<volatile u8*>(mm::map_device(microvm_base, count * slot_bytes));
  if (!slots)
    return;
  for (unsigned i = 0; i < count; i++)
    visit_slot(slots + i * slot_bytes, slot_bytes, first + i, visit, context);
}

}  // namespace solaster::kernel
