#include "framework/socket/stacks.hh"

#include "framework/reactor/backend/direct.hh"
#include "framework/socket/api.hh"

#include <stdexcept>

namespace solaster {

std::unique_ptr<network_stack> make_network_stack(const engine_options& o) {
  const std::string& name = o.network_stack;
  if (name == "native" || (name.empty() && is_guest())) {
    return make_native_stack(o);
  }
  if (name == "posix" || name.empty()) {
    return make_posix_stack(o);
  }
  if (name == "none") {  // for programs and tests that want no network
    return nullptr;
  }
  throw std::runtime_error("--network-stack: no such stack (posix, native, none): " + name);
}

}  // namespace solaster
