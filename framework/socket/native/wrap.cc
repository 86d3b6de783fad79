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

}  // namespace

struct fragment_source::holder : net::buffer {
  deleter memory_owner;
  holder* next_free = nullptr;
};

namespace {
constinit thread_local void* kept_holders = nullptr;  // of fragment_source::holder, which is private
}

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
  net::copy_out(*p, 0, reinterpret_cast<std::byte*>(out.get_write()), p->size());
  return out;
}

fragment_source::holder* fragment_source::take_holder() {
  if (auto* h = static_cast<holder*>(kept_holders)) [[likely]] {
    kept_holders = h->next_free;
    return h;
  }
  auto* h = new holder;
  h->recycle = recycle;
  return h;
}

net::fragment fragment_source::whole(temporary_buffer<char> buf) {
  holder* h = take_holder();
  h->data = reinterpret_cast<std::byte*>(buf.get_write());
  h->charge = h->capacity = uint32_t(buf.size());
  h->memory_owner = buf.release();
  return net::fragment(h, h->data, h->capacity);
}

fragment_source::fragment_source(temporary_buffer<char> buf, net::memory& m)
    : _memory(m), _at(reinterpret_cast<std::byte*>(buf.get_write())), _left(buf.size()) {
  holder* h = take_holder();
  h->data = _at;
  h->capacity = uint32_t(std::min<size_t>(_left, UINT32_MAX));
  h->charge = h->capacity;
  h->memory_owner = buf.release();
  _whole = net::fragment(h, _at, 0);
}

fragment_source::~fragment_source() = default;

void fragment_source::recycle(net::buffer* b) noexcept {
  auto* h = static_cast<holder*>(b);
  h->memory_owner.reset();
  h->next_free = static_cast<holder*>(kept_holders);
  kept_holders = h;
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

void fragment_source::forget_kept() noexcept {
  while (auto* h = static_cast<holder*>(kept_holders)) {
    kept_holders = h->next_free;
    delete h;
  }
}

void forget_kept_wrappers() noexcept {
  kept_deleters.forget();
  fragment_source::forget_kept();
}

}  // namespace solaster::native
