#include "services/verify/task_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "services/verify/lru_cache.h"

namespace nkiagent::verify {
namespace {

common::v1::Task SomeTask() {
  common::v1::Task task;
  task.set_reference_source("class Model: pass");
  return task;
}

TEST(TaskHash, ChangesWithWhatCanChangeAVerdictAndNothingElse) {
  const std::string hash = TaskHash(SomeTask());
  EXPECT_EQ(hash.size(), 64u);
  common::v1::Task same = SomeTask();
  same.set_id("level1/1");
  same.set_name("other");
  same.set_level(2);
  (*same.mutable_labels())["category"] = "softmax";
  same.mutable_entry()->set_model_class("Model");
  same.mutable_tolerance()->set_atol(1e-3);
  same.mutable_tolerance()->set_rtol(1e-3);
  EXPECT_EQ(TaskHash(same), hash);
  common::v1::Task other = SomeTask();
  other.set_weight_seed(1);
  EXPECT_NE(TaskHash(other), hash);
  other = SomeTask();
  other.mutable_tolerance()->set_atol(1e-4);
  EXPECT_NE(TaskHash(other), hash);
  other = SomeTask();
  other.mutable_entry()->set_inputs_function("inputs");
  EXPECT_NE(TaskHash(other), hash);
  other.set_reference_source("class Model: pass\n");
  EXPECT_NE(TaskHash(other), hash);
}

TEST(ValidateTask, NamesFieldAndLimit) {
  EXPECT_TRUE(ValidateTask(SomeTask()).ok());
  common::v1::Task task = SomeTask();
  task.mutable_entry()->set_model_class("Model()");
  EXPECT_THAT(std::string(ValidateTask(task).message()), ::testing::HasSubstr("no identifier"));
  for (const double bad :
       {-1e-9, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    task = SomeTask();
    task.mutable_tolerance()->set_rtol(bad);
    EXPECT_THAT(std::string(ValidateTask(task).message()), ::testing::HasSubstr("rtol"));
  }
  task = SomeTask();
  for (int i = 0; i < 65; ++i) (*task.mutable_labels())[std::to_string(i)] = "";
  EXPECT_FALSE(ValidateTask(task).ok());
}

TEST(LruCache, TheLeastRecentlyUsedGoesWhenBytesOrEntriesPassTheBound) {
  LruCache<int> cache(100, 3);
  const auto put = [&](const std::string& key, int64_t bytes) {
    cache.Put(key, std::make_shared<int>(1), bytes);
  };
  put("a", 40);
  put("b", 40);
  EXPECT_NE(cache.Get("a"), nullptr);
  put("c", 40);
  EXPECT_NE(cache.Get("a"), nullptr);
  EXPECT_EQ(cache.Get("b"), nullptr);
  EXPECT_EQ(cache.bytes(), 80);
  put("a", 1);  // Replaces.
  EXPECT_EQ(cache.bytes(), 41);
  put("d", 1);
  put("e", 1);
  EXPECT_EQ(cache.Get("c"), nullptr);  // The fourth entry.
  put("huge", 101);
  EXPECT_EQ(cache.Get("huge"), nullptr);
  EXPECT_NE(cache.Get("e"), nullptr);
}

TEST(LruCache, AValueLivesOnForWhoHoldsIt) {
  LruCache<int> cache(1, 1);
  cache.Put("a", std::make_shared<int>(7), 1);
  const auto held = cache.Get("a");
  cache.Put("b", std::make_shared<int>(8), 1);
  EXPECT_EQ(cache.Get("a"), nullptr);
  EXPECT_EQ(*held, 7);
}

}  // namespace
}  // namespace nkiagent::verify
