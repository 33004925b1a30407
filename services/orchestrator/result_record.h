// The record of an ended session, made of its events and of the run's promise. Pure but for reading the
// store; any thread.
#ifndef SERVICES_ORCHESTRATOR_RESULT_RECORD_H_
#define SERVICES_ORCHESTRATOR_RESULT_RECORD_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/storage/event_store.h"
#include "common/storage/signing_key.h"
#include "nkiagent/orchestrator/v1/record.pb.h"
#include "services/orchestrator/snapshot.h"

namespace nkiagent::orchestrator {

inline constexpr char kRecordFormat[] = "nkiagent.result.v1";
inline constexpr char kManifestFormat[] = "nkiagent.run.v1";

// A session's events, folded for its record.
class SessionHistory {
 public:
  // Takes the next event. DATA_LOSS as Apply().
  absl::Status Add(const v1::SessionEvent& event);

  // Everything but what the run knows: run_id, row, repeat.
  v1::ResultRecord Record() const;
  const Snapshot& snapshot() const { return snapshot_; }

 private:
  Snapshot snapshot_;
  std::vector<v1::Attempt> attempts_;
  std::optional<v1::KernelCompiled> compiled_;  // the last; of the verified kernel once there is one
  std::optional<v1::KernelVerified> verified_;  // the last; the best once one passed
  google::protobuf::Duration model_time_;
};

// Why a session that has ended did not pass.
struct Failure {
  v1::FailureClass kind = v1::FAILURE_CLASS_UNSPECIFIED;
  std::string name;  // rule, reason or kind of problem
};

// The class of a rule with which compile-service refuses a kernel: the trace's own, or the toolchain's.
v1::FailureClass ClassOfRule(absl::string_view rule);

// The text of a message as JSON, and its signature.
absl::StatusOr<v1::SignedText> SignMessage(const google::protobuf::Message& message,
                                           const storage::SigningKey& key);

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_RESULT_RECORD_H_
