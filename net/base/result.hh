// A value or a Linux error number, for code without exceptions.
#pragma once

#include <expected>
#include <utility>

namespace solaster {

// Linux error numbers (asm-generic/errno.h). Only what net/ and kernel/ hand around; values are the ABI's.
enum class errc : int {
  perm = 1,
  noent = 2,
  srch = 3,
  intr = 4,
  io = 5,
  nxio = 6,
  too_big = 7,
  noexec = 8,
  badf = 9,
  child = 10,
  again = 11,
  nomem = 12,
  acces = 13,
  fault = 14,
  busy = 16,
  exist = 17,
  nodev = 19,
  notdir = 20,
  isdir = 21,
  inval = 22,
  nfile = 23,
  mfile = 24,
  notty = 25,
  txtbsy = 26,
  fbig = 27,
  nospc = 28,
  spipe = 29,
  rofs = 30,
  mlink = 31,
  pipe = 32,
  dom = 33,
  range = 34,
  deadlk = 35,
  nametoolong = 36,
  nosys = 38,
  notempty = 39,
  loop = 40,
  overflow = 75,
  notsock = 88,
  destaddrreq = 89,
  msgsize = 90,
  prototype = 91,
  noprotoopt = 92,
  protonosupport = 93,
  opnotsupp = 95,
  afnosupport = 97,
  addrinuse = 98,
  addrnotavail = 99,
  netdown = 100,
  netunreach = 101,
  connaborted = 103,
  connreset = 104,
  nobufs = 105,
  isconn = 106,
  notconn = 107,
  timedout = 110,
  connrefused = 111,
  hostdown = 112,
  hostunreach = 113,
  already = 114,
  inprogress = 115,
  canceled = 125,
};

template <class T = void>
class [[nodiscard]] result : public std::expected<T, errc> {
 public:
  using std::expected<T, errc>::expected;
  result(errc e) noexcept : std::expected<T, errc>(std::unexpect, e) {}
};

}  // namespace solaster

// Value of a result, or return its error from the enclosing function: `auto x = TRY(f());`
#define TRY(...)                        \
  ({                                    \
    auto&& try_result_ = (__VA_ARGS__); \
    if (!try_result_)                   \
      return try_result_.error();       \
    *std::move(try_result_);            \
  })
