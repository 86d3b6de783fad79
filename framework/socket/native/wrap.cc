#include "framework/socket/native/wrap.hh"

#include "net/packet/heap_buffer.hh"

#include <algorithm>

namespace solaster::native {
namespace {

// Objects of one type that the shard keeps: no allocation in the steady state.
template <typename T>
struct kept_objects {
  T* free = nullptr;
  T* take() {
    if (T* t = free) {
      free = t->next_free;
      return t;
    }
    return new T;
  }
  void give(T* t) noexcept {
    t->next_free = free;
    free = t;
  }
  void forget() noexcept {
    while (T* t = free) {
      free = t->next_free;
      delete t;
    }
  }
};

struct fragment_deleter final : deleter::impl {
  net::fragment fragment;
  fragment_deleter* next_free = nullptr;
  void dispose() noexcept override;
};

constinit thread_local kept_objects<fragment_deleter> kept_deleters;

void fragment_deleter::dispose() noexcept {
  fragment.reset();
  kept_deleters.give(this);
}

// A program's memory as a buffer of net/.
struct held_memory final : net::buffer {
  held_memory() noexcept { recycle = let_go; }
  static void let_go(net::buffer* b) noexcept;
  deleter owner_of_bytes;
  held_memory* next_free = nullptr;
};

constinit thread_local kept_objects<held_memory> kept_holders;

void held_memory::let_go(net::buffer* b) noexcept {
  auto* h = static_cast<held_memory*>(b);
  h->owner_of_bytes.reset();
  kept_holders.give(h);
}

// All of `buf`, of which at most UINT32_MAX bytes are the buffer's.
held_memory* hold(temporary_buffer<char> buf) {
  held_memory* h = kept_holders.take();
  // SAFETY: chars as bytes.
  h->data = reinterpret_cast<std::byte*>(buf.get_write());
  h->capacity = uint32_t(std::min<size_t>(buf.size(), UINT32_MAX));
  h->charge = h->capacity;
  h->owner_of_bytes = buf.release();
  return h;
}

}  // namespace

temporary_buffer<char> to_temporary_buffer(net::fragment f) {
  auto* d = kept_deleters.take();
  d->refs = 1;
  d->fragment = std::move(f);
  // SAFETY: bytes as chars.
  return temporary_buffer<char>(reinterpret_cast<char*>(d->fragment.data()), d->fragment.size(), deleter(d));
}

temporary_buffer<char> to_temporary_buffer(net::packet_ptr p) {
  if (p->fragment_count() == 1) {
    return to_temporary_buffer(p->pop_front());
  }
  temporary_buffer<char> out(p->size());
  // SAFETY: chars as bytes.
  net::copy_out(*p, 0, reinterpret_cast<std::byte*>(out.get_write()), p->size());
  return out;
}

net::fragment fragment_source::whole(temporary_buffer<char> buf) {
  held_memory* h = hold(std::move(buf));
  return net::fragment(h, h->data, h->capacity);
}

fragment_source::fragment_source(temporary_buffer<char> buf, net::memory& m) : _memory(m), _left(buf.size()) {
  held_memory* h = hold(std::move(buf));
  _at = h->data;
  _whole = net::fragment(h, _at, 0);
}

net::fragment fragment_source::next() {
  auto n = uint32_t(std::min<size_t>(_left, send_chunk));
  if (n == 0) {
    return {};
  }
  std::byte* at = _at;
  _at += n;
  _left -= n;
  if (_memory.translate(at, n).reachable()) [[likely]] {
    return net::fragment(_whole.owner(), at, n);
  }
  net::fragment copy = net::copy_to_heap(_memory, at, n);
  if (!copy) {
    throw std::bad_alloc();
  }
  _copied += n;
  return copy;
}

void forget_kept_wrappers() noexcept {
  kept_deleters.forget();
  kept_holders.forget();
}

}  // namespace solaster::native
