// The native stack's driver against a device that a test makes.
#include "framework/socket/native/driver.hh"

#include <gtest/gtest.h>

#include "framework/device/nic.hh"
#include "framework/testing/reactor_test.hh"

namespace solaster::native {
namespace {

// A queue that receives nothing and says what the test wants it to say.
struct silent_queue final : net::queue {
  size_t receive(net::packet_list&, size_t) noexcept override {
    ++receives;
    return 0;
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
  world() {
    auto made = std::make_unique<silent_nic>();
    queue = &made->inner.queue;
    shared.device = std::move(made);
    shared.steering = net::steering::make(1);
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

}  // namespace
}  // namespace solaster::native
