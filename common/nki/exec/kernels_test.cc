#include "common/nki/exec/kernels.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "common/nki/exec/dtype_convert.h"
#include "common/nki/exec/scalar_math.h"
#include "gtest/gtest.h"

namespace nkiagent::nki::exec {
namespace {

using isa::ActFn;
using isa::AluOp;
using isa::DType;

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<const Kernels*> All() {
  int count = 0;
  const Kernels* const* sets = AllKernels(&count);
  return {sets, sets + count};
}

// Ordinary values, values of every magnitude, and the special ones.
std::vector<float> Values(size_t n, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<float> v = {0.0f,  -0.0f, 1.0f,  -1.0f,         0.5f,   2.5f,
                          -3.5f, kInf,  -kInf, std::nanf(""), 1e-45f, -1e-39f};
  for (const float f :
       {65504.0f,      65519.0f,   65520.0f, 240.0f,        247.9f,        248.0f,         57344.0f,
        61440.0f,      3e38f,      -3e38f,   2147483520.0f, 2147483648.0f, -2147483648.0f, 4294967040.0f,
        4294967296.0f, 8388607.5f, 0x1p-24f, 0x1p-25f,      0x1.8p-24f,    0x1p-10f,       0x1p-17f,
        0x1.8p-10f,    127.5f,     128.5f,   -128.5f}) {
    v.push_back(f);
    v.push_back(-f);
  }
  while (v.size() < n) {
    switch (rng() % 3) {
      case 0:
        v.push_back(std::uniform_real_distribution<float>(-4.0f, 4.0f)(rng));
        break;
      case 1:
        v.push_back(static_cast<float>(static_cast<int>(rng() % 600) - 300) * 0.5f);
        break;
      default:
        v.push_back(FloatOf(static_cast<uint32_t>(rng())));
        break;
    }
  }
  v.resize(n);
  return v;
}

bool Same(float a, float b) { return (a != a && b != b) || a == b; }
bool Near(float got, float want, float relative, float absolute) {
  return Same(got, want) || std::fabs(got - want) <= absolute + relative * std::fabs(want);
}

TEST(Kernels, ConversionsEqualTheScalarOnesForEveryDtypeAndStride) {
  const std::vector<float> values = Values(3000, 1);
  const auto n = static_cast<int64_t>(values.size());
  for (const Kernels* k : All()) {
    for (int d = 0; d < isa::kDTypeCount; ++d) {
      const auto dtype = static_cast<DType>(d);
      const int size = isa::SizeOf(dtype);
      for (const int64_t stride : {1, 3}) {
        std::vector<std::byte> want(static_cast<size_t>(n * stride * size)), got(want.size());
        for (int64_t i = 0; i < n; ++i)
          StoreFloat(dtype, want.data() + i * stride * size, values[static_cast<size_t>(i)]);
        k->store(dtype, values.data(), got.data(), stride, n);
        ASSERT_EQ(std::memcmp(want.data(), got.data(), want.size()), 0) << k->name << " " << isa::Name(dtype);
        std::vector<float> back(values.size());
        k->load(dtype, got.data(), stride, back.data(), n);
        for (int64_t i = 0; i < n; ++i) {
          const float v = LoadFloat(dtype, got.data() + i * stride * size);
          ASSERT_TRUE(Same(v, back[static_cast<size_t>(i)]))
              << k->name << " " << isa::Name(dtype) << " " << i;
        }
      }
    }
  }
}

TEST(Kernels, OperatorsEqualTheScalarOnes) {
  const std::vector<float> a = Values(1000, 2), b = Values(1000, 3);
  std::vector<float> out(a.size());
  for (const Kernels* k : All()) {
    for (int o = 1; o < isa::kAluOpCount; ++o) {
      const auto op = static_cast<AluOp>(o);
      if (isa::Info(op).bitvec) continue;
      for (const int mode : {0, 1, 2}) {
        const float scalar = 1.75f;
        const RowIn x{mode == 1 ? &scalar : a.data(), mode == 1};
        const RowIn y{mode == 2 ? &scalar : b.data(), mode == 2};
        k->binary(op, x, y, out.data(), static_cast<int64_t>(out.size()));
        for (size_t i = 0; i < out.size(); ++i) {
          const float want = ApplyAlu(op, mode == 1 ? scalar : a[i], mode == 2 ? scalar : b[i]);
          const bool inexact = op == AluOp::kPower || op == AluOp::kRsqrt;
          // Powers of subnormal size are flushed or not; relative accuracy ends there.
          ASSERT_TRUE(inexact ? Near(out[i], want, 1e-6f, 1e-37f) : Same(out[i], want))
              << k->name << " " << isa::Info(op).name << "(" << a[i] << ", " << b[i] << ") mode " << mode
              << " = " << out[i] << ", not " << want;
        }
      }
    }
  }
}

TEST(Kernels, ActivationFunctionsAreAccurate) {
  std::vector<float> x;
  for (int i = -2190; i <= 2190; ++i) x.push_back(0.0137f * static_cast<float>(i));
  for (const float v : {0.0f, 1e-20f, -1e-20f, 1e-5f, 88.0f, -88.0f, 1000.0f, -1000.0f, 3e38f, -3e38f, kInf,
                        -kInf, std::nanf("")}) {
    x.push_back(v);
  }
  std::vector<float> out(x.size());
  for (const Kernels* k : All()) {
    for (int f = 0; f < isa::kActFnCount; ++f) {
      const auto fn = static_cast<ActFn>(f);
      k->activate(fn, x.data(), out.data(), static_cast<int64_t>(out.size()));
      for (size_t i = 0; i < x.size(); ++i) {
        const float want = ApplyAct(fn, x[i]);
        // Far tails fall under the smallest normal number.
        if (fn == ActFn::kTan && std::fabs(want) > 1e3f) continue;
        ASSERT_TRUE(Near(out[i], want, 4e-6f, 3e-7f))
            << k->name << " " << isa::Info(fn).name << "(" << x[i] << ") = " << out[i] << ", not " << want;
      }
    }
  }
}

TEST(Kernels, FoldsAgreeForEveryLength) {
  std::mt19937 rng(5);
  for (const Kernels* k : All()) {
    for (int64_t n = 0; n < 300; n += 1 + n / 50) {
      std::vector<float> x(static_cast<size_t>(n));
      for (float& v : x) v = std::uniform_real_distribution<float>(0.9f, 1.1f)(rng);
      for (const AluOp op : {AluOp::kAdd, AluOp::kMultiply, AluOp::kMaximum, AluOp::kMinimum}) {
        float want = 1.0f;
        for (const float v : x) want = ApplyAlu(op, want, v);
        EXPECT_TRUE(Near(k->fold(op, x.data(), n, 1.0f), want, 1e-5f, 0.0f)) << k->name << " " << n;
      }
    }
    std::vector<float> x(200, 1.0f);
    x[77] = std::nanf("");
    EXPECT_TRUE(std::isnan(k->fold(AluOp::kMaximum, x.data(), 200, 0.0f)));
    EXPECT_TRUE(std::isnan(k->fold(AluOp::kAdd, x.data(), 200, 0.0f)));
    float low = 0, high = 0;
    x[78] = -4.0f;
    x[130] = 9.0f;
    k->extremes(x.data(), 200, &low, &high);
    EXPECT_EQ(low, -4.0f);
    EXPECT_EQ(high, 9.0f);
  }
}

TEST(Kernels, TransposesEveryShape) {
  for (const Kernels* k : All()) {
    for (const int64_t rows : {1, 5, 16, 33}) {
      for (const int64_t columns : {1, 7, 16, 48}) {
        std::vector<uint32_t> src(static_cast<size_t>(rows * (columns + 3))),
            dst(static_cast<size_t>(columns * (rows + 2)), 7);
        for (size_t i = 0; i < src.size(); ++i) src[i] = static_cast<uint32_t>(i);
        k->transpose4(reinterpret_cast<const std::byte*>(src.data()), columns + 3,
                      reinterpret_cast<std::byte*>(dst.data()), rows + 2, rows, columns);
        for (int64_t j = 0; j < columns; ++j) {
          for (int64_t i = 0; i < rows + 2; ++i) {
            const uint32_t want = i < rows ? src[static_cast<size_t>(i * (columns + 3) + j)] : 7u;
            ASSERT_EQ(dst[static_cast<size_t>(j * (rows + 2) + i)], want);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace nkiagent::nki::exec
