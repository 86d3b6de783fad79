#include "framework/io/streams.hh"

#include <gtest/gtest.h>

#include <deque>
#include <string>

#include "framework/sync/sleep.hh"
#include "framework/testing/reactor_test.hh"

namespace solaster {
namespace {

using buffer = temporary_buffer<char>;
using namespace std::chrono_literals;

class script_source final : public data_source_impl {
 public:
  explicit script_source(std::deque<std::string> s) : _script(std::move(s)) {}
  future<buffer> get() override {
    if (_script.empty()) {
      return make_ready_future<buffer>();
    }
    auto b = buffer::copy_of(_script.front());
    _script.pop_front();
    return make_ready_future<buffer>(std::move(b));
  }

 private:
  std::deque<std::string> _script;
};

input_stream<char> reads(std::deque<std::string> script) {
  return input_stream<char>(data_source(std::make_unique<script_source>(std::move(script))));
}

REACTOR_TEST(input_stream, read_exactly_joins_and_cuts_buffers) {
  auto in = reads({"ab", "cdef", "g"});
  EXPECT_EQ((co_await in.read_exactly(1)).view(), "a");
  EXPECT_EQ((co_await in.read_exactly(3)).view(), "bcd");
  EXPECT_EQ((co_await in.read_exactly(0)).view(), "");
  EXPECT_EQ((co_await in.read_exactly(10)).view(), "efg");
  EXPECT_TRUE((co_await in.read()).empty());
}

REACTOR_TEST(input_stream, read_up_to_and_skip_stay_within_what_is_asked) {
  auto in = reads({"abcdef", "ghi", "jkl"});
  EXPECT_EQ((co_await in.read_up_to(2)).view(), "ab");
  co_await in.skip(5);
  EXPECT_EQ((co_await in.read_up_to(100)).view(), "hi");
  co_await in.skip(100);
  EXPECT_TRUE((co_await in.read()).empty());
}

REACTOR_TEST(input_stream, a_consumer_stops_skips_and_sees_the_end) {
  auto in = reads({"aaaa", "bbbb", "cccc"});
  int calls = 0;
  co_await in.consume([&](buffer b) -> consumption_result {
    if (++calls == 1) {
      return skip_bytes{2};
    }
    EXPECT_EQ(b.view(), "bb");
    b.trim_front(1);
    return stop_consuming{std::move(b)};
  });
  EXPECT_EQ((co_await in.read()).view(), "b");
  std::string rest;
  bool end = false;
  co_await in.consume([&](buffer b) -> consumption_result {
    end = b.empty();
    rest += b.view();
    return continue_consuming{};
  });
  EXPECT_EQ(rest, "cccc");
  EXPECT_TRUE(end);
}

// What a sink was given; it answers when told to.
struct log_of_puts {
  std::vector<std::string> puts;
  bool closed = false;
  bool hold = false;
  std::optional<promise<>> waiting;
  std::exception_ptr fail;

  void let_go() {
    auto p = std::move(*waiting);
    waiting.reset();
    p.set_value();
  }
};

class log_sink final : public data_sink_impl {
 public:
  explicit log_sink(log_of_puts& l) : _log(l) {}
  future<> put(std::vector<buffer> bufs) override {
    std::string all;
    for (auto& b : bufs) {
      all += b.view();
    }
    return note(std::move(all));
  }
  future<> put(buffer buf) override { return note(std::string(buf.view())); }
  future<> close() override {
    _log.closed = true;
    return make_ready_future<>();
  }

 private:
  future<> note(std::string s) {
    if (_log.fail) {
      return make_exception_future<>(_log.fail);
    }
    _log.puts.push_back(std::move(s));
    if (_log.hold) {
      _log.waiting.emplace();
      return _log.waiting->get_future();
    }
    return make_ready_future<>();
  }
  log_of_puts& _log;
};

output_stream<char> writes(log_of_puts& l, size_t size = 64, bool batch = false) {
  return output_stream<char>(data_sink(std::make_unique<log_sink>(l)), size, {.batch_flushes = batch});
}

REACTOR_TEST(output_stream, small_writes_go_out_together) {
  log_of_puts log;
  auto out = writes(log);
  co_await out.write("hello ");
  co_await out.write(buffer::copy_of("world"));
  EXPECT_TRUE(log.puts.empty());
  co_await out.flush();
  EXPECT_EQ(log.puts, (std::vector<std::string>{"hello world"}));
  co_await out.write("!");
  co_await out.close();
  EXPECT_EQ(log.puts.back(), "!");
  EXPECT_TRUE(log.closed);
}

REACTOR_TEST(output_stream, order_survives_large_and_small_writes) {
  log_of_puts log;
  auto out = writes(log, 3000);
  std::string expected;
  for (int i = 0; i < 200; ++i) {
    std::string piece(size_t(i * 37 % 2500), char('a' + i % 26));
    expected += piece;
    if (i % 2) {
      co_await out.write(buffer::copy_of(piece));
    } else {
      co_await out.write(piece);
    }
    if (i % 7 == 0) {
      co_await out.flush();
    }
  }
  co_await out.close();
  std::string got;
  for (auto& p : log.puts) {
    got += p;
  }
  EXPECT_TRUE(got == expected);
}

REACTOR_TEST(output_stream, a_writer_waits_while_too_much_is_queued) {
  log_of_puts log;
  log.hold = true;
  auto out = writes(log, 64);
  co_await out.write(std::string(64, 'a'));  // starts the first put
  EXPECT_EQ(log.puts.size(), 1u);
  std::string piece(63, 'b');
  size_t written = 0;
  future<> f = make_ready_future<>();
  while (f.available() && written < 100000) {
    f.ignore_ready_future();
    f = out.write(piece);
    written += piece.size();
  }
  EXPECT_FALSE(f.available());
  EXPECT_LE(out.queued(), 64 * (output_stream<char>::output_queue_factor + 1));
  log.hold = false;
  log.let_go();
  co_await std::move(f);
  co_await out.close();
  size_t total = 0;
  for (auto& p : log.puts) {
    total += p.size();
  }
  EXPECT_EQ(total, 64 + written);
}

REACTOR_TEST(output_stream, batched_flushes_wait_for_the_end_of_the_turn) {
  log_of_puts log;
  auto out = writes(log, 1000, true);
  for (int i = 0; i < 5; ++i) {
    co_await out.write("x");
    co_await out.flush();
  }
  EXPECT_TRUE(log.puts.empty());
  internal::poll_batch_flushes();
  EXPECT_EQ(log.puts, (std::vector<std::string>{"xxxxx"}));
  // While one is under way the next waits for it.
  log.hold = true;
  co_await out.write("y");
  co_await out.flush();
  internal::poll_batch_flushes();
  co_await out.write("z");
  co_await out.flush();
  internal::poll_batch_flushes();
  EXPECT_EQ(log.puts.back(), "y");
  log.hold = false;
  log.let_go();
  co_await coroutine::yield();
  co_await coroutine::yield();
  EXPECT_EQ(log.puts.back(), "z");
  co_await out.close();
}

REACTOR_TEST(output_stream, the_first_failure_is_kept) {
  log_of_puts log;
  log.fail = std::make_exception_ptr(std::runtime_error("gone"));
  auto out = writes(log);
  co_await out.write("x");
  EXPECT_THROW(co_await out.flush(), std::runtime_error);
  EXPECT_THROW(co_await out.write("y"), std::runtime_error);
  EXPECT_THROW(co_await out.close(), std::runtime_error);
  EXPECT_TRUE(log.closed);
}

// ---- waits that were given up ----

// Answers when told to; close() ends what is under way.
struct held_read {
  std::optional<promise<buffer>> waiting;
  int closed = 0;
};

class held_source final : public data_source_impl {
 public:
  explicit held_source(held_read& h) : _held(h) {}
  future<buffer> get() override {
    _held.waiting.emplace();
    return _held.waiting->get_future();
  }
  future<> close() override {
    ++_held.closed;
    if (_held.waiting) {
      std::exchange(_held.waiting, std::nullopt)->set_value(buffer());
    }
    return make_ready_future<>();
  }

 private:
  held_read& _held;
};

std::unique_ptr<input_stream<char>> reads_from(held_read& h) {
  return std::make_unique<input_stream<char>>(data_source(std::make_unique<held_source>(h)));
}

REACTOR_TEST(input_stream, a_read_that_was_given_up_may_be_closed) {
  held_read held;
  auto in = reads_from(held);
  EXPECT_THROW(co_await with_timeout(1ms, in->read()), timed_out_error);
  co_await in->close();
  in.reset();
  co_await coroutine::yield();
  EXPECT_EQ(held.closed, 1);
}

// As above for the calls that read more than once: each refers to the stream until its end.
REACTOR_TEST(input_stream, close_waits_for_calls_that_were_given_up) {
  using call = future<> (*)(input_stream<char>&);
  constexpr call calls[] = {
      [](input_stream<char>& in) { return in.read_exactly(10).discard_result(); },
      [](input_stream<char>& in) { return in.read_up_to(10).discard_result(); },
      [](input_stream<char>& in) { return in.skip(10); },
      [](input_stream<char>& in) {
        return in.consume([](buffer) -> consumption_result { return continue_consuming{}; });
      },
  };
  for (call c : calls) {
    held_read held;
    auto in = reads_from(held);
    EXPECT_THROW(co_await with_timeout(1ms, c(*in)), timed_out_error);
    auto closed = in->close();
    auto again = in->close();
    co_await std::move(closed);
    in.reset();
    co_await std::move(again);
    co_await coroutine::yield();
  }
}

REACTOR_TEST(output_stream, a_write_that_was_given_up_may_be_closed) {
  log_of_puts log;
  log.hold = true;
  auto out = std::make_unique<output_stream<char>>(writes(log, 64));
  co_await out->write(std::string(64, 'a'));
  EXPECT_THROW(co_await with_timeout(1ms, out->write(std::string(1000, 'b'))), timed_out_error);
  EXPECT_THROW(co_await with_timeout(1ms, out->write("c")), timed_out_error);
  EXPECT_THROW(co_await with_timeout(1ms, out->flush()), timed_out_error);
  EXPECT_THROW(co_await with_timeout(1ms, out->close()), timed_out_error);
  EXPECT_FALSE(log.closed);
  auto closed = out->close();
  log.hold = false;
  log.let_go();
  co_await std::move(closed);
  out.reset();
  co_await coroutine::yield();
  EXPECT_TRUE(log.closed);
  size_t total = 0;
  for (auto& p : log.puts) {
    total += p.size();
  }
  EXPECT_EQ(total, 64u + 1000 + 1);  // nothing is lost by giving up a wait
}

REACTOR_TEST(output_stream, a_failure_ends_every_wait) {
  log_of_puts log;
  log.hold = true;
  output_stream<char> out = writes(log, 64);
  co_await out.write(std::string(64, 'a'));
  auto first = out.write(std::string(1000, 'b'));
  auto second = out.write("c");
  auto closed = out.close();
  std::exchange(log.waiting, std::nullopt)->set_exception(std::runtime_error("gone"));
  EXPECT_THROW(co_await std::move(first), std::runtime_error);
  EXPECT_THROW(co_await std::move(second), std::runtime_error);
  EXPECT_THROW(co_await std::move(closed), std::runtime_error);
  EXPECT_TRUE(log.closed);
}

// What died here was the data of whoever waits elsewhere; now the program is told.
TEST(streams_death, going_while_a_call_is_under_way) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(solaster::testing::run_in_reactor([]() -> future<> {
                 held_read held;
                 auto in = reads_from(held);
                 auto f = in->skip(1);
                 in.reset();
                 co_await std::move(f);
               }),
               "await close\\(\\) first");
}

}  // namespace
}  // namespace solaster
