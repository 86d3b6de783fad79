// Random and mutated frames against a whole stack: nothing from the wire trips a check, every frame is answered, taken
// or counted, and nothing leaks. SOLASTER_SEED replays a run, SOLASTER_FUZZ_ROUNDS makes it longer.
#include <gtest/gtest.h>
#include <sys/random.h>

#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "net/base/prng.hh"
#include "tests/unit/net/support/stack_host.hh"

namespace solaster::net {
namespace {

using namespace testing;

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* s = std::getenv(name);
  return s ? std::strtoull(s, nullptr, 0) : otherwise;
}

struct fuzzer {
  explicit fuzzer(uint64_t seed) : random(seed) {}

  // A frame that says what it should, from a peer that takes part in a conversation or does not.
  bytes good_frame() {
    const ipv4_address from = ip_of(uint8_t(random.between(2, 5)));
    const mac_address mac = mac_of(uint8_t(from.value));
    const ipv4_address to = random.chance_ppm(900'000)   ? ip_of(1)
                            : random.chance_ppm(500'000) ? ip_of(255)
                                                         : ipv4_address{uint32_t(random.next())};
    const bytes data(random.chance_ppm(100'000) ? random.below(1400) : random.below(20), 'x');
    const uint16_t port = uint16_t(random.between(1000, 1003)), ours = uint16_t(random.between(80, 82));
    bytes inner;
    uint8_t protocol = 6;
    switch (random.below(8)) {
      case 0:
        return ethernet(mac_address::broadcast(), mac, 0x0806,
                        arp(uint16_t(random.between(1, 2)), mac, from, mac_of(1), to));
      case 1:
        protocol = 1, inner = echo(random.chance_ppm(700'000) ? 8 : 0, 1, 1, data);
        break;
      case 2:
        protocol = 17, inner = udp(from, port, to, ours, data);
        break;
      case 3: {
        const bytes quoted =
            random.chance_ppm(500'000)
                ? ip(ip_of(1), from, 6, tcp_segment(ip_of(1), ours, from, port, uint32_t(random.next()), 0, 16))
                : ip(ip_of(1), from, 17, udp(ip_of(1), ours, from, port, {}));
        protocol = 1, inner = icmp(random.chance_ppm(800'000) ? 3 : 11, uint8_t(random.below(16)),
                                   uint32_t(random.below(2000)), quoted);
        break;
      }
      case 4: {
        bytes options;
        while (options.size() < 200)
          options = options + bytes{uint8_t(random.below(70)), 4} + be32(uint32_t(random.next()));
        options[0] = 53, options[1] = 1, options[2] = uint8_t(random.between(1, 6));
        protocol = 17,
        inner = udp(from, 67, to, 68, dhcp_reply_bytes(uint32_t(random.next()), mac_of(1), ip_of(1), options));
        break;
      }
      default: {
        static constexpr uint8_t flags[] = {2, 16, 24, 17, 4, 20, 18, 0};
        inner = tcp_segment(from, port, to, ours, uint32_t(random.below(4) * 1000),
                            last_ack + uint32_t(random.below(3)), flags[random.below(8)], data);
      }
    }
    ip_fields f;
    if (random.chance_ppm(50'000))
      f.options = bytes(random.below(11) * 4, 1);
    if (random.chance_ppm(20'000))
      f.fragment = uint16_t(random.next());
    return ethernet(random.chance_ppm(970'000) ? mac_of(1) : mac_address::broadcast(), mac, 0x0800,
                    ip(from, to, protocol, inner, f));
  }

  void mutate(bytes& b) {
    for (uint64_t n = random.between(1, 3); n-- > 0 && !b.empty();) {
      const size_t at =
          random.chance_ppm(700'000) ? random.below(std::min<size_t>(b.size(), 60)) : random.below(b.size());
      switch (random.below(4)) {
        case 0:
          b[at] = uint8_t(random.next());
          break;
        case 1:
          b[at] ^= uint8_t(1u << random.below(8));
          break;
        case 2:
          b.resize(at);
          break;
        case 3:
          b.resize(b.size() + random.below(64));
          break;
      }
    }
  }
  // After a mutation sums are wrong and everything is dropped early: put them right again, mostly.
  void repair(bytes& b) {
    if (b.size() < 34 || b[12] != 8 || b[13] != 0)
      return;
    const size_t header = (b[14] & 15u) * 4;
    if (header < 20 || 14 + header > b.size())
      return;
    b[24] = b[25] = 0;
    const uint16_t sum = sum_of(bytes(b.begin() + 14, b.begin() + long(14 + header)));
    b[24] = uint8_t(sum >> 8), b[25] = uint8_t(sum);
  }

  prng random;
  uint32_t last_ack = 0;
};

TEST(stack, survives_anything_on_the_wire) {
  uint64_t seed = 0;
  (void)!getrandom(&seed, sizeof seed, 0);
  seed = from_environment("SOLASTER_SEED", seed);
  const uint64_t rounds = from_environment("SOLASTER_FUZZ_ROUNDS", 20'000);
  std::printf("SOLASTER_SEED=%llu\n", (unsigned long long)seed);
  fuzzer f(seed);
  auto c = stack_host::default_config();
  c.neighbours_max = 8;
  c.udp_receive_bytes_max = 20'000;
  stack_host h(c);
  h.s->start_dhcp(h.now);
  h.s->set_address({.address = ip_of(1), .prefix_length = 24, .gateway = ip_of(254)}, h.now);
  ASSERT_TRUE(h.s->udp_open({{}, 80}, nullptr, h.now));
  ASSERT_TRUE(h.s->tcp().listen({{}, 80}, 10, nullptr, h.now));
  for (uint64_t i = 0; i < rounds; ++i) {
    bytes b = f.good_frame();
    if (f.random.chance_ppm(700'000)) {
      f.mutate(b);
      if (f.random.chance_ppm(800'000))
        f.repair(b);
    }
    std::vector<uint32_t> cuts;
    if (f.random.chance_ppm(200'000)) {
      for (uint64_t n = f.random.between(1, 6); n-- > 0;)
        cuts.push_back(uint32_t(f.random.below(b.size() + 1)));
      std::sort(cuts.begin(), cuts.end());
    }
    packet_ptr p = h.make(b, cuts);
    if (f.random.chance_ppm(500'000))
      p->offload.checksum = checksum_state::valid;
    (void)h.shards.classify(*p);
    packet_list list;
    list.push_back(std::move(p));
    h.s->receive(std::move(list), h.now);
    if (f.random.chance_ppm(100'000))
      h.advance(milliseconds(int64_t(f.random.below(2000))));
    if (f.random.chance_ppm(300'000)) {
      h.room = f.random.below(20);
      h.sent();
      for (const bytes& out : h.frames)
        if (out.size() >= 54 && out[12] == 8 && out[23] == 6)
          f.last_ack = uint32_t(out[38]) << 24 | uint32_t(out[39]) << 16 | uint32_t(out[40]) << 8 | out[41];
    }
    while (h.s->next_event()) {
    }
    if (i % 64 == 0)
      ASSERT_TRUE(h.s->is_valid()) << "round " << i;
  }
  const auto& drops = h.s->stats().drops;
  for (size_t r = 0; r < drops.size(); ++r)
    if (drops[r])
      std::printf("%s %llu, ", name_of(drop_reason(r)), (unsigned long long)drops[r]);
  std::printf("of %llu frames\n", (unsigned long long)h.s->stats().received);
  EXPECT_EQ(h.s->stats().received, rounds);
}

TEST(stack, running_out_of_memory_anywhere_is_an_error_like_any_other) {
  for (uint64_t n = 0; n < 60; ++n) {
    test_memory m;
    packet_slab slab(m);
    const steering steer = steering::make(1);
    m.fail_after(n);
    stack* s = stack::make(stack_host::default_config(), steer, m, slab, instant{});
    if (!s) {
      EXPECT_EQ(m.live_objects(), 0u) << n;
      continue;
    }
    s->set_interface({.mac = mac_of(1)});
    s->set_address({.address = ip_of(1)}, instant{});
    s->start_dhcp(instant{});
    (void)s->udp_open({{}, 80}, nullptr, instant{});
    (void)s->tcp().listen({{}, 80}, 10, nullptr, instant{});
    (void)s->tcp().connect({}, {ip_of(2), 80}, nullptr, instant{});
    s->expire(instant{} + seconds(5));
    EXPECT_TRUE(s->is_valid());
    stack::destroy(s);
  }
}

}  // namespace
}  // namespace solaster::net
