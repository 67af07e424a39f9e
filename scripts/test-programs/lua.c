// Runs the program that is its argument.
#include "lauxlib.h"
#include "lualib.h"

#include <stdio.h>

int main(int argc, char **argv) {
  lua_State *lua = luaL_newstate();
  luaL_openlibs(lua);
  if (argc == 2 && luaL_dostring(lua, argv[1]) == LUA_OK)
    return 0;
  fprintf(stderr, "%s\n", lua_tostring(lua, -1));
  return 1;
}
