#include "kernel/platform/clock_discipline.hh"

#include <gtest/gtest.h>

#include <random>

using namespace solaster::kernel;

namespace {

constexpr u64 true_hz = 2'600'000'000;

// A machine whose TSC runs at true_hz, beside a PIT. Time is the program's; the clock under test only says when to
// look.
struct machine {
  clock_discipline discipline;
  u64 hz;
  u64 tsc = 123'456'789'000;
  u64 look_again_ns = 20'000'000;

  explicit machine(u64 first_hz) : hz(first_hz) { discipline.start(read(), first_hz); }

  clock_reading read(u64 gap = 3000, i64 error = 0) const {
    const u64 pit = static_cast<u64>(static_cast<unsigned __int128>(tsc) * pit_hz / true_hz);
    return {tsc + static_cast<u64>(error), static_cast<u16>(0 - pit), gap};
  }
  // Waits as long as the clock believes to, and looks.
  void look(u64 gap = 3000, i64 error = 0) {
    tsc += static_cast<u64>(static_cast<unsigned __int128>(look_again_ns) * hz / 1'000'000'000);
    auto v = discipline.judge(read(gap, error));
    hz = v.hz;
    look_again_ns = v.look_again_ns;
  }
  double off() const { return std::abs(double(hz) - double(true_hz)) / double(true_hz); }
};

}  // namespace

TEST(clock_discipline, a_good_frequency_becomes_better) {
  machine m(true_hz * 1005 / 1000);
  m.look();
  EXPECT_LT(m.off(), 1e-4);
  m.look();
  EXPECT_LT(m.off(), 5e-6);
  m.look();
  EXPECT_LT(m.off(), 5e-7);
  EXPECT_EQ(m.look_again_ns, 5'000'000'000u);
}

TEST(clock_discipline, a_spoiled_first_measurement_is_found_out) {
  for (double factor : {0.1, 0.5, 0.9, 0.97, 1.03, 1.1, 1.5, 2.0, 3.0, 6.0, 10.0}) {
    machine m(static_cast<u64>(double(true_hz) * factor));
    int looks = 0;
    for (; looks < 8 && m.off() > 0.01; looks++)
      m.look();
    EXPECT_LT(m.off(), 0.01) << factor;
    EXPECT_LE(looks, 5) << factor;
    for (int i = 0; i < 6; i++)
      m.look();
    EXPECT_LT(m.off(), 1e-6) << factor;
  }
}

TEST(clock_discipline, one_bad_reading_changes_little_and_not_for_long) {
  for (int good = 0; good < 4; good++) {
    SCOPED_TRACE(good);
    machine m(true_hz);
    for (int i = 0; i < good; i++)
      m.look();
    m.look(3000, 1'300'000'000);  // the TSC jumped half a second between the two reads
    EXPECT_LT(m.off(), good ? 2e-3 : 2e-2);
    for (int i = 0; i < 20; i++)
      m.look();
    EXPECT_LT(m.off(), 1e-6);
  }
}

TEST(clock_discipline, a_reading_that_took_long_is_not_used) {
  machine m(true_hz);
  for (int i = 0; i < 17; i++) {
    m.look(30'000'000, 10'000'000);
    EXPECT_EQ(m.hz, true_hz);
  }
  EXPECT_EQ(m.look_again_ns, 1'000'000'000u);
  m.look();
  m.look();
  EXPECT_LT(m.off(), 1e-4);
}

TEST(clock_discipline, random_hosts) {
  for (u64 seed = 1; seed <= 300; seed++) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    machine m(true_hz / 4 + random() % (true_hz * 4));
    for (int i = 0; i < 60; i++) {
      const u64 gap = random() % 5 == 0 ? random() % 50'000'000 : 1000 + random() % 20'000;
      m.look(gap, static_cast<i64>(random() % (gap / 2 + 1)));
    }
    for (int i = 0; i < 20; i++)
      m.look();
    EXPECT_LT(m.off(), 1e-5);
  }
}
