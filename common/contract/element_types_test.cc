#include "common/contract/element_types.h"

#include <gtest/gtest.h>

namespace nkiagent::contract {
namespace {

using nki::isa::DType;

TEST(ElementTypesTest, EveryTypeOfTheToolchainHasOneOfTheContract) {
  for (int i = 0; i < nki::isa::kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_NE(FromIsa(dtype), common::v1::DATA_TYPE_UNSPECIFIED) << nki::isa::Name(dtype);
    // bool does not cross the kernel boundary, and is "bool_" in nki.language.
    if (dtype == DType::kBool) continue;
    EXPECT_EQ(NameOf(FromIsa(dtype)), nki::isa::Name(dtype));
    EXPECT_EQ(DataTypeFromName(nki::isa::Name(dtype)), FromIsa(dtype));
    EXPECT_EQ(ToIsa(FromIsa(dtype)), dtype);
  }
}

TEST(ElementTypesTest, WhatDoesNotCrossTheKernelBoundaryHasNoTypeThere) {
  for (const auto type :
       {common::v1::DATA_TYPE_BOOL, common::v1::DATA_TYPE_INT64, common::v1::DATA_TYPE_UNSPECIFIED}) {
    EXPECT_FALSE(ToIsa(type).has_value()) << common::v1::DataType_Name(type);
  }
  EXPECT_EQ(NameOf(common::v1::DATA_TYPE_UNSPECIFIED), "");
  EXPECT_EQ(DataTypeFromName("complex64"), common::v1::DATA_TYPE_UNSPECIFIED);
}

}  // namespace
}  // namespace nkiagent::contract
