// Stands in until the native stack lands; its owner deletes this file.
#include "framework/socket/api.hh"
#include "framework/socket/stacks.hh"

#include <cerrno>
#include <system_error>

namespace solaster {

std::unique_ptr<network_stack> make_native_stack(const engine_options&) {
    throw std::system_error(ENOSYS, std::generic_category(), "native network stack");
}

} // namespace solaster
