#include "net/ip/neighbour.hh"

#include <algorithm>
#include <new>

namespace solaster::net {

neighbour_cache::neighbour_cache(const stack_config& config, link& l, event_queue& events, stack_stats& stats) noexcept
    : _config(config), _link(l), _events(events), _stats(stats), _key(hash_key::derive(config.secret, 'n')) {}

neighbour_cache::~neighbour_cache() {
  clear();
}

void neighbour_cache::clear() noexcept {
  while (_oldest)
    remove(_oldest);
}

// ---- look-up

neighbour* neighbour_cache::find(ipv4_address a) noexcept {
  neighbour* n = bucket_of(a);
  while (n && n->address != a)
    n = n->in_bucket;
  return n;
}

neighbour* neighbour_cache::find_usable(ipv4_address a) noexcept {
  neighbour* n = find(a);
  return n && n->usable() ? n : nullptr;
}

void neighbour_cache::send(ipv4_address next_hop, packet_ptr p, instant now) noexcept {
  neighbour* n = find(next_hop);
  if (n && n->usable()) {
    n->used = true;
    _link.put(std::move(p), {n->mac, _link.interface().mac, ethertype::ipv4});
    return;
  }
  if (!n) {
    n = add(next_hop, now);
    if (!n)
      return _stats.drop(drop_reason::no_memory);
    ask(n, now);
  }
  // The newest is kept: an old packet is more likely to have been sent again by its owner (RFC 1122 2.3.2.2).
  n->waiting.push_back(std::move(p));
  if (n->waiting.size() > _config.neighbour_queue_max) {
    n->waiting.pop_front();
    _stats.drop(drop_reason::neighbour_queue);
  }
}

void neighbour_cache::resolve(ipv4_address address, instant now) noexcept {
  if (find(address))
    return;
  if (neighbour* n = add(address, now))
    ask(n, now);
}

// ---- what the wire says

void neighbour_cache::input(const arp_view& arp, instant now) noexcept {
  const ipv4_address from = arp.sender();
  const bool for_us = !_own.any() && arp.target() == _own;
  const bool announced = arp.target() == from;
  const bool request = arp.operation() == arp_operation::request;
  // A probe has no sender (RFC 5227); our own address in another's hands is a conflict that we do not give in to.
  if (!from.any() && from != _own && !from.multicast() && from != ipv4_address::broadcast()) {
    neighbour* n = find(from);
    if (!n && for_us && request)
      n = add(from, now);
    if (n)
      confirm(n, arp.sender_mac(), now);
    if (for_us || announced)
      tell_others(n, from, arp.sender_mac());
  }
  if (for_us && request)
    send_arp(arp_operation::reply, arp.sender_mac(), arp.sender_mac(), from);
}

void neighbour_cache::learn(ipv4_address address, const mac_address& mac, uint32_t bits, instant now) noexcept {
  if (mac.multicast() || address.any() || address == _own)
    return;
  neighbour* n = find(address);
  if (!n && (bits & neighbour_new))
    n = add(address, now);
  if (n)
    confirm(n, mac, now);
}

void neighbour_cache::confirm(neighbour* n, const mac_address& mac, instant now) noexcept {
  const bool changed = n->mac != mac || !n->usable();
  if (changed) {
    n->mac = mac;
    ++_generation;
    if (_config.shards > 1 && _config.shard == 0)
      _events.post(n->learned, neighbour_new);
  }
  n->phase = neighbour::state::reachable;
  n->tries = 0;
  n->used = false;
  n->confirmed = now;
  set_deadline(n, now + _config.neighbour_reachable);
  unlink(n);
  link_newest(n);
  if (n->waiting.empty())
    return;
  n->used = true;
  while (packet_ptr p = n->waiting.pop_front())
    _link.put(std::move(p), {mac, _link.interface().mac, ethertype::ipv4});
}

// What is no news here may be what another shard waits for: which of them asked is not known, and only we hear.
void neighbour_cache::tell_others(neighbour* n, ipv4_address a, const mac_address& mac) noexcept {
  if (_config.shards == 1)
    return;
  if (n)
    return _events.post(n->learned, neighbour_update);
  for (auto& slot : _announcements)
    if (!slot.learned.queued()) {
      slot.fact = {a, mac};
      return _events.post(slot.learned, neighbour_update);
    }
  _stats.drop(drop_reason::rate_limit);
}

neighbour_cache::learned_fact neighbour_cache::describe(const event_source& s) const noexcept {
  for (const auto& slot : _announcements)
    if (&slot.learned == &s)
      return slot.fact;
  const auto* n = static_cast<const neighbour*>(s.object());
  return {n->address, n->mac};
}

// ---- what we say

void neighbour_cache::send_arp(arp_operation op, const mac_address& to, const mac_address& target_mac,
                               ipv4_address target) noexcept {
  packet_ptr p = _link.make_packet(arp_size);
  if (!p)
    return _stats.drop(drop_reason::no_memory);
  std::byte* at = p->extend(arp_size);
  arp_message{op, _link.interface().mac, _own, target_mac, target}.emit(at);
  _link.put(std::move(p), {to, _link.interface().mac, ethertype::arp});
}

void neighbour_cache::announce() noexcept {
  send_arp(arp_operation::request, mac_address::broadcast(), {}, _own);
}

void neighbour_cache::ask(neighbour* n, instant now) noexcept {
  ++n->tries;
  set_deadline(n, now + _config.neighbour_retry);
  send_arp(arp_operation::request, n->usable() ? n->mac : mac_address::broadcast(), {}, n->address);
}

// ---- time

void neighbour_cache::set_deadline(neighbour* n, instant at) noexcept {
  // Rounded up to about 134 ms, so that many entries share an expiry.
  constexpr int64_t grain = 1 << 27;
  if (at < instant::never() - nanoseconds(grain))
    at.ns = (at.ns | (grain - 1)) + 1;
  n->deadline = at;
  _deadline = std::min(_deadline, at);
}

void neighbour_cache::expire(instant now) noexcept {
  if (now < _deadline)
    return;
  _deadline = instant::never();
  for (neighbour* n = _oldest; n;) {
    neighbour* next = n->newer;
    if (n->deadline <= now)
      advance(n, now);
    else
      _deadline = std::min(_deadline, n->deadline);
    n = next;
  }
}

void neighbour_cache::advance(neighbour* n, instant now) noexcept {
  using state = neighbour::state;
  if (n->phase == state::reachable) {
    if (n->used) {
      n->phase = state::probing;
      n->tries = 0;
      return ask(n, now);
    }
    if (now - n->confirmed < _config.neighbour_idle)
      return set_deadline(n, now + _config.neighbour_reachable);
    return remove(n);
  }
  if (n->tries < _config.neighbour_tries_max)
    return ask(n, now);
  remove(n);
}

// ---- entries

neighbour* neighbour_cache::add(ipv4_address a, instant now) noexcept {
  if (_count >= _config.neighbours_max) {
    // The oldest that is not in use, looking at a few.
    neighbour* victim = _oldest;
    neighbour* n = _oldest;
    for (int i = 0; n && i < 8; ++i, n = n->newer)
      if (!n->used && n->waiting.empty()) {
        victim = n;
        break;
      }
    if (!victim)
      return nullptr;
    // What waited there is lost; but its neighbour may well be there: nobody is told that it is not.
    for (; victim->waiting.pop_front();)
      _stats.drop(drop_reason::neighbour_queue);
    remove(victim);
  }
  void* raw = _link.host_memory().allocate(sizeof(neighbour), alignof(neighbour));
  if (!raw)
    return nullptr;
  auto* n = new (raw) neighbour(a);
  n->confirmed = now;
  neighbour*& head = bucket_of(a);
  n->in_bucket = head;
  head = n;
  link_newest(n);
  ++_count;
  return n;
}

void neighbour_cache::remove(neighbour* n) noexcept {
  neighbour** at = &bucket_of(n->address);
  while (*at != n)
    at = &(*at)->in_bucket;
  *at = n->in_bucket;
  unlink(n);
  --_count;
  ++_generation;
  _unresolved.append(std::move(n->waiting));
  n->~neighbour();
  _link.host_memory().deallocate(n, sizeof(neighbour), alignof(neighbour));
}

void neighbour_cache::link_newest(neighbour* n) noexcept {
  n->older = _newest;
  n->newer = nullptr;
  (_newest ? _newest->newer : _oldest) = n;
  _newest = n;
}

void neighbour_cache::unlink(neighbour* n) noexcept {
  (n->older ? n->older->newer : _oldest) = n->newer;
  (n->newer ? n->newer->older : _newest) = n->older;
}

bool neighbour_cache::is_valid() const noexcept {
  uint32_t in_buckets = 0, in_list = 0;
  for (const neighbour* n : _table)
    for (; n; n = n->in_bucket)
      if (++in_buckets > _count)
        return false;
  const neighbour* previous = nullptr;
  for (const neighbour* n = _oldest; n; previous = n, n = n->newer) {
    if (n->older != previous || ++in_list > _count || n->deadline < _deadline)
      return false;
    if (n->usable() && !n->waiting.empty())
      return false;
    if (n->waiting.size() > _config.neighbour_queue_max || !n->waiting.is_valid())
      return false;
  }
  return previous == _newest && in_buckets == _count && in_list == _count && _count <= _config.neighbours_max;
}

}  // namespace solaster::net
