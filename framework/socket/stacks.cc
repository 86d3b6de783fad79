#include "framework/socket/stacks.hh"

#include "framework/host/direct.hh"
#include "framework/reactor/reactor.hh"
#include "framework/reactor/smp.hh"
#include "framework/socket/api.hh"

#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace solaster {

namespace {

// For programs that need no network: only the use of it fails, and says why.
class absent_stack final : public network_stack {
 public:
  explicit absent_stack(const char* why) : _why(why) {}
  std::string_view name() const noexcept override { return "none"; }
  server_socket listen(socket_address, listen_options) override { throw error("listen"); }
  future<connected_socket> connect(socket_address, socket_address, abort_source*) override {
    return make_exception_future<connected_socket>(std::make_exception_ptr(error("connect")));
  }
  datagram_channel make_datagram_channel(socket_address, datagram_options) override { throw error("UDP socket"); }

 private:
  std::system_error error(const char* what) const {
    return std::system_error(ENETDOWN, std::generic_category(), std::string(what) + ": " + _why);
  }
  const char* _why;
};

// Nothing but the host says that there is to be a network: a guest without a NIC has none.
bool is_without_nic(const network_options& o) {
  return is_guest() && o.stack.empty() && !o.dhcp && o.host_ipv4_addr.empty() && o.nic.pcap.empty() &&
         find_direct_interface()->nic_count() == 0;
}

}  // namespace

std::unique_ptr<network_stack> make_network_stack(const network_options& o) {
  const std::string& name = o.stack;
  if (is_without_nic(o)) {
    return std::make_unique<absent_stack>("this guest has no network device (run.py --net user, or --net tap=NAME)");
  }
  if (name == "native" || (name.empty() && is_guest())) {
    return make_native_stack(o);
  }
  if (name == "posix" || name.empty()) {
    return make_posix_stack();
  }
  if (name == "none") {
    return std::make_unique<absent_stack>("--network-stack none was given");
  }
  throw std::runtime_error("--network-stack: no such stack (posix, native, none): " + name);
}

// Shard 0's first: it is the one that takes hold of the device and learns the addresses.
future<> start_network(const network_options& options) {
  auto make = [&options] { engine().set_network_stack(make_network_stack(options)); };
  make();
  co_await smp::invoke_on_others(make);
  if (options.stack == "none") {
    co_return;
  }
  co_await engine().net().initialize();
  co_await smp::invoke_on_others([] { return engine().net().initialize(); });
}

}  // namespace solaster
