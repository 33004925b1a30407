#include "common/rpc/status.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace nkiagent::rpc {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;
using google::protobuf::io::StringOutputStream;

constexpr char kRetryInfoUrl[] = "type.googleapis.com/google.rpc.RetryInfo";

// google.rpc.Status { int32 code = 1; string message = 2; repeated google.protobuf.Any details = 3; }
// google.rpc.RetryInfo { google.protobuf.Duration retry_delay = 1; }
// Written by hand, field by field, because Debian ships no generated code for them.
constexpr int kCodeField = 1;
constexpr int kMessageField = 2;
constexpr int kDetailsField = 3;
constexpr int kRetryDelayField = 1;

void WriteMessageField(int field, const google::protobuf::MessageLite& message, CodedOutputStream* out) {
  message.ByteSizeLong();  // WriteMessage takes the size that this call caches
  WireFormatLite::WriteMessage(field, message, out);
}

std::string SerializeDetails(const absl::Status& status) {
  std::string bytes;
  bool any = false;
  {
    StringOutputStream stream(&bytes);
    CodedOutputStream out(&stream);
    WireFormatLite::WriteInt32(kCodeField, static_cast<int>(status.code()), &out);
    // The message is left out here: it is in the status already, and headers are scarce.
    status.ForEachPayload([&](absl::string_view url, const absl::Cord& value) {
      google::protobuf::Any detail;
      detail.set_type_url(std::string(url));
      detail.set_value(std::string(value));
      WriteMessageField(kDetailsField, detail, &out);
      any = true;
    });
  }
  return any && bytes.size() <= kMaxStatusDetailsBytes ? bytes : std::string();
}

// The details in `bytes`; those that don't parse are dropped, since they come from outside.
std::vector<google::protobuf::Any> ParseDetails(const std::string& bytes) {
  std::vector<google::protobuf::Any> details;
  CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
  while (const uint32_t tag = in.ReadTag()) {
    const bool is_detail = WireFormatLite::GetTagFieldNumber(tag) == kDetailsField &&
                           WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    if (!is_detail) {
      if (!WireFormatLite::SkipField(&in, tag)) break;
      continue;
    }
    google::protobuf::Any detail;
    if (!WireFormatLite::ReadMessage(&in, &detail)) break;
    details.push_back(std::move(detail));
  }
  return details;
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  std::string message(status.message());
  if (message.size() > kMaxStatusMessageBytes) {
    const std::string cut = absl::StrCat("... (cut from ", message.size(), " bytes)");
    message.resize(kMaxStatusMessageBytes - cut.size());
    message += cut;
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message, SerializeDetails(status));
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  for (const google::protobuf::Any& detail : ParseDetails(status.error_details())) {
    result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return result;
}

absl::Status WithRetryAfter(absl::Status status, absl::Duration delay) {
  google::protobuf::Duration duration;
  const int64_t nanos = absl::ToInt64Nanoseconds(std::clamp(delay, absl::ZeroDuration(), absl::Hours(1)));
  duration.set_seconds(nanos / 1'000'000'000);
  duration.set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  std::string bytes;
  {
    StringOutputStream stream(&bytes);
    CodedOutputStream out(&stream);
    WriteMessageField(kRetryDelayField, duration, &out);
  }
  status.SetPayload(kRetryInfoUrl, absl::Cord(bytes));
  return status;
}

std::optional<absl::Duration> RetryAfter(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kRetryInfoUrl);
  if (!payload.has_value()) return std::nullopt;
  const std::string bytes(*payload);
  CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
  google::protobuf::Duration duration;
  const uint32_t tag = in.ReadTag();
  if (WireFormatLite::GetTagFieldNumber(tag) != kRetryDelayField ||
      !WireFormatLite::ReadMessage(&in, &duration)) {
    return std::nullopt;
  }
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

absl::string_view CodeName(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return "OK";
    case absl::StatusCode::kCancelled:
      return "CANCELLED";
    case absl::StatusCode::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case absl::StatusCode::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case absl::StatusCode::kNotFound:
      return "NOT_FOUND";
    case absl::StatusCode::kAlreadyExists:
      return "ALREADY_EXISTS";
    case absl::StatusCode::kPermissionDenied:
      return "PERMISSION_DENIED";
    case absl::StatusCode::kUnauthenticated:
      return "UNAUTHENTICATED";
    case absl::StatusCode::kResourceExhausted:
      return "RESOURCE_EXHAUSTED";
    case absl::StatusCode::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case absl::StatusCode::kAborted:
      return "ABORTED";
    case absl::StatusCode::kOutOfRange:
      return "OUT_OF_RANGE";
    case absl::StatusCode::kUnimplemented:
      return "UNIMPLEMENTED";
    case absl::StatusCode::kInternal:
      return "INTERNAL";
    case absl::StatusCode::kUnavailable:
      return "UNAVAILABLE";
    case absl::StatusCode::kDataLoss:
      return "DATA_LOSS";
    default:
      return "UNKNOWN";
  }
}

}  // namespace nkiagent::rpc
