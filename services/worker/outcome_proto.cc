#include "services/worker/outcome_proto.h"

#include <algorithm>

#include "common/contract/clean_text.h"

namespace nkiagent::worker {
namespace {

using contract::CleanText;

constexpr size_t kTailBytes = 4096;

common::v1::SandboxStatus Status(sandbox::OutcomeKind kind) {
  switch (kind) {
    case sandbox::OutcomeKind::kOk:
      return common::v1::SANDBOX_STATUS_OK;
    case sandbox::OutcomeKind::kException:
      return common::v1::SANDBOX_STATUS_BAD_ANSWER;
    case sandbox::OutcomeKind::kWallTimeout:
      return common::v1::SANDBOX_STATUS_WALL_TIMEOUT;
    case sandbox::OutcomeKind::kCpuLimit:
      return common::v1::SANDBOX_STATUS_CPU_LIMIT;
    case sandbox::OutcomeKind::kMemoryLimit:
      return common::v1::SANDBOX_STATUS_MEMORY_LIMIT;
    case sandbox::OutcomeKind::kCrashed:
      return common::v1::SANDBOX_STATUS_CRASH;
    case sandbox::OutcomeKind::kExited:
      return common::v1::SANDBOX_STATUS_EXIT;
    case sandbox::OutcomeKind::kOutputFlood:
      return common::v1::SANDBOX_STATUS_OUTPUT_FLOOD;
    case sandbox::OutcomeKind::kPolicyViolation:
      return common::v1::SANDBOX_STATUS_POLICY_VIOLATION;
  }
  return common::v1::SANDBOX_STATUS_UNSPECIFIED;
}

}  // namespace

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration proto;
  absl::Duration rest;
  proto.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &rest));
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
  return proto;
}

common::v1::SandboxOutcome ToProto(const sandbox::Outcome& outcome) {
  common::v1::SandboxOutcome proto;
  proto.set_status(Status(outcome.kind));
  proto.set_detail(CleanText(outcome.detail, kTailBytes));
  proto.set_signal(outcome.signal);
  proto.set_exit_code(outcome.exit_code);
  const absl::string_view output = outcome.output;
  proto.set_stderr_tail(
      CleanText(output.substr(output.size() - std::min(output.size(), kTailBytes)), kTailBytes));
  *proto.mutable_wall_time() = ToProto(outcome.wall_time);
  *proto.mutable_cpu_time() = ToProto(outcome.cpu_time);
  proto.set_peak_memory_bytes(static_cast<int64_t>(outcome.peak_memory_bytes));
  return proto;
}

}  // namespace nkiagent::worker
