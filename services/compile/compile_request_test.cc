#include "services/compile/compile_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "absl/strings/str_cat.h"

namespace nkiagent::compile {
namespace {

using ::testing::HasSubstr;

v1::CompileRequest ValidRequest() {
  v1::CompileRequest request;
  request.mutable_kernel()->set_source("def nki_kernel(x): pass");
  auto* argument = request.add_arguments();
  argument->set_name("x");
  argument->set_dtype(common::v1::DATA_TYPE_FLOAT32);
  argument->add_dims(128);
  argument->add_dims(512);
  auto* constant = request.add_constants();
  constant->set_name("eps");
  constant->set_literal("1e-5");
  request.mutable_kernel()->add_grid_dims(2);
  return request;
}

TEST(CompileRequestTest, AcceptsAWholeRequest) {
  const absl::Status status = ValidateCompileRequest(ValidRequest());
  EXPECT_TRUE(status.ok()) << status;
}

TEST(CompileRequestTest, AcceptsExactlyFourMebibytesOfSource) {
  v1::CompileRequest request = ValidRequest();
  request.mutable_kernel()->set_source(std::string(kMaxSourceBytes, '#'));
  EXPECT_TRUE(ValidateCompileRequest(request).ok());
}

struct Refusal {
  const char* name;
  std::function<void(v1::CompileRequest&)> spoil;
  const char* message;
};

class CompileRequestRefuses : public ::testing::TestWithParam<Refusal> {};

TEST_P(CompileRequestRefuses, ByName) {
  v1::CompileRequest request = ValidRequest();
  GetParam().spoil(request);
  const absl::Status status = ValidateCompileRequest(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, CompileRequestRefuses,
    ::testing::Values(
        Refusal{"NoSource", [](auto& r) { r.mutable_kernel()->clear_source(); }, "kernel.source is empty"},
        Refusal{"LongSource",
                [](auto& r) { r.mutable_kernel()->set_source(std::string(kMaxSourceBytes + 1, '#')); },
                "4194305 bytes > 4194304 (4 MiB)"},
        Refusal{"BadEntry", [](auto& r) { r.mutable_kernel()->set_entry_name("a b"); },
                "kernel.entry_name 'a b'"},
        Refusal{"GridRank",
                [](auto& r) {
                  for (int i = 0; i < 3; ++i) r.mutable_kernel()->add_grid_dims(1);
                },
                "4 dimensions > 3"},
        Refusal{"GridZero", [](auto& r) { r.mutable_kernel()->add_grid_dims(0); }, "extent 0 is under 1"},
        Refusal{"GridHuge", [](auto& r) { r.mutable_kernel()->add_grid_dims(2'000'000'000); }, "programs"},
        Refusal{"ManyArguments",
                [](auto& r) {
                  for (int i = 0; i < kMaxArguments; ++i) {
                    *r.add_arguments() = r.arguments(0);
                    r.mutable_arguments(i + 1)->set_name(absl::StrCat("a", i));
                  }
                },
                "arguments has 2049 entries > 2048"},
        Refusal{"BadName", [](auto& r) { r.mutable_arguments(0)->set_name("a.b"); },
                "arguments[0].name 'a.b'"},
        Refusal{"SameName", [](auto& r) { *r.add_arguments() = r.arguments(0); },
                "arguments[1].name 'x' is used twice"},
        Refusal{"NoType", [](auto& r) { r.mutable_arguments(0)->clear_dtype(); }, "DATA_TYPE_UNSPECIFIED"},
        Refusal{"Int64", [](auto& r) { r.mutable_arguments(0)->set_dtype(common::v1::DATA_TYPE_INT64); },
                "DATA_TYPE_INT64 can't cross"},
        Refusal{"RankZero", [](auto& r) { r.mutable_arguments(0)->clear_dims(); }, "rank 0 is outside 1..5"},
        Refusal{"RankSix",
                [](auto& r) {
                  for (int i = 0; i < 4; ++i) r.mutable_arguments(0)->add_dims(1);
                },
                "rank 6 is outside 1..5"},
        Refusal{"ZeroSized", [](auto& r) { r.mutable_arguments(0)->set_dims(0, 0); },
                "dimension 0 is under 1"},
        Refusal{"TooManyElements", [](auto& r) { r.mutable_arguments(0)->set_dims(0, int64_t{1} << 62); },
                "elements"},
        Refusal{"ConstantNamedAsArgument", [](auto& r) { r.mutable_constants(0)->set_name("x"); },
                "'x' is used twice"},
        Refusal{"LongLiteral", [](auto& r) { r.mutable_constants(0)->set_literal(std::string(5000, '1')); },
                "5000 bytes, outside 1..4096"},
        Refusal{"OtherHardware", [](auto& r) { r.mutable_target()->set_hardware(common::v1::HARDWARE_TRN2); },
                "HARDWARE_TRN1"},
        Refusal{"OtherSdk",
                [](auto& r) { r.mutable_target()->set_sdk_version(common::v1::SDK_VERSION_2_32); },
                "SDK_VERSION_2_24"},
        Refusal{"NegativeWall", [](auto& r) { r.mutable_limits()->mutable_wall_time()->set_seconds(-1); },
                "limits.wall_time"},
        Refusal{"NegativeInstructions", [](auto& r) { r.mutable_limits()->set_max_instructions(-1); },
                "limits.max_instructions"}),
    [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace nkiagent::compile
