// Ed25519 signatures (RFC 8032), by OpenSSL: who keeps the key vouches for a text, and anybody with the
// public half can tell.
//
// Any thread.
#ifndef COMMON_STORAGE_SIGNING_KEY_H_
#define COMMON_STORAGE_SIGNING_KEY_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace nkiagent::storage {

class SigningKey {
 public:
  // Reads the private key from a PEM file (PKCS #8), or makes one there, readable by its owner alone. Of
  // several processes that make it at once, one wins. FAILED_PRECONDITION: the file holds no Ed25519 key, or
  // others may read it. UNAVAILABLE: it can't be read or made.
  static absl::StatusOr<SigningKey> LoadOrCreate(const std::string& path);

  // 64 bytes as lower-case hex.
  absl::StatusOr<std::string> Sign(absl::string_view text) const;
  // 32 bytes as lower-case hex.
  const std::string& public_key() const { return public_key_; }

 private:
  SigningKey(std::shared_ptr<void> key, std::string public_key)
      : key_(std::move(key)), public_key_(std::move(public_key)) {}

  std::shared_ptr<void> key_;  // an EVP_PKEY, which OpenSSL lets threads share
  std::string public_key_;
};

// OK if `signature` is that of `text` by the key, both as SigningKey gives them. INVALID_ARGUMENT: the key or
// the signature is not of that form. PERMISSION_DENIED: the text, the signature or the key is another one.
absl::Status VerifySignature(absl::string_view public_key, absl::string_view text,
                             absl::string_view signature);

}  // namespace nkiagent::storage

#endif  // COMMON_STORAGE_SIGNING_KEY_H_
