// Nothing: precompiled.h is compiled before it, for all libraries (cmake/Options.cmake).
