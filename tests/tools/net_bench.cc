// What the network core costs, counted in instructions, without a device or a host: two stacks, back to back, one
// asking and one answering on one TCP connection.
//
//   llvm-objcopy-19 --strip-debug --remove-section=.gnu_debuglink build/release/tests/tools/net_bench /tmp/net_bench
//   valgrind --tool=callgrind --toggle-collect='*serve_once*' /tmp/net_bench 20000
// (valgrind 3.19 cannot read this compiler's debug information)
//
// counts what the answering stack does for a request (receive, demultiplex, read, answer, send; the ACK rides on the
// answer). Divide by the requests; callgrind_annotate --inclusive=yes says where.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "net/packet/heap_buffer.hh"
#include "net/stack/stack.hh"

namespace {

using namespace solaster;
using namespace solaster::net;

class heap : public memory {
 public:
  void* allocate(size_t bytes, size_t) noexcept override { return std::malloc(bytes); }
  void deallocate(void* p, size_t, size_t) noexcept override { std::free(p); }
  dma_region allocate_dma(size_t bytes, size_t align) noexcept override {
    void* p = std::aligned_alloc(align, (bytes + align - 1) / align * align);
    return {static_cast<std::byte*>(p), bytes, {reinterpret_cast<uint64_t>(p)}};
  }
  void deallocate_dma(dma_region r) noexcept override { std::free(r.base); }
  dma_addr translate(const void* p, size_t) noexcept override { return {reinterpret_cast<uint64_t>(p)}; }
};

struct wire : transmit_sink {
  packet_list frames;
  bool ready() noexcept override { return true; }
  void put(packet_ptr p) noexcept override {
    p->offload = {.checksum = checksum_state::valid};
    frames.push_back(std::move(p));
  }
};

struct host {
  host(uint8_t number, memory& m, packet_slab& slab) {
    stack_config c;
    c.secret[0] = number;
    s = stack::make(c, steer, m, slab, now);
    s->set_interface({.mac = {{2, 0, 0, 0, 0, number}}, .tx_checksum = true, .tso4 = true});
    s->set_address({.address = ipv4_address::of(10, 0, 0, number), .prefix_length = 24}, now);
  }
  ~host() { stack::destroy(s); }
  instant now{1};
  steering steer = steering::make(1);
  wire out;
  stack* s;
};

void exchange(host& a, host& b, instant now) {
  for (int i = 0; i < 8; ++i) {
    a.s->transmit(a.out, now);
    b.s->receive(std::move(a.out.frames), now);
    b.s->transmit(b.out, now);
    a.s->receive(std::move(b.out.frames), now);
  }
}

fragment reply_bytes;

// The server's share of a request. Kept a function of its own: callgrind's toggle.
__attribute__((noinline)) void serve_once(host& server, packet_list&& request, tcp::connection* c, instant now) {
  server.s->receive(std::move(request), now);
  while (auto e = server.s->next_event()) {
    fragment got[4];
    const size_t n = *server.s->tcp().receive(c, got, 65536);
    for (size_t i = 0; i < n; ++i)
      server.s->tcp().consume(c, got[i].size(), now);
    fragment answer[1] = {reply_bytes.share()};
    if (n)
      (void)server.s->tcp().send(c, answer, now);
  }
  server.s->transmit(server.out, now);
}

__attribute__((noinline)) void ask_once(host& client, tcp::connection* c, fragment& question, instant now) {
  client.s->receive(std::move(client.out.frames), now);
  while (client.s->next_event()) {
  }
  fragment got[4];
  const size_t n = *client.s->tcp().receive(c, got, 65536);
  for (size_t i = 0; i < n; ++i)
    client.s->tcp().consume(c, got[i].size(), now);
  fragment f[1] = {question.share()};
  (void)client.s->tcp().send(c, f, now);
  client.s->transmit(client.out, now);
}

}  // namespace

int main(int argc, char** argv) {
  const long requests = argc > 1 ? std::atol(argv[1]) : 100'000;
  const uint32_t question_size = 30, answer_size = uint32_t(argc > 2 ? std::atol(argv[2]) : 100);
  heap m;
  packet_slab slab(m);
  {
    host client(2, m, slab), server(1, m, slab);
    instant now{1'000'000'000};
    tcp::listener* l = *server.s->tcp().listen({{}, 80}, 10, nullptr, now);
    tcp::connection* asking = *client.s->tcp().connect({}, {ipv4_address::of(10, 0, 0, 1), 80}, nullptr, now);
    exchange(client, server, now);
    auto accepted = server.s->tcp().accept(l, nullptr);
    if (!accepted)
      return std::fprintf(stderr, "no connection\n"), 1;
    tcp::connection* answering = *accepted;
    server.s->tcp().set_nodelay(answering, true);
    client.s->tcp().set_nodelay(asking, true);
    fragment question = make_heap_fragment(m, question_size);
    std::memset(question.data(), 'q', question_size);
    reply_bytes = make_heap_fragment(m, answer_size);
    std::memset(reply_bytes.data(), 'a', answer_size);
    while (server.s->next_event()) {
    }
    packet_list to_client;
    for (long i = 0; i < requests; ++i) {
      now = now + microseconds(10);
      client.out.frames = std::move(to_client);
      ask_once(client, asking, question, now);
      serve_once(server, std::move(client.out.frames), answering, now);
      to_client = std::move(server.out.frames);
    }
    const auto& sent = server.s->stats();
    std::printf("%ld requests, %llu frames in, %llu out\n", requests, (unsigned long long)sent.received,
                (unsigned long long)sent.sent);
    reply_bytes.reset();
    to_client = {};
    server.s->tcp().release(answering, now);
    server.s->tcp().release(l, now);
    client.s->tcp().release(asking, now);
  }
  return 0;
}
