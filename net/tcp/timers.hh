// Deadlines of connections: a heap that the hot path hardly ever touches.
//
// A packet moves several deadlines (retransmission, delayed ACK), mostly to later or to never. So a connection keeps
// its deadlines as plain fields, and the heap keeps one entry for it that is due *no later* than the earliest of them.
// Moving a deadline later, or cancelling it, is a store; the entry then comes up early and is put back. Only a deadline
// earlier than the entry costs a heap operation.
//
// Owns: the heap's array. Borrows: connections, each with its index in the heap. Context: shard-local; reserve()
// allocates.
#pragma once

#include <cstdint>

#include "net/base/memory.hh"
#include "net/base/time.hh"

namespace solaster::net::tcp {

class connection;

// What a deadline is for.
enum class timer : uint8_t {
  retransmit,   // RFC 6298; also the probes of a zero window, which exclude it (RFC 9293 3.8.6.1)
  delayed_ack,  // RFC 9293 3.8.6.3
  keepalive,    // RFC 9293 3.8.4
  linger,       // FIN-WAIT-2 of a connection that the host has let go
  count,
};

class timer_heap {
 public:
  explicit timer_heap(memory& m) noexcept : _memory(m) {}
  timer_heap(const timer_heap&) = delete;
  ~timer_heap();

  // Room for `connections` entries, so that nothing later can fail.
  bool reserve(uint32_t connections) noexcept;
  // The entry of `c` is due at `at`, whatever it was before.
  void set(connection& c, instant at) noexcept;
  void remove(connection& c) noexcept;

  bool empty() const noexcept { return _size == 0; }
  instant next() const noexcept { return _size ? _entries[0].at : instant::never(); }
  connection* top() const noexcept { return _entries[0].owner; }
  bool is_valid() const noexcept;

 private:
  struct entry {
    instant at;
    connection* owner;
  };
  void place(uint32_t index, entry e) noexcept;
  void sift_up(uint32_t index, entry e) noexcept;
  void sift_down(uint32_t index, entry e) noexcept;

  memory& _memory;
  entry* _entries = nullptr;
  uint32_t _size = 0;
  uint32_t _capacity = 0;
};

}  // namespace solaster::net::tcp
