#include "services/worker/outcome_proto.h"

#include <algorithm>

namespace nkiagent::worker {
namespace {

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

// Bytes of the UTF-8 character that `text` starts with; 0 if it is not one.
size_t CharacterBytes(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and code points beyond U+10FFFF.
  if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) > 0x9f) ||
      (lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) > 0x8f)) {
    return 0;
  }
  return length;
}

}  // namespace

std::string CleanText(absl::string_view text, size_t max_bytes) {
  std::string clean;
  clean.reserve(std::min(text.size(), max_bytes));
  while (!text.empty()) {
    const size_t length = CharacterBytes(text);
    if (clean.size() + std::max<size_t>(length, 1) > max_bytes) break;
    if (length == 0) {
      clean += '?';
      text.remove_prefix(1);
    } else {
      clean.append(text.data(), length);
      text.remove_prefix(length);
    }
  }
  return clean;
}

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
