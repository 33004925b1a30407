#include "services/llm_gateway/budget.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/llm_gateway/error_detail.h"
#include "services/llm_gateway/json_util.h"

namespace nkiagent::llm_gateway {
namespace {

namespace llm = nkiagent::llm::v1;

std::string Dollars(int64_t micro_usd) {
  return absl::StrFormat("$%.6f", static_cast<double>(micro_usd) * 1e-6);
}

// No sum of amounts from outside goes beyond this, so none overflows.
constexpr int64_t kMostMoney = int64_t{1} << 60;

}  // namespace

absl::StatusOr<std::unique_ptr<BudgetBook::Reservation>> BudgetBook::Reserve(
    const std::vector<llm::Budget>& budgets, int64_t micro_usd) {
  const int64_t amount = std::clamp<int64_t>(micro_usd, 0, kMostMoney);
  const std::lock_guard lock(mutex_);
  std::vector<Account*> accounts;
  std::vector<std::string> ids;
  for (const llm::Budget& budget : budgets) {
    auto [found, is_new] = accounts_.try_emplace(budget.id());
    Account& account = found->second;
    if (!is_new) ages_.erase(account.age);
    account.age = ages_.insert(ages_.end(), budget.id());
    account.used = options_.now();
    account.limit = std::min(budget.limit_micro_usd(), kMostMoney);
    account.spent = std::max(account.spent, std::min(budget.spent_micro_usd(), kMostMoney));
    if (account.spent + account.reserved + amount > account.limit) {
      return WithReason(absl::FailedPreconditionError(absl::StrCat(
                            "budget ", Excerpt(budget.id(), 128), " of ", Dollars(account.limit), " has ",
                            Dollars(account.spent), " spent and ", Dollars(account.reserved),
                            " set aside; this call may cost ", Dollars(amount))),
                        llm::ERROR_REASON_BUDGET_EXCEEDED);
    }
    accounts.push_back(&account);
    ids.push_back(budget.id());
  }
  for (Account* account : accounts) account->reserved += amount;
  Forget();
  return std::make_unique<Reservation>(this, std::move(ids), amount);
}

int64_t BudgetBook::Left(const std::vector<llm::Budget>& budgets) const {
  int64_t left = kMostMoney;
  const std::lock_guard lock(mutex_);
  for (const llm::Budget& budget : budgets) {
    const auto found = accounts_.find(budget.id());
    const Account known = found == accounts_.end() ? Account{} : found->second;
    const int64_t spent = std::max(known.spent, std::min(budget.spent_micro_usd(), kMostMoney));
    left = std::min(left, std::min(budget.limit_micro_usd(), kMostMoney) - spent - known.reserved);
  }
  return std::max<int64_t>(left, 0);
}

void BudgetBook::Forget() {
  auto oldest = ages_.begin();
  const absl::Time oldest_kept = options_.now() - options_.max_idle;
  while (oldest != ages_.end()) {
    const auto found = accounts_.find(*oldest);
    if (accounts_.size() <= options_.max_budgets && found->second.used >= oldest_kept) return;
    if (found->second.reserved > 0) {
      ++oldest;
      continue;
    }
    accounts_.erase(found);
    oldest = ages_.erase(oldest);
  }
}

size_t BudgetBook::size() const {
  const std::lock_guard lock(mutex_);
  return accounts_.size();
}

void BudgetBook::Reservation::Settle(int64_t cost_micro_usd) {
  if (settled_) return;
  settled_ = true;
  const std::lock_guard lock(book_->mutex_);
  for (const std::string& id : ids_) {
    const auto found = book_->accounts_.find(id);
    if (found == book_->accounts_.end()) continue;
    found->second.reserved -= micro_usd_;
    found->second.spent =
        std::min(kMostMoney, found->second.spent + std::clamp<int64_t>(cost_micro_usd, 0, kMostMoney));
  }
}

std::vector<llm::BudgetState> BudgetBook::Reservation::States() const {
  std::vector<llm::BudgetState> states;
  const std::lock_guard lock(book_->mutex_);
  for (const std::string& id : ids_) {
    const auto found = book_->accounts_.find(id);
    if (found == book_->accounts_.end()) continue;
    llm::BudgetState& state = states.emplace_back();
    state.set_id(id);
    state.set_limit_micro_usd(found->second.limit);
    state.set_spent_micro_usd(found->second.spent);
    state.set_reserved_micro_usd(found->second.reserved);
  }
  return states;
}

}  // namespace nkiagent::llm_gateway
