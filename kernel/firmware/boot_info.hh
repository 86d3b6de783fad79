// What the boot loader gave: copied out of its memory first thing.
//
// Owns: the copy of the command line. Borrows: the initrd's frames, which are reserved for ever.
#pragma once

#include <span>
#include <string_view>

#include "kernel/lib/types.hh"

namespace solaster::kernel {

struct boot_information {
  std::string_view command_line;      // all of it, NUL-terminated in memory
  std::string_view program_line;      // what follows "--": program path and arguments, still quoted
  std::span<const std::byte> initrd;  // in the physical map; empty when there is none
  u64 memory_bytes = 0;               // usable RAM in all
  const char* machine = "unknown";    // "microvm" or "q35" style hint, for /proc and logs
};
const boot_information& boot_info();

// The kernel's options: the words before "--", without quotes. Which there are, and whether they make sense, is
// boot/options.cc's to say. The words by number; empty data() behind the last.
inline constexpr usize options_max = 64;
std::string_view option_word(usize index);
// Value of the kernel option `name=value` before "--". find_option("env", 1) gives the second env=. No value: empty
// data().
std::string_view find_option(std::string_view name, usize index = 0);
// Whether the option without a value is there.
bool has_option(std::string_view name);

}  // namespace solaster::kernel
