// net/virtio against an honest model of a device, over both transports.
#include "net/virtio/net_device.hh"

#include <gtest/gtest.h>

#include <memory>

#include "net/packet/heap_buffer.hh"
#include "tests/unit/net/virtio/mock_device.hh"

namespace solaster::net::virtio::test {
namespace {

using strings = std::vector<std::string>;

std::string text_of(const packet& p) {
  std::string s(p.size(), '\0');
  copy_out(p, 0, reinterpret_cast<std::byte*>(s.data()), p.size());
  return s;
}

struct virtio_net : testing::TestWithParam<bool> {
  explicit virtio_net(uint16_t pairs = 1) : world(std::make_unique<bench>(pairs)), b(*world) {}
  transport& wire() { return GetParam() ? static_cast<transport&>(b.over_pci) : b.over_mmio; }
  void open(net_device_options options = {}) {
    auto made = net_device::make(wire(), b.mem, options);
    ASSERT_TRUE(made) << int(made.error());
    d = *made;
    auto opened = d->open_queue({}, b.mem, b.slab);
    ASSERT_TRUE(opened) << int(opened.error());
    q = *opened;
    ASSERT_TRUE(d->start());
  }
  packet_ptr make_packet(const std::string& s, uint32_t headroom) {
    packet_ptr p = b.slab.make();
    fragment f = make_heap_fragment(b.mem, uint32_t(s.size()), headroom);
    memcpy(f.data(), s.data(), s.size());
    p->append(std::move(f));
    return p;
  }
  size_t send(packet_ptr p) {
    packet_list l;
    l.push_back(std::move(p));
    return q->transmit(l);
  }
  strings receive() {
    packet_list l;
    q->receive(l, 1000);
    strings out;
    while (packet_ptr p = l.pop_front())
      out.push_back(text_of(*p));
    return out;
  }
  // What was in the ring when memory ran out, in packets that are held. The slab has packets: only buffers are missing.
  packet_list drain_without_memory() {
    packet_list spare;
    for (int i = 0; i < 256; ++i)
      spare.push_back(b.slab.make());
    spare = {};
    while (b.device.deliver(0, "frame")) {
    }
    b.mem.fail_after = 0;
    packet_list held;
    q->receive(held, 1000);
    return held;
  }
  void TearDown() override {
    if (d) {
      EXPECT_TRUE(!q || static_cast<net_queue*>(q)->is_valid());
      net_device::destroy(d);
    }
    EXPECT_EQ(b.slab.live(), 0u);
    long kept_packets = b.mem.live;
    world->slab.~packet_slab();
    EXPECT_EQ(b.mem.live, 0) << "of " << kept_packets;
    new (&world->slab) packet_slab(b.mem);
  }
  std::unique_ptr<bench> world;
  bench& b;
  net_device* d = nullptr;
  queue* q = nullptr;
};
auto transport_name = [](auto& i) { return i.param ? "pci" : "mmio"; };
INSTANTIATE_TEST_SUITE_P(transports, virtio_net, testing::Values(false, true), transport_name);

TEST_P(virtio_net, negotiates_what_both_know_and_starts) {
  open();
  EXPECT_EQ(b.device.status, status::acknowledge | status::driver | status::features_ok | status::driver_ok);
  EXPECT_EQ(b.device.taken & feature_mask(28), 0u);
  EXPECT_TRUE(b.device.taken & feature::version_1);
  EXPECT_FALSE(b.device.taken & feature::net_guest_tso4);
  EXPECT_TRUE(d->info().tso4 && d->info().tx_checksum && d->info().link_up);
  EXPECT_EQ(d->info().mac.bytes[5], 3);
  EXPECT_EQ(d->info().mtu, 1500);
  EXPECT_EQ(b.device.queues[0].available(), 256u);
  EXPECT_GE(b.device.queues[0].notified, 1u);
}

TEST_P(virtio_net, refuses_a_device_that_is_not_modern_or_refuses_us) {
  b.device.offered &= ~feature::version_1;
  EXPECT_EQ(net_device::make(wire(), b.mem, {}).error(), errc::opnotsupp);
  b.device.offered |= feature::version_1;
  b.device.refuse_features = true;
  EXPECT_EQ(net_device::make(wire(), b.mem, {}).error(), errc::opnotsupp);
  b.device.refuse_features = false;
  b.device.never_resets = true;
  EXPECT_EQ(net_device::make(wire(), b.mem, {}).error(), errc::timedout);
}

TEST_P(virtio_net, takes_the_smallest_mtu_that_there_is_and_no_smaller) {
  b.device.config[net_config::mtu] = 67;
  b.device.config[net_config::mtu + 1] = 0;
  EXPECT_EQ(net_device::make(wire(), b.mem, {}).error(), errc::inval);
  b.device.config[net_config::mtu] = 68;
  open();
  EXPECT_EQ(d->info().mtu, 68);
}

TEST_P(virtio_net, receives_a_frame_in_one_buffer_without_copying) {
  open();
  ASSERT_TRUE(b.device.deliver(0, "hello, frame of some bytes", {hdr_f_data_valid, 0, 0, 0, 0, 0, 0}));
  packet_list l;
  ASSERT_EQ(q->receive(l, 10), 1u);
  packet_ptr p = l.pop_front();
  EXPECT_EQ(text_of(*p), "hello, frame of some bytes");
  EXPECT_EQ(p->offload.checksum, checksum_state::valid);
  EXPECT_EQ(p->fragment_count(), 1u);
  EXPECT_EQ(q->stats().copied_bytes, 0u);
  EXPECT_EQ(q->stats().rx_packets, 1u);
}

TEST_P(virtio_net, merges_buffers_into_one_packet) {
  open();
  std::string big(9000, 'x');
  for (size_t i = 0; i < big.size(); ++i)
    big[i] = char(i * 7 + i / 256);
  ASSERT_TRUE(b.device.deliver(0, big));
  ASSERT_TRUE(b.device.deliver(0, "and a small one behind"));
  auto got = receive();
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0], big);
  EXPECT_EQ(got[1], "and a small one behind");
}

TEST_P(virtio_net, keeps_a_packet_whose_buffers_come_one_by_one) {
  open();
  mock_queue& rx = b.device.queues[0];
  uint16_t first = rx.pop(), second = rx.pop();
  net_hdr h{};
  h.num_buffers = 2;
  memcpy(reinterpret_cast<void*>(rx.d()[first].addr), &h, sizeof(h));
  memcpy(reinterpret_cast<char*>(rx.d()[first].addr) + sizeof(h), "abcd", 4);
  memcpy(reinterpret_cast<void*>(rx.d()[second].addr), "efgh", 4);
  rx.push(first, sizeof(h) + 4);
  EXPECT_TRUE(receive().empty());
  rx.push(second, 4);
  EXPECT_EQ(receive(), strings{"abcdefgh"});
}

TEST_P(virtio_net, goes_round_the_ring_many_times) {
  open();
  for (int i = 0; i < 70'000; ++i) {
    std::string s = "frame " + std::to_string(i);
    ASSERT_TRUE(b.device.deliver(0, s));
    ASSERT_EQ(receive(), strings{s});
    ASSERT_EQ(send(make_packet(s, 64)), 1u);
    auto sent = b.device.collect(0);
    ASSERT_EQ(sent.size(), 1u);
    ASSERT_EQ(sent[0].bytes, s);
    q->reap();
  }
  EXPECT_EQ(q->stats().device_errors, 0u);
}

TEST_P(virtio_net, sends_a_small_packet_as_one_descriptor_when_there_is_headroom) {
  open();
  ASSERT_EQ(send(make_packet("some headroom", 64)), 1u);
  ASSERT_EQ(send(make_packet("no headroom", 0)), 1u);
  auto sent = b.device.collect(0);
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].descriptors, 1u);
  EXPECT_EQ(sent[0].bytes, "some headroom");
  EXPECT_EQ(sent[1].descriptors, 2u);
  EXPECT_EQ(sent[1].bytes, "no headroom");
}

TEST_P(virtio_net, does_not_write_into_a_shared_buffers_headroom) {
  open();
  packet_ptr p = make_packet("0123456789abcdef", 64);
  fragment other = p->front().share(0, 4);
  p->trim_front(8);  // the headroom now holds bytes that `other` refers to
  ASSERT_EQ(send(std::move(p)), 1u);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(other.data()), 4), "0123");
  EXPECT_EQ(b.device.collect(0)[0].bytes, "89abcdef");
  q->reap();
}

TEST_P(virtio_net, says_what_the_device_shall_do) {
  open();
  packet_ptr p = make_packet("headers and payload", 64);
  p->offload.checksum = checksum_state::partial;
  p->offload.checksum_start = 34;
  p->offload.checksum_offset = 16;
  p->offload.gso = gso_type::tcpv4;
  p->offload.gso_size = 1448;
  p->offload.header_length = 54;
  ASSERT_EQ(send(std::move(p)), 1u);
  net_hdr h = b.device.collect(0)[0].header;
  EXPECT_EQ(h.flags, hdr_f_needs_csum);
  EXPECT_EQ(h.csum_start, 34);
  EXPECT_EQ(h.csum_offset, 16);
  EXPECT_EQ(h.gso_type, hdr_gso_tcpv4);
  EXPECT_EQ(h.gso_size, 1448);
  EXPECT_EQ(h.hdr_len, 54);
}

TEST_P(virtio_net, takes_what_fits_and_lets_go_when_the_device_is_done) {
  open();
  packet_list l;
  for (int i = 0; i < 400; ++i)
    l.push_back(make_packet("packet " + std::to_string(i), 64));
  size_t taken = q->transmit(l);
  EXPECT_GT(taken, 200u);
  EXPECT_LT(taken, 257u);
  EXPECT_EQ(l.size(), 400 - taken);
  EXPECT_TRUE(q->arm());  // completions are asked for, none are there
  b.device.collect(0, taken / 2 + 20);
  EXPECT_FALSE(q->arm());
  EXPECT_GT(q->transmit(l), 0u);
  while (!l.empty()) {
    b.device.collect(0);
    q->transmit(l);
  }
  b.device.collect(0);
  q->reap();
  EXPECT_EQ(b.slab.live(), 0u);
}

TEST_P(virtio_net, copies_once_what_the_device_cannot_reach) {
  open();
  static char literal[] = "a literal of the program";
  b.mem.unreachable_begin = reinterpret_cast<uint64_t>(literal);
  b.mem.unreachable_end = b.mem.unreachable_begin + sizeof(literal);
  buffer fixed;
  fixed.data = reinterpret_cast<std::byte*>(literal);
  fixed.capacity = sizeof(literal);
  fixed.recycle = [](buffer*) noexcept {};
  packet_ptr p = make_packet("head ", 64);
  p->append(fragment(&fixed, fixed.data, sizeof(literal) - 1));
  ASSERT_EQ(send(std::move(p)), 1u);
  EXPECT_EQ(q->stats().copied_bytes, sizeof(literal) - 1);
  EXPECT_EQ(b.device.collect(0)[0].bytes, std::string("head ") + literal);
  q->reap();
}

TEST_P(virtio_net, moves_packets_to_right_sized_memory_while_the_pool_runs_low) {
  open();
  packet_list held;
  for (int i = 0; i < 3000; ++i) {
    ASSERT_TRUE(b.device.deliver(0, std::string(100, char('a' + i % 26)))) << i;
    ASSERT_EQ(q->receive(held, 1), 1u);
  }
  EXPECT_GT(q->stats().copied_bytes, 0u);
  EXPECT_EQ(held.size(), 3000u);
  for (int i = 0; i < 3000; ++i)
    ASSERT_EQ(text_of(*held.pop_front()), std::string(100, char('a' + i % 26)));
}

TEST_P(virtio_net, believes_a_checksum_only_where_that_was_agreed_on) {
  open({.features_refused = feature::net_guest_csum});
  for (uint8_t flags : {hdr_f_data_valid, hdr_f_needs_csum}) {
    ASSERT_TRUE(b.device.deliver(0, "unchecked", {flags, 0, 0, 0, 0, 0, 0}));
    ASSERT_TRUE(b.device.deliver(0, std::string(3000, 'x'), {flags, 0, 0, 0, 0, 0, 0}));  // of two buffers
    packet_list l;
    ASSERT_EQ(q->receive(l, 10), 2u);
    EXPECT_EQ(l.pop_front()->offload.checksum, checksum_state::none);
    EXPECT_EQ(l.pop_front()->offload.checksum, checksum_state::none);
  }
}

// The whole ring drains while memory is out, and what came is held: the device has nowhere to put anything, and
// nothing that arrives can bring the buffers back.
TEST_P(virtio_net, a_ring_that_ran_dry_while_memory_was_out_hears_again) {
  open();
  EXPECT_FALSE(q->starving());
  packet_list held = drain_without_memory();
  EXPECT_EQ(held.size(), 256u);
  EXPECT_TRUE(q->starving());
  EXPECT_FALSE(b.device.deliver(0, "nobody hears this"));
  EXPECT_EQ(q->receive(held, 10), 0u);
  EXPECT_TRUE(q->starving());

  b.mem.fail_after = -1;
  EXPECT_EQ(q->receive(held, 10), 0u);
  EXPECT_FALSE(q->starving());
  q->kick();
  EXPECT_GT(b.device.queues[0].notified, 0u);
  EXPECT_TRUE(b.device.deliver(0, "and now?"));
  EXPECT_EQ(receive(), strings{"and now?"});
}

TEST_P(virtio_net, a_ring_that_ran_dry_hears_again_when_packets_are_let_go) {
  open();
  packet_list held = drain_without_memory();
  ASSERT_TRUE(q->starving());
  held = {};
  EXPECT_TRUE(receive().empty());
  EXPECT_FALSE(q->starving());
  b.mem.fail_after = -1;
  EXPECT_TRUE(b.device.deliver(0, "and now?"));
  EXPECT_EQ(receive(), strings{"and now?"});
}

TEST_P(virtio_net, a_ring_used_up_by_bad_packets_is_filled_again) {
  open();
  mock_queue& rx = b.device.queues[0];
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(rx.available()) << i;
    rx.push(rx.pop(), 5);
    ASSERT_TRUE(receive().empty());
  }
  EXPECT_EQ(q->stats().rx_dropped, 1000u);
  EXPECT_TRUE(b.device.deliver(0, "a good one"));
  EXPECT_EQ(receive(), strings{"a good one"});
}

TEST_P(virtio_net, the_smallest_rings_are_filled_again_too) {
  for (uint16_t depth : {2, 4, 8, 16}) {
    SCOPED_TRACE(depth);
    d = *net_device::make(wire(), b.mem, {});
    q = *d->open_queue({.rx_depth = depth}, b.mem, b.slab);
    ASSERT_TRUE(d->start());
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(b.device.deliver(0, "frame")) << i;
      ASSERT_EQ(receive(), strings{"frame"});
    }
    net_device::destroy(d);
    d = nullptr;
    q = nullptr;
  }
}

TEST_P(virtio_net, a_full_ring_keeps_what_is_in_it_and_hears_the_rest_later) {
  open();
  strings sent;
  while (b.device.deliver(0, "frame " + std::to_string(sent.size())))
    sent.push_back("frame " + std::to_string(sent.size()));
  EXPECT_EQ(sent.size(), 256u);
  EXPECT_EQ(receive(), sent);
  EXPECT_TRUE(b.device.deliver(0, "later"));
  EXPECT_EQ(receive(), strings{"later"});
}

TEST_P(virtio_net, packets_outlive_the_device) {
  open();
  ASSERT_TRUE(b.device.deliver(0, "survivor"));
  packet_list l;
  ASSERT_EQ(q->receive(l, 1), 1u);
  net_device::destroy(d);
  d = nullptr;
  EXPECT_EQ(text_of(*l.front()), "survivor");
  l.pop_front();
}

TEST_P(virtio_net, kicks_and_interrupts_only_when_asked) {
  open();
  mock_queue& tx = b.device.queues[1];
  uint32_t before = tx.notified;
  tx.set_avail_event(0);  // the device sleeps until entry 0 is there
  send(make_packet("one", 64));
  q->kick();
  EXPECT_EQ(tx.notified, before + 1);
  send(make_packet("two", 64));
  q->kick();  // it has not said that it sleeps again
  EXPECT_EQ(tx.notified, before + 1);
  b.device.collect(0);
  tx.set_avail_event(2);
  send(make_packet("three", 64));
  send(make_packet("four", 64));
  q->kick();
  EXPECT_EQ(tx.notified, before + 2);
  q->kick();
  EXPECT_EQ(tx.notified, before + 2);

  mock_queue& rx = b.device.queues[0];
  EXPECT_FALSE(passes_event(rx.used_event(), uint16_t(rx.used + 1), rx.used));
  EXPECT_TRUE(q->arm());
  EXPECT_TRUE(passes_event(rx.used_event(), uint16_t(rx.used + 1), rx.used));
  b.device.deliver(0, "something for you");
  EXPECT_FALSE(q->arm());
  EXPECT_EQ(receive().size(), 1u);
  q->disarm();
  EXPECT_FALSE(passes_event(rx.used_event(), uint16_t(rx.used + 1), rx.used));
}

TEST_P(virtio_net, works_without_event_index_and_without_merging) {
  open({.features_refused = feature::ring_event_idx | feature::net_mrg_rxbuf});
  mock_queue& tx = b.device.queues[1];
  send(make_packet("one", 64));
  q->kick();
  EXPECT_EQ(tx.notified, 1u);
  tx.u()->flags = used_f_no_notify;
  send(make_packet("two", 64));
  q->kick();
  EXPECT_EQ(tx.notified, 1u);
  EXPECT_EQ(b.device.queues[0].a()->flags, avail_f_no_interrupt);
  EXPECT_TRUE(q->arm());
  EXPECT_EQ(b.device.queues[0].a()->flags, 0);
  b.device.deliver(0, "one buffer a packet");
  EXPECT_EQ(receive(), strings{"one buffer a packet"});
  b.device.collect(0);
  q->reap();
}

struct virtio_net_queues : virtio_net {
  virtio_net_queues() : virtio_net(4) {}
  result<> open_pairs(uint16_t n, net_device_options options = {}) {
    queues.clear();
    d = TRY(net_device::make(wire(), b.mem, options));
    TRY(d->set_queue_pairs(n));
    for (uint16_t i = 0; i < n; ++i)
      queues.push_back(TRY(d->open_queue({.index = i}, b.mem, b.slab)));
    return d->start();
  }
  std::vector<queue*> queues;
};
INSTANTIATE_TEST_SUITE_P(transports, virtio_net_queues, testing::Values(false, true), transport_name);

TEST_P(virtio_net_queues, several_pairs_are_asked_for_and_work) {
  ASSERT_TRUE(open_pairs(4));
  EXPECT_EQ(b.device.commands, strings{std::string("\4\0\4\0", 4)});
  for (uint16_t i = 0; i < 4; ++i) {
    if (GetParam()) {
      EXPECT_EQ(b.device.queues[2 * i].vector, i);
    }
    ASSERT_TRUE(b.device.deliver(i, "to pair " + std::to_string(i)));
    packet_list l;
    ASSERT_EQ(queues[i]->receive(l, 10), 1u);
    EXPECT_EQ(text_of(*l.front()), "to pair " + std::to_string(i));
  }
}

TEST_P(virtio_net_queues, rss_is_configured_as_the_specification_lays_it_out) {
  ASSERT_TRUE(open_pairs(2));
  ASSERT_TRUE(d->info().rss);
  rss_config rss;
  for (size_t i = 0; i < rss.key.size(); ++i)
    rss.key[i] = uint8_t(i + 1);
  for (size_t i = 0; i < rss.table.size(); ++i)
    rss.table[i] = i % 2;
  ASSERT_TRUE(d->set_rss(rss));
  const std::string& c = b.device.commands.back();
  ASSERT_EQ(c.size(), 2u + 8 + 256 + 2 + 1 + 40);
  EXPECT_EQ(c.substr(0, 10), std::string("\4\1\6\0\0\0\x7f\0\0\0", 10));
  EXPECT_EQ(c.substr(10, 4), std::string("\0\0\1\0", 4));
  EXPECT_EQ(c.substr(2 + 8 + 256, 4), std::string("\2\0\x28\1", 4));
  rss.table[7] = 2;
  EXPECT_EQ(d->set_rss(rss).error(), errc::inval);
}

TEST_P(virtio_net_queues, a_refused_or_unanswered_command_is_an_error) {
  b.device.control_answer = 1;
  EXPECT_EQ(open_pairs(2).error(), errc::io);
  net_device::destroy(d);
  b.device.mute_control = true;
  EXPECT_EQ(open_pairs(2, {.control_polls_max = 1000}).error(), errc::timedout);
  EXPECT_EQ(d->control_errors(), 1u);
  EXPECT_EQ(b.device.status, 0);  // a device that did not start is left reset
}

// Its answer may still come, into the page that the next command would use.
TEST_P(virtio_net_queues, after_an_unanswered_command_no_other_is_sent) {
  ASSERT_TRUE(open_pairs(2, {.control_polls_max = 1000}));
  b.device.mute_control = true;
  EXPECT_EQ(d->set_rss({}).error(), errc::timedout);
  const size_t before = b.device.commands.size();
  b.device.mute_control = false;
  EXPECT_EQ(d->set_rss({}).error(), errc::io);
  EXPECT_EQ(b.device.commands.size(), before);
}

TEST(virtio_many_pairs, a_control_queue_out_of_reach_is_done_without) {
  bench b(4);
  b.device.set16(net_config::max_virtqueue_pairs, 200);
  net_device* d = *net_device::make(b.over_mmio, b.mem, {});
  EXPECT_EQ(d->info().queue_pairs_max, 1);
  EXPECT_FALSE(d->info().rss);
  ASSERT_TRUE(d->open_queue({}, b.mem, b.slab));
  EXPECT_TRUE(d->start());
  net_device::destroy(d);
}

TEST(virtio_pci, a_doorbell_outside_the_structure_is_refused) {
  bench b;
  b.pci_common.notify_off_lie = 5000;
  net_device* d = *net_device::make(b.over_pci, b.mem, {});
  EXPECT_EQ(d->open_queue({}, b.mem, b.slab).error(), errc::io);
  net_device::destroy(d);
  EXPECT_EQ(b.mem.live, 0);
}

TEST(virtio_memory, running_out_at_any_point_is_an_error_and_loses_nothing) {
  for (long n = 0; n < 60; ++n) {
    bench b(2);
    b.mem.fail_after = n;
    auto made = net_device::make(b.over_mmio, b.mem, {});
    if (made) {
      auto q = (*made)->open_queue({}, b.mem, b.slab);
      if (q)
        (void)(*made)->start();
      net_device::destroy(*made);
    }
    EXPECT_EQ(b.mem.live, 0) << n;
  }
}

}  // namespace
}  // namespace solaster::net::virtio::test
