// The statistics of reports. Pure functions; any thread.
#ifndef SERVICES_NKICTL_BENCH_STATS_H_
#define SERVICES_NKICTL_BENCH_STATS_H_

#include <cstdint>
#include <vector>

namespace nkiagent::nkictl {

struct Interval {
  double low = 0;
  double high = 1;
};

// The 95 % score interval of a proportion (E. B. Wilson, 1927). [0, 1] for no trials.
Interval Wilson95(int64_t successes, int64_t trials);

// The exact two-sided McNemar test: how probable a split at least as uneven as `only_a` against `only_b` is,
// if each discordant pair falls to either side with probability 1/2. 1 without discordant pairs.
double McNemarExact(int64_t only_a, int64_t only_b);

struct Spread {
  double mean = 0;
  double deviation = 0;  // of the sample (n - 1); 0 for fewer than two values
  double least = 0;
  double most = 0;
};
Spread SpreadOf(const std::vector<double>& values);

// Of positive values; 0 for none.
double GeometricMean(const std::vector<double>& values);

// By linear interpolation between the nearest ranks; `share` in [0, 1]. 0 for no values.
double Quantile(std::vector<double> values, double share);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_BENCH_STATS_H_
