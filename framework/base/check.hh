// CHECK and DCHECK for what is built on the framework; see net/base/check.hh.
#pragma once

#include "net/base/check.hh"  // IWYU pragma: export
