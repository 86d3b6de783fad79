#include "kernel/drivers/virtio_rng.hh"

namespace solaster::kernel {

bool virtio_rng_read(void*, usize) { return false; }

}  // namespace solaster::kernel
