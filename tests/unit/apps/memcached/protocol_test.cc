// The text protocol against scripts of (bytes in, bytes out), whole and cut at every position.
#include "apps/memcached/protocol.hh"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>

namespace solaster::memcached {
namespace {

constexpr int64_t wall = 1'700'000'000;

// Both clocks so many seconds on.
constexpr clock_seconds after(int64_t seconds) {
  return {1000 + seconds, wall + seconds};
}

std::string joined(const std::vector<temporary_buffer<char>>& pieces) {
  std::string all;
  for (auto& p : pieces)
    all.append(p.view());
  return all;
}

// One connection to one shard: what a server does with a session.
class client {
 public:
  explicit client(cache& c) : _cache(c), _session(c, _where) {}

  size_t values_max = session::unlimited;
  size_t largest_reply = 0;

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
      reply out(_storage);
      auto [consumed, why] = _session.feed(_unread, out, values_max);
      EXPECT_NE(why, session::verdict::batch) << "one shard needs no batch";
      largest_reply = std::max(largest_reply, out.size());
      std::vector<temporary_buffer<char>> pieces;
      out.take(pieces);
      answer += joined(pieces);
      _unread.erase(0, consumed);
      if (why == session::verdict::close || why == session::verdict::binary)
        return false;
      if (why == session::verdict::admin) {
        auto& request = _session.admin();
        if (request.what == admin_request::kind::flush_all)
          _cache.flush(request.exptime);
        if (!request.noreply)
          answer += request.what == admin_request::kind::stats ? "END\r\n" : "OK\r\n";
      }
      if (why == session::verdict::more) {
        EXPECT_LE(_unread.size(), line_max);
        return true;
      }
    }
  }

  cache& _cache;
  topology _where;
  session _session;
  reply_storage _storage;
  std::string _unread;
};

struct protocol : testing::Test {
  cache c{{.bytes_max = 8 << 20}, after(0)};
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
  c.tick(after(10));
  expect("get rel abs\r\n", "VALUE abs 0 1\r\nx\r\nEND\r\n");
  expect("touch abs 100\r\ntouch rel 100\r\ntouch abs z\r\n",
         "TOUCHED\r\nNOT_FOUND\r\nCLIENT_ERROR invalid exptime argument\r\n");
  c.tick(after(30));
  expect("gat 1 abs\r\n", "VALUE abs 0 1\r\nx\r\nEND\r\n");
  c.tick(after(31));
  expect("gats 1 abs\r\n", "END\r\n");
}

TEST_F(protocol, flush_all_now_and_later) {
  expect("set a 0 0 1\r\nx\r\nflush_all\r\nget a\r\n", "STORED\r\nOK\r\nEND\r\n");
  expect("set a 0 0 1\r\nx\r\nflush_all 5\r\nget a\r\n", "STORED\r\nOK\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
  c.tick(after(6));
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

TEST_F(protocol, a_get_of_any_length_is_answered_in_pieces_of_bounded_size) {
  for (size_t size : {100u, 1500u, 8000u, 500'000u}) {
    std::string value(size, 'v');
    expect("set s 0 0 " + std::to_string(size) + "\r\n" + value + "\r\n", "STORED\r\n");
    std::string line = "get", out;
    for (size_t i = 0; i < std::min<size_t>(30'000, 20'000'000 / size); ++i) {
      line += " s";
      out += "VALUE s 0 " + std::to_string(size) + "\r\n" + value + "\r\n";
    }
    for (size_t piece : {SIZE_MAX, size_t(16384), size_t(1001)}) {
      client one(c);
      EXPECT_TRUE(one.send(line + "\r\n", piece) == out + "END\r\n") << size << " in pieces of " << piece;
      EXPECT_LE(one.largest_reply, reply_max + size + 512);
    }
  }
}

TEST_F(protocol, an_error_in_a_short_line_comes_alone_and_in_a_long_one_behind_the_values) {
  expect("set a 0 0 1\r\nx\r\n", "STORED\r\n");
  const std::string long_key(251, 'k'), value = "VALUE a 0 1\r\nx\r\n",
                                        error = "CLIENT_ERROR bad command line format\r\n";
  for (size_t piece : {SIZE_MAX, size_t(7)}) {
    client one(c);
    EXPECT_EQ(one.send("get a a " + long_key + " a\r\nget a\r\n", piece), error + value + "END\r\n");
    std::string line = "get", out;
    for (int i = 0; i < 1500; ++i) {
      line += " a";
      out += value;
    }
    EXPECT_EQ(one.send(line + " " + long_key + " a a\r\nget a\r\n", piece), out + error + value + "END\r\n");
    EXPECT_EQ(one.send(line + " " + std::string(3000, 'k') + "\nget a\r\n", piece), out + error + value + "END\r\n");
    EXPECT_EQ(one.send(line + " " + std::string(250, 'k') + "\r\n", piece), out + "END\r\n");
    EXPECT_EQ(one.send("get " + std::string(3000, ' ') + "\r\nget " + std::string(3000, ' ') + "a\r\n", piece),
              "ERROR\r\n" + value + "END\r\n");
    EXPECT_EQ(one.send(std::string(101, ' ') + "get" + std::string(3000, ' '), piece), "<close>");
  }
}

TEST_F(protocol, short_of_memory_a_get_is_refused_and_the_connection_lives) {
  expect("set a 0 0 1\r\nx\r\nset b 0 0 3000\r\n" + std::string(3000, 'b') + "\r\n", "STORED\r\nSTORED\r\n");
  const std::string error = "SERVER_ERROR out of memory writing get response\r\n";
  peer.values_max = 0;
  expect("get a\r\nget a b\r\ngat 0 a\r\nget b\r\ndelete b\r\n", error + error + error + error + "DELETED\r\n");
  std::string line = "get";
  for (int i = 0; i < 2000; ++i)
    line += " a";
  peer.values_max = session::unlimited;
  std::string begun = peer.send(line);  // memory runs out in the middle of the line
  EXPECT_TRUE(begun.ends_with("VALUE a 0 1\r\nx\r\n"));
  peer.values_max = 0;
  EXPECT_EQ(peer.send(" a a\r\n"), error);
  peer.values_max = 30;  // who asks for little gets it
  expect("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
  expect("get a a a\r\n", "VALUE a 0 1\r\nx\r\nVALUE a 0 1\r\nx\r\n" + error);
  peer.values_max = session::unlimited;
  expect("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
}

TEST_F(protocol, a_reply_that_was_given_up_leaves_nothing_for_the_next) {
  expect("set a 0 0 1\r\nx\r\nset b 0 0 3000\r\n" + std::string(3000, 'b') + "\r\n", "STORED\r\nSTORED\r\n");
  reply_storage storage;
  topology where;
  uint64_t before = c.bytes_used();
  {
    session lost(c, where);
    reply out(storage);
    lost.feed("get a b\r\n", out);
    EXPECT_GT(out.size(), 3000u);
    c.remove("b", hash_key("b", where.seed));
    EXPECT_EQ(c.bytes_used(), before) << "held";
  }
  EXPECT_LT(c.bytes_used(), before) << "let go";
  session next(c, where);
  reply out(storage);
  next.feed("get a\r\n", out);
  EXPECT_FALSE(out.has_references());
  EXPECT_EQ(out.text(), "VALUE a 0 1\r\nx\r\nEND\r\n");
}

TEST_F(protocol, a_reply_that_was_taken_is_empty_and_in_order) {
  expect("set a 0 0 1\r\nx\r\nset b 0 0 3000\r\n" + std::string(3000, 'b') + "\r\n", "STORED\r\nSTORED\r\n");
  reply_storage storage;
  topology where;
  session s(c, where);
  reply out(storage);
  const std::string a = "VALUE a 0 1\r\nx\r\n", b = "VALUE b 0 3000\r\n" + std::string(3000, 'b') + "\r\n";
  for (int i = 0; i < 2; ++i) {
    s.feed("get b a b b a\r\n", out);
    std::vector<temporary_buffer<char>> pieces;
    pieces.push_back(temporary_buffer<char>::copy_of("before "));
    EXPECT_EQ(out.size(), 3 * b.size() + 2 * a.size() + 5);
    EXPECT_EQ(out.flatten().view(), b + a + b + b + a + "END\r\n");
    out.take(pieces);
    EXPECT_EQ(joined(pieces), "before " + b + a + b + b + a + "END\r\n");
    EXPECT_TRUE(out.empty());
  }
}

TEST_F(protocol, a_request_of_the_binary_protocol_is_refused_in_its_own_words) {
  std::string request("\x80\x0b\0\0\0\0\0\0\0\0\0\0wxyz\0\0\0\0\0\0\0\n", 24);
  const std::string refusal =
      std::string("\x81\x0b\0\0\0\0\0\x81\0\0\0\x16wxyz\0\0\0\0\0\0\0\0", 24) + "the text protocol only<close>";
  for (size_t piece : {24u, 1u, 5u}) {
    client one(c);
    EXPECT_EQ(one.send(request, piece), refusal);
  }
  expect("version\r\n", "VERSION " + std::string(version_text) + "\r\n");
  expect("\x80\x0b\r\n", "ERROR\r\n");  // not where a connection begins
}

TEST_F(protocol, noreply_as_the_last_word_silences_a_malformed_command) {
  for (std::string line :
       {"set a 0 0 noreply", "add a x 0 noreply", "append a 0 0 noreply", "cas a 0 0 1 noreply", "incr a noreply",
        "decr a noreply", "touch a noreply", "flush_all x noreply", "verbosity x noreply"})
    expect(line + "\r\n", "");
  expect("delete noreply\r\n", "NOT_FOUND\r\n");
}

TEST_F(protocol, numbers_are_read_as_memcached_reads_them) {
  const std::string gone = "STORED\r\nEND\r\n", there = "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n";
  auto set = [](std::string exptime) { return "set a 0 " + exptime + " 1\r\nx\r\nget a\r\n"; };
  for (auto exptime : {"2147483648", "4294967295", "-1", "-2147483648"})
    expect(set(exptime), gone);
  for (auto exptime : {"2147483647", "4294967296", "\t5", "5\t", "5\tx", "+5"})
    expect(set(exptime), there);
  expect("verbosity 4294967296\r\nverbosity 18446744073709551615\r\n", "OK\r\nOK\r\n");
  expect("verbosity 18446744073709551616\r\n", "CLIENT_ERROR bad command line format\r\n");
}

TEST_F(protocol, a_line_without_end_closes_unless_it_is_a_get) {
  EXPECT_EQ(peer.send(std::string(3000, 'x')), "<close>");
  client other(c);
  std::string keys = "get";
  for (int i = 0; i < 1000; ++i)
    keys += " key" + std::to_string(i);
  EXPECT_EQ(other.send(keys), "");
  EXPECT_EQ(other.send("\r\n"), "END\r\n");
  EXPECT_EQ(client(c).send("gat 0" + std::string(3000, ' ')), "<close>");
}

TEST_F(protocol, cut_anywhere_the_answer_is_the_same) {
  const std::string script =
      "set a 1 0 5\r\nhello\r\nget a\r\nset b 0 0 3 noreply\r\nxyz\r\nappend b 0 0 2\r\n--\r\ngets a b\r\nincr a 1\r\n"
      "bogus line\r\nset c 0 0 4\r\nlonger\r\ndelete a\r\nversion\r\nquit\r\n";
  std::string whole;
  {
    cache fresh({.bytes_max = 8 << 20}, after(0));
    client one(fresh);
    whole = one.send(script);
  }
  EXPECT_TRUE(whole.ends_with("<close>"));
  for (size_t piece = 1; piece < 60; ++piece) {
    cache fresh({.bytes_max = 8 << 20}, after(0));
    client one(fresh);
    EXPECT_EQ(one.send(script, piece), whole) << "in pieces of " << piece;
  }
}

// Two shards, their caches side by side: what server::run_batch does, without messages.
struct two_shards : testing::Test {
  cache caches[2] = {{{.bytes_max = 64 << 20}, after(0)}, {{.bytes_max = 64 << 20}, after(0)}};
  topology where{.shard = 0, .shards = 2, .seed = {7, 8}};
  size_t rounds = 0, largest = 0, largest_batch = 0;
  reply_storage storage;

  using buffers = std::vector<temporary_buffer<char>>;
  // Each with a reply of its own, which is gone before the next.
  session::progress feed(session& s, std::string_view input, buffers& pieces) {
    reply out(storage);
    auto progress = s.feed(input, out);
    out.take(pieces);
    return progress;
  }
  temporary_buffer<char> ask(unsigned shard, std::span<operation> operations) {
    reply out(storage);
    execute_round(caches[shard], shard, operations, out, shard != 0);
    return out.flatten();
  }
  bool emit(session& s, std::span<std::optional<temporary_buffer<char>>> held, buffers& pieces) {
    reply out(storage);
    bool whole = s.emit_answers(out, held);
    largest = std::max(largest, out.size());
    out.take(pieces);
    return whole;
  }

  std::string send(std::string_view input) {
    session s(caches[0], where);
    std::string answer;
    while (!input.empty()) {
      buffers pieces;
      auto [consumed, why] = feed(s, input, pieces);
      std::optional<temporary_buffer<char>> held[2];
      for (bool whole = s.batch().empty(); !whole;) {
        ++rounds;
        largest_batch = std::max(largest_batch, s.batch().size());
        for (unsigned shard = 0; shard < 2; ++shard) {
          if (held[shard])
            continue;
          held[shard] = ask(shard, s.batch());
          s.take_answer(shard, held[shard]->view());
          largest = std::max(largest, held[shard]->size());
        }
        whole = emit(s, held, pieces);
        for (unsigned shard = 0; shard < 2; ++shard) {
          if (!whole && !s.holds_answer(shard))
            held[shard].reset();
        }
      }
      answer += joined(pieces);
      input.remove_prefix(consumed);
      if (why == session::verdict::more && !input.empty())
        return answer + "<half>";
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

TEST_F(two_shards, a_long_line_of_keys_is_answered_in_batches_of_bounded_size) {
  std::string in, out, keys = "get";
  for (int i = 0; i < 10'000; ++i) {
    std::string key = "k" + std::to_string(i);
    in += "set " + key + " 0 0 3 noreply\r\nabc\r\n";
    keys += " " + key;
    out += "VALUE " + key + " 0 3\r\nabc\r\n";
  }
  EXPECT_EQ(send(in), "");
  EXPECT_TRUE(send(keys + "\r\n") == out + "END\r\n");
  EXPECT_LE(largest_batch, batch_max + 1);
  EXPECT_LE(largest, reply_max + answer_text_max);
}

TEST_F(two_shards, a_value_that_two_shards_answer_in_turn_stays_in_order_when_the_reply_is_full) {
  std::string value(5000, 'v'), in, out, keys = "get";
  for (int i = 0; i < 2000; ++i) {
    std::string key = "k" + std::to_string(i % 37);
    if (i < 37)
      in += "set " + key + " 0 0 5000 noreply\r\n" + value + "\r\n";
    keys += " " + key;
    out += "VALUE " + key + " 0 5000\r\n" + value + "\r\n";
  }
  EXPECT_EQ(send(in), "");
  EXPECT_TRUE(send(keys + "\r\n") == out + "END\r\n");
  EXPECT_LE(largest, reply_max + 5100);
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
  EXPECT_LT(largest, reply_max + 201'000);
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
