// What the CUDA plugin exports.
#include "kernels/plugin.h"

#include "kernels/cuda/functions.h"
#include "kernels/plugin_build.h"

extern "C" [[gnu::visibility("default")]] const densetree::Plugin densetree_plugin = {densetree::kPluginBuild,
                                                                                      &densetree::kCudaFunctions};
