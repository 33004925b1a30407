// Calls of all kinds at a gentle rate, for soaks: whole and streamed answers, repeats, failures of every
// sort, cancellations, time-outs, big messages, and ever new sessions, runs and request ids.
#ifndef TESTS_BENCH_GATEWAY_MIX_H_
#define TESTS_BENCH_GATEWAY_MIX_H_

#include <string>

#include "absl/time/time.h"

namespace nkiagent::gateway_load {

struct MixOptions {
  std::string target;
  // The gateway's models are PREFIX-PLAY, with the plays of tests/standins/load_standin.cc.
  std::string prefix;
  double rate = 40;  // calls a second
  absl::Duration duration;
};

// Prints a line of JSON every ten seconds and at the end: {"seconds", "begun", "unexpected", "kinds": {KIND:
// {CODE: N}}}. Throws std::runtime_error when calls don't end, or ended otherwise than their kind must.
void RunMix(const MixOptions& options);

}  // namespace nkiagent::gateway_load

#endif  // TESTS_BENCH_GATEWAY_MIX_H_
