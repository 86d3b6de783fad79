// Linux's sockets through both kinds of back end: each case runs with io_uring (where the machine lets it) and with
// epoll.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <filesystem>
#include <map>
#include <random>
#include <system_error>

#include "framework/future/when_all.hh"
#include "framework/reactor/backend/io_uring/io_uring.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/sleep.hh"
#include "framework/reactor/smp.hh"
#include "framework/socket/api.hh"
#include "framework/socket/posix/descriptor.hh"
#include "framework/sync/gate.hh"
#include "framework/testing/reactor_test.hh"

namespace solaster {
namespace {

using buffer = temporary_buffer<char>;
using namespace std::chrono_literals;

bool has_io_uring() {
  try {
    make_io_uring_backend(0);
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

void run_on_each_backend(future<> (*body)()) {
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

const ipv4_addr any_port(0x7f000001, 0);

int error_of(future<> f) {
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
future<pair> make_pair() {
  auto listener = engine().net().listen(any_port);
  auto accepted = listener.accept();
  auto client = co_await engine().net().connect(listener.local_address());
  auto a = co_await std::move(accepted);
  EXPECT_EQ(a.remote_address, client.local_address());
  co_return pair{std::move(client), std::move(a.connection)};
}

future<> echo(connected_socket s, bool batch) {
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

future<> write_random(output_stream<char>& out, unsigned seed, size_t total) {
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

future<size_t> check_pattern(input_stream<char>& in) {
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

SOCKET_TEST(posix_tcp, half_requests_do_not_use_up_the_receive_buffers) {
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

SOCKET_TEST(posix_tcp, connections_dropped_in_the_middle_leave_nothing_behind) {
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

SOCKET_TEST(posix_tcp, no_socket_is_left_to_a_child) {
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
SOCKET_TEST(posix_tcp, accepting_goes_on_when_there_are_descriptors_again) {
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

SOCKET_TEST(posix_tcp, accepting_may_be_aborted_while_descriptors_are_out) {
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
SOCKET_TEST(posix_tcp, blocked_handlers_hold_little_of_what_is_sent) {
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
SOCKET_TEST(posix_tcp, receive_buffers_that_run_out_cost_nothing_but_time) {
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
SOCKET_TEST(posix_tcp, completions_beyond_the_ring_are_not_lost) {
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
