// What nkictl does, a function for each command. Each returns the exit code: 0 for a pass (or for an answer,
// where nothing is judged), 1 otherwise, 130 after Ctrl-C.
#ifndef SERVICES_NKICTL_COMMANDS_H_
#define SERVICES_NKICTL_COMMANDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/rpc/channel.h"
#include "nkiagent/orchestrator/v1/orchestrator_service.pb.h"
#include "services/nkictl/interrupt.h"
#include "services/nkictl/local_cluster.h"

namespace nkiagent::nkictl {

inline constexpr int kExitPass = 0;
inline constexpr int kExitFail = 1;
inline constexpr int kExitInterrupted = 130;

// The orchestrator of `./dev up`, for commands about sessions that are there already.
inline constexpr char kDefaultServer[] = "127.0.0.1:7600";

// What all commands share.
struct Environment {
  const Interrupt* interrupt = nullptr;
  bool json = false;
  // Where the orchestrator is; an empty target means a local cluster for run and demo, kDefaultServer for the
  // others.
  rpc::ChannelOptions server;
  ClusterOptions cluster;
};

// A session as the command line describes it.
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

// "single-shot", "multi-turn", "agent".
std::vector<std::string> ModeNames();
orchestrator::v1::Mode ParseMode(const std::string& name);
// The bounds of a session that the flags name.
orchestrator::v1::SessionOptions OptionsFor(const SessionFlags& flags);

int Run(const Environment& environment, const SessionFlags& flags, const std::string& file,
        const std::string& output);
int Submit(const Environment& environment, const SessionFlags& flags, const std::string& file);
int Watch(const Environment& environment, const std::string& session_id, int64_t from_sequence);
int List(const Environment& environment, const std::string& state, const std::string& model, int limit);
int Show(const Environment& environment, const std::string& session_id, bool kernel_only);
int Cancel(const Environment& environment, const std::string& session_id, const std::string& reason);
int Up(const Environment& environment);
// What the first model call of a session would carry, to the letter.
int PromptShow(const Environment& environment, const SessionFlags& flags, const std::string& file);

struct ExportFlags {
  std::vector<std::string> sessions;  // none: those that the filters name
  std::string model;
  std::string run;
  bool passed_only = false;
  int limit = 1000;
  std::string output;  // empty: stdout
};
int Export(const Environment& environment, const ExportFlags& flags);

struct DemoFlags {
  std::string model = "builtin";
  int jobs = 0;                    // sessions at once; 0: as many as there are cores, at most 8
  std::vector<std::string> tasks;  // names; none means all
  bool list = false;
};
int Demo(const Environment& environment, const DemoFlags& flags);

// Replaces this process by Python running `arguments` (a script and its own arguments), with the modules of
// common/nki/frontend before all others. Returns only if Python can't be run.
int Python(const std::vector<std::string>& arguments);

// The Python parts of the benchmark (services/bench): "lint" or "mutation" with their own arguments.
// Likewise.
bool IsBenchModule(const std::string& name);
int BenchModule(const std::string& name, const std::vector<std::string>& arguments);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_COMMANDS_H_
