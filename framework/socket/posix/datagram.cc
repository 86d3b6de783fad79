// UDP over readiness, which every back end has.
#include <sys/socket.h>

#include <cerrno>

#include "framework/reactor/reactor.hh"
#include "framework/socket/posix/connection.hh"

namespace solaster::posix {

namespace {

constexpr size_t datagram_max = 65536;

class channel final : public datagram_channel_impl {
 public:
  explicit channel(descriptor fd) : _poll(fd.get()) {
    fd.release();
    set_option(_poll.get(), IPPROTO_IP, IP_PKTINFO, 1);
  }

  future<datagram> receive() override {
    for (;;) {
      if (!_poll || _input_closed) {
        throw_error(ECONNABORTED, "receive");
      }
      datagram d;
      if (receive_now(d)) {
        co_return d;
      }
      co_await _poll.readable();
    }
  }

  future<> send(const socket_address& dst, temporary_buffer<char> data) override {
    sockaddr_in to = to_kernel(dst);
    return send_to(to, std::move(data));
  }

  void shutdown_input() override {
    _input_closed = true;
    if (_poll) {
      engine().backend().fail(_poll.state(), make_error(ECONNABORTED, "receive"));
    }
  }
  void close() noexcept override { _poll.close(); }
  socket_address local_address() const override { return _poll ? read_local_address(_poll.get()) : socket_address(); }

 private:
  bool receive_now(datagram& d) {
    static thread_local temporary_buffer<char> scratch;
    if (scratch.size() != datagram_max) {
      scratch = temporary_buffer<char>(datagram_max);
    }
    sockaddr_in from{};
    iovec piece{scratch.get_write(), datagram_max};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in_pktinfo))];
    msghdr header{};
    header.msg_name = &from;
    header.msg_namelen = sizeof from;
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    ssize_t n = ::recvmsg(_poll.get(), &header, MSG_DONTWAIT);
    if (n < 0) {
      // ECONNREFUSED is an earlier datagram's ICMP answer: no news for who wants the next one.
      if (errno == EAGAIN || errno == EINTR || errno == ECONNREFUSED) {
        return false;
      }
      throw_error(errno, "receive");
    }
    d.src = from_kernel(from);
    d.truncated = (header.msg_flags & MSG_TRUNC) != 0;
    d.data = temporary_buffer<char>(static_cast<const char*>(scratch.get()), size_t(n));
    socket_address local = local_address();
    uint32_t to = local.v4().ip;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
        to = ntohl(reinterpret_cast<const in_pktinfo*>(CMSG_DATA(c))->ipi_addr.s_addr);
      }
    }
    d.dst = socket_address(to, local.port());
    return true;
  }

  future<> send_to(sockaddr_in to, temporary_buffer<char> data) {
    for (;;) {
      if (!_poll) {
        throw_error(EPIPE, "send");
      }
      ssize_t n = ::sendto(_poll.get(), data.get(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                           reinterpret_cast<const sockaddr*>(&to), sizeof to);
      if (n >= 0) {
        co_return;
      }
      if (errno == EAGAIN) {
        co_await _poll.writeable();
      } else if (errno != EINTR && errno != ECONNREFUSED) {
        throw_error(errno, "send");
      }
    }
  }

  pollable_fd _poll;
  bool _input_closed = false;
};

}  // namespace

std::unique_ptr<datagram_channel_impl> make_datagram_channel(descriptor fd) {
  return std::make_unique<channel>(std::move(fd));
}

}  // namespace solaster::posix
