#include "framework/socket/native/foreign.hh"

#include "net/packet/heap_buffer.hh"

namespace solaster::native {

net::packet_ptr foreign_packets::adopt(net::packet* theirs, unsigned home) noexcept {
  net::packet_ptr p = _slab.make();
  record* r = _free;
  if (!r && p) {
    try {
      r = _records.emplace_back(std::make_unique<record>()).get();
    } catch (...) {
    }
  } else if (r) {
    _free = r->next;
  }
  if (!r || !p) {
    if (r) {
      r->next = _free;
      _free = r;
    }
    send_home(theirs, home);
    return nullptr;
  }
  ++_visiting;
  r->host = this;
  r->packet = theirs;
  r->home = home;
  r->live = theirs->fragment_count();
  for (uint32_t i = 0; i < theirs->fragment_count(); ++i) {
    net::fragment& f = theirs->frag(i);
    net::buffer& b = r->buffers[i];
    // What surrounds a range belongs to the packet only where nobody else refers to the buffer.
    bool whole = f.unique();
    b.data = whole ? f.owner()->data : f.data();
    b.capacity = whole ? f.owner()->capacity : f.size();
    b.charge = f.owner()->charge;
    b.bus = f.owner()->bus.reachable() ? f.owner()->bus + uint64_t(b.data - f.owner()->data) : net::dma_unreachable;
    b.recycle = recycle;
    b.owner = r;
    p->append(net::fragment(&b, f.data(), f.size()));
  }
  p->offload = theirs->offload;
  return p;
}

net::packet_ptr foreign_packets::copy(net::packet* theirs, unsigned home, net::memory& m) noexcept {
  net::packet_ptr p = _slab.make();
  if (p) {
    if (net::fragment f = net::make_heap_fragment(m, theirs->size())) {
      net::copy_out(*theirs, 0, f.data(), theirs->size());
      p->append(std::move(f));
      p->offload = theirs->offload;
    } else {
      p.reset();
    }
  }
  send_home(theirs, home);
  return p;
}

void foreign_packets::recycle(net::buffer* b) noexcept {
  auto* r = static_cast<record*>(b->owner);
  if (--r->live != 0) {
    return;
  }
  foreign_packets* host = r->host;
  host->send_home(r->packet, r->home);
  --host->_visiting;
  r->next = host->_free;
  host->_free = r;
}

void foreign_packets::send_home(net::packet* p, unsigned home) noexcept {
  _returns[home].push_back(p);
  ++_waiting;
}

packet_chain foreign_packets::take_returns(unsigned home) noexcept {
  _waiting -= _returns[home].size();
  return std::move(_returns[home]);
}

void foreign_packets::put_back(unsigned home, packet_chain packets) noexcept {
  _waiting += packets.size();
  _returns[home] = std::move(packets);
}

}  // namespace solaster::native
