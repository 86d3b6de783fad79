// Random bytes from a virtio entropy device (Virtio 1.2, 5.4), for CPUs without RDRAND. Polled, once, at boot.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel {

// False: no such device, or it did not answer in 100 ms.
bool virtio_rng_read(void* out, usize n);

}  // namespace solaster::kernel
