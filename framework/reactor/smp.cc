#include "framework/reactor/smp_queues.hh"

#include "framework/reactor/reactor.hh"

namespace solaster {

smp_queues::smp_queues(unsigned shards, unsigned self, std::vector<std::unique_ptr<smp_channel>>& all)
    : _self(self), _out(shards), _in(shards), _unread_since(shards) {
  for (unsigned other = 0; other < shards; ++other) {
    if (other != self) {
      _out[other] = all[self * shards + other].get();
      _in[other] = all[other * shards + self].get();
    }
  }
}

bool smp_queues::take_replies(smp_pipe& replies) noexcept {
  spsc_ring& ring = replies.ring();
  uint32_t n = ring.count_readable();
  if (n == 0) {
    return false;
  }
  for (; n > 0; --n) {
    ring.take()->complete();
  }
  ring.release_taken();
  return true;
}

// Here and now, not as tasks: a call does not stand in line behind a busy shard's own work. It ends when the quota
// does; the rest is taken in the next turn.
bool smp_queues::run_requests(smp_pipe& requests) noexcept {
  spsc_ring& ring = requests.ring();
  uint32_t n = ring.count_readable();
  if (n == 0) {
    return false;
  }
  engine().arm_preemption();
  for (; n > 0; --n) {
    ring.take()->run_and_dispose();
    if (need_preempt()) [[unlikely]] {
      break;
    }
  }
  ring.release_taken();
  return true;
}

bool smp_queues::poll() noexcept {
  bool came = false;
  for (unsigned l = smp_channel::lane_count; l-- > 0;) {  // the framework's lane first
    for_each_other([&](unsigned other) {
      came |= take_replies(_out[other]->lanes[l].replies);
      came |= run_requests(_in[other]->lanes[l].requests);
    });
  }
  return flush() || came;
}

bool smp_queues::is_unread(unsigned other) noexcept {
  bool any = false;
  for (unsigned l = 0; l < smp_channel::lane_count; ++l) {
    any |= _out[other]->lanes[l].requests.is_unread() || _in[other]->lanes[l].replies.is_unread();
  }
  return any;
}

bool smp_queues::flush() noexcept {
  bool any = false;
  int64_t now = internal::hot.loop_now_ns;
  for_each_other([&](unsigned other) {
    bool sent = false;
    for (unsigned l = 0; l < smp_channel::lane_count; ++l) {
      sent |= _out[other]->lanes[l].requests.flush();
      sent |= _in[other]->lanes[l].replies.flush();
    }
    int64_t& since = _unread_since[other];
    if (since != 0 && now - since >= smp::unread_max.ns) [[unlikely]] {
      since = is_unread(other) ? now : 0;
      if (since != 0) {
        internal::press_shard(other);
      }
    }
    if (sent) {
      any = true;
      since = since != 0 ? since : now;
      internal::notify_shard(other);
    }
  });
  return any;
}

void smp_queues::press_unread() noexcept {
  for_each_other([&](unsigned other) {
    if (std::exchange(_unread_since[other], 0) != 0 && is_unread(other)) {
      internal::press_shard(other);
    }
  });
}

bool smp_queues::nothing_came() noexcept {
  for (unsigned other = 0; other < _out.size(); ++other) {
    for (unsigned l = 0; other != _self && l < smp_channel::lane_count; ++l) {
      if (_out[other]->lanes[l].replies.ring().count_readable() != 0 ||
          _in[other]->lanes[l].requests.ring().count_readable() != 0) {
        return false;
      }
    }
  }
  return true;
}

bool smp_queues::has_backlog() noexcept {
  bool any = false;
  for_each_other([&](unsigned other) {
    for (unsigned l = 0; l < smp_channel::lane_count; ++l) {
      any |= _out[other]->lanes[l].requests.has_backlog() || _in[other]->lanes[l].replies.has_backlog();
    }
  });
  return any;
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
