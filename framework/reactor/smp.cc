#include "framework/reactor/smp_queues.hh"

#include "framework/reactor/reactor.hh"

namespace solaster {

smp_queues::smp_queues(unsigned shards, unsigned self, std::vector<std::unique_ptr<smp_channel>>& all)
    : _self(self), _out(shards), _in(shards) {
  for (unsigned other = 0; other < shards; ++other) {
    if (other != self) {
      _out[other] = all[self * shards + other].get();
      _in[other] = all[other * shards + self].get();
    }
  }
}

void smp_queues::send(shard_id to, internal::smp_message* m) noexcept {
  m->origin = _self;
  smp_channel& c = *_out[to];
  // Counted from here to the reply: see the proof in the header.
  if (c.under_way < smp::ring_size && c.waiting.empty()) [[likely]] {
    ++c.under_way;
    c.requests.push(m);
  } else {
    c.waiting.push_back(m);
  }
}

void smp_queues::reply(internal::smp_message* m) noexcept {
  _in[m->origin]->replies.push(m);
}

bool smp_queues::take_replies(smp_channel& c) noexcept {
  if (c.replies.empty()) {
    return false;
  }
  do {
    internal::smp_message* m = c.replies.pop();
    --c.under_way;
    m->complete();
  } while (!c.replies.empty());
  while (c.under_way < smp::ring_size && !c.waiting.empty()) {
    ++c.under_way;
    c.requests.push(static_cast<internal::smp_message*>(c.waiting.pop_front()));
  }
  return true;
}

bool smp_queues::poll() noexcept {
  bool came = false;
  for (unsigned other = 0; other < _out.size(); ++other) {
    if (other == _self) {
      continue;
    }
    came |= take_replies(*_out[other]);
    spsc_ring& requests = _in[other]->requests;
    if (!requests.empty()) {
      do {
        schedule(requests.pop());
      } while (!requests.empty());
      came = true;
    }
  }
  return flush() || came;
}

bool smp_queues::flush() noexcept {
  bool any = false;
  for (unsigned other = 0; other < _out.size(); ++other) {
    if (other == _self) {
      continue;
    }
    bool sent = _out[other]->requests.publish();
    sent |= _in[other]->replies.publish();
    if (sent) {
      any = true;
      internal::wake_shard(other);
    }
  }
  return any;
}

bool smp_queues::nothing_came() noexcept {
  for (unsigned other = 0; other < _out.size(); ++other) {
    if (other != _self && (!_out[other]->replies.empty() || !_in[other]->requests.empty())) {
      return false;
    }
  }
  return true;
}

namespace internal {

void send_message(shard_id to, smp_message* m) noexcept {
  engine().queues().send(to, m);
}

void send_reply(smp_message* m) noexcept {
  engine().queues().reply(m);
}

}  // namespace internal
}  // namespace solaster
