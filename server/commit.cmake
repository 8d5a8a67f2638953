# Writes COMMIT_FILE, a header with the commit that SOURCE_DIR is at, when it does not have that yet. COMMIT, where it is
# given, is taken instead: for a build whose sources come without their repository.
cmake_minimum_required(VERSION 3.25)
if(NOT COMMIT AND EXISTS ${SOURCE_DIR}/.git)
  execute_process(COMMAND git -C ${SOURCE_DIR} rev-parse --short=12 HEAD
    OUTPUT_VARIABLE COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT COMMIT)
  set(COMMIT unknown)
endif()
file(CONFIGURE OUTPUT ${COMMIT_FILE} CONTENT "#pragma once
inline constexpr char kCommit[] = \"@COMMIT@\";
" @ONLY)
