#include "kernel/mm/range_tree.hh"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>

using solaster::kernel::u64;
using solaster::kernel::mm::range_node;
using solaster::kernel::mm::range_tree;

namespace {

constexpr u64 page = 4096, bottom = 16 * page, top = 4096 * page;

// The same thing as a walk over a sorted list.
class model {
 public:
  bool is_free(u64 start, u64 end) const {
    auto i = _ranges.lower_bound(end);
    return i == _ranges.begin() || std::prev(i)->second <= start;
  }
  u64 find_gap(u64 length, u64 alignment, u64 low, u64 high) const {
    for (u64 start = (high - length) / alignment * alignment; start >= low && start <= high; start -= alignment)
      if (is_free(start, start + length))
        return start;
    return 0;
  }
  std::map<u64, u64> _ranges;
};

class range_trees : public ::testing::Test {
 protected:
  range_node& add(u64 start, u64 end) {
    auto n = std::make_unique<range_node>();
    n->start = start, n->end = end;
    tree.insert(*n);
    expected._ranges[start] = end;
    return *(nodes[start] = std::move(n));
  }
  void remove(u64 start) {
    tree.erase(*nodes[start]);
    nodes.erase(start);
    expected._ranges.erase(start);
  }
  range_tree tree;
  model expected;
  std::map<u64, std::unique_ptr<range_node>> nodes;
};

TEST_F(range_trees, an_empty_one_is_one_gap) {
  EXPECT_EQ(tree.find_gap(page, page, bottom, top), top - page);
  EXPECT_EQ(tree.find_gap(top - bottom, page, bottom, top), bottom);
  EXPECT_EQ(tree.find_gap(top - bottom + page, page, bottom, top), 0u);
  EXPECT_EQ(tree.first_after(0), nullptr);
}

TEST_F(range_trees, the_highest_gap_below_the_top_is_taken) {
  add(100 * page, 110 * page);
  add(112 * page, 200 * page);
  add(300 * page, 400 * page);
  EXPECT_EQ(tree.find_gap(page, page, bottom, 400 * page), 299 * page);
  EXPECT_EQ(tree.find_gap(page, page, bottom, 250 * page), 249 * page);
  EXPECT_EQ(tree.find_gap(2 * page, page, bottom, 200 * page), 110 * page);
  EXPECT_EQ(tree.find_gap(3 * page, page, bottom, 200 * page), 97 * page);
  EXPECT_EQ(tree.find_gap(3 * page, page, 98 * page, 200 * page), 0u);
  EXPECT_EQ(tree.find_gap(8 * page, 8 * page, bottom, 300 * page), 288 * page);
}

TEST_F(range_trees, random_changes_agree_with_a_list) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  auto pages = [&](u64 n) { return random() % n * page; };
  for (int step = 0; step < 4000; step++) {
    u64 start = bottom + pages(4000), end = start + page + pages(8);
    if (random() % 5 < 3 && expected.is_free(start, end)) {
      add(start, end);
    } else if (!nodes.empty()) {
      auto i = nodes.lower_bound(start);
      i = i == nodes.end() ? nodes.begin() : i;
      range_node& n = *i->second;
      if (random() % 3 == 0 && n.end - n.start > page) {
        n.end -= page;
        tree.resized(n);
        expected._ranges[n.start] = n.end;
      } else {
        remove(n.start);
      }
    }
    ASSERT_TRUE(tree.is_valid()) << step;
    ASSERT_EQ(tree.size(), nodes.size());
    const u64 length = page + pages(40), alignment = random() % 8 ? page : 16 * page;
    const u64 high = random() % 2 ? top : bottom + 64 * page + pages(3000);
    ASSERT_EQ(tree.find_gap(length, alignment, bottom, high), expected.find_gap(length, alignment, bottom, high))
        << step;
    auto after = std::find_if(nodes.begin(), nodes.end(), [&](auto& n) { return n.second->end > start; });
    ASSERT_EQ(tree.first_after(start), after == nodes.end() ? nullptr : after->second.get());
  }
  const range_node* n = tree.first();
  for (auto& [start, node] : nodes) {
    ASSERT_EQ(n, node.get());
    const range_node* next = range_tree::next(*n);
    ASSERT_TRUE(!next || range_tree::previous(*next) == n);
    n = next;
  }
  EXPECT_EQ(n, nullptr);
}

TEST_F(range_trees, rules_that_are_broken_are_seen) {
  range_node& a = add(100 * page, 110 * page);
  add(112 * page, 200 * page);
  ASSERT_TRUE(tree.is_valid());
  a.end = 111 * page;  // without resized(): the gap is a page smaller than the tree believes
  EXPECT_FALSE(tree.is_valid());
  tree.resized(a);
  EXPECT_TRUE(tree.is_valid());
  a.end = 113 * page;
  tree.resized(a);
  EXPECT_FALSE(tree.is_valid());
}

}  // namespace
