// When a flow may go over from the worker to the kernel.
#include <doctest/doctest.h>

#include "forward/known_flows.h"

namespace vpc_conn::forward {

TEST_SUITE("flow_handover") {
  TEST_CASE("done is what was sent, not what was taken") {
    std::vector<KnownFlow> entries(kKnownFlows);
    KnownFlows flows(entries);
    std::vector<HandoverCount> counts(kKnownFlows);
    FlowHandover handover(flows, counts);
    handover.Take(5);
    handover.Take(5);
    handover.Take(6);
    CHECK(counts[5].done == 0);
    handover.Commit();
    CHECK(counts[5].done == 2);
    CHECK(counts[6].done == 1);
    handover.Commit();
    CHECK(counts[5].done == 2);
    int room = 0;
    for (; !handover.full(); room++) handover.Take(7);
    CHECK(room >= 128);
    handover.Commit();
    CHECK_FALSE(handover.full());
  }

  TEST_CASE("what was lost on the way counts as done once its slot is quiet") {
    std::vector<KnownFlow> entries(kKnownFlows);
    KnownFlows flows(entries);
    std::vector<HandoverCount> counts(kKnownFlows);
    FlowHandover handover(flows, counts);
    counts[5].given = 4;
    counts[9].given = 1;
    handover.Heal(1'000'000);
    CHECK(counts[5].done == 0);  // nothing was lost: it is underway
    handover.Lost();
    handover.Heal(1'000'000);
    handover.Heal(1'000'500);
    CHECK(counts[5].done == 0);  // too soon to be called quiet
    counts[9].given = 2;
    handover.Heal(2'000'000);
    CHECK(counts[5].done == 4);
    CHECK(counts[9].done == 0);  // was not quiet
    handover.Heal(3'000'000);
    CHECK(counts[9].done == 2);
    counts[5].given = 5;
    handover.Heal(4'000'000);
    handover.Heal(5'000'000);
    CHECK(counts[5].done == 4);  // healed: no more looking
  }
}

}  // namespace vpc_conn::forward
