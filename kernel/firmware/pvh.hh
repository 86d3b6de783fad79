// PVH start_info, read before anything can overwrite it. Private to boot/ and mm/setup.
// Spec: Xen hvm/start_info.h, version 1.
#pragma once

#include "kernel/firmware/boot_info.hh"

namespace solaster::kernel {

enum class memory_type : u32 { ram = 1, reserved = 2, acpi = 3, nvs = 4 };
struct memory_range {
  u64 start, end;
  u32 type;
};
inline constexpr unsigned memory_ranges_max = 64;

struct loader_information {
  unsigned range_count = 0;
  memory_range ranges[memory_ranges_max];
  u64 initrd_start = 0, initrd_end = 0;
  u64 rsdp = 0;
};

// False: not a start_info.
bool read_start_info(u64 physical);
const loader_information& loader_info();
void set_machine(const char* name);

}  // namespace solaster::kernel
