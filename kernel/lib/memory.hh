// The C memory functions that the compiler calls, and the kernel's heap.
//
// `operator new` panics when memory is out: use it only for what boot needs. Whatever a program can make grow uses
// `new (std::nothrow)` or kmalloc and returns ENOMEM.
// Context: thread or interrupt (the heap's locks disable interrupts).
#pragma once

#include <new>

#include "kernel/lib/types.hh"

extern "C" {
void* memcpy(void* dst, const void* src, std::size_t n) noexcept;
void* memmove(void* dst, const void* src, std::size_t n) noexcept;
void* memset(void* dst, int c, std::size_t n) noexcept;
int memcmp(const void* a, const void* b, std::size_t n) noexcept;
const void* kernel_memchr(const void* s, int c, std::size_t n) noexcept;
std::size_t strlen(const char* s) noexcept;
int strcmp(const char* a, const char* b) noexcept;
void abort() noexcept __attribute__((noreturn));
}

namespace solaster::kernel {

// 16-byte aligned; null when memory is out. Sizes above 2 KiB take whole pages.
void* kmalloc(usize size);
void* kzalloc(usize size);
void kfree(void* p);

}  // namespace solaster::kernel
