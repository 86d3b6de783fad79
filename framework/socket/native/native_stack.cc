// The native network stack of a shard: start, addresses, stop. The work is the driver's and the sockets'.
#include "framework/host/direct.hh"
#include "framework/log/log.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/smp.hh"
#include "framework/reactor/timer.hh"
#include "framework/socket/api.hh"
#include "framework/socket/native/driver.hh"
#include "framework/socket/native/tcp_socket.hh"
#include "framework/socket/native/udp_channel.hh"
#include "framework/socket/native/wrap.hh"
#include "framework/socket/options.hh"
#include "framework/socket/stacks.hh"

#include <fmt/core.h>
#include <sys/random.h>
#include <bit>
#include <stdexcept>

namespace solaster {
namespace {

using native::driver;
using native::shared_state;

logger native_log("native");

// Made by shard 0 before the others make their stacks, gone after theirs are.
std::shared_ptr<shared_state> shared;

std::string show(net::ipv4_address a) {
  return to_string(ipv4_addr(a.value, 0)).substr(0, to_string(ipv4_addr(a.value, 0)).find(':'));
}

net::ipv4_address parse_address(const char* option, const std::string& text) {
  auto a = ipv4_addr::parse(text);
  if (!a || a->port != 0) {
    throw std::runtime_error(fmt::format("--{} {}: not an IPv4 address", option, text));
  }
  return {a->ip};
}

// What the options say; nullopt: DHCP.
std::optional<net::address_config> read_address(const network_options& o) {
  if (o.host_ipv4_addr.empty()) {
    if (o.dhcp == false) {
      throw std::runtime_error("the native network stack needs an address: --host-ipv4-addr ADDR, or --dhcp 1");
    }
    return std::nullopt;
  }
  if (o.dhcp == true) {
    throw std::runtime_error("--dhcp 1 and --host-ipv4-addr exclude each other");
  }
  net::address_config c;
  c.address = parse_address("host-ipv4-addr", o.host_ipv4_addr);
  if (!o.netmask_ipv4_addr.empty()) {
    uint32_t mask = parse_address("netmask-ipv4-addr", o.netmask_ipv4_addr).value;
    if (std::countl_one(mask) + std::countr_zero(mask) < 32) {
      throw std::runtime_error("--netmask-ipv4-addr " + o.netmask_ipv4_addr + ": not a netmask");
    }
    c.prefix_length = uint8_t(std::countl_one(mask));
  }
  if (!o.gw_ipv4_addr.empty()) {
    c.gateway = parse_address("gw-ipv4-addr", o.gw_ipv4_addr);
  }
  return c;
}

std::shared_ptr<shared_state> make_shared_state(const network_options& options) {
  auto s = std::make_shared<shared_state>();
  s->address = read_address(options);
  static shard_memory memory;  // the device's own; as long as the process
  s->device = nic::open(options.nic, smp::count, memory);
  s->steering = net::steering::make(smp::count);
  if (getrandom(s->secret.data(), s->secret.size(), 0) != ssize_t(s->secret.size())) {
    throw std::runtime_error("no entropy for the network stack");
  }
  return s;
}

class native_stack final : public network_stack {
 public:
  explicit native_stack(const network_options& options) {
    if (this_shard_id() == 0) {
      shared = make_shared_state(options);
    }
    _shared = shared;
    _driver = std::make_unique<driver>(*_shared);
  }
  ~native_stack() override {
    _driver.reset();
    native::forget_kept_wrappers();
    if (this_shard_id() == 0) {
      shared.reset();
    }
  }
  std::string_view name() const noexcept override { return "native"; }

  future<> initialize() override {
    if (this_shard_id() == 0) {
      start_device();
      engine().at_exit([] { return stop_all(); });
    }
    _driver->start();
    if (this_shard_id() == 0 && !_shared->address) {
      co_await ask_for_address();
    }
    if (!_shared->address) {
      co_return;
    }
    set_address(*_shared->address);
  }
  server_socket listen(socket_address addr, listen_options options) override {
    check_running();
    refuse_loopback(addr, "listen");
    server_socket made(native::make_server_socket(native::to_endpoint(addr), options));
    bool alone = options.lba == load_balancing::none || addr.port() == 0;
    tell_host("tcp", made.local_address(), alone ? 0 : this_shard_id(), alone ? 1 : smp::count);
    return made;
  }
  future<connected_socket> connect(socket_address remote, socket_address local, abort_source* giving_up) override {
    if (!driver::local()) {
      return make_exception_future<connected_socket>(native::make_error(errc::netdown, "connect"));
    }
    auto opened = futurize_invoke([&] {
      refuse_loopback(remote, "connect");
      return native::connection::open(native::to_endpoint(local), native::to_endpoint(remote), giving_up);
    });
    return std::move(opened).then([](std::shared_ptr<native::connection> c) {
      return connected_socket(native::make_connected_socket(std::move(c)));
    });
  }
  datagram_channel make_datagram_channel(socket_address local, datagram_options options) override {
    check_running();
    refuse_loopback(local, "UDP socket");
    datagram_channel made(native::make_channel(local, options));
    if (local.port() != 0) {  // an ephemeral one is for answers
      tell_host("udp", made.local_address(), 0, 1);
    }
    return made;
  }
  socket_address host_address() const noexcept override {
    auto a = driver::local() ? _driver->stack().address() : std::nullopt;
    return a ? socket_address(a->address.value, 0) : socket_address();
  }

 private:
  // Said before anything is sent: a packet for 127.0.0.1 would go to the gateway, and nobody would answer.
  static void refuse_loopback(const socket_address& a, const char* what) {
    if (a.v4().ip >> 24 == 127) {
      throw std::system_error(
          EADDRNOTAVAIL, std::generic_category(),
          fmt::format("{} {}: the native network stack has no loopback yet; use this host's own address", what,
                      to_string(a)));
    }
  }
  // So that whoever started the guest can publish the port, from the moment at which it is served and not before.
  void tell_host(const char* protocol, const socket_address& local, unsigned shard, unsigned shards) const {
    auto* direct = find_direct_interface();
    if (!direct || direct->size < offsetof(solaster_direct, tell_host) + sizeof(direct->tell_host)) {
      return;
    }
    uint32_t ip = local.v4().ip ? local.v4().ip : host_address().v4().ip;
    std::string line =
        fmt::format("listen {} {} {}/{}", protocol, to_string(ipv4_addr(ip, local.port())), shard, shards);
    direct->tell_host(line.data(), line.size());  // ENODEV: started by something that does not listen
  }
  static void check_running() {
    if (!driver::local()) {  // the program is stopping
      std::rethrow_exception(native::make_error(errc::netdown, "native network stack"));
    }
  }
  void start_device() {
    nic& device = *_shared->device;
    _shared->device_steers = device.start(_shared->steering.rss);
    const auto& mac = device.info().mac.bytes;
    native_log.info("{}, {:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}, {} queue pair{}{}", device.name(), mac[0], mac[1],
                    mac[2], mac[3], mac[4], mac[5], device.queue_pairs(), device.queue_pairs() == 1 ? "" : "s",
                    _shared->device_steers ? ", steers by itself" : "");
    if (!device.info().link_up) {
      native_log.warn("{}: the link is down", device.name());
    }
  }
  void set_address(const net::address_config& c) {
    _driver->stack().set_address(c, engine().now());
    _driver->stack().resolve_gateway(engine().now());
    _driver->touch();
  }
  future<> ask_for_address() {
    _driver->on_address([this](const net::address_config& c) { got_address(c); });
    _driver->stack().start_dhcp(engine().now());
    _driver->touch();
    timer<> patience([this] { native_log.warn("{}: no DHCP server has answered yet", _shared->device->name()); });
    patience.arm(seconds(5));
    co_await _have_address.emplace().get_future();
  }
  // The first time, and when a lease was renewed with other data.
  void got_address(const net::address_config& c) {
    bool changed = !_shared->address || _shared->address->address != c.address ||
                   _shared->address->gateway != c.gateway || _shared->address->prefix_length != c.prefix_length;
    if (changed) {
      native_log.info("address {}/{}, gateway {} (DHCP)", show(c.address), c.prefix_length, show(c.gateway));
    }
    _shared->address = c;
    if (_have_address) {
      std::exchange(_have_address, std::nullopt)->set_value();
    } else if (changed) {
      (void)smp::invoke_on_others([c] {
        if (driver* d = driver::local()) {
          d->stack().set_address(c, d->now());
          d->touch();
        }
      });
    }
  }
  // In this order: nobody sends, the device is quiet, its buffers come back, each on its own shard.
  static future<> stop_all() {
    co_await smp::invoke_on_all([] {
      driver::local()->stop();
      driver::local()->log_stats();
    });
    shared->device->device().reset();
    co_await smp::invoke_on_all([] { driver::addressee()->close(); });
    for (int round = 0; round < 2; ++round) {
      co_await smp::invoke_on_all([] { return driver::addressee()->send_visitors_home(); });
    }
  }

  std::shared_ptr<shared_state> _shared;
  std::unique_ptr<driver> _driver;
  std::optional<promise<>> _have_address;
};

}  // namespace

std::unique_ptr<network_stack> make_native_stack(const network_options& options) {
  return std::make_unique<native_stack>(options);
}

}  // namespace solaster
