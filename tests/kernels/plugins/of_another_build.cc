#include "kernels/plugin.h"

extern "C" const densetree::Plugin densetree_plugin = {"0.0.1 (12345678)", nullptr};
