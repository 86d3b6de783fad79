// The text protocol against scripts of (bytes in, bytes out), whole and cut at every position.
#include "apps/memcached/protocol.hh"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>

namespace solaster::memcached {
namespace {

constexpr int64_t wall = 1'700'000'000;

// One connection to one shard: what a server does with a session.
class client {
 public:
  explicit client(cache& c) : _cache(c), _session(c, _where), _out(&c) {}

  // Sends `bytes` in pieces of `piece` bytes; returns the answer. "<close>" where the connection ended.
  std::string send(std::string_view bytes, size_t piece = SIZE_MAX) {
    std::string answer;
    while (!bytes.empty()) {
      size_t n = std::min(piece, bytes.size());
      _unread.append(bytes.substr(0, n));
      bytes.remove_prefix(n);
      if (!drain(answer))
        return answer + "<close>";
    }
    return answer;
  }

 private:
  bool drain(std::string& answer) {
    for (;;) {
      auto [consumed, why] = _session.feed(_unread, _out);
      EXPECT_NE(why, session::verdict::batch) << "one shard needs no batch";
      collect(answer);
      _unread.erase(0, consumed);
      if (why == session::verdict::close)
        return false;
      if (why == session::verdict::admin) {
        auto& request = _session.admin();
        if (request.what == admin_request::kind::flush_all)
          _cache.flush(request.exptime == 0 ? 0 : _cache.expiry_from_protocol(request.exptime));
        if (!request.noreply)
          answer += request.what == admin_request::kind::stats ? "END\r\n" : "OK\r\n";
      }
      if (why == session::verdict::more)
        return true;
    }
  }
  void collect(std::string& answer) {
    auto references = _out.take_references();
    size_t at = 0;
    for (auto& r : references) {
      answer.append(_out.text().substr(at, r.at - at)).append(r.what->text() + r.skip, r.what->text_size() - r.skip);
      at = r.at;
      _cache.release(r.what);
    }
    answer.append(_out.text().substr(at));
    _out.clear();
  }

  cache& _cache;
  topology _where;
  session _session;
  reply _out;
  std::string _unread;
};

struct protocol : testing::Test {
  cache c{{.bytes_max = 8 << 20}, wall};
  client peer{c};
  void TearDown() override { EXPECT_TRUE(c.is_valid()); }
  void expect(std::string_view in, std::string_view out) { EXPECT_EQ(peer.send(in), out) << "for " << in; }
};

TEST_F(protocol, set_then_get_returns_flags_and_value) {
  expect("set a 5 0 3\r\nabc\r\n", "STORED\r\n");
  expect("get a\r\n", "VALUE a 5 3\r\nabc\r\nEND\r\n");
  expect("get b\r\n", "END\r\n");
  expect("get a b a\r\n", "VALUE a 5 3\r\nabc\r\nVALUE a 5 3\r\nabc\r\nEND\r\n");
  expect("get a\n", "VALUE a 5 3\r\nabc\r\nEND\r\n");
}

TEST_F(protocol, gets_shows_a_cas_number_that_cas_takes_once) {
  expect("set a 0 0 1\r\nx\r\n", "STORED\r\n");
  expect("gets a\r\n", "VALUE a 0 1 1\r\nx\r\nEND\r\n");
  expect("cas a 0 0 1 1\r\ny\r\n", "STORED\r\n");
  expect("cas a 0 0 1 1\r\nz\r\n", "EXISTS\r\n");
  expect("cas b 0 0 1 1\r\nz\r\n", "NOT_FOUND\r\n");
  expect("gets a\r\n", "VALUE a 0 1 2\r\ny\r\nEND\r\n");
}

TEST_F(protocol, add_replace_append_prepend) {
  expect("replace a 0 0 1\r\nx\r\n", "NOT_STORED\r\n");
  expect("append a 0 0 1\r\nx\r\n", "NOT_STORED\r\n");
  expect("add a 7 0 2\r\nbb\r\n", "STORED\r\n");
  expect("add a 0 0 1\r\nx\r\n", "NOT_STORED\r\n");
  expect("append a 9 0 2\r\ncc\r\n", "STORED\r\n");
  expect("prepend a 9 0 2\r\naa\r\n", "STORED\r\n");
  expect("get a\r\n", "VALUE a 7 6\r\naabbcc\r\nEND\r\n");
  expect("replace a 1 0 0\r\n\r\n", "STORED\r\n");
  expect("get a\r\n", "VALUE a 1 0\r\n\r\nEND\r\n");
}

TEST_F(protocol, incr_wraps_and_decr_stops_at_zero_and_pads) {
  expect("set n 0 0 2\r\n10\r\n", "STORED\r\n");
  expect("decr n 1\r\n", "9\r\n");
  expect("get n\r\n", "VALUE n 0 2\r\n9 \r\nEND\r\n");
  expect("incr n 18446744073709551615\r\n", "8\r\n");
  expect("decr n 100\r\n", "0\r\n");
  expect("incr n 12345\r\n", "12345\r\n");
  expect("get n\r\n", "VALUE n 0 5\r\n12345\r\nEND\r\n");
  expect("set n 0 0 2\r\n 7\r\nincr n 1\r\nget n\r\n", "STORED\r\n8\r\nVALUE n 0 2\r\n8 \r\nEND\r\n");
  expect("incr n x\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n");
  expect("incr n -1\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n");
  expect("incr m 1\r\n", "NOT_FOUND\r\n");
  expect("set t 0 0 1\r\nx\r\n", "STORED\r\n");
  expect("incr t 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
}

TEST_F(protocol, delete_and_its_old_forms) {
  expect("set a 0 0 1\r\nx\r\n", "STORED\r\n");
  expect("delete a\r\ndelete a\r\n", "DELETED\r\nNOT_FOUND\r\n");
  expect("delete a 0\r\n", "NOT_FOUND\r\n");
  expect("delete a 0 noreply\r\n", "");
  expect("delete a 5\r\n", "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n");
}

TEST_F(protocol, expiry_in_all_its_forms) {
  expect("set past 0 -1 1\r\nx\r\nset rel 0 10 1\r\nx\r\n", "STORED\r\nSTORED\r\n");
  expect("set abs 0 " + std::to_string(wall + 20) + " 1\r\nx\r\n", "STORED\r\n");
  expect("set gone 0 " + std::to_string(wall - 20) + " 1\r\nx\r\n", "STORED\r\n");
  expect("get past rel abs gone\r\n", "VALUE rel 0 1\r\nx\r\nVALUE abs 0 1\r\nx\r\nEND\r\n");
  c.tick(wall + 10);
  expect("get rel abs\r\n", "VALUE abs 0 1\r\nx\r\nEND\r\n");
  expect("touch abs 100\r\ntouch rel 100\r\ntouch abs z\r\n",
         "TOUCHED\r\nNOT_FOUND\r\nCLIENT_ERROR invalid exptime argument\r\n");
  c.tick(wall + 30);
  expect("gat 1 abs\r\n", "VALUE abs 0 1\r\nx\r\nEND\r\n");
  c.tick(wall + 31);
  expect("gats 1 abs\r\n", "END\r\n");
}

TEST_F(protocol, flush_all_now_and_later) {
  expect("set a 0 0 1\r\nx\r\nflush_all\r\nget a\r\n", "STORED\r\nOK\r\nEND\r\n");
  expect("set a 0 0 1\r\nx\r\nflush_all 5\r\nget a\r\n", "STORED\r\nOK\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
  c.tick(wall + 6);
  expect("get a\r\n", "END\r\n");
  expect("flush_all noreply\r\nflush_all x\r\n", "CLIENT_ERROR invalid exptime argument\r\n");
}

TEST_F(protocol, noreply_says_nothing) {
  expect("set a 0 0 1 noreply\r\nx\r\nincr a 1 noreply\r\ndelete a noreply\r\nget a\r\n", "END\r\n");
  std::string many;
  for (int i = 0; i < 5000; ++i)
    many += "set k" + std::to_string(i) + " 0 0 2 noreply\r\nzz\r\n";
  expect(many + "get k4999\r\n", "VALUE k4999 0 2\r\nzz\r\nEND\r\n");
}

TEST_F(protocol, errors_of_a_malformed_line) {
  expect("\r\n", "ERROR\r\n");
  expect("bogus\r\n", "ERROR\r\n");
  expect("get\r\n", "ERROR\r\n");
  expect("set a 0 0\r\n", "ERROR\r\n");
  expect("set a x 0 1\r\n", "CLIENT_ERROR bad command line format\r\n");
  expect("set a 0 0 -1\r\n", "CLIENT_ERROR bad command line format\r\n");
  expect("set a 0 0 1\r\nxyz\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\n");
  std::string long_key(251, 'k');
  expect("get a " + long_key + "\r\n", "CLIENT_ERROR bad command line format\r\n");
  expect("set " + std::string(250, 'k') + " 0 0 1\r\nx\r\n", "STORED\r\n");
}

TEST_F(protocol, an_object_too_large_is_swallowed_and_the_old_one_dropped) {
  expect("set a 0 0 1\r\nx\r\n", "STORED\r\n");
  std::string big(2 << 20, 'v');
  expect("set a 0 0 " + std::to_string(big.size()) + "\r\n" + big + "\r\nget a\r\n",
         "SERVER_ERROR object too large for cache\r\nEND\r\n");
}

TEST_F(protocol, large_values_are_answered_by_reference) {
  std::string big(900'000, 'v');
  expect("set a 0 0 900000\r\n" + big + "\r\n", "STORED\r\n");
  expect("gets a\r\n", "VALUE a 0 900000 1\r\n" + big + "\r\nEND\r\n");
}

TEST_F(protocol, a_line_without_end_closes_unless_it_is_a_get) {
  EXPECT_EQ(peer.send(std::string(3000, 'x')), "<close>");
  client other(c);
  std::string keys = "get";
  for (int i = 0; i < 1000; ++i)
    keys += " key" + std::to_string(i);
  EXPECT_EQ(other.send(keys), "");
  EXPECT_EQ(other.send("\r\n"), "END\r\n");
}

TEST_F(protocol, cut_anywhere_the_answer_is_the_same) {
  const std::string script =
      "set a 1 0 5\r\nhello\r\nget a\r\nset b 0 0 3 noreply\r\nxyz\r\nappend b 0 0 2\r\n--\r\ngets a b\r\nincr a 1\r\n"
      "bogus line\r\nset c 0 0 4\r\nlonger\r\ndelete a\r\nversion\r\nquit\r\n";
  std::string whole;
  {
    cache fresh({.bytes_max = 8 << 20}, wall);
    client one(fresh);
    whole = one.send(script);
  }
  EXPECT_TRUE(whole.ends_with("<close>"));
  for (size_t piece = 1; piece < 60; ++piece) {
    cache fresh({.bytes_max = 8 << 20}, wall);
    client one(fresh);
    EXPECT_EQ(one.send(script, piece), whole) << "in pieces of " << piece;
  }
}

// Two shards, their caches side by side: what server::run_batch does, without messages.
struct two_shards : testing::Test {
  cache caches[2] = {{{.bytes_max = 64 << 20}, wall}, {{.bytes_max = 64 << 20}, wall}};
  topology where{.shard = 0, .shards = 2, .seed = {7, 8}};
  size_t rounds = 0, largest = 0;

  std::string send(std::string_view input) {
    session s(caches[0], where);
    std::string answer;
    while (!input.empty()) {
      reply out;
      auto [consumed, why] = s.feed(input, out);
      std::optional<reply> held[2];
      for (bool whole = s.batch().empty(); !whole;) {
        ++rounds;
        for (unsigned shard = 0; shard < 2; ++shard) {
          if (held[shard])
            continue;
          held[shard].emplace();
          execute_round(caches[shard], shard, s.batch(), *held[shard], shard != 0);
          s.take_answer(shard, held[shard]->text());
          largest = std::max(largest, held[shard]->text().size());
        }
        whole = s.emit_answers(out);
        for (unsigned shard = 0; shard < 2; ++shard) {
          if (!whole && !s.holds_answer(shard))
            held[shard].reset();
        }
        answer += out.text();
        out.clear();
      }
      answer += out.text();
      input.remove_prefix(consumed);
    }
    return answer;
  }
};

TEST_F(two_shards, a_pipeline_over_both_answers_in_order) {
  std::string in, out;
  for (int i = 0; i < 1000; ++i) {
    std::string key = "k" + std::to_string(i);
    in += "set " + key + " 0 0 3\r\nabc\r\nget " + key + " none\r\ndelete " + key + "\r\nget " + key + "\r\n";
    out += "STORED\r\nVALUE " + key + " 0 3\r\nabc\r\nEND\r\nDELETED\r\nEND\r\n";
  }
  EXPECT_EQ(send(in), out);
  EXPECT_EQ(caches[0].item_count() + caches[1].item_count(), 0u);
  EXPECT_EQ(caches[0].bytes_used() + caches[1].bytes_used(), 0u) << "no value is left behind";
}

TEST_F(two_shards, large_values_do_not_pile_up) {
  std::string value(200'000, 'v'), in, out, keys = "get";
  for (int i = 0; i < 100; ++i) {
    std::string key = "k" + std::to_string(i);
    in += "set " + key + " 0 0 200000 noreply\r\n" + value + "\r\n";
    keys += " " + key;
    out += "VALUE " + key + " 0 200000\r\n" + value + "\r\n";
  }
  EXPECT_EQ(send(in), "");
  rounds = 0;
  EXPECT_TRUE(send(keys + "\r\n") == out + "END\r\n");
  EXPECT_GT(rounds, 10u);
  EXPECT_LT(largest, batch_reply_max + 201'000);
}

TEST_F(protocol, random_bytes_neither_crash_nor_leak) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const char* words[] = {"get ",  "set ",    "a",       " ",    "0",  "\r\n", "5",           "cas ",
                         "incr ", "noreply", "delete ", "gat ", "-1", "\n",   "99999999999", "\x00\xff"};
  for (int round = 0; round < 2000; ++round) {
    client one(c);
    std::string bytes;
    for (int i = 0; i < 60; ++i)
      bytes += words[random() % std::size(words)];
    one.send(bytes, 1 + random() % 40);
  }
}

}  // namespace
}  // namespace solaster::memcached
