#include "kernel/lib/demangle.cc"  // the kernel's objects are not linked into host tests

#include <gtest/gtest.h>

using solaster::kernel::demangle;

static std::string name_of(std::string_view mangled) {
  char out[256];
  return std::string(demangle(mangled, out));
}

TEST(demangle, nested_names_lose_their_arguments) {
  EXPECT_EQ(name_of("_ZN8solaster7reactor3runEv"), "solaster::reactor::run");
  EXPECT_EQ(name_of("_Z4deepi"), "deep");
  EXPECT_EQ(name_of("_ZSt9terminatev"), "std::terminate");
  EXPECT_EQ(name_of("_ZNK3foo3barERKSs"), "foo::bar");
  EXPECT_EQ(name_of("_ZL9internal1v"), "internal1");
  EXPECT_EQ(name_of("_ZN12_GLOBAL__N_14workEv"), "(anonymous)::work");
}

TEST(demangle, constructors_repeat_the_class) {
  EXPECT_EQ(name_of("_ZN1a7counterC2Ev"), "a::counter::counter");
  EXPECT_EQ(name_of("_ZN1a7counterD0Ev"), "a::counter::~counter");
}

TEST(demangle, templates_and_operators) {
  EXPECT_EQ(name_of("_ZNSt6vectorIiSaIiEE9push_backEOi"), "std::vector<>::push_back");
  EXPECT_EQ(name_of("_ZN8solaster6futureIJEE3getEv"), "solaster::future<>::get");
  EXPECT_EQ(name_of("_ZN1aeqERKS_S1_"), "a::operator==");
  EXPECT_EQ(name_of("_ZNKSt8functionIFvvEEclEv"), "std::function<>::operator()");
  EXPECT_EQ(name_of("_Z3maxIiET_S0_S0_"), "max<>");
  EXPECT_EQ(name_of("_ZN1aILb1ELi42EE1fEv"), "a<>::f");
}

TEST(demangle, lambdas_and_clones) {
  EXPECT_EQ(name_of("_ZZN8solaster3fooEvENKUlvE_clEv"), "solaster::foo::{lambda}::operator()");
  EXPECT_EQ(name_of("_ZZ4mainENKUlvE0_clEv"), "main::{lambda}::operator()");
  EXPECT_EQ(name_of("_ZN4echo5serveEv.resume"), "echo::serve.resume");
}

TEST(demangle, what_is_not_understood_stays) {
  for (auto s : {"main", "_Z", "_ZN", "_ZN99999abc", "", "_ZN1aE9", "_Z!"}) {
    char out[4];
    (void)demangle(s, out);
  }
  EXPECT_EQ(name_of("main"), "main");
  EXPECT_EQ(name_of("_ZN99999abc"), "_ZN99999abc");
}
