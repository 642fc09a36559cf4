// Names of leased things.

#ifndef HEADWISE_SERVER_LEASES_LEASE_ID_H_
#define HEADWISE_SERVER_LEASES_LEASE_ID_H_

#include <string>

namespace headwise {

// 32 hexadecimal digits: 128 bits that nobody can guess.
std::string NewLeaseId();

}  // namespace headwise

#endif  // HEADWISE_SERVER_LEASES_LEASE_ID_H_
