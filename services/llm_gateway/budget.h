// Money that calls may spend together. Before a call the most that it may cost is set aside; after it what it
// did cost is booked.
#ifndef SERVICES_LLM_GATEWAY_BUDGET_H_
#define SERVICES_LLM_GATEWAY_BUDGET_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "nkiagent/llm/v1/llm_service.pb.h"

namespace nkiagent::llm_gateway {

// Thread-safe. Outlives its reservations.
class BudgetBook {
 public:
  // What one call has set aside. Destroyed without Settle: nothing is booked.
  class Reservation {
   public:
    Reservation(BudgetBook* book, std::vector<std::string> ids, int64_t micro_usd)
        : book_(book), ids_(std::move(ids)), micro_usd_(micro_usd) {}
    Reservation(const Reservation&) = delete;
    Reservation& operator=(const Reservation&) = delete;
    ~Reservation() { Settle(0); }

    // Books what the call cost, once; also if that is more than was set aside.
    void Settle(int64_t cost_micro_usd);
    // What the budgets stand at now.
    std::vector<nkiagent::llm::v1::BudgetState> States() const;

   private:
    BudgetBook* const book_;
    const std::vector<std::string> ids_;
    const int64_t micro_usd_;
    bool settled_ = false;
  };

  // Those used longest ago are forgotten, unless money of them is set aside. Callers bring along what they
  // know to be spent (Budget.spent_micro_usd), so what is forgotten is not lost.
  struct Options {
    size_t max_budgets = 20'000;
    absl::Duration max_idle = absl::Hours(24);
    std::function<absl::Time()> now = absl::Now;  // replaced in tests
  };

  BudgetBook() : BudgetBook(Options{}) {}
  explicit BudgetBook(Options options) : options_(std::move(options)) {}

  // Sets the amount aside in all budgets or in none. FAILED_PRECONDITION with the reason
  // ERROR_REASON_BUDGET_EXCEEDED names one that has less left.
  absl::StatusOr<std::unique_ptr<Reservation>> Reserve(const std::vector<nkiagent::llm::v1::Budget>& budgets,
                                                       int64_t micro_usd);

  // What all of the budgets can still pay, as Reserve would count it; not negative.
  int64_t Left(const std::vector<nkiagent::llm::v1::Budget>& budgets) const;

  // Budgets remembered, for tests.
  size_t size() const;

 private:
  struct Account {
    int64_t limit = 0;
    int64_t spent = 0;
    int64_t reserved = 0;
    absl::Time used;
    std::list<std::string>::iterator age;
  };

  void Forget();

  const Options options_;
  mutable std::mutex mutex_;  // guards all that follows
  std::map<std::string, Account> accounts_;
  std::list<std::string> ages_;  // ids, longest unused first
};

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_BUDGET_H_
