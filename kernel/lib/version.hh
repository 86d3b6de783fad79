// What the kernel calls itself, in uname and in /proc.
#pragma once

namespace solaster::kernel {

// Programs look for Linux and for a version whose calls they know.
inline constexpr char system_name[] = "Linux";
inline constexpr char system_release[] = "6.1.0-solaster";
inline constexpr char system_version[] = "#1 Solaster";

}  // namespace solaster::kernel
