#include "net/device/pcap.hh"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "net/packet/heap_buffer.hh"
#include "net/packet/packet.hh"
#include "tests/unit/net/support/test_memory.hh"

namespace solaster::net {
namespace {

struct to_string : pcap_writer::sink {
  std::string out;
  void write(std::span<const std::byte> b) noexcept override {
    out.append(reinterpret_cast<const char*>(b.data()), b.size());
  }
};

template <class T>
T at(const std::string& s, size_t offset) {
  T v;
  std::memcpy(&v, s.data() + offset, sizeof v);
  return v;
}

TEST(pcap, file_is_as_the_manual_says) {
  testing::test_memory m;
  packet_slab slab(m);
  to_string file;
  pcap_writer writer(file, 6);
  EXPECT_EQ(file.out.size(), 24u);
  EXPECT_EQ(at<uint32_t>(file.out, 0), 0xa1b23c4du);
  EXPECT_EQ(at<uint16_t>(file.out, 4), 2);
  EXPECT_EQ(at<uint16_t>(file.out, 6), 4);
  EXPECT_EQ(at<uint32_t>(file.out, 16), 6u);
  EXPECT_EQ(at<uint32_t>(file.out, 20), 1u);  // DLT_EN10MB
  packet_ptr p = slab.make();
  for (const char* part : {"abcd", "efgh"})
    p->append(copy_to_heap(m, reinterpret_cast<const std::byte*>(part), 4));
  writer.add(*p, 3'000'000'007);
  EXPECT_EQ(at<uint32_t>(file.out, 24), 3u);
  EXPECT_EQ(at<uint32_t>(file.out, 28), 7u);
  EXPECT_EQ(at<uint32_t>(file.out, 32), 6u);
  EXPECT_EQ(at<uint32_t>(file.out, 36), 8u);
  EXPECT_EQ(file.out.substr(40), "abcdef");
  EXPECT_EQ(writer.packets(), 1u);
}

}  // namespace
}  // namespace solaster::net
