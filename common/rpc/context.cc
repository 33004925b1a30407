#include "common/rpc/context.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace nkiagent::rpc {
namespace {

bool IsRequestId(absl::string_view text) {
  return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           absl::string_view("-_.:/").find(c) != absl::string_view::npos;
  });
}

// gRPC says "no deadline" by a time point at the end of its clock, which absl::FromChrono would take for a
// date.
absl::Time FromGrpcDeadline(std::chrono::system_clock::time_point deadline) {
  const auto far = std::chrono::system_clock::now() + std::chrono::hours(24 * 365);
  return deadline > far ? absl::InfiniteFuture() : absl::FromChrono(deadline);
}

}  // namespace

std::string NewRequestId() {
  thread_local std::random_device device;
  return absl::StrFormat("%08x%08x%08x%08x", device(), device(), device(), device());
}

CallContext::CallContext(std::string request_id, absl::Time deadline, std::stop_token stop)
    : request_id_(request_id.empty() ? NewRequestId() : std::move(request_id)),
      deadline_(deadline),
      stop_(std::move(stop)) {}

CallContext CallContext::FromServer(const grpc::ServerContextBase& context, std::stop_token stop) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(kRequestIdKey);
  std::string id;
  if (found != metadata.end()) id.assign(found->second.data(), found->second.size());
  if (!IsRequestId(id)) id.clear();
  return CallContext(std::move(id), FromGrpcDeadline(context.deadline()), std::move(stop));
}

absl::Duration CallContext::Remaining() const {
  return std::max(absl::ZeroDuration(), deadline_ - absl::Now());
}

absl::Status CallContext::Check() const {
  // A deadline that passed also cancels the call, so it is asked first.
  if (absl::Now() >= deadline_) return absl::DeadlineExceededError("the call's deadline has passed");
  if (stop_.stop_requested()) return absl::CancelledError("the call was cancelled");
  return absl::OkStatus();
}

CallContext CallContext::WithTimeout(absl::Duration timeout) const {
  CallContext copy = *this;
  copy.deadline_ = std::min(deadline_, absl::Now() + timeout);
  return copy;
}

Logger CallContext::Log(absl::string_view name) const {
  return Logger::Get(name).With({{"request_id", request_id_}});
}

ClientCall::ClientCall(const CallContext& call) : on_stop_(call.stop_token(), Cancel{&context_}) {
  context_.AddMetadata(kRequestIdKey, call.request_id());
  if (call.deadline() != absl::InfiniteFuture()) context_.set_deadline(absl::ToChronoTime(call.deadline()));
}

}  // namespace nkiagent::rpc
