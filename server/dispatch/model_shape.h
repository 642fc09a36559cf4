// The sizes that placement needs, read from a model.

#ifndef HEADWISE_SERVER_DISPATCH_MODEL_SHAPE_H_
#define HEADWISE_SERVER_DISPATCH_MODEL_SHAPE_H_

#include "model/head_plan/kv_type.h"
#include "model/model.h"
#include "server/placement/planner.h"

namespace headwise {

// Weight bytes are those of the file, means over layers rounded up; a worker's
// packed weights differ by a few per cent and are told by its Prepare.
ModelShape MakeModelShape(const Model& model, KvType kv_type);

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_MODEL_SHAPE_H_
