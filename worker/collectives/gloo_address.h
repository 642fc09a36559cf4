// Addresses of Gloo's sockets as text, and the interface that they are on.

#ifndef HEADWISE_WORKER_COLLECTIVES_GLOO_ADDRESS_H_
#define HEADWISE_WORKER_COLLECTIVES_GLOO_ADDRESS_H_

#include <gloo/transport/tcp/address.h>
#include <gloo/transport/tcp/device.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace headwise {

// "127.0.0.1:4711" or "[::1]:4711".
std::string FormatGlooAddress(const gloo::transport::Address& address);

// InvalidArgument unless `text` has that form; looks up no names.
absl::StatusOr<gloo::transport::tcp::Address> ParseGlooAddress(
    absl::string_view text);

// InvalidArgument if `bind_address` is no address, and no name of one, of an
// interface of this host.
absl::StatusOr<std::shared_ptr<gloo::transport::tcp::Device>> OpenGlooDevice(
    const std::string& bind_address);

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_GLOO_ADDRESS_H_
