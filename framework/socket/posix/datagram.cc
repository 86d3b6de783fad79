#include "framework/socket/posix/datagram.hh"

#include <sys/socket.h>

#include <cerrno>

#include "framework/reactor/reactor.hh"
#include "framework/socket/posix/readiness.hh"

namespace solaster::posix {

namespace {

constexpr size_t datagram_max = 65536;

// What the calls under way use; outlives the channel until they have ended.
class udp_port {
 public:
  udp_port(descriptor fd, shared_address share) : _share(std::move(share)), _local(read_local_address(fd.get())) {
    set_option(fd.get(), IPPROTO_IP, IP_PKTINFO, 1);
    _poll = pollable_fd(fd.get());
    fd.release();
  }

  static future<datagram> receive(std::shared_ptr<udp_port> me) {
    for (;;) {
      if (!me->_poll || me->_input_closed) {
        throw_error(ECONNABORTED, "receive");
      }
      datagram d;
      if (me->receive_now(d)) {
        co_return d;
      }
      co_await me->_poll.readable();
    }
  }

  static future<> send(std::shared_ptr<udp_port> me, sockaddr_in to, temporary_buffer<char> data) {
    for (;;) {
      if (!me->_poll) {
        throw_error(EPIPE, "send");
      }
      ssize_t n =
          ::sendto(me->_poll.get(), data.get(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT, generic(to), sizeof to);
      if (n >= 0) {
        co_return;
      }
      if (errno == EAGAIN) {
        co_await me->_poll.writeable();
      } else if (errno != EINTR && errno != ECONNREFUSED) {  // the latter is an earlier datagram's answer, see below
        throw_error(errno, "send");
      }
    }
  }

  void shutdown_input() noexcept {
    _input_closed = true;
    if (_poll) {
      wake_reader(_poll.state());
    }
  }
  void close() noexcept { _poll.close(); }
  const socket_address& local() const noexcept { return _local; }

 private:
  // False: nothing there.
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
    ssize_t n;
    do {  // ECONNREFUSED is an earlier datagram's ICMP answer: no news for who wants the next one
      n = ::recvmsg(_poll.get(), &header, MSG_DONTWAIT);
    } while (n < 0 && (errno == EINTR || errno == ECONNREFUSED));
    if (n < 0) {
      if (errno == EAGAIN) {
        return false;
      }
      throw_error(errno, "receive");
    }
    d.src = from_kernel(from);
    d.truncated = (header.msg_flags & MSG_TRUNC) != 0;
    d.data = temporary_buffer<char>(static_cast<const char*>(scratch.get()), size_t(n));
    d.dst = socket_address(destination_of(header), _local.port());
    return true;
  }

  uint32_t destination_of(msghdr& header) const noexcept {
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
        in_pktinfo info;
        std::memcpy(&info, CMSG_DATA(c), sizeof info);
        return ntohl(info.ipi_addr.s_addr);
      }
    }
    return _local.v4().ip;
  }

  shared_address _share;
  socket_address _local;
  pollable_fd _poll;
  bool _input_closed = false;
};

class channel final : public datagram_channel_impl {
 public:
  explicit channel(std::shared_ptr<udp_port> p) noexcept : _port(std::move(p)) {}
  ~channel() override { _port->close(); }
  future<datagram> receive() override { return udp_port::receive(_port); }
  future<> send(const socket_address& dst, temporary_buffer<char> data) override {
    return udp_port::send(_port, to_kernel(dst), std::move(data));
  }
  void shutdown_input() override { _port->shutdown_input(); }
  void close() noexcept override { _port->close(); }
  socket_address local_address() const override { return _port->local(); }

 private:
  std::shared_ptr<udp_port> _port;
};

}  // namespace

std::unique_ptr<datagram_channel_impl> make_datagram_channel(descriptor fd, shared_address share) {
  return std::make_unique<channel>(std::make_shared<udp_port>(std::move(fd), std::move(share)));
}

}  // namespace solaster::posix
