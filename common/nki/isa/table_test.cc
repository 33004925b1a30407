#include "common/nki/isa/table.h"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace nkiagent::nki::isa {
namespace {

TEST(InstructionTable, RowsStandInOpcodeOrderWithUniqueNames) {
  std::set<std::string> names;
  int i = 0;
  for (const Row& row : Table()) {
    EXPECT_EQ(static_cast<int>(row.op), i++) << row.name;
    EXPECT_TRUE(names.insert(std::string(row.name)).second) << row.name;
    EXPECT_EQ(OpcodeFromName(row.name), row.op);
  }
  EXPECT_EQ(i, kOpcodeCount);
}

TEST(InstructionTable, EveryRowIsDocumentedAndRunsOnItsPreferredEngine) {
  for (const Row& row : Table()) {
    EXPECT_FALSE(row.summary.empty()) << row.name;
    EXPECT_FALSE(Formula(row.cost).empty()) << row.name;
    EXPECT_TRUE(row.engines & EngineBit(row.preferred)) << row.name;
    EXPECT_FALSE(row.dst.empty()) << row.name;
    EXPECT_LE(row.dst.size(), static_cast<size_t>(kMaxDst)) << row.name;
    EXPECT_LE(row.src.size(), static_cast<size_t>(kMaxSrc)) << row.name;
  }
}

TEST(InstructionTable, RowsSayWhichDialectsHaveThem) {
  EXPECT_TRUE(RowOf(Opcode::kNcMatmul).In("2.24"));
  EXPECT_TRUE(RowOf(Opcode::kNcMatmul).In("2.32"));
  EXPECT_FALSE(RowOf(Opcode::kRng).In("2.24"));
  EXPECT_TRUE(RowOf(Opcode::kRng).In("2.32"));
  EXPECT_EQ(RowOf(Opcode::kPartitionBroadcast).dialects, 0);
  EXPECT_FALSE(RowOf(Opcode::kNcMatmul).In("1.0"));
}

// The pieces of an instruction that lie outside its row. Cost, execution and legality are walked by the tests
// of their own folders; a switch over opcodes without a default is the compiler's to watch.
TEST(InstructionTable, EveryRowIsExplainedInTheReadme) {
  const char* root = std::getenv("NKI_SOURCE_DIR");
  std::ifstream file((root == nullptr ? std::string(".") : std::string(root)) + "/common/nki/README.md");
  const std::string readme{std::istreambuf_iterator<char>(file), {}};
  ASSERT_FALSE(readme.empty());
  for (const Row& row : Table()) {
    EXPECT_NE(readme.find("`" + std::string(row.name) + "`"), std::string::npos) << row.name;
  }
}

TEST(Operators, TablesStandInEnumOrder) {
  for (int i = 0; i < kAluOpCount; ++i) EXPECT_EQ(static_cast<int>(Info(static_cast<AluOp>(i)).op), i);
  for (int i = 0; i < kActFnCount; ++i) EXPECT_EQ(static_cast<int>(Info(static_cast<ActFn>(i)).fn), i);
}

TEST(Dtypes, PromotionFollowsTheSdkTable) {
  using D = DType;
  struct Case {
    D a, b, want;
  } cases[] = {
      {D::kInt32, D::kFloat16, D::kFloat16},
      {D::kUInt16, D::kTFloat32, D::kTFloat32},
      {D::kFloat16, D::kBFloat16, D::kFloat32},
      {D::kFloat8E4M3, D::kFloat16, D::kFloat16},
      {D::kFloat8E4M3, D::kBFloat16, D::kBFloat16},
      {D::kFloat8E4M3, D::kFloat8E5M2, D::kBFloat16},
      {D::kFloat32, D::kTFloat32, D::kFloat32},
      {D::kFloat32, D::kBFloat16, D::kFloat32},
      {D::kInt8, D::kUInt8, D::kInt16},
      {D::kInt8, D::kUInt16, D::kInt32},
      {D::kUInt16, D::kInt32, D::kInt32},
      {D::kInt32, D::kUInt32, D::kFloat32},
      {D::kBool, D::kBool, D::kBool},
      {D::kBool, D::kInt32, D::kInt32},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Promote(c.a, c.b), c.want) << Name(c.a) << " with " << Name(c.b);
    EXPECT_EQ(Promote(c.b, c.a), c.want) << Name(c.b) << " with " << Name(c.a);
  }
}

}  // namespace
}  // namespace nkiagent::nki::isa
