// Requests and replies through a whole stack, without a device: where the instructions of one request go.
//
//     tcp_requests [--requests N] [--depth D] [--request-bytes N] [--reply-bytes N] [--offload]
//     valgrind --tool=callgrind --collect-atstart=no --toggle-collect='server_turn*' build/release/tests/tools/tcp_requests
//
// A client stack sends D requests in one segment, the server's stack hands them up, the application answers each, the
// replies go out. Only server_turn is the server's: receive, events, receive data, consume, send, transmit.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "net/packet/heap_buffer.hh"
#include "net/packet/pool.hh"
#include "net/stack/stack.hh"
#include "tests/sim/memory.hh"

using namespace solaster;
using namespace solaster::net;

namespace {

struct sink final : transmit_sink {
  packet_list out;
  bool ready() noexcept override { return true; }
  void put(packet_ptr p) noexcept override { out.push_back(std::move(p)); }
};

struct machine {
  sim::counted_memory home;
  packet_slab slab{home};
  sink wire;
  pool_ptr ring{buffer_pool::make(home, {})};
  steering steer = steering::make(1);
  stack* s = nullptr;

  void start(uint8_t number, bool offload) {
    stack_config config;
    config.secret[0] = number;
    s = stack::make(config, steer, home, slab, {});
    s->set_interface({.mac = {{2, 0, 0, 0, 0, number}}, .tx_checksum = offload, .tso4 = offload});
    s->set_address({.address = ipv4_address::of(10, 0, 0, number), .gateway = {}}, {});
  }
  // What a NIC does: into one of the ring's buffers.
  packet_list arrive(packet_list&& in, bool offload) {
    packet_list frames;
    while (packet_ptr p = in.pop_front()) {
      packet_ptr q = slab.make();
      fragment f =
          p->size() <= ring->buffer_size() ? ring->allocate(0, p->size()) : make_heap_fragment(home, p->size());
      copy_out(*p, 0, f.data(), p->size());
      q->append(std::move(f));
      if (offload) {
        q->offload.checksum = checksum_state::partial;
      }
      frames.push_back(std::move(q));
    }
    return frames;
  }
};

struct server {
  machine m;
  tcp::connection* c = nullptr;
  pool_ptr replies;
  uint32_t request_bytes, reply_bytes;
  uint64_t served = 0, left_over = 0;
};

}  // namespace

// One turn of a server's loop.
extern "C" __attribute__((noinline)) void server_turn(server& s, packet_list&& in, instant now) {
  stack& st = *s.m.s;
  st.receive(std::move(in), now);
  st.transmit(s.m.wire, now);
  while (auto e = st.next_event()) {
    if (e->kind == event_kind::listener) {
      s.c = *st.tcp().accept(e->listener, &s);
      continue;
    }
    fragment data[4];
    const size_t n = *st.tcp().receive(s.c, data, 1 << 20);
    size_t bytes = s.left_over;
    for (size_t i = 0; i < n; ++i) {
      bytes += data[i].size();
      data[i].reset();
    }
    st.tcp().consume(s.c, bytes - s.left_over, now);
    const auto requests = uint32_t(bytes / s.request_bytes);
    s.left_over = bytes % s.request_bytes;
    if (requests) {
      fragment f[1] = {s.replies->allocate(0, s.reply_bytes * requests)};
      (void)st.tcp().send(s.c, f, now);
      s.served += requests;
    }
  }
  st.transmit(s.m.wire, now);
}

int main(int argc, char** argv) {
  uint64_t requests = 100'000;
  uint32_t depth = 1, request_bytes = 40, reply_bytes = 100;
  bool offload = false;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--offload") {
      offload = true;
    } else if (i + 1 < argc) {
      const auto v = std::strtoull(argv[++i], nullptr, 0);
      if (flag == "--requests")
        requests = v;
      else if (flag == "--depth")
        depth = uint32_t(v);
      else if (flag == "--request-bytes")
        request_bytes = uint32_t(v);
      else if (flag == "--reply-bytes")
        reply_bytes = uint32_t(v);
    }
  }
  static server s;
  static machine client;
  s.request_bytes = request_bytes;
  s.reply_bytes = reply_bytes;
  s.m.start(1, offload);
  client.start(2, offload);
  s.replies.reset(buffer_pool::make(s.m.home, {.buffer_size = reply_bytes * depth * 2}));
  instant now{1'000'000'000};
  (void)s.m.s->tcp().listen({{}, 80}, 16, nullptr, now);
  tcp::connection* c = *client.s->tcp().connect({}, {ipv4_address::of(10, 0, 0, 1), 80}, nullptr, now);
  const pool_ptr bodies(buffer_pool::make(client.home, {.buffer_size = request_bytes * depth}));
  client.s->tcp().set_nodelay(c, true);
  uint64_t asked = 0;
  bool established = false;
  while (s.served < requests) {
    now = now + microseconds(20);
    client.s->transmit(client.wire, now);
    server_turn(s, s.m.arrive(std::move(client.wire.out), offload), now);
    client.s->receive(client.arrive(std::move(s.m.wire.out), offload), now);
    client.s->expire(now);
    s.m.s->expire(now);
    while (auto e = client.s->next_event()) {
      established |= (e->bits & connection_established) != 0;
      fragment data[16];
      size_t bytes = 0;
      const auto got = client.s->tcp().receive(c, data, 1 << 20);
      for (size_t i = 0; got && i < *got; ++i) {
        bytes += data[i].size();
        data[i].reset();
      }
      client.s->tcp().consume(c, bytes, now);
    }
    if (established && asked == s.served) {
      fragment f[1] = {bodies->allocate(0, request_bytes * depth)};
      (void)client.s->tcp().send(c, f, now);
      asked += depth;
    }
  }
  std::printf("%lu requests, %lu segments in, %lu out, %lu bytes copied\n", s.served,
              s.m.s->tcp().stats(s.c).segments_received, s.m.s->tcp().stats(s.c).segments_sent,
              s.m.s->stats().copied_bytes);
  std::fflush(stdout);
  std::_Exit(0);
}
