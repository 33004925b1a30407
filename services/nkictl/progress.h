// Session events as lines for a person. Not thread safe.
#ifndef SERVICES_NKICTL_PROGRESS_H_
#define SERVICES_NKICTL_PROGRESS_H_

#include <string>
#include <utility>
#include <vector>

#include "nkiagent/orchestrator/v1/session.pb.h"

namespace nkiagent::nkictl {

// The text of one event: a line or a few, each with its end; empty for events that say nothing new to a
// person.
std::string DescribeEvent(const orchestrator::v1::SessionEvent& event);

// What went wrong with the kernel in a compilation or verification, in a word or two: the rule of its first
// error
// ("err_unsupported_memory") or the verdict's reason ("mismatch"). Empty for other events and for success.
std::string Trouble(const orchestrator::v1::SessionEvent& event);

// The end of a session as names and values, for Facts(): verdict, latency, turns, tokens, cost.
std::vector<std::pair<std::string, std::string>> ResultFacts(const orchestrator::v1::Session& session);

bool HasPassed(const orchestrator::v1::Session& session);

// "PASS", "FAIL", "ERROR", "CANCELLED", or the state of a session that has not ended.
std::string VerdictWord(const orchestrator::v1::Session& session);

// "2-D", or "2-D, 3-D" where inputs differ: ranks of the inputs of forward.
std::string Ranks(const verify::v1::TaskFacts& facts);
// The highest rank among the inputs of forward; 0 without facts.
int HighestRank(const verify::v1::TaskFacts& facts);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_PROGRESS_H_
