#include "framework/memory/temporary_buffer.hh"

#include <gtest/gtest.h>

#include <string>

namespace solaster {
namespace {

using buffer = temporary_buffer<char>;

TEST(temporary_buffer, shares_keep_the_memory_until_the_last_is_gone) {
  int released = 0;
  std::string memory = "hello world";
  {
    buffer a(memory.data(), memory.size(), make_deleter([&] { ++released; }));
    buffer b = a.share(6, 5);
    buffer c = b.share();
    a = {};
    EXPECT_EQ(released, 0);
    EXPECT_EQ(b.view(), "world");
    b = {};
    EXPECT_EQ(c.view(), "world");
    EXPECT_EQ(released, 0);
  }
  EXPECT_EQ(released, 1);
}

TEST(temporary_buffer, malloced_memory_can_be_shared_late) {
  buffer a = buffer::copy_of("0123456789");
  buffer head = a.split(4);
  EXPECT_EQ(head.view(), "0123");
  EXPECT_EQ(a.view(), "456789");
  head = {};
  a.trim_front(1);
  a.trim(3);
  EXPECT_EQ(a.view(), "567");
  buffer copy = a.clone();
  a = {};
  EXPECT_EQ(copy.view(), "567");
}

TEST(temporary_buffer, a_custom_impl_decides_what_release_means) {
  struct pooled final : deleter::impl {
    int returned = 0;
    void dispose() noexcept override { ++returned; }
  } fragment;
  char bytes[4] = {'a', 'b', 'c', 'd'};
  {
    buffer a(bytes, 4, deleter(&fragment));
    buffer b = a.share();
    EXPECT_EQ(fragment.refs, 2u);
  }
  EXPECT_EQ(fragment.returned, 1);
}

TEST(deleter, append_runs_both) {
  int first = 0, second = 0;
  {
    deleter d = make_deleter([&] { ++first; });
    d.append(make_deleter([&] { ++second; }));
    deleter share = d.share();
    d.reset();
    EXPECT_EQ(first + second, 0);
  }
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 1);
}

TEST(temporary_buffer, aligned_memory_is_aligned) {
  buffer a = buffer::aligned(4096, 100);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a.get()) % 4096, 0u);
}

}  // namespace
}  // namespace solaster
