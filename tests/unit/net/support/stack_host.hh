// A stack with a test around it: frames in, frames out as text, time by hand.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "net/packet/heap_buffer.hh"
#include "net/stack/stack.hh"
#include "tests/unit/net/support/frames.hh"
#include "tests/unit/net/support/test_memory.hh"

namespace solaster::net::testing {

// We are 10.0.0.1, 52:54:00:00:00:01; the peer is 10.0.0.2, ...:02; the gateway 10.0.0.254, ...:fe.
class stack_host : public transmit_sink {
 public:
  static stack_config default_config() {
    stack_config c;
    for (size_t i = 0; i < c.secret.size(); ++i)
      c.secret[i] = uint8_t(i * 7 + 1);
    return c;
  }
  explicit stack_host(const stack_config& config = default_config(), bool address = true)
      : slab(memory_), shards(steering::make(config.shards)) {
    s = stack::make(config, shards, memory_, slab, now);
    s->set_interface({.mac = mac_of(1)});
    if (address) {
      s->set_address({.address = ip_of(1), .prefix_length = 24, .gateway = ip_of(254)}, now);
      sent();  // the announcement
    }
  }
  ~stack_host() override { stack::destroy(s); }

  // cuts: where the frame is broken into fragments.
  packet_ptr make(const bytes& frame, std::vector<uint32_t> cuts = {}) {
    packet_ptr p = slab.make();
    cuts.push_back(uint32_t(frame.size()));
    uint32_t at = 0;
    for (uint32_t cut : cuts) {
      fragment f = make_heap_fragment(memory_, cut - at);
      if (cut > at)
        std::memcpy(f.data(), frame.data() + at, cut - at);
      p->append(std::move(f));
      at = cut;
    }
    return p;
  }
  void in(const bytes& frame, std::vector<uint32_t> cuts = {}) { in(make(frame, std::move(cuts))); }
  void in(packet_ptr p) {
    packet_list list;
    list.push_back(std::move(p));
    s->receive(std::move(list), now);
    EXPECT_TRUE(s->is_valid());
  }
  void in_ip(const bytes& datagram) { in(ethernet(mac_of(1), mac_of(2), 0x0800, datagram)); }
  // Makes 10.0.0.2 known.
  void know_peer() {
    in(ethernet(mac_of(1), mac_of(2), 0x0806, arp(1, mac_of(2), ip_of(2), {}, ip_of(1))));
    sent();
  }

  // What the stack sends now, one line a frame.
  std::vector<std::string> sent() {
    frames.clear();
    s->transmit(*this, now);
    EXPECT_TRUE(s->is_valid());
    std::vector<std::string> out;
    for (const bytes& f : frames)
      out.push_back(describe(f));
    return out;
  }
  void advance(duration d) {
    now = now + d;
    s->expire(now);
  }
  // Jumps to the next deadline, if it is at most `limit` away. How long that was.
  duration jump(duration limit) {
    const instant at = std::max(now, std::min(s->next_deadline(), now + limit));
    const duration d = at - now;
    advance(d);
    return d;
  }
  std::vector<event> events() {
    std::vector<event> out;
    while (auto e = s->next_event())
      out.push_back(*e);
    return out;
  }
  uint64_t drops(drop_reason r) const { return s->stats().drops[size_t(r)]; }

  bool ready() noexcept override { return room > frames.size(); }
  void put(packet_ptr p) noexcept override {
    bytes b(p->size());
    copy_out(*p, 0, reinterpret_cast<std::byte*>(b.data()), p->size());
    frames.push_back(b);
    offloads.push_back(p->offload);
  }
  void loop(packet_ptr p) noexcept override { looped.push_back(std::move(p)); }

  test_memory memory_;
  packet_slab slab;
  steering shards;
  instant now{1'000'000'000};
  stack* s;
  size_t room = SIZE_MAX;
  std::vector<bytes> frames;  // of the last sent()
  std::vector<packet_offload> offloads;
  packet_list looped;  // of a stack that is one of several shards
};

using lines = std::vector<std::string>;

}  // namespace solaster::net::testing
