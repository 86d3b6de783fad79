#include "framework/reactor/backend/io_uring/receive_buffers.hh"

#include <liburing.h>
#include <sys/mman.h>

#include <cerrno>
#include <system_error>

namespace solaster {

// Lives until the ring is closed and the last buffer is back.
struct receive_buffers::pool {
  struct buffer final : deleter::impl {
    pool* owner = nullptr;
    void dispose() noexcept override { owner->came_back(this); }
  };

  io_uring_buf_ring* ring = nullptr;  // null once closed
  char* memory = nullptr;
  unsigned outside = 0;  // handed up and not back: at most half of them, see take()
  buffer buffers[count];

  unsigned id_of(const buffer* b) const noexcept { return unsigned(b - buffers); }
  char* address_of(unsigned id) const noexcept { return memory + size_t(id) * bytes; }

  void provide(unsigned id) noexcept {
    io_uring_buf_ring_add(ring, address_of(id), bytes, static_cast<unsigned short>(id), io_uring_buf_ring_mask(count),
                          0);
    io_uring_buf_ring_advance(ring, 1);
  }
  void came_back(buffer* b) noexcept {
    CHECK(outside > 0);
    --outside;
    if (ring) {
      provide(id_of(b));
    } else if (outside == 0) {
      destroy();
    }
  }
  void destroy() noexcept {
    ::munmap(memory, size_t(count) * bytes);
    delete this;
  }
};

receive_buffers::~receive_buffers() = default;

void receive_buffers::open(io_uring* uring) {
  auto p = std::make_unique<pool>();
  size_t ring_bytes = count * sizeof(io_uring_buf);
  void* ring = ::mmap(nullptr, ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void* memory = ::mmap(nullptr, size_t(count) * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (ring == MAP_FAILED || memory == MAP_FAILED) {
    if (ring != MAP_FAILED) {
      ::munmap(ring, ring_bytes);
    }
    if (memory != MAP_FAILED) {
      ::munmap(memory, size_t(count) * bytes);
    }
    throw std::bad_alloc();
  }
  p->ring = static_cast<io_uring_buf_ring*>(ring);
  p->memory = static_cast<char*>(memory);
  io_uring_buf_reg reg{};
  // SAFETY: the kernel wants the address as a number; the memory stays mapped until close() has unregistered it.
  reg.ring_addr = reinterpret_cast<uintptr_t>(ring);
  reg.ring_entries = count;
  reg.bgid = group;
  if (int e = io_uring_register_buf_ring(uring, &reg, 0); e < 0) {
    ::munmap(ring, ring_bytes);
    ::munmap(memory, size_t(count) * bytes);
    throw std::system_error(-e, std::system_category(), "io_uring: ring of receive buffers");
  }
  io_uring_buf_ring_init(p->ring);
  for (unsigned id = 0; id < count; ++id) {
    p->buffers[id].owner = p.get();
    p->provide(id);
  }
  _pool = p.release();
}

void receive_buffers::close(io_uring* uring) noexcept {
  if (!_pool) {
    return;
  }
  io_uring_unregister_buf_ring(uring, group);
  ::munmap(_pool->ring, count * sizeof(io_uring_buf));
  _pool->ring = nullptr;
  if (_pool->outside == 0) {
    _pool->destroy();
  }
  _pool = nullptr;
}

temporary_buffer<char> receive_buffers::take(unsigned id, unsigned length) {
  DCHECK(id < count && length <= bytes);
  char* at = _pool->address_of(id);
  if (length > copy_max && _pool->outside < count / 2) {
    ++_pool->outside;
    pool::buffer& b = _pool->buffers[id];
    b.refs = 1;
    return temporary_buffer<char>(at, length, deleter(&b));
  }
  struct giver {
    receive_buffers* to;
    unsigned id;
    ~giver() { to->give_back(id); }
  } back{this, id};
  return temporary_buffer<char>(static_cast<const char*>(at), length);
}

void receive_buffers::give_back(unsigned id) noexcept {
  _pool->provide(id);
}

}  // namespace solaster
