#include "kernels/core/tree_types.h"

#include "kernels/core/error.h"

namespace densetree {

void require_bins(const Bins& bins) {
  check(bins.bins >= 1 && bins.bins <= kMaxBins, "{} bins; there can be 1 to {}", bins.bins, kMaxBins);
}

}  // namespace densetree
