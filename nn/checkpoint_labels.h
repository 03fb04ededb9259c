// The label set that is stored with a checkpoint: names, and the findings that each stands for.
#pragma once

#include "data/labels.h"
#include "engine/checkpoint_meta.h"

namespace densetree::nn {

void store_labels(CheckpointMeta& meta, const data::LabelSet& labels);
bool has_findings(const CheckpointMeta& meta);  // a checkpoint of labels that are not NIH's has none
// Throws Error where the findings are missing or make no sense.
data::LabelSet labels_of(const CheckpointMeta& meta);

}  // namespace densetree::nn
