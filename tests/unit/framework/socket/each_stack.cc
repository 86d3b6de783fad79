#include "tests/unit/framework/socket/each_stack.hh"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "framework/reactor/backend/backend.hh"
#include "framework/reactor/reactor.hh"
#include "framework/sync/sleep.hh"
#include "framework/testing/reactor_test.hh"

namespace solaster::testing {

using namespace std::chrono_literals;
using posix::descriptor;
using posix::throw_error;

namespace {

constexpr uint32_t tap_linux = 0x0a090001, tap_ours = 0x0a090002;  // 10.9.0.1, 10.9.0.2
constexpr uint32_t loopback = 0x7f000001;
const stack_kind* current = nullptr;

// The calling thread, and those that it starts, in a network of its own while this lives.
class own_network {
 public:
  own_network() : _before(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    _made = _before && ::unshare(CLONE_NEWNET) == 0;
  }
  ~own_network() {
    if (_made) {
      EXPECT_EQ(::setns(_before.get(), CLONE_NEWNET), 0);
    }
  }
  bool made() const noexcept { return _made; }

 private:
  descriptor _before;
  bool _made = false;
};

void up(const char* device) {
  descriptor s = posix::make_socket(SOCK_DGRAM);
  ifreq r{};
  std::strcpy(r.ifr_name, device);
  r.ifr_flags = IFF_UP;
  if (::ioctl(s.get(), SIOCSIFFLAGS, &r) != 0) {
    throw_error(errno, device);
  }
}

void make_tap() {
  descriptor tun(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  ifreq r{};
  std::strcpy(r.ifr_name, "tap0");
  r.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (!tun || ::ioctl(tun.get(), TUNSETIFF, &r) != 0 || ::ioctl(tun.get(), TUNSETPERSIST, 1) != 0) {
    throw_error(errno, "tap");
  }
  descriptor s = posix::make_socket(SOCK_DGRAM);
  sockaddr_in a = posix::to_kernel(socket_address(tap_linux, 0));
  std::memcpy(&r.ifr_addr, &a, sizeof a);
  if (::ioctl(s.get(), SIOCSIFADDR, &r) != 0) {
    throw_error(errno, "address of the tap");
  }
  a = posix::to_kernel(socket_address(0xffffff00, 0));
  std::memcpy(&r.ifr_netmask, &a, sizeof a);
  if (::ioctl(s.get(), SIOCSIFNETMASK, &r) != 0) {
    throw_error(errno, "netmask of the tap");
  }
  up("tap0");
  up("lo");
}

// Calls `done` every now and then until it is true.
template <typename Done>
future<> wait_until(Done done) {
  for (int i = 0; i < 10'000; ++i) {
    if (done()) {
      co_return;
    }
    co_await sleep(1ms);
  }
  throw std::runtime_error("the peer waited in vain");
}

descriptor nonblocking_socket() {
  return posix::make_socket(SOCK_STREAM | SOCK_NONBLOCK);
}

}  // namespace

const stack_kind& current_stack() {
  return *current;
}
socket_address our_address(uint16_t port) {
  return {current->native ? tap_ours : loopback, port};
}
socket_address peer_address(uint16_t port) {
  return {current->native ? tap_linux : loopback, port};
}

void each_stack::run(future<> (*body)(), int shards) {
  current = &GetParam();
  std::vector<std::string> options = {"--reactor-backend", current->backend, "--smp", std::to_string(shards)};
  if (!current->native) {
    if (std::string_view(current->backend) == "io_uring") {
      try {
        make_io_uring_backend(0);
      } catch (const std::system_error& e) {
        GTEST_SKIP() << "no io_uring here: " << e.what();
      }
    }
    options.insert(options.end(), {"--network-stack", "posix"});
    run_in_reactor(body, options);
  } else if (!run_native(body, current->backend, shards)) {
    GTEST_SKIP() << "no right to make a network with a tap";
  }
}

bool run_native(future<> (*body)(), const std::string& backend, int shards) {
  static constexpr stack_kind native{"native", "", true};
  current = &native;
  own_network mine;
  if (!mine.made() || ::access("/dev/net/tun", R_OK | W_OK) != 0) {
    return false;
  }
  make_tap();
  run_in_reactor(body, {"--reactor-backend", backend, "--smp", std::to_string(shards), "--network-stack", "native",
                        "--tap", "tap0", "--host-ipv4-addr", "10.9.0.2", "--netmask-ipv4-addr", "255.255.255.0"});
  return true;
}

void remove_tap() {
  struct {
    nlmsghdr header;
    ifinfomsg link;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_DELLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.link.ifi_index = int(if_nametoindex("tap0"));
  descriptor s(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  char answer[4096];
  if (::send(s.get(), &request, sizeof request, 0) < 0 || ::recv(s.get(), answer, sizeof answer, 0) < 0 ||
      if_nametoindex("tap0") != 0) {
    throw_error(errno, "the tap cannot be removed");
  }
}

// ---- the peer ----

linux_peer linux_peer::listening(int backlog) {
  descriptor fd = nonblocking_socket();
  posix::bind_to(fd.get(), peer_address());
  if (::listen(fd.get(), backlog) != 0) {
    throw_error(errno, "listen");
  }
  return linux_peer(std::move(fd));
}

void linux_peer::fill_backlog() {
  for (int i = 0; i < 64; ++i) {
    descriptor fd = nonblocking_socket();
    sockaddr_in to = posix::to_kernel(address());
    ::connect(fd.get(), posix::generic(to), sizeof to);
    pollfd p{fd.get(), POLLOUT, 0};
    _fillers.push_back(std::move(fd));
    if (::poll(&p, 1, 50) == 0) {
      return;
    }
  }
  throw std::runtime_error("the backlog has no end");
}

future<linux_peer> linux_peer::connect_to(socket_address to) {
  descriptor fd = nonblocking_socket();
  sockaddr_in a = posix::to_kernel(to);
  int error = 0;
  co_await wait_until([&] {
    error = ::connect(fd.get(), posix::generic(a), sizeof a) == 0 || errno == EISCONN ? 0 : errno;
    return error != EINPROGRESS && error != EALREADY;
  });
  if (error != 0) {
    throw_error(error, "the peer's connect");
  }
  co_return linux_peer(std::move(fd));
}

future<linux_peer> linux_peer::accept() {
  descriptor fd;
  co_await wait_until([&] {
    fd = descriptor(::accept4(_fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    return bool(fd);
  });
  co_return linux_peer(std::move(fd));
}

future<> linux_peer::write(std::string data) {
  size_t at = 0;
  co_await wait_until([&] {
    ssize_t n = ::send(_fd.get(), data.data() + at, data.size() - at, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
      throw_error(errno, "the peer's send");
    }
    at += n < 0 ? 0 : size_t(n);
    return at == data.size();
  });
}

future<size_t> linux_peer::write_until_stuck(size_t max) {
  std::string piece(64 * 1024, 'p');
  size_t written = 0;
  for (int idle = 0; idle < 100 && written < max;) {
    ssize_t n = ::send(_fd.get(), piece.data(), piece.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
      throw_error(errno, "the peer's send");
    }
    if (n > 0) {
      written += size_t(n);
      idle = 0;
    } else {
      ++idle;
    }
    co_await sleep(n > 0 ? duration(0) : duration(milliseconds(2)));
  }
  co_return written;
}

future<std::string> linux_peer::read() {
  std::string data(1 << 20, 0);
  ssize_t n = -1;
  co_await wait_until([&] {
    n = ::recv(_fd.get(), data.data(), data.size(), 0);
    if (n < 0 && errno != EAGAIN) {
      throw_error(errno, "the peer's receive");
    }
    return n >= 0;
  });
  data.resize(size_t(n));
  co_return data;
}

future<std::string> linux_peer::read_to_end() {
  std::string all;
  for (;;) {
    auto some = co_await read();
    if (some.empty()) {
      co_return all;
    }
    all += some;
  }
}

void linux_peer::close_output() {
  ::shutdown(_fd.get(), SHUT_WR);
}

void linux_peer::reset() {
  linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(_fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close();
}

future<connected_pair_result> connected_pair() {
  auto listener = engine().net().listen(our_address());
  auto accepted = listener.accept();
  auto peer = co_await linux_peer::connect_to(our_address(listener.local_address().port()));
  co_return connected_pair_result{(co_await std::move(accepted)).connection, std::move(peer)};
}

int error_of(future<> f) {
  try {
    f.get();
    return 0;
  } catch (const std::system_error& e) {
    return e.code().value();
  }
}

}  // namespace solaster::testing
