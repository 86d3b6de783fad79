// Linux's sockets through both kinds of back end: each case runs with io_uring (where the machine lets it) and with
// epoll.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <map>
#include <system_error>

#include "framework/future/when_all.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/smp.hh"
#include "framework/socket/api.hh"
#include "framework/socket/posix/descriptor.hh"
#include "framework/sync/gate.hh"
#include "framework/sync/sleep.hh"
#include "tests/unit/framework/socket/posix_sockets.hh"

namespace solaster {
namespace {

using namespace posix_sockets;

future<> echo_megabytes(bool batch) {
  auto p = co_await make_pair();
  constexpr size_t total = 6 << 20;
  auto served = echo(std::move(p.server), batch);
  auto in = p.client.input();
  auto out = p.client.output();
  auto written = write_random(out, 7, total);
  EXPECT_EQ(co_await check_pattern(in), total);
  co_await std::move(written);
  co_await std::move(served);
  co_await in.close();
}

SOCKET_TEST(posix_tcp, every_byte_comes_back) {
  return echo_megabytes(false);
}
SOCKET_TEST(posix_tcp, every_byte_comes_back_with_batched_flushes) {
  return echo_megabytes(true);
}

SOCKET_TEST(posix_tcp, either_side_may_end_first) {
  auto p = co_await make_pair();
  auto client_in = p.client.input();
  auto client_out = p.client.output();
  auto server_in = p.server.input();
  auto server_out = p.server.output();
  co_await client_out.write("question");
  co_await client_out.close();
  EXPECT_EQ((co_await server_in.read_exactly(100)).view(), "question");
  co_await server_out.write("answer");
  co_await server_out.close();
  EXPECT_EQ((co_await client_in.read_exactly(100)).view(), "answer");
  EXPECT_TRUE((co_await client_in.read()).empty());
}

SOCKET_TEST(posix_tcp, a_peer_that_never_reads_holds_the_writer_back) {
  auto p = co_await make_pair();
  auto out = p.server.output();
  size_t written = 0;
  std::string piece(50000, 'x');
  future<> f = make_ready_future<>();
  for (;;) {
    f = out.write(piece);
    written += piece.size();
    if (!f.available()) {
      co_await sleep(20ms);
      if (!f.available()) {
        break;
      }
    }
    f.ignore_ready_future();
  }
  EXPECT_LT(written, size_t(64) << 20);
  EXPECT_LT(out.queued(), size_t(1) << 20);
  p.server.abort();
  auto ended = co_await coroutine::as_future(std::move(f));
  EXPECT_EQ(error_of(std::move(ended)), ECONNABORTED);
  auto closed = co_await coroutine::as_future(out.close());
  EXPECT_TRUE(closed.failed());
  closed.ignore_ready_future();
}

SOCKET_TEST(posix_tcp, abort_resets_the_peer) {
  auto p = co_await make_pair();
  auto in = p.client.input();
  auto out = p.server.output();
  co_await out.write("x");
  co_await out.flush();
  EXPECT_EQ((co_await in.read()).view(), "x");
  auto mine = p.server.input();
  auto reading = mine.read();
  p.server.abort();
  auto f = co_await coroutine::as_future(in.read());
  EXPECT_EQ(error_of(f.discard_result()), ECONNRESET);
  auto aborted = co_await coroutine::as_future(std::move(reading));
  EXPECT_EQ(error_of(aborted.discard_result()), ECONNABORTED);
  (co_await coroutine::as_future(out.close())).ignore_ready_future();
}

SOCKET_TEST(posix_tcp, shutdown_input_ends_a_read_under_way) {
  auto p = co_await make_pair();
  auto in = p.server.input();
  auto reading = in.read();
  co_await sleep(5ms);
  EXPECT_FALSE(reading.available());
  p.server.shutdown_input();
  EXPECT_TRUE((co_await std::move(reading)).empty());
  EXPECT_TRUE((co_await in.read()).empty());
}

SOCKET_TEST(posix_tcp, writing_to_a_closed_peer_fails_in_the_end) {
  auto p = co_await make_pair();
  p.client = {};
  auto out = p.server.output();
  int error = 0;
  for (int i = 0; i < 100 && error == 0; ++i) {
    (co_await coroutine::as_future(out.write(std::string(100, 'x')))).ignore_ready_future();
    error = error_of(co_await coroutine::as_future(out.flush()));
    co_await sleep(1ms);
  }
  EXPECT_TRUE(error == EPIPE || error == ECONNRESET) << error;
  (co_await coroutine::as_future(out.close())).ignore_ready_future();
}

SOCKET_TEST(posix_tcp, options_are_set_and_read) {
  auto p = co_await make_pair();
  EXPECT_FALSE(p.client.nodelay());
  p.client.set_nodelay(true);
  EXPECT_TRUE(p.client.nodelay());
  p.client.set_keepalive(true);
  p.client.set_keepalive_parameters({30s, 5s, 4});
  EXPECT_TRUE(p.client.keepalive());
  EXPECT_EQ(p.client.keepalive_parameters().count, 4u);
  EXPECT_EQ(p.client.remote_address(), p.server.local_address());
}

SOCKET_TEST(posix_tcp, connect_to_nobody_is_refused) {
  auto listener = engine().net().listen(any_port);
  auto address = listener.local_address();
  listener = {};
  co_await sleep(5ms);
  auto f = co_await coroutine::as_future(engine().net().connect(address));
  EXPECT_EQ(error_of(f.discard_result()), ECONNREFUSED);
}

SOCKET_TEST(posix_tcp, a_taken_port_is_an_error_at_once) {
  auto listener = engine().net().listen(any_port, {.lba = load_balancing::none});
  for (auto lba : {load_balancing::none, load_balancing::by_flow}) {
    try {
      engine().net().listen(listener.local_address(), {.lba = lba});
      ADD_FAILURE() << "listened twice";
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code().value(), EADDRINUSE);
      EXPECT_NE(std::string(e.what()).find(to_string(listener.local_address())), std::string::npos) << e.what();
    }
  }
  co_return;
}

SOCKET_TEST(posix_tcp, a_port_shared_by_another_process_is_taken) {
  // Somebody else's listener, with SO_REUSEPORT.
  auto other = posix::make_socket(SOCK_STREAM);
  posix::set_option(other.get(), SOL_SOCKET, SO_REUSEPORT, 1);
  posix::bind_to(other.get(), any_port);
  ::listen(other.get(), 1);
  EXPECT_THROW(engine().net().listen(posix::read_local_address(other.get())), std::system_error);
  co_return;
}

SOCKET_TEST(posix_tcp, abort_accept_ends_the_accept_under_way) {
  auto listener = engine().net().listen(any_port);
  auto f = listener.accept();
  co_await sleep(2ms);
  listener.abort_accept();
  auto ended = co_await coroutine::as_future(std::move(f));
  EXPECT_EQ(error_of(ended.discard_result()), ECONNABORTED);
  auto again = co_await coroutine::as_future(listener.accept());
  EXPECT_EQ(error_of(again.discard_result()), ECONNABORTED);
}

SOCKET_TEST(posix_tcp, a_reader_that_falls_behind_gets_everything) {
  auto p = co_await make_pair();
  auto in = p.server.input();
  auto out = p.client.output();
  constexpr size_t total = 4 << 20;
  auto written = write_random(out, 11, total);
  auto first = co_await in.read();  // receiving has begun
  co_await sleep(50ms);
  in.unread(std::move(first));
  EXPECT_EQ(co_await check_pattern(in), total);
  co_await std::move(written);
}

struct counted_shard {
  server_socket listener;
  size_t accepted = 0;
  gate running;
};

future<> accept_all(counted_shard& s) {
  auto hold = s.running.hold();
  for (;;) {
    auto f = co_await coroutine::as_future(s.listener.accept());
    if (f.failed()) {
      f.ignore_ready_future();
      co_return;
    }
    ++s.accepted;
    (void)echo(std::move(f.get().connection), false).handle_exception([](std::exception_ptr) {});
  }
}

SOCKET_TEST(posix_tcp, every_shard_that_listens_gets_connections) {
  static thread_local counted_shard* mine = nullptr;
  ipv4_addr address;
  {
    auto probe = engine().net().listen(any_port);
    address = probe.local_address().v4();
  }
  co_await sleep(5ms);
  co_await smp::invoke_on_all([address] {
    mine = new counted_shard;
    mine->listener = engine().net().listen(address);
    (void)accept_all(*mine);
  });
  for (int i = 0; i < 64; ++i) {
    auto c = co_await engine().net().connect(address);
    auto in = c.input();
    auto out = c.output();
    co_await out.write("ping");
    co_await out.close();
    EXPECT_EQ((co_await in.read_exactly(5)).view(), "ping");
  }
  for (unsigned id : smp::all_cpus()) {
    size_t n = co_await smp::submit_to(id, [] {
      mine->listener.abort_accept();
      return mine->running.close().then([] {
        size_t accepted = mine->accepted;
        delete mine;
        return accepted;
      });
    });
    EXPECT_GT(n, 5u) << "shard " << id;
  }
}

SOCKET_TEST(posix_udp, datagrams_go_both_ways) {
  auto a = engine().net().make_datagram_channel(any_port);
  auto b = engine().net().make_datagram_channel(any_port);
  for (size_t n : {size_t(0), size_t(1), size_t(1400), size_t(9000), size_t(60000)}) {
    std::string text(n, 'u');
    auto arriving = b.receive();
    co_await a.send(b.local_address(), buffer::copy_of(text));
    auto d = co_await std::move(arriving);
    EXPECT_EQ(d.data.view(), text);
    EXPECT_EQ(d.src, a.local_address());
    EXPECT_EQ(d.dst, b.local_address());
    co_await b.send(d.src, std::move(d.data));
    EXPECT_EQ((co_await a.receive()).data.view(), text);
  }
  auto too_large = co_await coroutine::as_future(a.send(b.local_address(), buffer(70000)));
  EXPECT_EQ(error_of(std::move(too_large)), EMSGSIZE);
}

SOCKET_TEST(posix_udp, shutdown_input_ends_a_receive_under_way) {
  auto a = engine().net().make_datagram_channel(any_port);
  auto f = a.receive();
  co_await sleep(2ms);
  a.shutdown_input();
  auto ended = co_await coroutine::as_future(std::move(f));
  EXPECT_EQ(error_of(ended.discard_result()), ECONNABORTED);
  a.close();
}

}  // namespace
}  // namespace solaster
