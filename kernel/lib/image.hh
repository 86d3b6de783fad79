// The kernel image's own borders, from kernel.ld.
#pragma once

#include "kernel/lib/types.hh"

extern "C" {
extern char image_start[], image_end[], text_start[], text_end[], rodata_start[], rodata_end[], data_start[],
    data_end[], ksyms_start[];
}

namespace solaster::kernel {

inline constexpr u64 kernel_base = 0xffff'ffff'8000'0000;

}  // namespace solaster::kernel
