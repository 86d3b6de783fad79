// What every stack has to do: waits that are given up, ends of all kinds, time-outs. See each_stack.hh.
#include <sys/socket.h>

#include "framework/future/loops.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/smp.hh"
#include "framework/sync/abort_source.hh"
#include "framework/sync/sleep.hh"
#include "framework/testing/reactor_test.hh"
#include "tests/unit/framework/socket/each_stack.hh"

namespace solaster::testing {
namespace {

using namespace std::chrono_literals;
using buffer = temporary_buffer<char>;

INSTANTIATE_TEST_SUITE_P(sockets, each_stack,
                         ::testing::Values(stack_kind{"io_uring", "io_uring", false},
                                           stack_kind{"epoll", "epoll", false},
                                           stack_kind{"native_io_uring", "io_uring", true},
                                           stack_kind{"native_epoll", "epoll", true}),
                         [](const auto& info) { return std::string(info.param.name); });

// Writes until the peer, who does not read, holds the writer back for good; the write that is held back is given up.
// Returns how many bytes were written.
future<size_t> write_until_given_up(output_stream<char>& out) {
  std::string piece(50'000, 'x');
  for (size_t written = 0;;) {
    written += piece.size();
    bool stuck = false;
    try {
      co_await with_timeout(50ms, out.write(piece));
    } catch (const timed_out_error&) {
      stuck = true;
    }
    if (stuck) {
      co_return written;
    }
    REACTOR_REQUIRE(written < size_t(64) << 20);
  }
}

// ---------------------------------------------------------------- reads

STACK_TEST(a_read_that_was_given_up_may_be_closed) {
  auto p = co_await connected_pair();
  {
    auto in = std::make_unique<input_stream<char>>(p.socket.input());
    EXPECT_THROW(co_await with_timeout(5ms, in->read()), timed_out_error);
    co_await in->close();
  }
  co_await p.peer.write("too late");
  {
    auto q = co_await connected_pair();  // the same, with data on its way when it is closed, and nobody left
    auto in = q.socket.input();
    EXPECT_THROW(co_await with_timeout(5ms, in.read_exactly(100)), timed_out_error);
    co_await q.peer.write("half");
    co_await in.close();
  }
  co_await sleep(5ms);
}

STACK_TEST(a_connection_may_go_while_a_read_of_it_was_given_up) {
  auto p = co_await connected_pair();
  {
    auto in = p.socket.input();
    EXPECT_THROW(co_await with_timeout(5ms, in.read()), timed_out_error);
    p.socket = {};
  }
  EXPECT_EQ(co_await p.peer.read_to_end(), "");
}

STACK_TEST(a_second_read_is_refused_and_the_first_goes_on) {
  auto p = co_await connected_pair();
  auto in = p.socket.input();
  auto first = in.read();
  EXPECT_EQ(error_of(co_await coroutine::as_future(in.read())), EBUSY);
  co_await p.peer.write("for the first");
  EXPECT_EQ((co_await std::move(first)).view(), "for the first");
  co_await in.close();
}

STACK_TEST(a_time_out_costs_what_the_read_would_have_returned) {
  auto p = co_await connected_pair();
  auto in = p.socket.input();
  co_await p.peer.write("in time");
  EXPECT_EQ((co_await with_timeout(10s, in.read())).view(), "in time");
  EXPECT_THROW(co_await with_timeout(5ms, in.read()), timed_out_error);
  co_await p.peer.write("lost");
  co_await sleep(20ms);
  co_await p.peer.write("kept");
  EXPECT_EQ((co_await with_timeout(10s, in.read())).view(), "kept");
  co_await in.close();
}

STACK_TEST(what_comes_after_shutdown_input_is_dropped) {
  for (bool begun : {false, true}) {
    auto p = co_await connected_pair();
    auto in = p.socket.input();
    if (begun) {
      co_await p.peer.write("first");
      co_await in.read();
    }
    p.socket.shutdown_input();
    constexpr size_t much = 24 << 20;  // more than there are buffers for on the way
    EXPECT_EQ(co_await p.peer.write_until_stuck(much) / much, 1u);
    EXPECT_TRUE((co_await in.read()).empty());
    auto out = p.socket.output();
    co_await out.write("still here");
    co_await out.close();
    EXPECT_EQ(co_await p.peer.read_to_end(), "still here");
  }
}

// ---------------------------------------------------------------- writes

STACK_TEST(a_write_that_was_given_up_may_be_closed) {
  auto p = co_await connected_pair();
  auto out = std::make_unique<output_stream<char>>(p.socket.output());
  size_t written = co_await write_until_given_up(*out);
  EXPECT_THROW(co_await with_timeout(5ms, out->close()), timed_out_error);
  auto closed = out->close();
  EXPECT_FALSE(closed.available());
  EXPECT_EQ((co_await p.peer.read_to_end()).size(), written);
  co_await std::move(closed);
  out.reset();
}

STACK_TEST(a_write_that_was_given_up_may_be_aborted) {
  auto p = co_await connected_pair();
  auto out = std::make_unique<output_stream<char>>(p.socket.output());
  co_await write_until_given_up(*out);
  auto closed = out->close();
  p.socket.abort();
  EXPECT_EQ(error_of(co_await coroutine::as_future(std::move(closed))), ECONNABORTED);
  out.reset();
}

STACK_TEST(a_put_that_was_given_up_may_be_closed) {
  auto p = co_await connected_pair();
  auto sink = p.socket.sink();
  size_t written = 0;
  for (bool stuck = false; !stuck;) {
    written += 100'000;
    try {
      co_await with_timeout(50ms, sink.put(buffer::copy_of(std::string(100'000, 'x'))));
    } catch (const timed_out_error&) {
      stuck = true;
    }
  }
  EXPECT_EQ(error_of(co_await coroutine::as_future(sink.put(buffer::copy_of("another")))), EBUSY);
  auto closed = sink.close();
  EXPECT_FALSE(closed.available());
  EXPECT_EQ((co_await p.peer.read_to_end()).size(), written);
  co_await std::move(closed);
}

STACK_TEST(shutdown_frees_who_waits_for_a_peer_that_does_not_read) {
  auto p = co_await connected_pair();
  auto in = p.socket.input();
  auto out = p.socket.output();
  auto reading = in.read();
  co_await write_until_given_up(out);
  auto writing = out.flush();
  p.socket.shutdown(20ms);
  EXPECT_TRUE((co_await std::move(reading)).empty());
  EXPECT_EQ(error_of(co_await coroutine::as_future(std::move(writing))), ECONNABORTED);
  EXPECT_EQ(error_of(co_await coroutine::as_future(out.close())), ECONNABORTED);
  co_await in.close();
}

STACK_TEST(shutdown_lets_who_is_answering_finish) {
  auto p = co_await connected_pair();
  auto in = p.socket.input();
  auto out = p.socket.output();
  size_t written = co_await write_until_given_up(out);
  p.socket.shutdown(10s);
  auto closed = out.close();
  EXPECT_EQ((co_await p.peer.read_to_end()).size(), written);
  co_await std::move(closed);
  co_await in.close();
}

// ---------------------------------------------------------------- ends

STACK_TEST(either_side_may_end_first) {
  for (bool peer_first : {false, true}) {
    auto p = co_await connected_pair();
    auto in = p.socket.input();
    auto out = p.socket.output();
    if (peer_first) {
      co_await p.peer.write("question");
      p.peer.close_output();
      EXPECT_EQ((co_await in.read_exactly(100)).view(), "question");
      EXPECT_TRUE((co_await in.read()).empty());
      EXPECT_TRUE((co_await in.read()).empty());
    }
    co_await out.write("answer");
    co_await out.close();
    EXPECT_EQ(co_await p.peer.read_to_end(), "answer");
    if (!peer_first) {
      co_await p.peer.write("after");
      p.peer.close_output();
      EXPECT_EQ((co_await in.read_exactly(100)).view(), "after");
    }
    co_await in.close();
  }
}

STACK_TEST(a_reset_of_the_peer_fails_reader_and_writer) {
  auto p = co_await connected_pair();
  auto in = p.socket.input();
  auto out = p.socket.output();
  auto reading = in.read();
  co_await write_until_given_up(out);
  auto writing = out.flush();
  p.peer.reset();
  EXPECT_EQ(error_of(co_await coroutine::as_future(std::move(reading))), ECONNRESET);
  int error = error_of(co_await coroutine::as_future(std::move(writing)));
  EXPECT_TRUE(error == ECONNRESET || error == EPIPE) << error;
  (co_await coroutine::as_future(out.close())).ignore_ready_future();
  co_await in.close();
}

// ---------------------------------------------------------------- opening

STACK_TEST(an_accept_that_was_given_up_may_be_aborted) {
  auto listener = engine().net().listen(our_address());
  auto port = listener.local_address().port();
  EXPECT_THROW(co_await with_timeout(5ms, listener.accept()), timed_out_error);
  EXPECT_EQ(error_of(co_await coroutine::as_future(listener.accept())), EBUSY);
  // The connection that it would have returned is lost, the next one is not.
  auto lost = co_await linux_peer::connect_to(our_address(port));
  co_await lost.read_to_end();
  auto accepted = listener.accept();
  auto kept = co_await linux_peer::connect_to(our_address(port));
  co_await kept.write("x");
  EXPECT_EQ((co_await (co_await std::move(accepted)).connection.input().read()).view(), "x");
  EXPECT_THROW(co_await with_timeout(5ms, listener.accept()), timed_out_error);
  listener.abort_accept();
  EXPECT_EQ(error_of(co_await coroutine::as_future(listener.accept())), ECONNABORTED);
}

STACK_TEST(a_listener_may_go_while_an_accept_waits) {
  auto listener = engine().net().listen(our_address());
  auto port = listener.local_address().port();
  auto accepting = listener.accept();
  auto connecting = linux_peer::connect_to(our_address(port));
  listener = {};
  EXPECT_EQ(error_of(co_await coroutine::as_future(std::move(accepting))), ECONNABORTED);
  (co_await coroutine::as_future(std::move(connecting))).ignore_ready_future();
  co_await sleep(5ms);
}

STACK_TEST(a_connect_may_be_given_up) {
  auto silent = linux_peer::listening(0);
  silent.fill_backlog();
  abort_source giving_up;
  auto connecting = engine().net().connect(silent.address(), {}, &giving_up);
  co_await sleep(20ms);
  EXPECT_FALSE(connecting.available());
  giving_up.request_abort();
  EXPECT_EQ(error_of(co_await coroutine::as_future(std::move(connecting))), ECONNABORTED);
  EXPECT_EQ(error_of(co_await coroutine::as_future(engine().net().connect(silent.address(), {}, &giving_up))),
            ECONNABORTED);
  // Whose wait ends first, and that a source is not asked about what is over.
  abort_source late;
  auto open = linux_peer::listening();
  auto socket = co_await engine().net().connect(open.address(), {}, &late);
  late.request_abort();
  auto peer = co_await open.accept();
  co_await peer.write("x");
  EXPECT_EQ((co_await socket.input().read()).view(), "x");
}

STACK_TEST(connecting_to_nobody_is_refused) {
  socket_address nobody;
  {
    auto listener = linux_peer::listening();
    nobody = listener.address();
  }
  EXPECT_EQ(error_of(co_await coroutine::as_future(engine().net().connect(nobody))), ECONNREFUSED);
}

// The program's function returns with all of these under way.
STACK_TEST(a_program_may_stop_while_sockets_wait) {
  auto silent = linux_peer::listening(0);
  silent.fill_backlog();
  // Their connection outlives the function, and the reactor.
  struct left_behind {
    connected_pair_result p;
    input_stream<char> in;
    data_sink sink;
    future<connected_socket> connecting;
  };
  static auto& all = *new std::vector<left_behind*>;  // reachable to the end: not a leak
  auto* l = all.emplace_back(new left_behind{{}, {}, {}, engine().net().connect(silent.address())});
  l->p = co_await connected_pair();
  l->in = l->p.socket.input();
  l->sink = l->p.socket.sink();
  (void)l->in.read().then_wrapped([](auto f) { f.ignore_ready_future(); });
  for (bool stuck = false; !stuck;) {
    auto put = l->sink.put(buffer(1 << 20));
    stuck = !put.available();
    (void)std::move(put).then_wrapped([](auto f) { EXPECT_FALSE(f.failed()); });
  }
}

// ---------------------------------------------------------------- datagrams

STACK_TEST(a_receive_that_was_given_up_may_be_closed) {
  auto sender = posix::make_socket(SOCK_DGRAM);
  auto send_to = [&](const datagram_channel& c) {
    sockaddr_in to = posix::to_kernel(our_address(c.local_address().port()));
    return ::sendto(sender.get(), "x", 1, 0, posix::generic(to), sizeof to);
  };
  auto c = engine().net().make_datagram_channel(our_address());
  EXPECT_THROW(co_await with_timeout(5ms, c.receive()), timed_out_error);
  EXPECT_EQ(error_of(co_await coroutine::as_future(c.receive())), EBUSY);
  c.shutdown_input();
  EXPECT_EQ(error_of(co_await coroutine::as_future(c.receive())), ECONNABORTED);
  c.close();
  // The channel goes in the turn in which the datagram comes, and before.
  for (auto pause : {duration(0), duration(milliseconds(2))}) {
    c = engine().net().make_datagram_channel(our_address());
    auto receiving = c.receive();
    EXPECT_EQ(send_to(c), 1);
    co_await sleep(pause);
    c = {};
    (co_await coroutine::as_future(std::move(receiving))).ignore_ready_future();
    co_await sleep(2ms);
  }
}

// ---------------------------------------------------------------- ports and shards

int error_of_call(auto f) {
  try {
    (void)f();
    return 0;
  } catch (const std::system_error& e) {
    return e.code().value();
  }
}

STACK_TEST_ON(a_port_belongs_to_one_shard, 2) {
  auto udp = [](uint16_t port, load_balancing lba) {
    return [=] {
      return error_of_call([=] { return engine().net().make_datagram_channel(our_address(port), {.lba = lba}); });
    };
  };
  auto tcp = [](uint16_t port, load_balancing lba) {
    return [=] { return error_of_call([=] { return engine().net().listen(our_address(port), {.lba = lba}); }); };
  };
  for (auto lba : {load_balancing::none, load_balancing::by_flow}) {
    uint16_t port = lba == load_balancing::none ? 7001 : 7003;
    int taken = lba == load_balancing::none ? EADDRINUSE : 0;
    auto mine = engine().net().make_datagram_channel(our_address(port), {.lba = lba});
    EXPECT_EQ(co_await smp::submit_to(1, udp(port, lba)), taken);
    EXPECT_EQ(co_await smp::submit_to(1, udp(port, load_balancing::none)), EADDRINUSE);
    mine = {};
    EXPECT_EQ(co_await smp::submit_to(1, udp(port, load_balancing::none)), 0);
    auto listener = engine().net().listen(our_address(port), {.lba = lba});
    EXPECT_EQ(co_await smp::submit_to(1, tcp(port, lba)), taken);
    co_await sleep(5ms);
    EXPECT_EQ(co_await smp::submit_to(1, tcp(port, load_balancing::none)), EADDRINUSE);
    listener = {};
    // Until all of its connections are gone the other shard cannot have it.
    int error = EADDRINUSE;
    for (int i = 0; i < 5000 && error != 0; ++i) {
      error = co_await smp::submit_to(1, tcp(port, load_balancing::none));
      co_await sleep(1ms);
    }
    EXPECT_EQ(error, 0);
  }
}

STACK_TEST_ON(a_port_that_moves_takes_its_packets_along, 2) {
  constexpr uint16_t port = 7002;
  auto here = engine().net().listen(our_address(port), {.lba = load_balancing::none});
  here = {};
  static thread_local server_socket there;
  static thread_local int accepted;
  auto listen_there = [] {
    return error_of_call([] {
      there = engine().net().listen(our_address(port), {.lba = load_balancing::none});
      return 0;
    });
  };
  for (int i = 0; i < 5000 && co_await smp::submit_to(1, listen_there) != 0; ++i) {
    co_await sleep(1ms);
  }
  co_await smp::submit_to(1, [] {
    accepted = 0;
    (void)repeat([] {
      return there.accept().then_wrapped([](future<accept_result> f) {
        bool over = f.failed();
        f.ignore_ready_future();
        accepted += !over;
        return over ? stop_iteration::yes : stop_iteration::no;
      });
    });
  });
  for (int i = 0; i < 20; ++i) {
    auto peer = co_await linux_peer::connect_to(our_address(port));
    co_await peer.read_to_end();
  }
  EXPECT_EQ(co_await smp::submit_to(1,
                                    [] {
                                      there.abort_accept();
                                      there = {};
                                      return accepted;
                                    }),
            20);
}

}  // namespace
}  // namespace solaster::testing
