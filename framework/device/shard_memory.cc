#include "framework/device/shard_memory.hh"

#include "framework/host/direct.hh"
#include "framework/memory/memory.hh"
#include "framework/reactor/shard.hh"

#include <array>
#include <cstdlib>
#include <span>

namespace solaster {
namespace {

// Each entry is written once, by its shard before any packet of that shard exists.
std::array<std::span<const memory::dma_piece>, memory::max_shards> all_pieces;

// A region that straddles two pieces is no use to a device: so many more are tried.
constexpr unsigned dma_tries = 8;

void* allocate_aligned(size_t bytes, size_t align) noexcept {
  if (align <= alignof(std::max_align_t)) {
    return std::malloc(bytes);
  }
  return std::aligned_alloc(align, (bytes + align - 1) & ~(align - 1));
}

}  // namespace

shard_memory::shard_memory() noexcept {
  all_pieces[this_shard_id()] = solaster::memory::dma_pieces();
}

void* shard_memory::allocate(size_t bytes, size_t align) noexcept {
  return allocate_aligned(bytes, align);
}

void shard_memory::deallocate(void* p, size_t, size_t) noexcept {
  std::free(p);
}

net::dma_region shard_memory::allocate_dma(size_t bytes, size_t align) noexcept {
  void* refused[dma_tries];
  unsigned n = 0;
  net::dma_region out;
  while (n < dma_tries) {
    void* p = allocate_aligned(bytes, align);
    if (!p) {
      break;
    }
    if (net::dma_addr bus = translate(p, bytes); bus.reachable()) {
      out = {static_cast<std::byte*>(p), bytes, bus};
      break;
    }
    refused[n++] = p;
  }
  while (n > 0) {
    std::free(refused[--n]);
  }
  return out;
}

void shard_memory::deallocate_dma(net::dma_region region) noexcept {
  std::free(region.base);
}

net::dma_addr shard_memory::translate(const void* p, size_t length) noexcept {
  // SAFETY: addresses are compared as numbers, here and below: p need not point into any of the pieces.
  auto at = reinterpret_cast<uint64_t>(p);
  if (at >= _last_begin && at + length <= _last_end) [[likely]] {
    return {at + _last_offset};
  }
  if (!is_guest()) {
    // No device reads memory by address here: the pointer stands for itself.
    _last_end = UINT64_MAX;
    return {at};
  }
  for (const auto& pieces : all_pieces) {
    for (const auto& piece : pieces) {
      // SAFETY: an address as a number, to be compared with the one that the stack has.
      auto begin = reinterpret_cast<uint64_t>(piece.base);
      if (at >= begin && at + length <= begin + piece.length) {
        _last_begin = begin;
        _last_end = begin + piece.length;
        _last_offset = piece.bus_offset;
        return {at + piece.bus_offset};
      }
    }
  }
  return net::dma_unreachable;
}

}  // namespace solaster
