// Moves gigabytes over simulated TCP and checks every byte.
//
//     sim_bulk [--bytes 10GiB] [--seed N] [--run-bytes 64MiB] [--verbose]
//
// Runs follow one another, each with a seed of its own (N, N + 1, ...) from which its lines, buffers and conversations
// are drawn: loss up to 10 %, reordering, duplication, corruption, delay. Prints bytes, seeds and how often each fault
// struck. Exit status 1 and the seed when a byte is wrong or a run does not end.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/sim/world.hh"

namespace {

using namespace solaster;
using namespace solaster::net;
using namespace solaster::sim;

struct options {
  uint64_t bytes = uint64_t(256) << 20;
  uint64_t run_bytes = uint64_t(64) << 20;
  uint64_t seed = 1;
  bool verbose = false;
};

uint64_t parse_bytes(const char* text) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  uint64_t unit = 0;
  for (const auto& [name, factor] :
       {std::pair<const char*, uint64_t>{"", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}) {
    if (std::strcmp(end, name) == 0) {
      unit = factor;
    }
  }
  if (end == text || unit == 0 || value <= 0) {
    std::fprintf(stderr, "sim_bulk: not a number of bytes: %s (write 1000, 64KiB, 256MiB, 10GiB)\n", text);
    std::exit(2);
  }
  return uint64_t(value * double(unit));
}

options parse(int argc, char** argv) {
  options o;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--verbose") {
      o.verbose = true;
      continue;
    }
    if (i + 1 == argc || (name != "--bytes" && name != "--seed" && name != "--run-bytes")) {
      std::fprintf(stderr, "usage: sim_bulk [--bytes 10GiB] [--seed N] [--run-bytes 64MiB] [--verbose]\n");
      std::exit(2);
    }
    const char* value = argv[++i];
    if (name == "--bytes") {
      o.bytes = parse_bytes(value);
    } else if (name == "--run-bytes") {
      o.run_bytes = parse_bytes(value);
    } else {
      o.seed = std::strtoull(value, nullptr, 0);
    }
  }
  return o;
}

struct outcome {
  uint64_t bytes = 0;
  uint64_t retransmitted = 0;
  uint64_t out_of_window = 0;
  double virtual_seconds = 0;
  fault_counters faults;
  std::string error;
};

outcome run(uint64_t seed, uint64_t bytes) {
  prng r(seed);
  // A clean line now and then; else each fault up to its share.
  const bool clean = r.below(8) == 0;
  const auto up_to = [&](uint32_t ppm) { return clean ? 0 : uint32_t(r.below(ppm + 1)); };
  const bool jumbo = r.below(4) == 0;
  const uint32_t conversations = uint32_t(r.between(1, 16));
  world w(jumbo ? 16384 : 2048);
  const auto make = [&](uint8_t number) {
    host_config c;
    c.address = ipv4_address::of(10, 0, 0, number);
    c.seed = seed;
    std::memcpy(c.stack.secret.data(), &seed, sizeof seed);
    c.stack.secret[8] = number;
    c.line.loss_ppm = up_to(r.below(2) ? 100'000 : 10'000);
    c.line.reorder_ppm = up_to(100'000);
    c.line.duplicate_ppm = up_to(20'000);
    c.line.corrupt_ppm = up_to(20'000);
    c.line.delay = microseconds(int64_t(r.between(10, 5'000)));
    c.line.jitter = microseconds(int64_t(r.below(200)));
    c.line.reorder_delay_max = microseconds(int64_t(r.between(100, 5'000)));
    c.line.bits_per_second = r.between(1'000'000'000, 40'000'000'000);
    c.line.quantum = microseconds(50);
    c.line.queue_max = 65536;
    c.mtu = jumbo ? 9000 : 1500;
    c.offload = r.below(4) == 0;
    c.merge = r.below(4) == 0;
    c.stack.tcp.send_buffer_bytes = 4 << 20;
    c.stack.tcp.receive_buffer_bytes = 4 << 20;
    c.stack.tcp.out_of_order_segments_max = 4096;
    return c;
  };
  tcp_host& a = w.add_host(make(1));
  tcp_host& b = w.add_host(make(2));
  w.listen(b, 80, conversations);
  for (uint32_t i = 0; i < conversations; ++i) {
    const uint64_t share = bytes / conversations;
    const uint64_t there = r.below(share + 1);
    w.converse(a, b, 80, {.bytes = there, .chunk_max = 1 << 18}, {.bytes = share - there, .chunk_max = 1 << 18},
               seed * 1000 + i);
  }
  outcome o;
  if (!w.run(seconds(100'000))) {
    o.error = "did not end; ";
  }
  o.error += w.verdict();
  for (const auto& c : w.conversations()) {
    o.bytes += c.client->read() + c.server->read();
    if (c.client->cut_short() || c.server->cut_short()) {
      o.error += "a connection was given up";
    }
  }
  o.retransmitted = a.stats().tcp_retransmits + b.stats().tcp_retransmits;
  o.faults = w.faults();
  o.virtual_seconds = double(w.now().ns) / 1e9 - 1;
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  const options o = parse(argc, argv);
  const auto begin = std::chrono::steady_clock::now();
  outcome sum;
  uint64_t seed = o.seed;
  while (sum.bytes < o.bytes) {
    const outcome one = run(seed, std::min(o.run_bytes, o.bytes - sum.bytes + 64));
    if (o.verbose || !one.error.empty()) {
      std::printf(
          "seed %lu: %lu bytes in %.1f virtual seconds; %lu packets, lost %lu, reordered %lu, duplicated %lu, "
          "corrupted "
          "%lu, overflowed %lu; %lu retransmitted\n",
          seed, one.bytes, one.virtual_seconds, one.faults.packets, one.faults.lost, one.faults.reordered,
          one.faults.duplicated, one.faults.corrupted, one.faults.overflowed, one.retransmitted);
      std::fflush(stdout);
    }
    if (!one.error.empty()) {
      std::printf("FAILED with seed %lu: %s (replay: sim_bulk --seed %lu --bytes %lu --run-bytes %lu)\n", seed,
                  one.error.c_str(), seed, o.run_bytes, o.run_bytes);
      return 1;
    }
    sum.bytes += one.bytes;
    sum.retransmitted += one.retransmitted;
    sum.virtual_seconds += one.virtual_seconds;
    sum.faults += one.faults;
    ++seed;
  }
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const fault_counters& f = sum.faults;
  std::printf("%lu bytes (%.2f GiB) arrived as they were sent; seeds %lu to %lu; %.1f s (%.0f virtual)\n", sum.bytes,
              double(sum.bytes) / double(1 << 30), o.seed, seed - 1, wall, sum.virtual_seconds);
  std::printf(
      "%lu packets: lost %lu (%.2f %%), reordered %lu, duplicated %lu, corrupted %lu, overflowed %lu; retransmitted "
      "%lu "
      "segments\n",
      f.packets, f.lost, 100.0 * double(f.lost) / double(std::max<uint64_t>(f.packets, 1)), f.reordered, f.duplicated,
      f.corrupted, f.overflowed, sum.retransmitted);
  return 0;
}
