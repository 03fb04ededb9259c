#include "kernels/plugin.h"

extern "C" int gone();
static const int called = gone();
extern "C" const densetree::Plugin densetree_plugin = {"0.0.1 (12345678)", &called};
