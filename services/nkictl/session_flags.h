// A session as the command line describes it: the flags that run, submit, prompt and bench run share.
#ifndef SERVICES_NKICTL_SESSION_FLAGS_H_
#define SERVICES_NKICTL_SESSION_FLAGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nkiagent/orchestrator/v1/orchestrator_service.pb.h"
#include "services/nkictl/commands.h"

namespace nkiagent::nkictl {

struct SessionFlags {
  std::string model = "builtin";
  std::string mode = "agent";
  int max_turns = 0;
  int trials = 0;
  std::string rigor = "standard";
  std::vector<uint64_t> seeds;
  uint64_t weight_seed = 0;
  int level = 0;
  std::string name;
  std::string prompt;
  double max_cost_usd = 0;
  double wall_limit_s = 0;
  double temperature = -1;
  bool optimize = false;
  std::vector<std::string> tools;
  std::string request_id;
};

// Flags that describe one session or all sessions of a run.
void AddSamplingFlags(CLI::App* command, SessionFlags* flags);
// The same, and what only a single session has.
void AddSessionFlags(CLI::App* command, SessionFlags* flags);

orchestrator::v1::Mode ParseMode(const std::string& name);
// The bounds of a session that the flags name.
orchestrator::v1::SessionOptions OptionsFor(const SessionFlags& flags);
// A session for the task of a file. Errors are those of ReadTaskFile().
absl::StatusOr<orchestrator::v1::SubmitTaskRequest> SubmitRequestFor(const SessionFlags& flags,
                                                                     const std::string& file);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_SESSION_FLAGS_H_
