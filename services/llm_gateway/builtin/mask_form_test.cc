#include "services/llm_gateway/builtin/mask_form.h"

#include <cstdint>
#include <functional>
#include <optional>

#include "gtest/gtest.h"
#include "services/llm_gateway/builtin/builder.h"

namespace nkiagent::builtin {
namespace {

constexpr int64_t kRows = 5, kColumns = 7;

// The tensors of row and column numbers of a (5, 7) mask, and the form of what `make` computes of them.
std::optional<MaskForm> FormOf(const std::function<Tensor(Builder&, const Tensor&, const Tensor&)>& make) {
  Builder b;
  const Tensor rows = b.ReshapeTo(b.Positions(kRows), {kRows, 1});
  const Tensor columns = b.ReshapeTo(b.Positions(kColumns), {1, kColumns});
  const Tensor mask = b.ExpandTo(make(b, rows, columns), {3, kRows, kColumns});
  EXPECT_TRUE(b.status().ok()) << b.status();
  return MaskOf(b.program(), mask);
}

double At(const MaskForm& form, int64_t i, int64_t j) {
  for (const AffineForm& c : form.conditions) {
    if (c.row * i + c.column * j + c.constant < 0) return form.no;
  }
  return form.yes;
}

void ExpectEverywhere(const std::optional<MaskForm>& form,
                      const std::function<double(int64_t, int64_t)>& value) {
  ASSERT_TRUE(form.has_value());
  for (int64_t i = 0; i < kRows; ++i) {
    for (int64_t j = 0; j < kColumns; ++j) EXPECT_EQ(At(*form, i, j), value(i, j)) << i << ", " << j;
  }
}

TEST(MaskFormTest, ComparisonsOfPositions) {
  for (const auto& [fn, holds] : {std::pair<Fn, std::function<bool(int64_t, int64_t)>>(
                                      Fn::kLess, [](int64_t i, int64_t j) { return i < j; }),
                                  {Fn::kLessEqual, [](int64_t i, int64_t j) { return i <= j; }},
                                  {Fn::kGreater, [](int64_t i, int64_t j) { return i > j; }},
                                  {Fn::kGreaterEqual, [](int64_t i, int64_t j) { return i >= j; }}}) {
    ExpectEverywhere(FormOf([fn = fn](Builder& b, const Tensor& i, const Tensor& j) {
                       return b.Binary(fn, i, j, DType::kBool);
                     }),
                     [holds = holds](int64_t i, int64_t j) { return holds(i, j) ? 1.0 : 0.0; });
  }
}

TEST(MaskFormTest, ADistanceInAWindowThenANumber) {
  ExpectEverywhere(FormOf([](Builder& b, const Tensor& i, const Tensor& j) {
                     const Tensor d =
                         b.Unary(Fn::kAbs, b.Binary(Fn::kSubtract, i, j, DType::kInt32), DType::kInt32);
                     const Tensor near = b.Binary(Fn::kLess, d, 2.0, DType::kBool);
                     return b.Select(near, Builder::Number(0, DType::kFloat32),
                                     Builder::Number(-9, DType::kFloat32), DType::kFloat32);
                   }),
                   [](int64_t i, int64_t j) { return std::abs(i - j) < 2 ? 0.0 : -9.0; });
}

TEST(MaskFormTest, ConditionsJoinAndTurnRound) {
  ExpectEverywhere(FormOf([](Builder& b, const Tensor& i, const Tensor& j) {
                     const Tensor later = b.Binary(Fn::kGreater, j, i, DType::kBool);
                     const Tensor seen = b.Unary(Fn::kLogicalNot, later, DType::kBool);
                     const Tensor some = b.Binary(Fn::kLess, j, 4.0, DType::kBool);
                     return b.Binary(
                         Fn::kMultiply,
                         b.Cast(b.Binary(Fn::kLogicalAnd, seen, some, DType::kBool), DType::kFloat32), 3.0,
                         DType::kFloat32);
                   }),
                   [](int64_t i, int64_t j) { return j <= i && j < 4 ? 3.0 : 0.0; });
}

TEST(MaskFormTest, WhatPositionsDoNotTellIsNone) {
  EXPECT_FALSE(
      FormOf([](Builder& b, const Tensor& i, const Tensor&) {
        return b.Binary(Fn::kAdd, i, b.Argument("x", {DType::kInt32, {kRows, kColumns}}), DType::kInt32);
      }).has_value());
  EXPECT_FALSE(FormOf([](Builder& b, const Tensor& i, const Tensor& j) {
                 return b.Binary(Fn::kMultiply, i, j, DType::kInt32);
               }).has_value());
}

TEST(MaskFormTest, RowsThatSeeNothingAreNoticed) {
  EXPECT_TRUE(EveryRowSeesSome({{1, -1, 0}}, 8, 8));
  EXPECT_FALSE(EveryRowSeesSome({{1, -1, -1}}, 8, 8));              // the first row
  EXPECT_FALSE(EveryRowSeesSome({{-1, 1, 0}}, 9, 8));               // the last
  EXPECT_FALSE(EveryRowSeesSome({{1, -1, 0}, {-1, 1, -1}}, 8, 8));  // no column is both
}

}  // namespace
}  // namespace nkiagent::builtin
