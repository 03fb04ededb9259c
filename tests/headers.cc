// Nothing: the headers of all tests are compiled once, before it (tests/CMakeLists.txt).
