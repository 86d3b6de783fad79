// Random bytes: ChaCha20, seeded from RDRAND, RDSEED or virtio-rng. With none of them the kernel refuses to start.
// Context: any.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel {

void random_bytes(void* out, usize n);
u64 random_u64();

}  // namespace solaster::kernel
