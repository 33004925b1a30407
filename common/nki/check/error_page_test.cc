// docs/errors.md names every rule of this folder and of ir/legality.
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "common/nki/ir/legality_rules.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nkiagent::nki::check {
namespace {

std::string ReadSource(const std::string& path) {
  const char* root = std::getenv("NKI_SOURCE_DIR");
  std::ifstream file((root == nullptr ? std::string(".") : std::string(root)) + "/" + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(ErrorPage, NamesEveryRule) {
  const std::string page = ReadSource("docs/errors.md");
  ASSERT_FALSE(page.empty());
  for (const auto rules : {ir::legality::OpRules(), ir::legality::GeneralRules()}) {
    for (const ir::legality::Rule& rule : rules)
      EXPECT_THAT(page, ::testing::HasSubstr(std::string(rule.name)));
  }
  for (const char* name :
       {"err_tensor_access_out_of_bound", "err_tensor_output_not_written_to", "output_partly_written",
        "err_cannot_update_immutable_parameter", "err_unexpected_output_dependencies",
        "err_tensor_read_before_write", "err_sbuf_capacity_exceeded", "err_psum_capacity_exceeded",
        "sbuf_spill", "psum_spill", "loop_carried_dependence", "undefined_elements_used",
        "psum_accumulation_broken"}) {
    EXPECT_THAT(page, ::testing::HasSubstr(name));
  }
}

}  // namespace
}  // namespace nkiagent::nki::check
