// Runs the statements that are its argument, prints the rows.
#include "sqlite3.h"

#include <stdio.h>

static int row(void *unused, int count, char **values, char **names) {
  for (int i = 0; i < count; i++)
    printf("%s%c", values[i], i + 1 < count ? '|' : '\n');
  return 0;
}

int main(int argc, char **argv) {
  sqlite3 *db;
  char *reason = "no statements";
  if (argc != 2 || sqlite3_open(":memory:", &db) != SQLITE_OK ||
      sqlite3_exec(db, argv[1], row, 0, &reason) != SQLITE_OK) {
    fprintf(stderr, "%s\n", reason);
    return 1;
  }
  return sqlite3_close(db);
}
