// Readable names of C++ functions for backtraces: the nested name, without arguments and without template arguments.
//
// `_ZN8solaster7reactor3runEv` becomes `solaster::reactor::run`; template arguments become `<>`, a lambda `{lambda}`.
// Spec: Itanium C++ ABI 5.1 (mangling), as much of it as finding the name's end needs.
// Context: any; no allocation. Errors: a name that is not understood is given back as it is.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace solaster::kernel {

// The text is in `out` (cut when it is too small), or is `mangled` itself.
std::string_view demangle(std::string_view mangled, std::span<char> out);

}  // namespace solaster::kernel
