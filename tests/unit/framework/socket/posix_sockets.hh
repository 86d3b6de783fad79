// Cases for Linux's sockets: each runs with io_uring (where the machine lets it) and with epoll.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <system_error>

#include "framework/reactor/backend/backend.hh"
#include "framework/reactor/reactor.hh"
#include "framework/socket/api.hh"
#include "framework/testing/reactor_test.hh"

namespace solaster::posix_sockets {

using buffer = temporary_buffer<char>;
using namespace std::chrono_literals;

inline bool has_io_uring() {
  try {
    make_io_uring_backend(0);
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

inline void run_on_each_backend(future<> (*body)()) {
  for (const char* name : {"io_uring", "epoll"}) {
    SCOPED_TRACE(name);
    if (std::string_view(name) == "io_uring" && !has_io_uring()) {
      continue;
    }
    testing::run_in_reactor(body, {"--reactor-backend", name, "--network-stack", "posix"});
  }
}

#define SOCKET_TEST(suite, name)          \
  static future<> suite##_##name();       \
  TEST(suite, name) {                     \
    run_on_each_backend(&suite##_##name); \
  }                                       \
  static future<> suite##_##name()

inline const ipv4_addr any_port(0x7f000001, 0);

inline int error_of(future<> f) {
  try {
    f.get();
    return 0;
  } catch (const std::system_error& e) {
    return e.code().value();
  }
}

struct pair {
  connected_socket client;
  connected_socket server;
};
inline future<pair> make_pair() {
  auto listener = engine().net().listen(any_port);
  auto accepted = listener.accept();
  auto client = co_await engine().net().connect(listener.local_address());
  auto a = co_await std::move(accepted);
  EXPECT_EQ(a.remote_address, client.local_address());
  co_return pair{std::move(client), std::move(a.connection)};
}

inline future<> echo(connected_socket s, bool batch) {
  auto in = s.input();
  auto out = s.output(8192, {.batch_flushes = batch});
  for (;;) {
    auto b = co_await in.read();
    if (b.empty()) {
      break;
    }
    co_await out.write(std::move(b));
    co_await out.flush();
  }
  co_await out.close();
  co_await in.close();
}

inline future<> write_random(output_stream<char>& out, unsigned seed, size_t total) {
  std::mt19937 random(seed);
  std::string piece;
  for (size_t sent = 0; sent < total;) {
    size_t n = std::min<size_t>(random() % 3 ? random() % 200 + 1 : random() % 70000 + 1, total - sent);
    piece.resize(n);
    for (size_t i = 0; i < n; ++i) {
      piece[i] = char((sent + i) * 131 >> 3);
    }
    if (random() % 2) {
      co_await out.write(piece);
    } else {
      co_await out.write(buffer::copy_of(piece));
    }
    if (random() % 4 == 0) {
      co_await out.flush();
    }
    sent += n;
  }
  co_await out.close();
}

inline future<size_t> check_pattern(input_stream<char>& in) {
  size_t at = 0;
  for (;;) {
    auto b = co_await in.read();
    if (b.empty()) {
      co_return at;
    }
    for (size_t i = 0; i < b.size(); ++i, ++at) {
      if (b[i] != char(at * 131 >> 3)) {
        throw std::runtime_error("wrong byte at " + std::to_string(at));
      }
    }
  }
}

}  // namespace solaster::posix_sockets
