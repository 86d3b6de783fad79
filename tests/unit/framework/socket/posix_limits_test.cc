// Linux's sockets where something runs out: descriptors, receive buffers, the ring; and what is left behind.
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>

#include "framework/reactor/backend/io_uring/io_uring.hh"
#include "framework/socket/posix/descriptor.hh"
#include "framework/sync/sleep.hh"
#include "tests/unit/framework/socket/posix_sockets.hh"

namespace solaster {
namespace {

using namespace posix_sockets;

// What a leak would add to.
struct holdings {
  size_t descriptors = 0;
  size_t unread = 0;
  bool operator==(const holdings&) const = default;
};
holdings collect_holdings() {
  holdings h;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    h.descriptors += entry.is_symlink();
  }
  if (io_uring_backend* uring = engine().backend().uring()) {
    h.unread = uring->buffers().unread();
  }
  return h;
}

SOCKET_TEST(posix_limits, connections_dropped_in_the_middle_leave_nothing_behind) {
  auto listener = engine().net().listen(any_port);
  holdings before = collect_holdings();
  for (int i = 0; i < 200; ++i) {
    auto accepted = listener.accept();
    auto client = co_await engine().net().connect(listener.local_address());
    auto server = (co_await std::move(accepted)).connection;
    auto out = client.output();
    co_await out.write(std::string(size_t(i) * 100 + 1, 'x'));
    co_await out.flush();
    auto in = server.input();
    if (i % 2) {
      (co_await in.read());
    }
    co_await out.close();
  }
  for (int i = 0; i < 1000 && collect_holdings() != before; ++i) {
    co_await sleep(1ms);  // requests that were taken back end in a later turn
  }
  EXPECT_EQ(collect_holdings().descriptors, before.descriptors);
  EXPECT_EQ(collect_holdings().unread, before.unread);
}

SOCKET_TEST(posix_limits, no_socket_is_left_to_a_child) {
  auto p = co_await make_pair();
  auto listener = engine().net().listen(any_port);
  auto channel = engine().net().make_datagram_channel(any_port);
  int sockets = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry, gone).string().starts_with("socket:")) {
      int fd = std::stoi(entry.path().filename());
      EXPECT_TRUE(::fcntl(fd, F_GETFD) & FD_CLOEXEC) << fd;
      ++sockets;
    }
  }
  EXPECT_GE(sockets, 4);
}

// All descriptors that the process may have, while this lives.
class no_descriptors {
 public:
  no_descriptors() {
    ::getrlimit(RLIMIT_NOFILE, &_before);
    rlimit little{.rlim_cur = 512, .rlim_max = _before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &little);
    for (int fd; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) {
      _all.emplace_back(fd);
    }
  }
  ~no_descriptors() { ::setrlimit(RLIMIT_NOFILE, &_before); }

 private:
  rlimit _before{};
  std::vector<posix::descriptor> _all;
};

// The limit is there before the request: io_uring remembers it from then.
SOCKET_TEST(posix_limits, accepting_goes_on_when_there_are_descriptors_again) {
  auto listener = engine().net().listen(any_port);
  sockaddr_in to = posix::to_kernel(listener.local_address());
  posix::descriptor clients[3];
  for (auto& c : clients) {
    c = posix::make_socket(SOCK_STREAM);
  }
  std::optional<future<accept_result>> accepting;
  ::testing::internal::CaptureStderr();
  {
    no_descriptors left;
    accepting = listener.accept();
    for (auto& c : clients) {
      EXPECT_EQ(::connect(c.get(), posix::generic(to), sizeof to), 0);
    }
    co_await sleep(50ms);
    EXPECT_FALSE(accepting->available());
  }
  std::string said = ::testing::internal::GetCapturedStderr();
  co_await std::move(*accepting);
  co_await listener.accept();
  co_await listener.accept();
  size_t lines = 0;
  for (size_t at = 0; (at = said.find("no connection can be accepted", at)) != said.npos; ++at) {
    ++lines;
  }
  EXPECT_EQ(lines, 1u) << said;  // however often it tried
}

SOCKET_TEST(posix_limits, accepting_may_be_aborted_while_descriptors_are_out) {
  auto listener = engine().net().listen(any_port);
  sockaddr_in to = posix::to_kernel(listener.local_address());
  posix::descriptor client = posix::make_socket(SOCK_STREAM);
  ::testing::internal::CaptureStderr();
  {
    no_descriptors left;
    auto accepting = listener.accept();
    ::connect(client.get(), posix::generic(to), sizeof to);
    co_await sleep(5ms);
    listener.abort_accept();
    EXPECT_EQ(error_of((co_await coroutine::as_future(std::move(accepting))).discard_result()), ECONNABORTED);
  }
  ::testing::internal::GetCapturedStderr();
  // Nothing is accepted behind the program's back: the connection stays in the backlog, and ends with the listener.
  co_await sleep(30ms);
  auto readable = [&client] {
    pollfd p{client.get(), POLLIN, 0};
    int n;
    do {  // a signal or a completion of the ring may be pending, and ends even a poll that does not wait
      n = ::poll(&p, 1, 0);
    } while (n < 0 && errno == EINTR);
    return n;
  };
  EXPECT_EQ(readable(), 0);
  listener = {};
  co_await sleep(10ms);
  EXPECT_EQ(readable(), 1);
}

// Many clients send and the handlers of their connections are busy with something else.
SOCKET_TEST(posix_limits, blocked_handlers_hold_little_of_what_is_sent) {
  constexpr size_t clients = 150, each = 1 << 20;
  std::vector<pair> all;
  std::vector<input_stream<char>> ins;
  std::vector<output_stream<char>> outs;
  std::vector<future<>> writing;
  for (size_t i = 0; i < clients; ++i) {
    all.push_back(co_await make_pair());
    ins.push_back(all[i].server.input());
    outs.push_back(all[i].client.output());
  }
  for (size_t i = 0; i < clients; ++i) {
    auto reading = ins[i].read();
    co_await outs[i].write("request");
    co_await outs[i].flush();
    EXPECT_EQ((co_await std::move(reading)).view(), "request");
  }
  for (auto& out : outs) {
    writing.push_back(write_random(out, 5, each));
  }
  size_t most = 0;
  for (int i = 0; i < 200; ++i) {
    if (io_uring_backend* uring = engine().backend().uring()) {
      most = std::max(most, uring->buffers().unread());
    }
    co_await sleep(1ms);
  }
  EXPECT_LE(most, size_t(16) << 20);
  for (auto& in : ins) {
    EXPECT_EQ(co_await check_pattern(in), each);
  }
  for (auto& w : writing) {
    co_await std::move(w);
  }
}

// In one turn more comes than there are receive buffers (ENOBUFS); each byte arrives nevertheless.
SOCKET_TEST(posix_limits, receive_buffers_that_run_out_cost_nothing_but_time) {
  constexpr size_t clients = 200, each = 100'000;
  static_assert(clients * each > 4 * size_t(receive_buffers::count) * receive_buffers::bytes);
  std::vector<pair> all;
  std::vector<input_stream<char>> ins;
  for (size_t i = 0; i < clients; ++i) {
    all.push_back(co_await make_pair());
    auto out = all[i].client.output();
    co_await write_random(out, 9, each);
    ins.push_back(all[i].server.input());
  }
  co_await sleep(20ms);
  std::vector<future<size_t>> reading;
  for (auto& in : ins) {
    reading.push_back(check_pattern(in));
  }
  for (auto& r : reading) {
    EXPECT_EQ(co_await std::move(r), each);
  }
}

// More completions at once than the ring has room for.
SOCKET_TEST(posix_limits, completions_beyond_the_ring_are_not_lost) {
  io_uring_backend* uring = engine().backend().uring();
  if (!uring) {
    co_return;
  }
  struct nop : uring_operation {
    nop() noexcept
        : uring_operation([](uring_operation* op, int, uint32_t) noexcept { ++static_cast<nop*>(op)->completed; }) {}
    int completed = 0;
  };
  constexpr size_t count = 3 * io_uring_backend::completion_entries + 7;
  std::vector<std::unique_ptr<nop>> all;
  for (size_t i = 0; i < count; ++i) {
    all.push_back(std::make_unique<nop>());
    uring->queue(all.back().get(), [](io_uring_sqe* sqe) { io_uring_prep_nop(sqe); });
  }
  auto done = [&] { return std::all_of(all.begin(), all.end(), [](const auto& op) { return op->completed != 0; }); };
  for (int i = 0; i < 1000 && !done(); ++i) {
    co_await sleep(1ms);
  }
  for (const auto& op : all) {
    EXPECT_EQ(op->completed, 1);
  }
}

SOCKET_TEST(posix_limits, half_requests_do_not_use_up_the_receive_buffers) {
  auto listener = engine().net().listen(any_port);
  std::vector<connected_socket> clients, servers;
  std::vector<input_stream<char>> ins;
  std::vector<buffer> held;
  std::string half(3000, 'h');
  for (int i = 0; i < 400; ++i) {
    auto accepted = listener.accept();
    clients.push_back(co_await engine().net().connect(listener.local_address()));
    auto out = clients.back().output();
    co_await out.write(half);
    co_await out.flush();
    servers.push_back((co_await std::move(accepted)).connection);
    ins.push_back(servers.back().input());
    held.push_back(co_await ins.back().read());
    EXPECT_EQ(held.back().size(), half.size());
  }
  auto p = co_await make_pair();
  auto served = echo(std::move(p.server), false);
  auto in = p.client.input();
  auto out = p.client.output();
  auto written = write_random(out, 3, 1 << 20);
  EXPECT_EQ(co_await check_pattern(in), size_t(1) << 20);
  co_await std::move(written);
  co_await std::move(served);
}

}  // namespace
}  // namespace solaster
