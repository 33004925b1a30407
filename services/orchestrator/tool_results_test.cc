#include "services/orchestrator/tool_results.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <limits>

namespace nkiagent::orchestrator {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

TEST(DescribeDiagnostic, ShowsRuleLineCaretLimitAndFix) {
  EXPECT_EQ(DescribeDiagnostic(Parse<common::v1::Diagnostic>(R"pb(
              severity: SEVERITY_ERROR
              rule: "err_num_partition_exceed_arch_limit"
              message: "tile has 256 partitions"
              line: 12
              column: 5
              source_line: "    tile = nl.load(x)"
              limit: "partition <= 128"
              actual: "partition = 256"
              hint: "tile by 128"
            )pb")),
            "error[err_num_partition_exceed_arch_limit] line 12, col 5: tile has 256 partitions\n"
            "      tile = nl.load(x)\n"
            "      ^\n"
            "  limit: partition <= 128 actual: partition = 256\n"
            "  fix: tile by 128\n");
}

TEST(DescribeDiagnostic, LeavesOutWhatIsUnknown) {
  EXPECT_EQ(
      DescribeDiagnostic(Parse<common::v1::Diagnostic>(R"pb(severity: SEVERITY_WARNING message: "slow")pb")),
      "warning: slow\n");
}

TEST(DescribeCompile, CountsErrorsAndStaysBounded) {
  compile::v1::CompileResult result;
  result.set_outcome(compile::v1::COMPILE_OUTCOME_REJECTED);
  for (int i = 0; i < 50; ++i) {
    auto* diagnostic = result.add_diagnostics();
    diagnostic->set_severity(common::v1::SEVERITY_ERROR);
    diagnostic->set_rule("err_unsupported_memory");
    diagnostic->set_message(std::string(5000, 'm'));
    diagnostic->set_source_line(std::string(100000, 's'));
  }
  result.set_diagnostics_dropped(7);
  const std::string text = DescribeCompile(result);
  EXPECT_THAT(text, testing::StartsWith("compiled: no (50 errors)\n"));
  EXPECT_LE(text.size(), kMaxToolTextBytes);
}

TEST(DescribeCompile, TellsHowTheSandboxEnded) {
  EXPECT_THAT(DescribeCompile(Parse<compile::v1::CompileResult>(R"pb(
                outcome: COMPILE_OUTCOME_SANDBOX_FAILURE
                sandbox { status: SANDBOX_STATUS_WALL_TIMEOUT detail: "wall limit 10 s" }
                printed: "hello"
              )pb")),
              AllOf(HasSubstr("wall limit 10 s"), HasSubstr("hello")));
}

TEST(DescribeVerdict, ShowsMismatchesSideBySide) {
  const std::string text = DescribeVerdict(Parse<verify::v1::Verdict>(R"pb(
    reason: VERDICT_REASON_MISMATCH
    message: "1 of 3 trials differ"
    tolerance { atol: 0.001 rtol: 0.001 }
    trials { seed: 5 passed: true }
    trials {
      seed: 7
      outputs {
        name: "out"
        total_elements: 65536
        mismatched_elements: 4096
        max_abs_error: 0.375
        max_rel_error: 12
        first_mismatch {
          indices: [ 0, 3 ]
          expected: 0.5
          actual: 0.25
          abs_error: 0.25
        }
        sample_mismatches {
          indices: [ 0, 3 ]
          expected: 0.5
          actual: 0.25
          abs_error: 0.25
        }
        sample_mismatches {
          indices: [ 9, 1 ]
          expected: 1
          actual: 1.375
          abs_error: 0.375
        }
        worst_mismatch {
          indices: [ 9, 1 ]
          expected: 1
          actual: 1.375
          abs_error: 0.375
        }
        unwritten_elements: 12
        first_unwritten_indices: [ 127, 0 ]
        actual_nan_count: 3
      }
    }
  )pb"));
  EXPECT_EQ(
      text,
      "verified: FAIL (mismatch): 1 of 3 trials differ\n"
      "  trial with seed 7, atol=0.001 rtol=0.001:\n"
      "  output `out`: 4096 of 65536 elements differ; max abs error 0.375, max rel error 12\n"
      "    unwritten: 12 elements, the first at [127, 0]; every element must be written by an nl.store\n"
      "    NaN: 3 elements of the kernel's output, 0 of the reference's\n"
      "    index                          expected         kernel\n"
      "    [0, 3]                              0.5           0.25\n"
      "    [9, 1]                                1          1.375\n"
      "    worst at [9, 1]: expected 1, kernel 1.375\n");
}

TEST(DescribeVerdict, ShowsShapesThatDiffer) {
  EXPECT_THAT(DescribeVerdict(Parse<verify::v1::Verdict>(R"pb(
                reason: VERDICT_REASON_SHAPE_MISMATCH
                message: "output 0 has another shape"
                expected_specs {
                  name: "out"
                  dtype: DATA_TYPE_FLOAT32
                  dims: [ 4, 8 ]
                }
                actual_specs {
                  dtype: DATA_TYPE_BFLOAT16
                  dims: [ 32 ]
                }
              )pb")),
              AllOf(HasSubstr("expected: out: float32[4, 8]"), HasSubstr("kernel has: bfloat16[32]")));
}

TEST(DescribeVerdict, SaysPassInOneLine) {
  const std::string text =
      DescribeVerdict(Parse<verify::v1::Verdict>(R"pb(passed: true
                                                      tolerance { atol: 0.001 rtol: 0.001 }
                                                      trials { passed: true }
                                                      trials { passed: true })pb"));
  EXPECT_EQ(text, "verified: PASS, 2 of 2 trials within atol=0.001 rtol=0.001\n");
}

TEST(Bounded, CutsAtLineEndsAndKeepsCharactersWhole) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "0123456789\n";
  const std::string cut = Bounded(text, 200);
  EXPECT_LE(cut.size(), 200u);
  EXPECT_THAT(cut, HasSubstr("more bytes are not shown"));
  const std::string umlauts = Bounded("\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4" + std::string(100, 'x'), 53);
  EXPECT_THAT(umlauts, testing::StartsWith("\xc3\xa4\xc3\xa4\n("));
}

TEST(DescribeVerdict, TellsWhatMismatchesHaveInCommon) {
  EXPECT_THAT(DescribeVerdict(Parse<verify::v1::Verdict>(R"pb(
                reason: VERDICT_REASON_MISMATCH
                trials {
                  outputs {
                    name: "out"
                    patterns { kind: MISMATCH_PATTERN_KIND_SIGN message: "kernel = -expected" }
                  }
                }
              )pb")),
              HasSubstr("    pattern: kernel = -expected\n"));
}

TEST(DescribeProfile, ShowsEnginesRooflineAndLines) {
  const std::string text = DescribeProfile(Parse<common::v1::LatencyEstimate>(R"pb(
    total_us: 20
    roofline_us: 5
    flops: 1e6
    arithmetic_intensity: 0.5
    binding_resource: BINDING_RESOURCE_ENGINE
    binding_engine: ENGINE_VECTOR
    engines { engine: ENGINE_VECTOR busy_us: 18 instructions: 40 }
    traffic { memory: MEMORY_HBM bytes_read: 4096 bytes_written: 1024 }
    spill_bytes: 77
    costly_lines {
      line: 9
      source_line: "    y = nl.add(a, b)"
      engine: ENGINE_VECTOR
      busy_us: 12
      instructions: 8
    }
  )pb"));
  EXPECT_THAT(text, AllOf(HasSubstr("estimated latency: 20 us, bound by the vector engine\n"),
                          HasSubstr("roofline: 5 us"), HasSubstr("25 % of it"),
                          HasSubstr("vector 90 % (40 instructions)"),
                          HasSubstr("hbm 4096 read and 1024 written"), HasSubstr("spill: 77 bytes"),
                          HasSubstr("  line 9: 12 us, mostly vector, 8 instructions: y = nl.add(a, b)\n"),
                          HasSubstr("usually helps: move work to the Scalar engine")));
  EXPECT_EQ(DescribeProfile({}), "There is no estimate for this kernel.\n");
}

TEST(DescribeApi, ShowsTheEntryOrNearNames) {
  EXPECT_EQ(DescribeApi("nl.load",
                        Parse<compile::v1::LookupApiResponse>(R"pb(found: true text: "nl.load(src)")pb")),
            "nl.load(src)");
  EXPECT_EQ(DescribeApi("nl.summ", Parse<compile::v1::LookupApiResponse>(R"pb(similar_names: "nl.sum")pb")),
            "NKI of this SDK has no `nl.summ`. Near names: nl.sum.\n");
}

TEST(DescribeEstimate, NamesTheBindingUnit) {
  EXPECT_EQ(DescribeEstimate(Parse<common::v1::LatencyEstimate>(R"pb(total_us: 12.25
                                                                     binding_resource: BINDING_RESOURCE_ENGINE
                                                                     binding_engine: ENGINE_VECTOR)pb")),
            "12.25 us, bound by the vector engine");
  EXPECT_EQ(DescribeEstimate(common::v1::LatencyEstimate()), "");
}

}  // namespace
}  // namespace nkiagent::orchestrator
