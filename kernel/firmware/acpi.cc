#include "kernel/firmware/acpi.hh"

#include "kernel/arch/x86_64/physical.hh"
#include "kernel/lib/memory.hh"
#include "kernel/lib/print.hh"

namespace solaster::kernel {
namespace {

acpi_information info;

constexpr u64 mapped_end = u64{4} << 30;
constexpr u32 table_length_max = 1 << 20;

struct [[gnu::packed]] rsdp_structure {
  char signature[8];
  u8 checksum;
  char oem[6];
  u8 revision;
  u32 rsdt;
  u32 length;
  u64 xsdt;
};
struct [[gnu::packed]] table_header {
  char signature[4];
  u32 length;
  u8 revision, checksum;
  char oem[6], oem_table[8];
  u32 oem_revision, creator, creator_revision;
};
static_assert(sizeof(table_header) == 36);

template <typename T>
T read(const u8* p) {
  T v;
  memcpy(&v, p, sizeof v);
  return v;
}

// A table's bytes, header included; empty when it does not lie where it can.
std::span<const u8> table_at(u64 address) {
  if (address == 0 || address > mapped_end - sizeof(table_header))
    return {};
  const u8* p = mm::phys_to_virt<const u8>(address);
  u32 length = read<u32>(p + 4);
  if (length < sizeof(table_header) || length > table_length_max || address + length > mapped_end)
    return {};
  return {p, length};
}

bool is(std::span<const u8> t, const char* signature) {
  return t.size() >= 36 && memcmp(t.data(), signature, 4) == 0;
}

u64 scan_for_rsdp(u64 from, u64 to) {
  for (u64 a = from; a + sizeof(rsdp_structure) <= to; a += 16) {
    if (memcmp(mm::phys_to_virt(a), "RSD PTR ", 8) == 0)
      return a;
  }
  return 0;
}

// Interrupt controller structures: type, length, body (5.2.12.2 on).
void parse_madt(std::span<const u8> t) {
  if (t.size() < 44)
    return;
  info.local_apic_address = read<u32>(t.data() + 36);
  for (usize at = 44; at + 2 <= t.size();) {
    const u8* e = t.data() + at;
    const u8 type = e[0], length = e[1];
    if (length < 2 || at + length > t.size())
      return;
    if (type == 0 && length >= 8 && (read<u32>(e + 4) & 1) && info.cpu_count < 64) {
      info.apic_ids[info.cpu_count++] = e[3];
    } else if (type == 9 && length >= 16 && (read<u32>(e + 8) & 1) && info.cpu_count < 64) {  // x2APIC
      info.apic_ids[info.cpu_count++] = read<u32>(e + 4);
    } else if (type == 1 && length >= 12 && info.io_apic_count < 8) {
      info.io_apics[info.io_apic_count++] = {read<u32>(e + 4), read<u32>(e + 8)};
    } else if (type == 2 && length >= 10 && info.override_count < 24) {
      const u16 flags = read<u16>(e + 8);
      info.overrides[info.override_count++] = {e[3], read<u32>(e + 4), (flags >> 2 & 3) == 3, (flags & 3) == 3};
    }
    at += length;
  }
}

void parse_fadt(std::span<const u8> t) {
  if (t.size() >= 68)
    info.pm1a_control = static_cast<u16>(read<u32>(t.data() + 64));
  if (t.size() >= 116)
    info.is_hardware_reduced = read<u32>(t.data() + 112) >> 20 & 1;
  // SLEEP_CONTROL_REG, a generic address: space id, width, offset, size, address.
  if (t.size() >= 256 && info.is_hardware_reduced && t[244] == 0)
    info.sleep_control = read<u64>(t.data() + 248);
}

void parse_mcfg(std::span<const u8> t) {
  for (usize at = 44; at + 16 <= t.size(); at += 16) {
    const u8* e = t.data() + at;
    if (read<u16>(e + 8) != 0)
      continue;
    info.ecam_base = read<u64>(e);
    info.ecam_first_bus = e[10];
    info.ecam_last_bus = e[11];
  }
}

void parse_table(u64 address) {
  std::span<const u8> t = table_at(address);
  if (is(t, "APIC"))
    parse_madt(t);
  if (is(t, "FACP"))
    parse_fadt(t);
  if (is(t, "MCFG"))
    parse_mcfg(t);
}

void assume_defaults() {
  if (info.cpu_count == 0) {
    info.cpu_count = 1;
    info.apic_ids[0] = 0;
  }
  if (info.io_apic_count == 0)
    info.io_apics[info.io_apic_count++] = {0xfec00000, 0};
}

}  // namespace

const acpi_information& acpi() {
  return info;
}

void acpi_initialise(u64 rsdp_from_loader) {
  u64 at = rsdp_from_loader;
  if (!at || at > mapped_end - sizeof(rsdp_structure))
    at = scan_for_rsdp(0xe0000, 0x100000);
  if (at) {
    rsdp_structure r;
    memcpy(&r, mm::phys_to_virt(at), sizeof r);
    const bool wide = r.revision >= 2 && r.xsdt;
    std::span<const u8> root = table_at(wide ? r.xsdt : r.rsdt);
    const usize entry = wide ? 8 : 4;
    for (usize i = sizeof(table_header); i + entry <= root.size(); i += entry) {
      parse_table(wide ? read<u64>(root.data() + i) : read<u32>(root.data() + i));
    }
    info.is_present = !root.empty();
  }
  assume_defaults();
}

}  // namespace solaster::kernel
