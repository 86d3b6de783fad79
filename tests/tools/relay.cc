// Joins two tap devices by a faulty line, in real time: what tests use for the netem that the machine does not have.
//
//     relay --a TAP --b TAP [--seed N] [--loss-ppm N] [--reorder-ppm N] [--duplicate-ppm N] [--corrupt-ppm N]
//           [--delay-us N] [--jitter-us N] [--reorder-us N] [--rate-mbit N] [--queue N]
//
// The taps are opened (and made, where the rights allow), frames of one go out of the other. Prints "relay: ready" when
// it runs, and on SIGINT or SIGTERM how often each fault struck, per direction. Any bit of a frame may flip.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "net/device/fault.hh"
#include "net/packet/heap_buffer.hh"
#include "tests/sim/memory.hh"

namespace {

using namespace solaster;
using namespace solaster::net;

constexpr uint32_t frame_max = 65536;
constexpr int burst_max = 64;

volatile sig_atomic_t stopping = 0;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "relay: %s\n", what.c_str());
  std::exit(1);
}

instant clock_now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return {int64_t(t.tv_sec) * 1'000'000'000 + t.tv_nsec};
}

int open_tap(const std::string& name) {
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) {
    die("/dev/net/tun: " + std::string(std::strerror(errno)));
  }
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (name.empty() || name.size() >= sizeof request.ifr_name) {
    die("not a name of a tap: '" + name + "'");
  }
  std::memcpy(request.ifr_name, name.data(), name.size());
  if (ioctl(fd, TUNSETIFF, &request) < 0) {
    die("tap " + name + ": " + std::strerror(errno));
  }
  return fd;
}

struct end {
  std::string name;
  int fd = -1;
};

class direction {
 public:
  direction(const fault_config& config, uint64_t seed, memory& m, packet_slab& slab)
      : line(config, seed, m, slab), _memory(m), _slab(slab) {}

  void receive(int from, instant now) {
    for (int i = 0; i < burst_max; ++i) {
      const ssize_t n = read(from, _frame, sizeof _frame);
      if (n <= 0) {
        return;
      }
      fragment f = copy_to_heap(_memory, _frame, uint32_t(n));
      packet_ptr p = _slab.make();
      if (!f || !p) {
        die("out of memory");
      }
      p->append(std::move(f));
      line.put(std::move(p), now);
    }
  }
  void send(int to, instant now) {
    packet_list due;
    line.take(due, now);
    while (packet_ptr p = due.pop_front()) {
      // A frame that the other side does not take (its queue is full, its link down) is lost, as on a wire.
      if (write(to, p->front().data(), p->size()) < 0) {
        ++refused;
      }
    }
  }

  fault_line line;
  uint64_t refused = 0;

 private:
  memory& _memory;
  packet_slab& _slab;
  std::byte _frame[frame_max];
};

void print(const char* from, const char* to, const direction& d) {
  const fault_counters& c = d.line.counters();
  std::printf(
      "relay: %s to %s: packets %lu bytes %lu delivered %lu lost %lu reordered %lu duplicated %lu corrupted %lu "
      "overflowed %lu refused %lu\n",
      from, to, c.packets, c.bytes, c.delivered, c.lost, c.reordered, c.duplicated, c.corrupted, c.overflowed,
      d.refused);
}

uint64_t number(const std::string& flag, const char* text) {
  char* end = nullptr;
  const uint64_t v = std::strtoull(text, &end, 0);
  if (end == text || *end) {
    die(flag + ": not a number: " + text);
  }
  return v;
}

}  // namespace

int main(int argc, char** argv) {
  std::string name_a, name_b;
  uint64_t seed = 1;
  fault_config config;
  config.reorder_delay_max = milliseconds(3);
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const char* value = argv[i + 1];
    const auto n = [&] { return number(flag, value); };
    const auto us = [&] { return microseconds(int64_t(n())); };
    if (flag == "--a")
      name_a = value;
    else if (flag == "--b")
      name_b = value;
    else if (flag == "--seed")
      seed = n();
    else if (flag == "--loss-ppm")
      config.loss_ppm = uint32_t(n());
    else if (flag == "--reorder-ppm")
      config.reorder_ppm = uint32_t(n());
    else if (flag == "--duplicate-ppm")
      config.duplicate_ppm = uint32_t(n());
    else if (flag == "--corrupt-ppm")
      config.corrupt_ppm = uint32_t(n());
    else if (flag == "--delay-us")
      config.delay = us();
    else if (flag == "--jitter-us")
      config.jitter = us();
    else if (flag == "--reorder-us")
      config.reorder_delay_max = us();
    else if (flag == "--rate-mbit")
      config.bits_per_second = n() * 1'000'000;
    else if (flag == "--queue")
      config.queue_max = uint32_t(n());
    else
      die("unknown flag: " + flag);
  }
  if (argc % 2 == 0 || name_a.empty() || name_b.empty()) {
    die("usage: relay --a TAP --b TAP [--seed N] [--loss-ppm N] ... (see the head of tests/tools/relay.cc)");
  }
  end a{name_a, open_tap(name_a)};
  end b{name_b, open_tap(name_b)};

  struct sigaction action{};
  action.sa_handler = [](int) { stopping = 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);

  static sim::counted_memory home;
  static packet_slab slab(home);
  static direction there(config, seed * 2 + 1, home, slab);
  static direction back(config, seed * 2 + 2, home, slab);
  std::printf("relay: ready, seed %lu\n", seed);
  std::fflush(stdout);
  while (!stopping) {
    const instant next = std::min(there.line.next_deadline(), back.line.next_deadline());
    timespec wait{1, 0};
    if (next != instant::never()) {
      const int64_t ns = std::clamp<int64_t>((next - clock_now()).ns, 0, 999'999'999);
      wait = {0, long(ns)};
    }
    pollfd fds[] = {{a.fd, POLLIN, 0}, {b.fd, POLLIN, 0}};
    ppoll(fds, 2, &wait, nullptr);
    const instant now = clock_now();
    there.receive(a.fd, now);
    back.receive(b.fd, now);
    there.send(b.fd, now);
    back.send(a.fd, now);
  }
  print(a.name.c_str(), b.name.c_str(), there);
  print(b.name.c_str(), a.name.c_str(), back);
  return 0;
}
