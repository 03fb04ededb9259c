extern "C" int plugin_of_something_else() {
  return 0;
}
