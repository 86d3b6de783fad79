// Disjoint ranges of addresses in order, with the gaps between them found in logarithmic time.
//
// A treap: a search tree by address whose priorities are random, so its depth is logarithmic whatever the order of the
// changes. Each node knows of its subtree the lowest start, the highest end and the largest gap inside, so the search
// for a gap goes only where one is. Owns: nothing; nodes are the caller's. Context: whoever guards it. Units: bytes.
#pragma once

#include "kernel/lib/types.hh"

namespace solaster::kernel::mm {

class range_tree;

struct range_node {
  u64 start = 0, end = 0;

  range_node() = default;
  // A copy is in no tree.
  range_node(const range_node& o) : start(o.start), end(o.end) {}
  range_node& operator=(const range_node&) = delete;

 private:
  friend class range_tree;
  range_node *_left = nullptr, *_right = nullptr, *_up = nullptr;
  u64 _priority = 0;  // none below has a higher one
  u64 _low = 0;       // the subtree's lowest start
  u64 _high = 0;      // its highest end
  u64 _gap = 0;       // the largest gap between two ranges of it
};

class range_tree {
 public:
  range_tree() = default;
  range_tree(const range_tree&) = delete;

  usize size() const { return _size; }
  // It must not meet another.
  void insert(range_node& n);
  void erase(range_node& n);
  // After start or end of a node changed, within its gaps.
  void resized(range_node& n);
  // The first with end > address; null: none.
  range_node* first_after(u64 address) const;
  range_node* first() const;
  static range_node* next(const range_node& n);
  static range_node* previous(const range_node& n);
  // The highest place for `length` bytes, aligned, in [bottom, top); 0: no room.
  u64 find_gap(u64 length, u64 alignment, u64 bottom, u64 top) const;

  // Order, disjointness, priorities, links and all that nodes say about their subtrees.
  bool is_valid() const;

 private:
  range_node*& link_to(range_node& n);
  void rotate_up(range_node& n);
  static void summarise(range_node& n);
  static void summarise_up(range_node* n);
  static bool is_valid_below(const range_node* n, const range_node* up, u64& at, usize& count);

  range_node* _root = nullptr;
  usize _size = 0;
  u64 _random = 0x9e3779b97f4a7c15;
};

inline void range_tree::summarise(range_node& n) {
  const range_node *l = n._left, *r = n._right;
  n._low = l ? l->_low : n.start;
  n._high = r ? r->_high : n.end;
  u64 gap = 0;
  auto consider = [&gap](u64 g) { gap = g > gap ? g : gap; };
  if (l) {
    consider(l->_gap);
    consider(n.start - l->_high);
  }
  if (r) {
    consider(r->_gap);
    consider(r->_low - n.end);
  }
  n._gap = gap;
}

inline void range_tree::summarise_up(range_node* n) {
  for (; n; n = n->_up)
    summarise(*n);
}

inline range_node*& range_tree::link_to(range_node& n) {
  if (!n._up)
    return _root;
  return n._up->_left == &n ? n._up->_left : n._up->_right;
}

// The node takes its parent's place; the subtree's summary stays what it was, at the new top.
inline void range_tree::rotate_up(range_node& n) {
  range_node& p = *n._up;
  link_to(p) = &n;
  n._up = p._up;
  range_node*& inner = p._left == &n ? n._right : n._left;
  (p._left == &n ? p._left : p._right) = inner;
  if (inner)
    inner->_up = &p;
  inner = &p;
  p._up = &n;
  summarise(p);
  summarise(n);
}

inline void range_tree::insert(range_node& n) {
  _random ^= _random << 13, _random ^= _random >> 7, _random ^= _random << 17;  // xorshift64
  n._priority = _random;
  n._left = n._right = n._up = nullptr;
  range_node** at = &_root;
  while (*at) {
    n._up = *at;
    at = n.start < (*at)->start ? &(*at)->_left : &(*at)->_right;
  }
  *at = &n;
  _size++;
  summarise_up(&n);
  while (n._up && n._up->_priority < n._priority)
    rotate_up(n);
}

inline void range_tree::erase(range_node& n) {
  while (n._left || n._right) {
    range_node *l = n._left, *r = n._right;
    rotate_up(!l || (r && r->_priority > l->_priority) ? *r : *l);
  }
  link_to(n) = nullptr;
  _size--;
  summarise_up(n._up);
  n._up = nullptr;
}

inline void range_tree::resized(range_node& n) {
  summarise_up(&n);
}

inline range_node* range_tree::first_after(u64 address) const {
  range_node* found = nullptr;
  for (range_node* n = _root; n;) {
    if (n->end > address) {
      found = n;
      n = n->_left;
    } else {
      n = n->_right;
    }
  }
  return found;
}

inline range_node* range_tree::first() const {
  return first_after(0);
}

inline range_node* range_tree::next(const range_node& n) {
  if (range_node* at = n._right) {
    while (at->_left)
      at = at->_left;
    return at;
  }
  const range_node* at = &n;
  while (at->_up && at->_up->_right == at)
    at = at->_up;
  return at->_up;
}

inline range_node* range_tree::previous(const range_node& n) {
  if (range_node* at = n._left) {
    while (at->_right)
      at = at->_right;
    return at;
  }
  const range_node* at = &n;
  while (at->_up && at->_up->_left == at)
    at = at->_up;
  return at->_up;
}

// Each turn asks for the subtree of `n` with the space around it, [low, high) without a range of another subtree. Where
// both sides may have room the higher is taken first; the left one waits on a stack no deeper than the tree.
inline u64 range_tree::find_gap(u64 length, u64 alignment, u64 bottom, u64 top) const {
  struct part {
    const range_node* n;
    u64 low, high;
  };
  constexpr usize depth_max = 96;  // 50 would be bad luck for 2^16 ranges
  part waiting[depth_max];
  usize count = 0;
  part p{_root, bottom, top};
  for (;;) {
    const u64 room = p.high > p.low ? p.high - p.low : 0;
    const range_node* n = p.n;
    if (!n && room >= length) {
      const u64 start = (p.high - length) & ~(alignment - 1);
      if (start >= p.low)
        return start;
    }
    const bool worth = n && room >= length &&
                       (n->_gap >= length || (n->_low > p.low && n->_low - p.low >= length) ||
                        (p.high > n->_high && p.high - n->_high >= length));
    if (worth) {
      if (count == depth_max)
        __builtin_trap();
      waiting[count++] = {n->_left, p.low, n->start < p.high ? n->start : p.high};
      p = {n->_right, n->end > p.low ? n->end : p.low, p.high};
      continue;
    }
    if (count == 0)
      return 0;
    p = waiting[--count];
  }
}

inline bool range_tree::is_valid_below(const range_node* n, const range_node* up, u64& at, usize& count) {
  if (!n)
    return true;
  if (n->_up != up || (up && up->_priority < n->_priority) || !is_valid_below(n->_left, n, at, count))
    return false;
  if (n->start < at || n->end <= n->start)
    return false;
  at = n->end;
  count++;
  range_node expected(*n);
  expected._left = n->_left, expected._right = n->_right;
  summarise(expected);
  if (expected._low != n->_low || expected._high != n->_high || expected._gap != n->_gap)
    return false;
  return is_valid_below(n->_right, n, at, count);
}

inline bool range_tree::is_valid() const {
  u64 at = 0;
  usize count = 0;
  return is_valid_below(_root, nullptr, at, count) && count == _size;
}

}  // namespace solaster::kernel::mm
