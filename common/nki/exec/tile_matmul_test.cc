// Tile products against the sum written out, for every instruction set and shapes that fill blocks or don't.
#include "common/nki/exec/tile_matmul.h"

#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "common/nki/exec/kernels.h"
#include "gtest/gtest.h"

namespace nkiagent::nki::exec {
namespace {

struct Free {
  void operator()(float* p) const { std::free(p); }
};

// Exactly as large as the header says, so that the sanitizers see what lies beyond.
std::unique_ptr<float, Free> Work(int64_t floats) {
  const auto bytes = static_cast<size_t>((floats + 15) / 16 * 16) * sizeof(float);
  return std::unique_ptr<float, Free>(static_cast<float*>(std::aligned_alloc(64, bytes)));
}

TEST(TileMatmul, IsTheSumOfProducts) {
  int sets = 0;
  AllKernels(&sets);
  std::mt19937 rng(7);
  std::uniform_real_distribution<float> value(-1.0f, 1.0f);
  const std::vector<int64_t> sizes = {1, 2, 4, 5, 6, 7, 8, 12, 13, 20, 31, 32, 33, 64, 128, 130};
  for (int set = 0; set < sets; ++set) {
    const TileMatmulFn tile_matmul = TileMatmulOf(set);
    if (tile_matmul == nullptr) continue;
    for (int round = 0; round < 120; ++round) {
      const auto pick = [&] { return sizes[rng() % sizes.size()]; };
      TileMatmulCall call{};
      call.m = pick(), call.n = pick(), call.k = pick();
      call.lda = call.m + static_cast<int64_t>(rng() % 3);
      call.ldb = call.n + static_cast<int64_t>(rng() % 3);
      call.ldc = call.n + static_cast<int64_t>(rng() % 3);
      call.add = rng() % 2 == 0;
      std::vector<float> a(static_cast<size_t>((call.k - 1) * call.lda + call.m));
      std::vector<float> b(static_cast<size_t>((call.k - 1) * call.ldb + call.n));
      std::vector<float> c(static_cast<size_t>((call.m - 1) * call.ldc + call.n));
      for (std::vector<float>* v : {&a, &b, &c}) {
        for (float& f : *v) f = value(rng);
      }
      const std::vector<float> before = c;
      const auto work = Work(TileMatmulWork(call.m, call.k));
      call.a = a.data(), call.b = b.data(), call.c = c.data(), call.work = work.get();
      tile_matmul(call);
      for (int64_t m = 0; m < call.m; ++m) {
        for (int64_t j = 0; m * call.ldc + j < static_cast<int64_t>(c.size()) && j < call.ldc; ++j) {
          const auto at = static_cast<size_t>(m * call.ldc + j);
          if (j >= call.n) {
            ASSERT_EQ(c[at], before[at]) << "wrote beside the row";
            continue;
          }
          double want = call.add ? before[at] : 0.0;
          for (int64_t k = 0; k < call.k; ++k) {
            want += static_cast<double>(a[static_cast<size_t>(k * call.lda + m)]) *
                    b[static_cast<size_t>(k * call.ldb + j)];
          }
          ASSERT_NEAR(c[at], want, 1e-4)
              << call.m << " x " << call.n << " x " << call.k << " at " << m << ", " << j;
        }
      }
    }
  }
}

}  // namespace
}  // namespace nkiagent::nki::exec
