#include "common/storage/signing_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

namespace nkiagent::storage {
namespace {

class SigningKeyTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "/signing_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string Path() const { return folder_ + "/key.pem"; }

  std::string folder_;
};

TEST_F(SigningKeyTest, IsMadeOnceAndKeptFromOthers) {
  const auto made = SigningKey::LoadOrCreate(Path());
  ASSERT_TRUE(made.ok()) << made.status();
  struct stat info = {};
  ASSERT_EQ(stat(Path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const auto again = SigningKey::LoadOrCreate(Path());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->public_key(), made->public_key());
  EXPECT_EQ(*again->Sign("text"), *made->Sign("text"));
  // Nothing else is left in the folder.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(SigningKeyTest, ThreadsThatMakeItAtOnceAgree) {
  std::vector<std::string> keys(4);
  {
    std::vector<std::jthread> threads;
    for (std::string& key : keys)
      threads.emplace_back([this, &key] { key = SigningKey::LoadOrCreate(Path())->public_key(); });
  }
  EXPECT_THAT(keys, testing::Each(keys[0]));
}

TEST_F(SigningKeyTest, VouchesForOneTextByOneKey) {
  const auto key = SigningKey::LoadOrCreate(Path());
  const auto other = SigningKey::LoadOrCreate(folder_ + "/other.pem");
  ASSERT_TRUE(key.ok() && other.ok());
  const std::string signature = *key->Sign("passed: true");
  EXPECT_TRUE(VerifySignature(key->public_key(), "passed: true", signature).ok());
  EXPECT_EQ(VerifySignature(key->public_key(), "passed: tru", signature).code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(VerifySignature(other->public_key(), "passed: true", signature).code(),
            absl::StatusCode::kPermissionDenied);
  std::string changed = signature;
  changed[5] = changed[5] == '0' ? '1' : '0';
  EXPECT_EQ(VerifySignature(key->public_key(), "passed: true", changed).code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(VerifySignature(key->public_key(), "passed: true", "zz").code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(VerifySignature("", "passed: true", signature).code(), absl::StatusCode::kInvalidArgument);
}

// RFC 8032, section 7.1, test 2: the form is the standard's.
TEST(VerifySignature, KnowsTheStandardsExample) {
  EXPECT_TRUE(
      VerifySignature("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "\x72",
                      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f"
                      "3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")
          .ok());
}

TEST_F(SigningKeyTest, RefusesWhatIsNoKeyOrOpenToOthers) {
  std::ofstream(Path()) << "no key";
  std::filesystem::permissions(Path(), std::filesystem::perms(0600));
  EXPECT_EQ(SigningKey::LoadOrCreate(Path()).status().code(), absl::StatusCode::kFailedPrecondition);
  std::filesystem::remove(Path());
  ASSERT_TRUE(SigningKey::LoadOrCreate(Path()).ok());
  std::filesystem::permissions(Path(), std::filesystem::perms(0640));
  EXPECT_THAT(std::string(SigningKey::LoadOrCreate(Path()).status().message()),
              testing::HasSubstr("chmod 600"));
  EXPECT_EQ(SigningKey::LoadOrCreate(folder_ + "/none/key.pem").status().code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace nkiagent::storage
