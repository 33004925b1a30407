// Where a session stands: the fold of its events. Everything that NextAction decides on is here, and nothing
// here comes from anywhere but the events, so a process that reads the log decides as the one that wrote it
// would have.
//
// A value; not thread safe.
#ifndef SERVICES_ORCHESTRATOR_SNAPSHOT_H_
#define SERVICES_ORCHESTRATOR_SNAPSHOT_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "nkiagent/orchestrator/v1/session.pb.h"

namespace nkiagent::orchestrator {

// The turn that is being worked on.
struct TurnState {
  int number = 0;  // from 1; 0 before the first
  std::string request_id;
  bool answered = false;
  v1::ModelCallFinished answer;
  std::set<std::string> tools_started;                        // by ToolCall.id
  std::map<std::string, llm::v1::ToolResult> tools_finished;  // by ToolCall.id
  std::vector<v1::KernelCompiled> compiled;
  std::vector<v1::KernelVerified> verified;
  bool replied = false;  // a message of the user's role followed the answer
};

// What is known about a kernel that was compiled in this session.
struct SeenKernel {
  int turn = 0;  // the first in which it was compiled
  std::optional<verify::v1::Verdict> verdict;
};

struct Snapshot {
  v1::Session session;
  bool described = false;
  std::optional<verify::v1::TaskProblem> problem;
  bool prompted = false;
  std::string system;
  std::vector<llm::v1::Tool> tools;
  std::vector<llm::v1::Message> conversation;  // whole; context.h cuts it for a call
  int64_t context_window_tokens = 0;           // 0: unknown
  TurnState turn;
  int idle_turns = 0;  // turns in a row that held neither a tool call nor a kernel
  // The last kernel in the text of an answer, and its turn.
  std::optional<common::v1::KernelSource> proposal;
  int proposal_turn = 0;
  std::optional<v1::KernelCompiled> last_compiled;
  std::map<std::string, SeenKernel> seen;       // by KernelKey
  absl::Time started = absl::InfiniteFuture();  // of the first event after the creation

  bool Ended() const;
  int64_t last_sequence() const { return session.last_sequence(); }
};

// Equal for kernels that are the same to a compiler.
std::string KernelKey(const common::v1::KernelSource& kernel);

// Extends the snapshot by one event. DATA_LOSS: the event is not the next one, or is of no known kind; the
// snapshot is then unchanged.
absl::Status Apply(const v1::SessionEvent& event, Snapshot* snapshot);

// True for the states in which a session ends.
bool IsEnded(v1::SessionState state);

// `usage` += `more`, field by field.
void AddUsage(const common::v1::Usage& more, common::v1::Usage* usage);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_SNAPSHOT_H_
