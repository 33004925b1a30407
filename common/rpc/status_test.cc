#include "common/rpc/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/cord.h"

namespace nkiagent::rpc {
namespace {

using ::testing::EndsWith;

TEST(StatusTest, CodeAndMessageSurviveBothWays) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "tile partition 256 > 128");
    const grpc::Status edge = ToGrpcStatus(status);
    EXPECT_EQ(static_cast<int>(edge.error_code()), code);
    EXPECT_EQ(FromGrpcStatus(edge), status);
  }
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
}

TEST(StatusTest, PayloadsTravelAsDetails) {
  absl::Status status = absl::InvalidArgumentError("bad");
  status.SetPayload("type.googleapis.com/nkiagent.Thing", absl::Cord(std::string("\x00\xff bytes", 8)));
  EXPECT_EQ(FromGrpcStatus(ToGrpcStatus(status)), status);
}

TEST(StatusTest, RetryAfterTravelsAndIsAbsentOtherwise) {
  const absl::Status full = WithRetryAfter(absl::ResourceExhaustedError("full"), absl::Milliseconds(1250));
  EXPECT_EQ(RetryAfter(FromGrpcStatus(ToGrpcStatus(full))), absl::Milliseconds(1250));
  EXPECT_EQ(RetryAfter(absl::ResourceExhaustedError("full")), std::nullopt);
}

TEST(StatusTest, GarbageDetailsAreDropped) {
  for (const std::string& garbage : {std::string("\xff\xff\xff\xff\xff\xff"),
                                     std::string("\x1a\x7f"
                                                 "abc"),
                                     std::string("\x1a\x02\x0a\x05", 4), std::string(100, '\x1a')}) {
    const absl::Status status = FromGrpcStatus(grpc::Status(grpc::StatusCode::ABORTED, "x", garbage));
    EXPECT_EQ(status, absl::AbortedError("x"));
  }
}

TEST(StatusTest, LongMessagesAreCutAndSaySo) {
  const grpc::Status edge = ToGrpcStatus(absl::InternalError(std::string(100'000, 'x')));
  EXPECT_EQ(edge.error_message().size(), kMaxStatusMessageBytes);
  EXPECT_THAT(edge.error_message(), EndsWith("(cut from 100000 bytes)"));
}

TEST(StatusTest, OversizeDetailsAreLeftOut) {
  absl::Status status = absl::InternalError("big");
  status.SetPayload("x/y", absl::Cord(std::string(kMaxStatusDetailsBytes, 'x')));
  EXPECT_EQ(FromGrpcStatus(ToGrpcStatus(status)), absl::InternalError("big"));
}

}  // namespace
}  // namespace nkiagent::rpc
