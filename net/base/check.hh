// Invariants of our own code, always on. Never applied to bytes from the wire, a device or a program.
#pragma once

// The host ends the program or panics the kernel.
extern "C" [[noreturn]] void solaster_check_failed(const char* file, int line, const char* expression) noexcept;

#define CHECK(...)                                             \
  do {                                                         \
    if (!(__VA_ARGS__)) [[unlikely]]                           \
      solaster_check_failed(__FILE__, __LINE__, #__VA_ARGS__); \
  } while (0)

// Costly checks (is_valid() walks), in debug and sanitize builds only.
#if defined(SOLASTER_DEBUG) && SOLASTER_DEBUG
#define DCHECK(...) CHECK(__VA_ARGS__)
#else
#define DCHECK(...) \
  do {              \
  } while (0)
#endif
