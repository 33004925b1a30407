// Elements of tensors: how many, what they are called, and their values.
#ifndef SERVICES_VERIFY_ELEMENTS_H_
#define SERVICES_VERIFY_ELEMENTS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "common/nki/isa/types.h"
#include "nkiagent/common/v1/tensor.pb.h"

namespace nkiagent::verify {

// Elements of a shape; -1 if an extent is below 1 or the product passes 2^40.
int64_t ElementCount(absl::Span<const int64_t> dims);

// "float32[128, 512]".
std::string Describe(common::v1::DataType type, absl::Span<const int64_t> dims);

// Decodes `count` little-endian elements into doubles, exactly. bfloat16, float16 and the fp8 formats
// included.
void DecodeElements(nki::isa::DType type, const uint8_t* bytes, size_t count, double* out);

}  // namespace nkiagent::verify

#endif  // SERVICES_VERIFY_ELEMENTS_H_
