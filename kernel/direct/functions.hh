// The functions of the table, by family. Private to direct/; documented in solaster/direct.h.
#pragma once

#include "kernel/include/solaster/direct.h"
#include "kernel/lib/errno.hh"
#include "kernel/lib/types.hh"

namespace solaster::kernel::direct {

// The table's functions answer in C: a negative error number.
constexpr int negative(errc e) {
  return -static_cast<int>(e);
}
inline constexpr int eperm = negative(errc::perm), esrch = negative(errc::srch), eintr = negative(errc::intr),
                     efault = negative(errc::fault), ebusy = negative(errc::busy), enodev = negative(errc::nodev),
                     einval = negative(errc::inval), enospc = negative(errc::nospc);

int shard_bind(u32 shard, u32 cpu);
int wait(u64 deadline);
int wake(u32 shard);
u32* preempt_flag();
int preempt_at(u64 deadline);
int signals_claim(u64 mask, u32 shard);
u64 signals_take();

int nic_count();
int nic_claim(u32 index, solaster_nic* out);
int nic_bind_vector(u32 index, u32 vector, u32 shard);
int nic_release(u32 index);

int shard_memory(u64 bytes, void** base, solaster_memory_piece* pieces, u32* count);
u64 memory_available();

}  // namespace solaster::kernel::direct
