// The kernel's side of solaster/direct.h, and the vDSO image that exports it.
//
// The loader maps vdso_image() read-execute into the program and puts its address in AT_SYSINFO_EHDR. It exports
// solaster_direct@SOLASTER_1 and __vdso_clock_gettime, __vdso_gettimeofday, __vdso_time, __vdso_getcpu @LINUX_2.6.
#pragma once

#include <span>

#include <solaster/direct.h>

#include "kernel/lib/types.hh"

namespace solaster::kernel::direct {

// The table that the framework calls through.
const solaster_direct* table();

// vdso.cc. One or two pages; position-dependent: give the address where it will be mapped. Use as mm backing::bytes.
inline constexpr usize vdso_size = 8192;
std::span<const std::byte> build_vdso(uptr mapped_at);

// A signal for the process: true when the program has claimed it by signals_claim (then it is done).
bool take_signal(int number);

}  // namespace solaster::kernel::direct
