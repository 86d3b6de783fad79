// A server for the network tests, on the framework: one port each for echo, sink, source and UDP echo.
//
//     echo (--echo)      sends back what it gets
//     sink (--sink)      reads to the end, answers "<bytes> <crc32>\n"
//     source (--source)  reads "<bytes>\n", answers that many bytes of a pattern and closes
//     udp (--udp-echo)   sends datagrams back
//     silent (--silent)  accepts and never reads
//
// The pattern: byte i is (i * 2654435761 >> 16) & 0xff of the byte's index in a block of 65,536, each block the same
// but for its first 8 bytes, which are its number (little-endian). CRC-32 is zlib's.
#include "framework/app/app.hh"
#include "framework/log/log.hh"
#include "framework/memory/memory.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/sharded.hh"
#include "framework/reactor/smp.hh"
#include "framework/socket/api.hh"
#include "framework/sync/gate.hh"
#include "framework/sync/sleep.hh"
#include "framework/sync/stop_signal.hh"

#include <fmt/core.h>
#include <array>
#include <boost/program_options.hpp>
#include <charconv>
#include <cstring>

using namespace solaster;
namespace bpo = boost::program_options;

namespace {

logger server_log("net_echo");

constexpr auto make_crc_tables() {
  std::array<std::array<uint32_t, 256>, 8> t{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int k = 0; k < 8; ++k) {
      c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
    }
    t[0][i] = c;
  }
  for (uint32_t i = 0; i < 256; ++i) {
    for (size_t k = 1; k < 8; ++k) {
      t[k][i] = t[0][t[k - 1][i] & 0xff] ^ t[k - 1][i] >> 8;
    }
  }
  return t;
}
constexpr auto tables = make_crc_tables();

// CRC-32 (IEEE 802.3, reflected), eight bytes a step.
class crc32 {
 public:
  void add(const char* p, size_t n) noexcept {
    uint32_t c = ~_value;
    for (; n >= 8; n -= 8, p += 8) {
      uint64_t w;
      std::memcpy(&w, p, 8);
      w ^= c;
      c = 0;
      for (int i = 0; i < 8; ++i) {
        c ^= tables[7 - i][w >> (8 * i) & 0xff];
      }
    }
    for (; n > 0; --n, ++p) {
      c = tables[0][(c ^ uint8_t(*p)) & 0xff] ^ c >> 8;
    }
    _value = ~c;
  }
  uint32_t value() const noexcept { return _value; }

 private:
  uint32_t _value = 0;
};

constexpr size_t block_size = 65536;

temporary_buffer<char> make_block(uint64_t number, size_t size) {
  static thread_local std::array<char, block_size> pattern = [] {
    std::array<char, block_size> p;
    for (uint32_t i = 0; i < block_size; ++i) {
      p[i] = char(i * 2654435761u >> 16);
    }
    return p;
  }();
  temporary_buffer<char> b(pattern.data(), size);
  std::memcpy(b.get_write(), &number, std::min<size_t>(8, size));
  return b;
}

future<> echo(connected_socket s) {
  s.set_nodelay(true);
  auto in = s.input();
  auto out = s.output();
  while (auto b = co_await in.read()) {
    co_await out.write(std::move(b));
    co_await out.flush();
  }
  co_await out.close();
}

future<> sink(connected_socket s) {
  auto in = s.input();
  auto out = s.output();
  crc32 crc;
  uint64_t bytes = 0;
  while (auto b = co_await in.read()) {
    crc.add(b.get(), b.size());
    bytes += b.size();
  }
  co_await out.write(fmt::format("{} {:08x}\n", bytes, crc.value()));
  co_await out.close();
}

future<> source(connected_socket s) {
  auto in = s.input();
  auto out = s.output();
  std::string line;
  while (line.empty() || line.back() != '\n') {
    auto b = co_await in.read();
    if (!b) {
      break;
    }
    line.append(b.get(), b.size());
  }
  uint64_t left = 0;
  std::from_chars(line.data(), line.data() + line.size(), left);
  for (uint64_t number = 0; left > 0; ++number) {
    size_t n = std::min<uint64_t>(left, block_size);
    co_await out.write(make_block(number, n));
    left -= n;
  }
  co_await out.close();
}

future<> silent(connected_socket s) {
  auto out = s.output();
  static thread_local std::vector<connected_socket> kept;
  kept.push_back(std::move(s));
  co_return;
}

using handler = future<> (*)(connected_socket);

// Of a shard, and longer than its service: connections may end after it.
struct connection_counts {
  uint64_t accepted = 0, failed = 0, open = 0;
};
thread_local connection_counts counts;

// The listeners and channels of one shard.
class service {
 public:
  void listen(uint16_t port, handler h) {
    auto& s = _listeners.emplace_back(
        std::make_unique<server_socket>(engine().net().listen(ipv4_addr(port), {.nodelay = false})));
    spawn(_gate, [&s = *s, h] { return accept_loop(s, h); });
  }
  void listen_udp(uint16_t port) {
    auto& c = _channels.emplace_back(std::make_unique<datagram_channel>(
        engine().net().make_datagram_channel(ipv4_addr(port), {.lba = load_balancing::by_flow})));
    spawn(_gate, [&c = *c] { return udp_loop(c); });
  }
  future<> stop() {
    for (auto& s : _listeners) {
      s->abort_accept();
    }
    for (auto& c : _channels) {
      c->shutdown_input();
    }
    server_log.info("accepted {}, {} failed, {} open", counts.accepted, counts.failed, counts.open);
    return settle();
  }

 private:
  // Connections that their clients have just closed come to their end first: what is cut off counts as leaked.
  future<> settle() {
    for (int i = 0; counts.open > 0 && i < 50; ++i) {
      co_await sleep(std::chrono::milliseconds(10));
    }
    co_await _gate.close();
  }
  static future<> accept_loop(server_socket& s, handler h) {
    try {
      for (;;) {
        auto a = co_await s.accept();
        ++counts.accepted;
        ++counts.open;
        (void)h(std::move(a.connection)).then_wrapped([](future<> f) {
          --counts.open;
          if (f.failed()) {
            ++counts.failed;
            server_log.debug("connection: {}", describe(f.get_exception()));
          }
        });
      }
    } catch (const std::exception& e) {
      server_log.debug("no longer accepting: {}", e.what());
    }
  }
  static future<> udp_loop(datagram_channel& c) {
    try {
      for (;;) {
        auto d = co_await c.receive();
        co_await c.send(d.src, std::move(d.data));
      }
    } catch (const std::exception& e) {
      server_log.debug("no longer receiving: {}", e.what());
    }
  }

  std::vector<std::unique_ptr<server_socket>> _listeners;
  std::vector<std::unique_ptr<datagram_channel>> _channels;
  gate _gate;
};

}  // namespace

int main(int argc, char** argv) {
  app_template app({.name = "net_echo", .description = "Echo, sink, source: a server for the network tests."});
  auto port = [](uint16_t p) { return bpo::value<uint16_t>()->default_value(p); };
  app.add_options()("echo", port(7), "TCP echo")("sink", port(9), "TCP sink")("source", port(19), "TCP source")(
      "silent", port(10), "accepts and never reads")("udp-echo", port(7), "UDP echo")("memory-stats",
                                                                                      "log memory at exit");
  return app.run(argc, argv, [&]() -> future<int> {
    auto& o = app.configuration();
    auto number = [&](const char* name) { return o[name].as<uint16_t>(); };
    stop_signal stop;
    sharded<service> services;
    co_await services.start();
    co_await services.invoke_on_all([tcp_echo = number("echo"), tcp_sink = number("sink"),
                                     tcp_source = number("source"), tcp_silent = number("silent"),
                                     udp = number("udp-echo")](service& s) {
      s.listen(tcp_echo, echo);
      s.listen(tcp_sink, sink);
      s.listen(tcp_source, source);
      s.listen(tcp_silent, silent);
      s.listen_udp(udp);
    });
    server_log.info("ready");
    co_await stop.wait();
    co_await services.stop();
    co_return 0;
  });
}
