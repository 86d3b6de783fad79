// A host that talks to itself: 127.0.0.0/8 and its own address, with one shard and with several.
#include <gtest/gtest.h>

#include "tests/unit/net/support/stack_host.hh"

namespace solaster::net {
namespace {

using namespace testing;

constexpr ipv4_address localhost = ipv4_address::of(127, 0, 0, 1);

fragment piece(stack_host& h, const std::string& s) {
  return copy_to_heap(h.memory_, reinterpret_cast<const std::byte*>(s.data()), uint32_t(s.size()));
}

// One that sends, one that listens, in one stack.
struct conversation : stack_host {
  explicit conversation(bool address = true) : stack_host(default_config(), address) {}
  ~conversation() override {
    for (tcp::connection* c : {client, server})
      if (c)
        s->tcp().release(c, now);
  }
  // Lets everything happen that happens by itself; nothing may leave the host.
  void run() {
    for (int i = 0; i < 2000; ++i) {
      EXPECT_EQ(sent(), lines{});
      for (const event& e : events()) {
        if (e.kind == event_kind::listener)
          server = *s->tcp().accept(e.listener, nullptr);
        else if (e.kind == event_kind::connection && e.connection == client)
          client_bits |= e.bits;
      }
      if (s->next_deadline() > now + milliseconds(1))
        return;
      advance(microseconds(10));
    }
    FAIL() << "no end";
  }
  void connect(ipv4_address to, ipv4_address from = {}) {
    (void)*s->tcp().listen({{}, 80}, 8, nullptr, now);
    client = *s->tcp().connect({from, 0}, {to, 80}, nullptr, now);
    run();
    ASSERT_TRUE(server);
    EXPECT_TRUE(client_bits & connection_established);
  }
  std::string take(tcp::connection* c) {
    std::string out;
    fragment f[8];
    size_t n;
    while ((n = *s->tcp().receive(c, f, 1 << 20)) > 0)
      for (size_t i = 0; i < n; ++i) {
        out.append(reinterpret_cast<const char*>(f[i].data()), f[i].size());
        s->tcp().consume(c, f[i].size(), now);
        f[i].reset();
      }
    return out;
  }
  // Everything of `data` from one end to the other.
  void carry(tcp::connection* from, tcp::connection* to, const std::string& data) {
    fragment f[1] = {piece(*this, data)};
    std::string got;
    for (int i = 0; i < 1000 && got.size() < data.size(); ++i) {
      if (!f[0].empty())
        (void)s->tcp().send(from, f, now);
      run();
      got += take(to);
    }
    EXPECT_EQ(got, data);
  }
  tcp::connection* client = nullptr;
  tcp::connection* server = nullptr;
  uint32_t client_bits = 0;
};

TEST(loopback, tcp_to_localhost_and_to_our_own_address) {
  for (ipv4_address to : {localhost, ipv4_address::of(127, 1, 2, 3), ip_of(1)}) {
    conversation c;
    c.connect(to);
    EXPECT_EQ(c.s->tcp().tuple(c.client).local.address, to);
    EXPECT_EQ(c.s->tcp().tuple(c.server).local, (endpoint{to, 80}));
    c.carry(c.client, c.server, "hello");
    c.carry(c.server, c.client, std::string(300'000, 'x') + "the end");
    EXPECT_EQ(c.s->stats().tcp_retransmits, 0u);
  }
}

TEST(loopback, needs_no_address_of_its_own) {
  conversation c(false);
  c.connect(localhost);
  c.carry(c.client, c.server, "hello");
}

// The receiver may write to what it was given, and let go of it when it likes; the sender keeps its bytes.
TEST(loopback, the_two_ends_share_no_memory) {
  conversation c;
  c.connect(localhost);
  std::string text(5000, 'a');
  fragment mine = piece(c, text);
  fragment f[1] = {mine.share()};
  ASSERT_EQ(*c.s->tcp().send(c.client, f, c.now), 5000u);
  c.run();
  fragment got[4];
  ASSERT_EQ(*c.s->tcp().receive(c.server, got, 1 << 20), 1u);
  for (std::byte& b : got[0].bytes())
    b = std::byte('z');
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(mine.data()), 5000), text);
  c.s->tcp().consume(c.server, 5000, c.now);
}

TEST(loopback, a_port_that_nobody_has_refuses) {
  conversation c;
  c.client = *c.s->tcp().connect({}, {localhost, 81}, nullptr, c.now);
  c.run();
  EXPECT_TRUE(c.client_bits & connection_failed);
  EXPECT_EQ(c.s->tcp().error(c.client), errc::connrefused);
}

TEST(loopback, a_local_source_stays_at_home) {
  conversation c;
  EXPECT_EQ(c.s->tcp().connect({localhost, 0}, {ip_of(2), 80}, nullptr, c.now).error(), errc::addrnotavail);
  EXPECT_EQ(c.s->tcp().connect({ip_of(2), 0}, {localhost, 80}, nullptr, c.now).error(), errc::addrnotavail);
  c.connect(ip_of(1), localhost);  // as on Linux
}

TEST(loopback, udp_there_and_back_with_the_addresses_that_were_used) {
  stack_host h;
  udp_socket* server = *h.s->udp_open({{}, 53}, nullptr, h.now);
  udp_socket* client = *h.s->udp_open({{}, 1000}, nullptr, h.now);
  for (ipv4_address to : {localhost, ipv4_address::of(127, 9, 9, 9), ip_of(1)}) {
    datagram d{{}, {to, 53}, h.slab.make()};
    d.payload->append(piece(h, "question"));
    ASSERT_TRUE(h.s->udp_send(client, std::move(d), h.now));
    EXPECT_EQ(h.sent(), lines{});
    auto got = h.s->udp_receive(server);
    ASSERT_TRUE(got);
    EXPECT_EQ(got->remote, (endpoint{to, 1000}));
    EXPECT_EQ(got->local, (endpoint{to, 53}));
    // The answer: from where it was asked.
    std::swap(got->local, got->remote);
    got->local = {got->remote.address, 53};
    got->remote = {to, 1000};
    ASSERT_TRUE(h.s->udp_send(server, std::move(*got), h.now));
    EXPECT_EQ(h.sent(), lines{});
    EXPECT_EQ(h.s->udp_receive(client)->remote, (endpoint{to, 53}));
  }
  // Nobody there: an ICMP error comes back the same way.
  ASSERT_TRUE(h.s->udp_send(client, {{}, {localhost, 54}, nullptr}, h.now));
  EXPECT_EQ(h.sent(), lines{});
  const auto error = h.s->udp_take_error(client);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->error, errc::connrefused);
  // A socket of 127.0.0.1 hears nothing from outside, and cannot send there.
  udp_socket* inner = *h.s->udp_open({localhost, 99}, nullptr, h.now);
  h.in_ip(ip(ip_of(2), ip_of(1), 17, udp(ip_of(2), 5, ip_of(1), 99, text("hi"))));
  EXPECT_EQ(h.s->udp_receive(inner).error(), errc::again);
  EXPECT_EQ(h.s->udp_send(inner, {{}, {ip_of(2), 9}, nullptr}, h.now).error(), errc::addrnotavail);
}

TEST(loopback, nothing_from_outside_gets_in) {
  stack_host h;
  udp_socket* u = *h.s->udp_open({{}, 53}, nullptr, h.now);
  const auto from_to = [&](ipv4_address from, ipv4_address to) {
    h.in_ip(ip(from, to, 17, udp(from, 1, to, 53, text("x"))));
    h.in_ip(ip(from, to, 6, tcp_segment(from, 1, to, 53, 1, 0, 2)));
    h.in_ip(ip(from, to, 1, echo(8, 1, 1, {})));
  };
  from_to(ip_of(2), localhost);
  from_to(localhost, ip_of(1));
  from_to(localhost, localhost);
  from_to(ip_of(1), ip_of(1));
  // An error about what we say to ourselves.
  h.in_ip(ip(ip_of(2), ip_of(1), 1, icmp(3, 3, 0, ip(localhost, localhost, 17, udp(localhost, 53, localhost, 9, {})))));
  EXPECT_EQ(h.sent(), lines{});
  EXPECT_EQ(h.s->udp_receive(u).error(), errc::again);
  EXPECT_FALSE(h.s->udp_take_error(u));
}

TEST(loopback, what_waits_is_bounded_and_taken_in_bursts) {
  auto config = stack_host::default_config();
  config.loopback_queue_max = 100;
  config.loopback_burst = 10;
  stack_host h(config);
  udp_socket* u = *h.s->udp_open({{}, 53}, nullptr, h.now);
  for (int i = 0; i < 150; ++i)
    ASSERT_TRUE(h.s->udp_send(u, {{}, {localhost, 53}, nullptr}, h.now));
  EXPECT_EQ(h.drops(drop_reason::transmit_queue), 50u);
  size_t got = 0;
  for (int turns = 1; turns <= 10; ++turns) {
    EXPECT_LE(h.s->next_deadline(), h.now);
    h.sent();
    while (h.s->udp_receive(u))
      ++got;
    EXPECT_EQ(got, size_t(turns) * 10);
  }
  EXPECT_GT(h.s->next_deadline(), h.now);
}

TEST(loopback, memory_that_runs_out_loses_packets_only) {
  conversation c;
  c.connect(localhost);
  fragment f[1] = {piece(c, std::string(2000, 'x'))};
  ASSERT_TRUE(c.s->tcp().send(c.client, f, c.now));
  c.memory_.fail_after(0);
  c.sent();
  c.memory_.fail_after(UINT64_MAX);
  for (int i = 0; i < 20 && c.s->tcp().readable_bytes(c.server) < 2000; ++i) {
    c.jump(seconds(10));
    c.run();
  }
  EXPECT_EQ(c.take(c.server), std::string(2000, 'x'));
}

// What is bound to an address that goes fails; what is bound to another one does not notice.
TEST(loopback, an_address_that_changes_takes_its_own_connections_only) {
  for (bool clear : {false, true}) {
    conversation inner, outer;
    inner.connect(localhost);
    outer.connect(ip_of(1));
    for (conversation* c : {&inner, &outer}) {
      udp_socket* u = *c->s->udp_open({c == &inner ? localhost : ip_of(1), 53}, nullptr, c->now);
      c->s->set_address({.address = ip_of(1), .prefix_length = 16}, c->now);  // nothing that matters
      EXPECT_FALSE(c->s->tcp().error(c->client));
      c->events();
      if (clear)
        c->s->clear_address(c->now);
      else
        c->s->set_address({.address = ip_of(77), .prefix_length = 24}, c->now);
      size_t failed = 0;
      for (const event& e : c->events())
        failed += e.kind == event_kind::connection && (e.bits & connection_failed);
      if (c == &inner) {
        EXPECT_EQ(failed, 0u);
        EXPECT_FALSE(c->s->udp_take_error(u));
        EXPECT_FALSE(c->s->tcp().error(c->client));
      } else {
        EXPECT_EQ(failed, 2u);
        EXPECT_EQ(c->s->udp_take_error(u)->error, errc::addrnotavail);
        EXPECT_EQ(c->s->tcp().error(c->client), errc::connaborted);
        EXPECT_EQ(c->s->tcp().error(c->server), errc::connaborted);
      }
    }
  }
}

// Two shards: each packet goes to the shard of its flow, by the host.
TEST(loopback, with_several_shards_the_host_carries) {
  auto config = stack_host::default_config();
  config.shards = 2;
  std::array<std::unique_ptr<stack_host>, 2> shards;
  for (uint32_t i = 0; i < 2; ++i) {
    config.shard = i;
    shards[i] = std::make_unique<stack_host>(config);
    (void)*shards[i]->s->tcp().listen({{}, 80}, 64, nullptr, shards[i]->now);
  }
  const auto carry = [&] {
    bool any = false;
    for (auto& from : shards) {
      EXPECT_EQ(from->sent(), lines{});
      while (packet_ptr p = from->looped.pop_front()) {
        any = true;
        auto& to = *shards[from->shards.classify(*p).shard];
        packet_ptr theirs = to.slab.make();  // what foreign_packets does
        theirs->append(copy_to_heap(to.memory_, p->front().data(), p->size()));
        theirs->offload = p->offload;
        to.in(std::move(theirs));
      }
    }
    return any;
  };
  std::vector<tcp::connection*> clients;
  for (int i = 0; i < 20; ++i)
    clients.push_back(*shards[i % 2]->s->tcp().connect({}, {localhost, 80}, nullptr, shards[0]->now));
  while (carry()) {
  }
  size_t established = 0, accepted = 0, crossed = 0;
  for (uint32_t i = 0; i < 2; ++i)
    for (const event& e : shards[i]->events()) {
      established += e.kind == event_kind::connection && (e.bits & connection_established);
      if (e.kind != event_kind::listener)
        continue;
      while (auto c = shards[i]->s->tcp().accept(e.listener, nullptr)) {
        ++accepted;
        const uint16_t port = shards[i]->s->tcp().tuple(*c).remote.port;
        for (int k = 0; k < 20; ++k)
          crossed += uint32_t(k % 2) != i && shards[k % 2]->s->tcp().tuple(clients[k]).local.port == port;
        shards[i]->s->tcp().release(*c, shards[i]->now);
      }
    }
  EXPECT_EQ(established, 20u);
  EXPECT_EQ(accepted, 20u);
  EXPECT_GT(crossed, 0u);
  for (int k = 0; k < 20; ++k)
    shards[k % 2]->s->tcp().release(clients[k], shards[k % 2]->now);
}

}  // namespace
}  // namespace solaster::net
