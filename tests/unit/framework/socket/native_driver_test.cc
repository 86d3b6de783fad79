// The native stack's driver against a device that a test makes.
#include "framework/socket/native/driver.hh"

#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "framework/device/nic.hh"
#include "framework/memory/memory.hh"
#include "framework/memory/reserve.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/smp.hh"
#include "framework/socket/native/udp_channel.hh"
#include "framework/socket/native/wrap.hh"
#include "framework/testing/reactor_test.hh"
#include "net/ip/neighbour.hh"
#include "net/packet/heap_buffer.hh"

namespace solaster::native {
namespace {

// A queue that receives what the test gives it and says what the test wants it to say.
struct silent_queue final : net::queue {
  size_t receive(net::packet_list& into, size_t) noexcept override {
    ++receives;
    const size_t n = inbound.size();
    into.append(std::move(inbound));
    return n;
  }
  bool starving() const noexcept override { return hungry; }
  size_t transmit(net::packet_list& from) noexcept override {
    const size_t n = from.size();
    sent += n;
    from = {};
    return n;
  }
  void reap() noexcept override {}
  void kick() noexcept override {}
  bool arm() noexcept override { return true; }
  void disarm() noexcept override {}
  const net::queue_stats& stats() const noexcept override { return counters; }

  net::packet_list inbound;
  int receives = 0;
  size_t sent = 0;
  bool hungry = false;
  net::queue_stats counters;
};

struct silent_device final : net::device {
  const net::device_info& info() const noexcept override { return about; }
  result<> set_queue_pairs(uint16_t) noexcept override { return {}; }
  result<net::queue*> open_queue(const net::queue_config&, net::memory&, net::packet_slab&) noexcept override {
    return &queue;
  }
  result<> set_rss(const net::rss_config&) noexcept override { return errc::opnotsupp; }
  result<> start() noexcept override { return {}; }
  void reset() noexcept override {}

  net::device_info about{.mac = {{2, 0, 0, 0, 0, 1}}};
  silent_queue queue;
};

struct silent_nic final : nic {
  net::device& device() noexcept override { return inner; }
  net::queue_config config_of(unsigned) override { return {}; }
  silent_device inner;
};

struct world {
  explicit world(unsigned shards = 1) {
    auto made = std::make_unique<silent_nic>();
    queue = &made->inner.queue;
    shared.device = std::move(made);
    shared.steering = net::steering::make(shards);
    d = std::make_unique<driver>(shared);
  }
  shared_state shared;
  silent_queue* queue;
  std::unique_ptr<driver> d;
};

REACTOR_TEST_WITH(native_driver, a_queue_without_buffers_is_looked_at_again_by_itself, "--smp", "1") {
  world w;
  w.d->poll();
  EXPECT_EQ(w.d->next_deadline(), instant::never());
  w.queue->hungry = true;
  const int before = w.queue->receives;
  w.d->poll();
  EXPECT_EQ(w.queue->receives, before + 1);
  // No interrupt will come: the shard may not sleep for longer than this.
  EXPECT_LE(w.d->next_deadline(), w.d->now() + driver_limits::starving_retry);
  EXPECT_GT(w.d->next_deadline(), w.d->now());
  w.queue->hungry = false;
  EXPECT_EQ(w.d->next_deadline(), instant::never());
  co_return;
}

// Through a driver, without a packet on the wire.
REACTOR_TEST_WITH(native_driver, a_program_talks_to_itself_over_127_0_0_1, "--smp", "1") {
  world w;
  auto& tcp = w.d->tcp();
  net::tcp::listener* l = *tcp.listen({{}, 80}, 8, nullptr, w.d->now());
  net::tcp::connection* client = *tcp.connect({}, {net::ipv4_address::of(127, 0, 0, 1), 80}, nullptr, w.d->now());
  w.d->touch();
  for (int i = 0; i < 20; ++i) {
    w.d->poll();
  }
  EXPECT_EQ(tcp.stats(client).st, net::tcp::state::established);
  auto server = tcp.accept(l, nullptr);
  EXPECT_TRUE(server);
  EXPECT_EQ(w.queue->sent, 0u);
  tcp.release(*server, w.d->now());
  tcp.release(client, w.d->now());
  tcp.release(l, w.d->now());
  co_return;
}

// 1 MiB for each of 80 connections to a peer that does not answer, as far as the stack takes it.
REACTOR_TEST_WITH(native_driver, a_quarter_of_the_shard_at_most_waits_to_be_sent, "--smp", "1") {
  if (!memory::is_enabled()) {
    co_return;
  }
  world w;
  w.d->stack().set_address({.address = net::ipv4_address::of(10, 0, 0, 1), .prefix_length = 24}, w.d->now());
  auto& tcp = w.d->tcp();
  const net::fragment whole = net::make_heap_fragment(w.d->memory(), 1 << 20);
  std::vector<net::tcp::connection*> connections;
  size_t waiting = 0;
  for (int i = 0; i < 80; ++i) {
    auto* c = *tcp.connect({}, {net::ipv4_address::of(10, 0, 0, 9), 80}, nullptr, w.d->now());
    connections.push_back(c);
    net::fragment piece = whole.share();
    if (auto taken = tcp.send(c, {&piece, 1}, w.d->now())) {
      waiting += *taken;
    }
  }
  const size_t limit = std::min<size_t>(64 << 20, memory::total_bytes() / 4);
  EXPECT_LE(waiting, limit + 80 * 8192);  // what is guaranteed to each comes on top
  EXPECT_GE(waiting, limit / 2);
  for (auto* c : connections) {
    tcp.release(c, w.d->now());
  }
  co_return;
}

// ---- without memory

// Takes all of it, the reserve too.
class no_memory {
 public:
  no_memory() {
    _taken.reserve(2 * size_t(memory::reserve_block_count));
    _injector.emplace(1, true);
    while (void* p = memory::allocate_or_take_reserved(1)) {
      _taken.push_back(p);
    }
  }
  ~no_memory() {
    _injector.reset();
    for (void* p : _taken) {
      ::operator delete(p);
    }
  }
  no_memory(const no_memory&) = delete;

 private:
  std::vector<void*> _taken;
  std::optional<memory::failure_injector> _injector;
};

// Shard 0's driver has the queue and is polled by hand, shard 1's by its reactor.
struct two_shards : world {
  two_shards() : world(2) {}
  static future<> start(two_shards& w) {
    co_await smp::submit_to(1, [&w] {
      w.other = std::make_unique<driver>(w.shared);
      w.other->stack().set_address({.address = net::ipv4_address::of(10, 0, 0, 1)}, w.other->now());
      w.other->start();
    });
  }
  static future<> stop(two_shards& w) {
    EXPECT_TRUE(co_await come_about(w, [&w] { return w.d->slab().live() == 0; }));
    co_await smp::submit_to(1, [&w] { w.other->stop(); });
    co_await smp::submit_to(1, [&w] { w.other->close(); });
    w.d->close();
    for (int round = 0; round < 2; ++round) {
      co_await w.d->send_visitors_home();
      co_await smp::submit_to(1, [&w] { return w.other->send_visitors_home(); });
    }
    EXPECT_EQ(co_await smp::submit_to(1, [&w] { return w.other->slab().live(); }), 0u);
    co_await smp::submit_to(1, [&w] { w.other.reset(); });
  }
  // Turns of the first shard until it is so; false: it never is.
  static future<bool> come_about(two_shards& w, std::function<bool()> condition) {
    for (int turn = 0; turn < 100'000 && !condition(); ++turn) {
      w.d->poll();
      co_await smp::submit_to(1, [] {});
    }
    co_return condition();
  }
  // An UDP datagram whose flow is the other shard's.
  net::packet_ptr make_foreign_packet() {
    net::packet_ptr p = d->slab().make();
    p->append(net::make_heap_fragment(d->memory(), 42));
    uint8_t frame[42] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17};
    frame[26] = 10, frame[29] = 9, frame[30] = 10, frame[33] = 1, frame[37] = 9, frame[39] = 8;
    for (bool found = false; !found; found = shared.steering.classify(*p).shard == 1) {
      ++frame[35];  // the source port
      std::memcpy(p->front().data(), frame, sizeof frame);
    }
    return p;
  }
  std::unique_ptr<driver> other;
};

REACTOR_TEST_WITH(native_driver, a_visitor_goes_home_when_memory_is_out, "--smp", "1") {
  shard_memory m;
  net::packet_slab home(m), abroad(m);
  {
    foreign_packets visitors(abroad, 2);
    std::vector<net::packet*> sent;
    for (int i = 0; i < 3; ++i) {
      net::packet* p = sent.emplace_back(home.make().release());
      p->append(net::make_heap_fragment(m, 100));
    }
    net::packet_ptr here = visitors.adopt(sent[0], 1);
    {
      memory::failure_injector none(1, true);
      here.reset();
      visitors.copy(sent[1], 1, m);
      visitors.adopt(sent[2], 1).reset();
    }
    EXPECT_TRUE(visitors.has_returns());
    EXPECT_EQ(visitors.visiting(), 0u);
    packet_chain back = visitors.take_returns(1);
    EXPECT_FALSE(visitors.has_returns());
    EXPECT_EQ(back.size(), 3u);
    visitors.put_back(1, std::move(back));
    EXPECT_TRUE(visitors.has_returns());
    back = visitors.take_returns(1);
    for (net::packet* p : sent) {
      EXPECT_EQ(back.pop_front(), p);
      net::packet_ptr(p).reset();
    }
    EXPECT_EQ(back.pop_front(), nullptr);
  }
  EXPECT_EQ(home.live(), 0u);
  co_return;
}

REACTOR_TEST_WITH(native_driver, what_is_anothers_waits_for_the_memory_to_tell_it, "--smp", "2") {
  if (!memory::is_enabled()) {
    co_return;
  }
  two_shards w;
  co_await two_shards::start(w);
  w.d->poll();
  for (int i = 0; i < 3; ++i) {
    w.queue->inbound.push_back(w.make_foreign_packet());
  }
  {
    no_memory none;
    w.d->poll();
    w.d->poll();
  }
  EXPECT_EQ(w.d->stats().handed_over, 3u);
  EXPECT_FALSE(w.d->try_enter_interrupt_mode());
  EXPECT_TRUE(co_await two_shards::come_about(w, [&w] { return w.d->slab().live() == 0; }));
  EXPECT_EQ(co_await smp::submit_to(1, [&w] { return w.other->stats().taken_in; }), 3u);
  co_await two_shards::stop(w);
}

REACTOR_TEST_WITH(native_driver, what_goes_out_through_anothers_queue_waits_for_the_memory_to_tell_it, "--smp", "2") {
  if (!memory::is_enabled()) {
    co_return;
  }
  two_shards w;
  co_await two_shards::start(w);
  co_await smp::submit_to(1, [&w] {
    driver& d = *w.other;
    d.poll();
    const uint64_t before = d.stats().sent_abroad;
    net::udp_socket* s = *d.stack().udp_open({}, nullptr, d.now());
    const net::ipv4_address peer = net::ipv4_address::of(10, 0, 0, 9);
    d.stack().learn_neighbour(peer, {{2, 0, 0, 0, 0, 9}}, d.now(), net::neighbour_new);
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(d.stack().udp_send(s, {{}, {peer, 9}, nullptr}, d.now()));
    }
    d.touch();
    {
      no_memory none;
      d.poll();
      d.poll();
    }
    EXPECT_EQ(d.stats().sent_abroad, before);
    EXPECT_FALSE(d.try_enter_interrupt_mode());
    d.poll();
    EXPECT_EQ(d.stats().sent_abroad, before + 3);
    d.stack().udp_close(s, d.now());
  });
  EXPECT_TRUE(co_await two_shards::come_about(w, [&w] { return w.queue->sent == 3; }));
  co_await two_shards::stop(w);
}

REACTOR_TEST_WITH(native_driver, a_visitor_is_sent_home_again_when_there_was_no_memory_to_tell, "--smp", "2") {
  if (!memory::is_enabled()) {
    co_return;
  }
  two_shards w;
  co_await two_shards::start(w);
  co_await smp::submit_to(1, [&w] { w.other->stop(); });
  w.queue->inbound.push_back(w.make_foreign_packet());
  w.d->poll();
  w.d->poll();
  EXPECT_TRUE(co_await two_shards::come_about(w, [&w] { return w.d->stats().handed_over == 1; }));
  co_await smp::submit_framework_call(1, [&w] {
    EXPECT_EQ(w.other->stats().taken_in, 1u);
    no_memory none;
    w.other->poll();
    w.other->poll();
    EXPECT_FALSE(w.other->try_enter_interrupt_mode());
  });
  EXPECT_EQ(w.d->slab().live(), 1u);
  co_await smp::submit_to(1, [&w] { w.other->start(); });
  co_await two_shards::stop(w);
}

REACTOR_TEST_WITH(native_driver, a_datagram_that_finds_no_memory_is_a_failed_future, "--smp", "1") {
  if (!memory::is_enabled()) {
    co_return;
  }
  world w;
  w.d->stack().set_address({.address = net::ipv4_address::of(10, 0, 0, 1)}, w.d->now());
  auto channel = make_channel(ipv4_addr(uint16_t(7)), {});
  const socket_address to(ipv4_addr(net::ipv4_address::of(10, 0, 0, 9).value, 7));
  unsigned failed = 0;
  for (size_t size : {0, 1, 1000}) {
    bool reached_the_end = false;
    for (uint64_t nth = 1; nth < 100 && !reached_the_end; ++nth) {
      forget_kept_wrappers();
      temporary_buffer<char> data(size);
      memory::failure_injector injector(nth, true);
      auto sent = channel->send(to, std::move(data));
      reached_the_end = !injector.has_failed();
      failed += sent.failed();
      sent.ignore_ready_future();
    }
    EXPECT_TRUE(reached_the_end);
  }
  EXPECT_GT(failed, 0u);
  auto large = channel->send(to, temporary_buffer<char>(65508));
  EXPECT_TRUE(large.failed());
  large.ignore_ready_future();
  channel->close();
  forget_kept_wrappers();
}

}  // namespace
}  // namespace solaster::native
