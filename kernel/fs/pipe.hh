// Pipes and eventfd: what threads of a program use to wake each other through descriptors.
//
// Spec: pipe(7), eventfd(2). Limits: a pipe holds pipe_bytes; writes of at most pipe_atomic_bytes are whole.
// Context: thread; reads and writes sleep unless the file is non-blocking.
#pragma once

#include "kernel/fs/node.hh"

namespace solaster::kernel::fs {

inline constexpr size_t pipe_bytes = 64 << 10;
inline constexpr size_t pipe_atomic_bytes = 4096;

struct pipe_ends {
  ref<file> reader, writer;
};
result<pipe_ends> make_pipe(uint32_t flags);
result<ref<file>> make_eventfd(uint32_t initial, uint32_t flags);

}  // namespace solaster::kernel::fs
